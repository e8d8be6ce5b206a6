"""Does every link carry every bit: each link alone in both directions, then all links at once?"""

import dataclasses

import pytest

from hil import attach
from hil.checks.link.runs import Flip, LinkRunResult, RunPlan, histogram_text, run_each, run_links
from hil.protocol.link_messages import Bank, Pattern
from hil.ring.ring import Ring
from hil.session import Session

pytestmark = [pytest.mark.ring, pytest.mark.link]

directions = pytest.mark.parametrize("reverse", [False, True], ids=["downstream", "upstream"])
PATTERN_BYTES = {Pattern.DE_BRUIJN: 65536, Pattern.PRBS15: 32768, Pattern.PRBS31: 16384}
"""Length of a test's frame; 4096 for the others. B(256, 2) is complete after 64 KiB, PRBS15 after 32767 bits."""


def assert_good(results: list[LinkRunResult]) -> None:
    text = "\n".join(result.describe() for result in results)
    attach.text("links", text)
    assert all(result.good for result in results), text


@directions
@pytest.mark.parametrize("length_bytes", [1, 255, 4096])
def test_every_link_carries_frames(ring: Ring, hil: Session, reverse: bool, length_bytes: int) -> None:
    frames = 4
    for link in ring.desk.config.links:
        before = ring.link_counters(link.source, Bank.DOWNSTREAM)
        sent, received = ring.link_frames(
            link, frames=frames, length_bytes=length_bytes, seed=hil.settings.seed, reverse=reverse
        )
        assert sent.progress == received.progress == frames, f"link {link}"
        assert received.detail == 0, f"link {link}: {received.detail} of {frames} frames have wrong content"
        after = ring.link_counters(link.source, Bank.DOWNSTREAM)
        moved = after.bytes_received - before.bytes_received if reverse else after.bytes_sent - before.bytes_sent
        assert moved == frames * length_bytes, f"link {link}"


@directions
@pytest.mark.parametrize("pattern", Pattern, ids=lambda pattern: pattern.name)
def test_pattern_on_each_link_alone(ring: Ring, hil: Session, pattern: Pattern, reverse: bool) -> None:
    plan = RunPlan(pattern, 2, PATTERN_BYTES.get(pattern, 4096), hil.settings.seed)
    assert_good(run_each(ring, ring.desk.config.links, plan, reverse=reverse))


@directions
@pytest.mark.parametrize("length_bytes", [1, 2, 3, 4, 5, 31, 255, 256, 257, 65535, 65536])
def test_length_on_each_link_alone(ring: Ring, hil: Session, length_bytes: int, reverse: bool) -> None:
    plan = RunPlan(Pattern.PRBS31, 1, length_bytes, hil.settings.seed)
    assert_good(run_each(ring, ring.desk.config.links, plan, reverse=reverse))


@directions
@pytest.mark.parametrize("pattern", [Pattern.ZEROS_ONES, Pattern.PRBS31], ids=lambda pattern: pattern.name)
def test_all_links_at_once(ring: Ring, hil: Session, pattern: Pattern, reverse: bool) -> None:
    plan = RunPlan(pattern, 4, 4096, hil.settings.seed)
    assert_good(run_links(ring, ring.desk.config.links, plan, reverse=reverse))


@directions
def test_thousand_turnarounds(ring: Ring, hil: Session, reverse: bool) -> None:
    """Every frame and its answer turn the link round twice."""
    plan = RunPlan(Pattern.COUNT, 501, 1, hil.settings.seed)
    results = run_each(ring, ring.desk.config.links, plan, reverse=reverse)
    assert_good(results)
    assert all(result.turnarounds >= 1000 for result in results), [result.turnarounds for result in results]


def test_frames_in_alternating_directions(ring: Ring, hil: Session) -> None:
    plan = RunPlan(Pattern.PRBS15, 64, 64, hil.settings.seed, alternate=True)
    assert_good(run_each(ring, ring.desk.config.links, plan))


@directions
@pytest.mark.parametrize("pattern", Pattern, ids=lambda pattern: pattern.name)
def test_one_wrong_bit_is_counted_on_its_wire(ring: Ring, hil: Session, pattern: Pattern, reverse: bool) -> None:
    """The negative twin: the sender spoils one bit, and exactly that one is found."""
    wire, at = 5, 777
    plan = RunPlan(pattern, 2, 512, hil.settings.seed, flip=Flip(wire, at))
    for result in run_each(ring, ring.desk.config.links, plan, reverse=reverse):
        assert not result.good, result.describe()
        assert [w.errors for w in result.wires] == [int(i == wire) for i in range(8)], result.describe()
        assert result.frames_wrong == 1
        assert f"1 of 1,024 bits wrong on link {result.link} D5: board " in result.describe()


def test_phases_are_timed_on_both_sides(ring: Ring, hil: Session) -> None:
    plan = RunPlan(Pattern.PRBS15, 1, 1024, hil.settings.seed, timing=True)
    for result in run_each(ring, ring.desk.config.links, plan):
        assert result.good, result.describe()
        waits = {**result.sender_waits, **result.receiver_waits}
        attach.text(f"phases {result.link}", histogram_text(waits, result.unit))
        for phase, counts in waits.items():
            assert sum(counts) >= 1024, f"link {result.link}: {sum(counts)} waits for {phase} were timed"


def test_links_had_nothing_to_mend(ring: Ring, hil: Session) -> None:
    links = ring.desk.config.links
    run_each(ring, links, RunPlan(Pattern.PRBS31, 1, 4096, hil.settings.seed))
    for link in links:
        for rank, bank in ((link.source, Bank.DOWNSTREAM), (link.target, Bank.UPSTREAM)):
            counters = dataclasses.asdict(ring.link_counters(rank, bank))
            troubles = {
                name: counters[name]
                for name in ("resends", "bad_headers", "bad_payloads", "timeouts")
                if counters[name]
            }
            assert not troubles, f"link {link}, board {rank}: {troubles}"
