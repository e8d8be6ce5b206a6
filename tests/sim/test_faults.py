"""Faults on a live simulation: what each does to levels, reads, boards and serial lines, and that repair undoes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.sim import (
    Bridge,
    Delay,
    Drift,
    Fault,
    Glitch,
    Netlist,
    NoGround,
    Open,
    Simulation,
    SimulationError,
    StrikeAfter,
    StrikeAt,
    Stuck,
    UartHangUp,
    UartNoise,
    Wire,
)
from hil.sim.records import Change
from tests.sim.programs import BOOTED_NS, MS, simulate, word

OUTPUTS = """
main:
    ldr r4, =GPIO
    ldr r0, =0x{high:x}
    str r0, [r4, #GPSET0]
    ldr r0, =0x{outputs:x}
    str r0, [r4, #GPFSEL1]
    b stop
"""
"""GPIO 16 and 17 as outputs or not, at the levels of `high`."""
IDLE = "main:\n b stop\n"
CLOCK = """
main:
    ldr r4, =GPIO
    ldr r0, =1 << 18
    str r0, [r4, #GPFSEL1]
    ldr r5, =1 << 16
    ldr r6, ={count}
1:  str r5, [r4, #GPSET0]
    mov r0, #2
    bl delay_us
    str r5, [r4, #GPCLR0]
    mov r0, #2
    bl delay_us
    ldr r7, =OUT
    str r6, [r7]
    subs r6, r6, #1
    bne 1b
    b stop
"""
"""`count` pulses of about 2 us on GPIO 16; OUT holds how many are left, its own included."""
ECHO = "main:\n mov r0,#26\n mov r1,#3\n bl uart_init\n ldr r4, =UART\n1: ldr r0, [r4, #0x18]\n" + (
    " tst r0, #0x10\n bne 1b\n ldr r0, [r4]\n bl putc\n b 1b\n"
)
A = Wire(0, 16, 1, 10)
B = Wire(0, 17, 1, 11)
WIRES = Netlist([A, B])


def outputs(*pins: int, high: int = 0) -> str:
    return OUTPUTS.format(outputs=sum(1 << (pin - 10) * 3 for pin in pins), high=high)


def far(sim: Simulation) -> str:
    """Levels of both wires at board 1."""
    return sim.levels()[1, 10] + sim.levels()[1, 11]


@pytest.fixture
def driven(tmp_path: Path):
    """Board 0 drives wire A high and wire B low; board 1 listens."""
    with simulate(tmp_path, outputs(16, 17, high=1 << 16), IDLE, netlist=WIRES) as sim:
        sim.run(BOOTED_NS)
        assert far(sim) == "10"
        yield sim
        sim.set_faults(())
        assert far(sim) == "10", "repaired"


def test_open_wire_leaves_both_ends_to_themselves(driven: Simulation) -> None:
    driven.set_faults([Open(A)])
    assert far(driven) == "00", "its own pull-down"
    assert driven.levels()[0, 16] == "1", "its own output"
    assert driven.contentions == []


@pytest.mark.parametrize(("wire", "level", "against"), [(A, 0, 1), (B, 1, 0)])
def test_output_against_a_short_is_recorded_as_such(driven: Simulation, wire: Wire, level: int, against: int) -> None:
    driven.set_faults([Stuck(wire, level)])
    assert driven.levels()[0, wire.pin_a] == driven.levels()[1, wire.pin_b] == str(level)
    (contention,) = driven.contentions
    assert (contention.kind, contention.fault) == ("stuck", True)
    assert [(o.board, o.pin, o.level) for o in contention.outputs] == [(0, wire.pin_a, against)]
    assert "against a short" in str(contention)
    assert contention.end_ns is None
    driven.set_faults(())
    assert driven.contentions[0].end_ns == driven.time_ns


def test_output_that_agrees_with_a_short_is_no_conflict(driven: Simulation) -> None:
    driven.set_faults([Stuck(A, 1), Stuck(B, 0)])
    assert far(driven) == "10"
    assert driven.contentions == []


@pytest.mark.parametrize(("kind", "level"), [("and", "0"), ("or", "1")])
def test_outputs_that_meet_through_a_bridge(driven: Simulation, kind, level: str) -> None:
    driven.set_faults([Bridge(A, B, kind)])
    assert far(driven) == 2 * level
    (contention,) = driven.contentions
    assert (contention.kind, contention.fault) == ("bridge", True)
    assert {(o.board, o.pin, o.level) for o in contention.outputs} == {(0, 16, 1), (0, 17, 0)}
    assert "through a bridge" in str(contention)


def test_bridge_carries_one_output_to_both_wires(tmp_path: Path) -> None:
    with simulate(tmp_path, outputs(16, high=1 << 16), IDLE, netlist=WIRES) as sim:
        sim.run(BOOTED_NS)
        assert far(sim) == "10"
        sim.set_faults([Bridge(A, B, "and")])
        assert far(sim) == "11", "nobody else drives: the output wins over every pull"
        assert sim.contentions == []


def test_outputs_that_meet_on_a_bridged_wire_are_no_fault(tmp_path: Path) -> None:
    """The bridge is not what makes these two meet: a scan must not explain it away."""
    both = simulate(tmp_path, outputs(16, high=1 << 16), outputs(16), netlist=Netlist([Wire(0, 16, 1, 16), B]))
    with both as sim:
        sim.set_faults([Bridge(sim.netlist.wires[0], B, "and")])
        sim.run(BOOTED_NS)
        (contention,) = sim.contentions
        assert (contention.kind, contention.fault) == ("outputs", False)


def test_without_common_ground_the_far_end_reads_noise(driven: Simulation) -> None:
    driven.set_faults([NoGround(A), NoGround(B)])
    assert far(driven) == "??"
    assert driven.levels()[0, 16] == "1"
    assert driven.levels()[0, 17] == "0"


def test_other_wires_carry_levels_elsewhere(driven: Simulation) -> None:
    driven.set_wires([Wire(0, 16, 1, 11), Wire(0, 17, 1, 10)])
    assert far(driven) == "01"
    driven.set_wires(WIRES.wires)


def test_fault_on_a_wire_that_is_not_there_changes_nothing(driven: Simulation) -> None:
    driven.set_faults([Stuck(A, 0)])
    with pytest.raises(SimulationError, match=r"Open.*pin_b=12.*the netlist of 2 wires has no such wire"):
        driven.set_faults([Open(Wire(0, 16, 1, 12))])
    assert driven.faults == (Stuck(A, 0),)
    assert far(driven) == "00"
    with pytest.raises(SimulationError, match=r"257 faults of kind Bridge: at most 256"):
        driven.set_faults([Bridge(A, B, "and")] * 257)


def test_contentions_that_are_over_can_be_forgotten(driven: Simulation) -> None:
    driven.set_faults([Stuck(A, 0)])
    driven.set_faults([Stuck(B, 1)])
    assert len(driven.contentions) == 2
    driven.forget_contentions()
    (lasting,) = driven.contentions
    assert lasting.outputs[0].pin == 17
    driven.set_faults(())
    assert driven.contentions[0].end_ns is not None
    driven.forget_contentions()
    assert driven.contentions == []


def edges(tmp_path: Path, faults: list[Fault], *, count: int = 50, seed: int = 1) -> dict[int, list[tuple[int, int]]]:
    """Level changes (time in ps, level) of wire A at both ends, and of wire B, while board 0 pulses A."""
    with simulate(tmp_path, CLOCK.format(count=count), IDLE, netlist=WIRES, seed=seed) as sim:
        sim.set_faults(faults)
        for board, pin in ((0, 16), (1, 10), (1, 11)):
            sim.trace_pad(board, pin, on=True)
        sim.run(BOOTED_NS + MS)
        changes = [c for c in sim.take_trace() if isinstance(c, Change)]
        started = [c for c in changes if c.time_ps > 1000 * MS * 1000]
        assert sim.contentions == []
        return {pin: [(c.time_ps, c.level) for c in started if c.pin == pin] for pin in (16, 10, 11)}


def test_delayed_wire_repeats_every_level_later(tmp_path: Path) -> None:
    seen = edges(tmp_path, [Delay(A, 30.5)])
    assert len(seen[16]) == 100
    assert seen[10] == [(time + 30_500, level) for time, level in seen[16]]
    undelayed = edges(tmp_path, [])
    assert undelayed[10] == undelayed[16] == seen[16], "the sender does not notice"


def test_delay_longer_than_a_pulse_keeps_every_pulse(tmp_path: Path) -> None:
    seen = edges(tmp_path, [Delay(A, 50_000)])
    assert seen[10] == [(time + 50_000_000, level) for time, level in seen[16]]


def test_glitches_follow_the_clock_at_their_rate_with_their_width(tmp_path: Path) -> None:
    clean = edges(tmp_path / "clean", [], count=400)
    seen = edges(tmp_path / "a", [Glitch(B, A, 0.25, 60)], count=400)
    assert clean[11] == []
    rises = [time for time, level in seen[11] if level == 1]
    falls = [time for time, level in seen[11] if level == 0]
    assert 60 < len(rises) < 140, "100 expected of 400 edges"
    assert {fall - rise for rise, fall in zip(rises, falls, strict=True)} == {60_000}
    clock = [time for time, level in seen[16] if level == 1]
    assert all(any(0 < rise - edge <= 1_000_001 for edge in clock) for rise in rises)
    assert edges(tmp_path / "b", [Glitch(B, A, 0.25, 60)], count=400) == seen, "the seed repeats it"
    assert edges(tmp_path / "c", [Glitch(B, A, 0.25, 60)], count=400, seed=2)[11] != seen[11]


def test_clock_may_glitch_itself_without_end(tmp_path: Path) -> None:
    seen = edges(tmp_path, [Glitch(A, A, 1.0, 100)])
    assert len(seen[16]) == 200, "one pulse per rising edge, and none for a glitch"


@pytest.mark.parametrize(
    ("kind", "state", "level"), [("halt", "halted", "1"), ("reset", "booting", "0"), ("off", "off", "0")]
)
def test_board_is_struck_at_its_nth_byte(tmp_path: Path, kind, state: str, level: str) -> None:
    with simulate(tmp_path, CLOCK.format(count=100), IDLE, netlist=WIRES) as sim:
        sim.set_faults([StrikeAfter(0, kind, 30, (16,))])
        sim.run(BOOTED_NS + MS)
        assert sim.state(0) == state
        assert far(sim)[0] == level, "a board that halts holds its outputs; one that resets lets go"
        if kind == "halt":
            assert word(sim, 0, 0) == 100 - 28, "the 30th pulse has begun, the 29th is the last that was counted"


def test_board_that_sees_the_clock_is_struck_too(tmp_path: Path) -> None:
    with simulate(tmp_path, CLOCK.format(count=100), IDLE, netlist=WIRES) as sim:
        sim.set_faults([StrikeAfter(1, "off", 30, (4, 10))])
        sim.run(BOOTED_NS + MS)
        assert (sim.state(0), sim.state(1)) == ("sleeping", "off")
        sim.set_faults(())
        sim.power_on(1)
        sim.run(sim.time_ns + BOOTED_NS)
        assert sim.state(1) == "sleeping"


def test_too_few_bytes_strike_nobody(tmp_path: Path) -> None:
    with simulate(tmp_path, CLOCK.format(count=100), IDLE, netlist=WIRES) as sim:
        sim.set_faults([StrikeAfter(0, "off", 101, (16,))])
        sim.run(BOOTED_NS + MS)
        assert sim.state(0) == "sleeping"


def test_board_is_struck_at_its_time_to_the_picosecond(tmp_path: Path) -> None:
    with simulate(tmp_path, CLOCK.format(count=100), IDLE, netlist=WIRES) as sim:
        sim.run(10 * MS + 1)
        sim.set_faults([StrikeAt(0, "halt", 1000 * MS), StrikeAt(1, "off", 500 * MS)])
        sim.trace_pad(0, 16, on=True)
        sim.run(1200 * MS)
        marks = [(e.time_ps, e.text) for e in sim.take_trace() if not isinstance(e, Change)]
        assert ((510 * MS + 1) * 1000, "board 1 power off") in marks
        assert ((1010 * MS + 1) * 1000, "board 0 halted") in marks


def test_halted_board_starts_again_by_reset(tmp_path: Path) -> None:
    with simulate(tmp_path, outputs(16, high=1 << 16), IDLE, netlist=WIRES) as sim:
        sim.set_faults([StrikeAt(0, "halt", 1)])
        sim.run(BOOTED_NS)
        assert (sim.state(0), far(sim)) == ("halted", "00"), "it was still booting"
        sim.reset(0)
        sim.run(sim.time_ns + BOOTED_NS)
        assert far(sim) == "10"


def test_drift_counts_from_the_next_start(tmp_path: Path) -> None:
    wait = "main:\n ldr r0, =5000\n bl delay_us\n" + outputs(16, high=1 << 16).removeprefix("\nmain:\n")
    times = []
    for index, faults in enumerate(([], [Drift(0, 10_000.0)])):
        with simulate(tmp_path / str(index), wait, IDLE, netlist=WIRES) as sim:
            sim.set_faults(faults)
            sim.reset(0)
            sim.trace_pad(1, 10, on=True)
            sim.run(sim.time_ns + BOOTED_NS + 20 * MS)
            (rise,) = [c.time_ps for c in sim.take_trace() if isinstance(c, Change) and c.level == 1]
            times.append(rise / 1000 - 1000 * MS)
    assert 0.988 < times[1] / times[0] < 0.992, "1 % fast"


def echo(tmp_path: Path, faults: list[Fault], data: bytes) -> bytes:
    with simulate(tmp_path, ECHO) as sim:
        sim.run(BOOTED_NS)
        sim.set_faults(faults)
        sim.uart_write(0, data)
        sim.run(sim.time_ns + len(data) * MS // 4 + 20 * MS)
        return sim.uart_read(0)


def test_serial_bytes_come_twice(tmp_path: Path) -> None:
    assert echo(tmp_path, [], b"abc") == b"abc"
    assert echo(tmp_path, [UartNoise(0, duplicate_rate=1.0)], b"abc") == b"aaaabbbbcccc", "once on each way"
    some = echo(tmp_path, [UartNoise(0, duplicate_rate=0.1)], bytes(range(200)))
    assert 210 < len(some) < 290
    assert sorted(set(some)) == list(range(200))


def test_serial_bytes_get_lost(tmp_path: Path) -> None:
    assert echo(tmp_path, [UartNoise(0, drop_rate=1.0)], b"abc") == b""


def test_adapter_that_is_pulled_out_says_no_more(tmp_path: Path) -> None:
    with simulate(tmp_path, ECHO) as sim:
        sim.run(BOOTED_NS)
        sim.set_faults([UartHangUp(0, 10 * MS)])
        sim.uart_write(0, b"before")
        assert sim.run(sim.time_ns + 9 * MS, stop_on_rx=[0])
        assert not sim.uart_hung_up(0)
        sim.run(sim.time_ns + 9 * MS)
        assert sim.uart_read(0) == b"before"
        assert sim.run(sim.time_ns + 1000 * MS, stop_on_rx=[0]), "a line that hangs up ends the wait"
        assert sim.uart_hung_up(0)
        sim.uart_write(0, b"after")
        sim.run(sim.time_ns + 100 * MS)
        assert sim.uart_read(0) == b""
        sim.set_faults(())
        sim.uart_write(0, b"again")
        sim.run(sim.time_ns + 100 * MS)
        assert sim.uart_read(0) == b"again"


def test_faults_on_the_way_change_nothing_when_cut_into_pieces(tmp_path: Path) -> None:
    """The same faults give the same run however `run` is cut."""

    def trace(folder: Path, step_ns: int) -> list[object]:
        with simulate(folder, CLOCK.format(count=60), IDLE, netlist=WIRES) as sim:
            sim.set_faults([Delay(A, 333), Glitch(B, A, 0.5, 80), StrikeAfter(1, "reset", 40, (10,))])
            for board, pin in ((0, 16), (1, 10), (1, 11)):
                sim.trace_pad(board, pin, on=True)
            sim.run(1000 * MS)
            while sim.time_ns < BOOTED_NS:
                sim.run(min(BOOTED_NS, sim.time_ns + step_ns))
            return list(sim.take_trace())

    assert trace(tmp_path / "a", BOOTED_NS) == trace(tmp_path / "b", 7_919)


STRIKES = [
    StrikeAfter(0, "halt", 30, (16,)),
    StrikeAfter(0, "reset", 17, (16,)),
    StrikeAfter(1, "off", 30, (4, 10)),
    StrikeAt(0, "off", 1_000_050_001),
    StrikeAt(1, "reset", 1_000_100_003),
]


def struck(tmp_path: Path, strike: Fault, seed: int) -> tuple[list[object], list[bytes], list[dict[str, int]]]:
    """All that a run with one strike leaves behind: changes and marks to the picosecond, RAM, registers."""
    with simulate(tmp_path, CLOCK.format(count=200), IDLE, netlist=WIRES, seed=seed) as sim:
        sim.set_faults([strike])
        for board, pin in ((0, 16), (1, 10), (1, 11)):
            sim.trace_pad(board, pin, on=True)
        sim.run(BOOTED_NS + MS)
        powered = [board for board in (0, 1) if sim.is_powered(board)]
        ram = [sim.read_ram(board, 0, 1 << 20) for board in powered]
        return list(sim.take_trace()), ram, [sim.registers(board) for board in (0, 1)]


@pytest.mark.parametrize("strike", STRIKES, ids=lambda strike: f"{strike.kind}{strike.board}")
def test_same_seed_gives_the_same_run_with_a_strike(tmp_path: Path, strike: Fault) -> None:
    first = struck(tmp_path / "a", strike, seed=7)
    assert struck(tmp_path / "b", strike, seed=7) == first
    assert struck(tmp_path / "c", strike, seed=8) != first, "the RAM's noise is another"


@pytest.mark.parametrize(("kind", "said"), [("halt", "halted"), ("reset", "reset"), ("off", "power off")])
@pytest.mark.parametrize("edges", [1, 2, 30, 100])
@pytest.mark.parametrize("board", [0, 1])
def test_strike_at_a_byte_comes_at_its_edge_to_the_picosecond(
    tmp_path: Path, kind, said: str, edges: int, board: int
) -> None:
    trace = struck(tmp_path, StrikeAfter(board, kind, edges, (16,) if board == 0 else (10,)), seed=1)[0]
    rises = [c.time_ps for c in trace if isinstance(c, Change) and (c.board, c.pin, c.level) == (0, 16, 1)]
    (mark,) = [e.time_ps for e in trace if not isinstance(e, Change) and e.text == f"board {board} {said}"]
    assert mark == rises[edges - 1]
