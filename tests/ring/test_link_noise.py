"""Noise: glitches on the wires cost resends, never a frame; noise on the serial line costs repeats, never a command.

All rates are per byte, all noise follows from the seed.
"""

import pytest

from golden.generate import GenerationRequest
from hil.checks.link.runs import RunPlan, run_links
from hil.checks.model.taps import compare_taps, golden_run
from hil.errors import LinkError
from hil.protocol.link_messages import Bank, Pattern
from hil.protocol.messages import Blob, Command, Empty, JobState

LINK_RATE = 1e-4
SERIAL_RATE = 1e-3
SEED = 0x5EED
FRAMES, FRAME_BYTES = 32, 4096
STROBE_WIDTH_NS = 300
"""On CLK and ACK: a shorter pulse is seldom read there."""
STROBE_FACTOR = {"CLK": 10, "ACK": 4}
"""How much oftener than on a data wire, because most pulses there go unread."""
WIRES = [*(f"D{n}" for n in range(8)), "CLK", "ACK"]
ALL = "all"


def glitches(link: str, wire: str, rate: float = LINK_RATE) -> list[str]:
    """The rate is of the whole link, shared by its wires; on CLK and ACK by STROBE_FACTOR more."""
    if wire == ALL:
        return [fault for name in WIRES for fault in glitches(link, name, rate / len(WIRES))]
    strobe = wire in ("CLK", "ACK")
    width = f"/{STROBE_WIDTH_NS}ns" if strobe else ""
    return [f"glitch:{link}.{wire}={rate * STROBE_FACTOR.get(wire, 1):g}{width}"]


def noisy_run(ring, wire, *, raw, reverse, rate=LINK_RATE):
    ring.desk.set_faults(glitches("0-1", wire, rate))
    plan = RunPlan(Pattern.PRBS31, FRAMES, FRAME_BYTES, SEED, raw=raw, linger=True)
    (result,) = run_links(ring, [ring.desk.config.links[0]], plan, reverse=reverse, timeout_s=300)
    ring.desk.set_faults(())
    return result


def assert_only_ack_was_fought_over(ring):
    """The known gap (docs/firmware.md): on ACK alone, and let go at once."""
    for contention in ring.desk.contentions():
        assert {output.pin for output in contention.outputs} <= {13, 25}, contention
        assert contention.end_ns - contention.time_ns < 100_000, contention


@pytest.mark.parametrize("reverse", [False, True], ids=["downstream", "upstream"])
@pytest.mark.parametrize("wire", ["D0", "D5", "CLK", "ACK", ALL])
def test_glitches_cost_resends_but_no_frame(open_ring, wire, reverse):
    _, ring = open_ring(world_size=2, seed=SEED)
    result = noisy_run(ring, wire, raw=False, reverse=reverse)
    assert result.frames == FRAMES
    assert (result.frames_wrong, result.errors) == (0, 0), result.describe()
    assert result.resends + result.timeouts > 0, "the noise did not strike; raise FRAMES"
    assert_only_ack_was_fought_over(ring)


def test_noise_that_no_resending_mends_is_named(open_ring):
    _, ring = open_ring(world_size=2, seed=SEED)
    with pytest.raises(LinkError, match=r"so: +[\d,]+ of [\d,]+ bits come wrong over link 0->1 D5: board 0"):
        noisy_run(ring, "D5", raw=False, reverse=False, rate=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_glitches_on_every_wire_cost_no_frame_for_any_seed(open_ring, seed):
    _, ring = open_ring(world_size=2, seed=seed)
    result = noisy_run(ring, ALL, raw=False, reverse=bool(seed & 1))
    assert (result.frames, result.frames_wrong, result.errors) == (FRAMES, 0, 0), result.describe()
    assert result.resends > 0
    assert_only_ack_was_fought_over(ring)


def test_raw_run_sees_the_glitches_and_names_their_wire(open_ring):
    """The negative twin: without resending, the wrong bits arrive, and the checker counts them on their wire."""
    _, ring = open_ring(world_size=2, seed=SEED)
    result = noisy_run(ring, "D5", raw=True, reverse=False)
    errors = [wire.errors for wire in result.wires]
    assert errors[5] > 0
    assert sum(errors) == errors[5]
    assert result.bad_payloads == result.frames_wrong > 0
    assert result.wires[5].ber_limit > errors[5] / result.wires[5].bits
    assert "bits wrong on link 0->1 D5: board 0 GPIO21 (pin 40) -> board 1 GPIO9 (pin 21)" in result.describe()


def test_story_is_the_goldens_though_every_wire_glitches(open_ring):
    session, ring = open_ring(seed=SEED)
    links = ("0-1", "1-2", "2-3", "3-0")
    ring.desk.set_faults([fault for link in links for fault in glitches(link, ALL, 10 * LINK_RATE)])
    tokens = session.model.encode_prompt("Once upon a time", 16)
    result = ring.generate(tokens, 16)
    ring.desk.set_faults(())
    assert sum(ring.link_counters(rank, bank).resends for rank in range(4) for bank in Bank) > 0
    expected = golden_run(session.model.weights, GenerationRequest(tokens, 16), ring.world_size)
    comparison = compare_taps(ring, expected.by_rank)
    assert comparison.first is None, comparison.first.describe()
    assert result.tokens == expected.tokens


@pytest.mark.parametrize("kind", ["uart-drop", "uart-corrupt", "uart-duplicate"])
def test_every_command_is_done_exactly_once_on_a_noisy_line(open_ring, kind):
    """Each started job counts up by one: a command lost or done twice would show."""
    _, ring = open_ring(world_size=1, seed=SEED)
    board = ring.boards[0]
    ring.desk.set_faults([f"{kind}:0={SERIAL_RATE:g}"])
    first = board.command(Command.JOB_STATUS, Empty(), JobState).job
    junk_before = board.junk_bytes
    for round_ in range(150):
        started = start_and_end_job(ring, board)
        assert started == first + 1 + round_
        data = bytes([round_]) * 64
        assert board.command(Command.PING, Blob(data), Blob).data == data
    assert board.command(Command.JOB_STATUS, Empty(), JobState).job == first + 150
    ring.desk.set_faults(())
    assert board.junk_bytes > junk_before, "the noise did not strike"


def test_taps_are_read_over_a_noisy_line(open_ring):
    """Long answers would hardly ever come through: they are asked for in smaller parts."""
    session, ring = open_ring(world_size=2, seed=SEED)
    tokens = session.model.encode_prompt("", 8)
    result = ring.generate(tokens, 8)
    ring.desk.set_faults([f"uart-corrupt:{rank}={SERIAL_RATE:g}" for rank in range(2)])
    expected = golden_run(session.model.weights, GenerationRequest(tokens, 8), ring.world_size)
    comparison = compare_taps(ring, expected.by_rank)
    assert comparison.first is None, comparison.first.describe()
    assert comparison.good
    assert result.tokens == expected.tokens
    assert all(board.dead is None for board in ring.boards)


def start_and_end_job(ring, board):
    """A job that nobody answers: it gives up after a millisecond. Returns its number."""
    from hil.protocol.link_messages import Bank, LinkRun, Pattern
    from hil.protocol.messages import JobStarted

    request = LinkRun(1 << Bank.DOWNSTREAM, 0, Pattern.XORSHIFT, 0, 1, 1, SEED, 1)
    job = board.command(Command.LINK_RUN, request, JobStarted).job
    (state,) = ring.end_jobs([(board, job)], timeout_s=60)
    assert state.job == job
    return job
