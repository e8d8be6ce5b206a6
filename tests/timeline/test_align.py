"""Clocks: the true error is within the stated bound, whatever the boards' clocks do; a wrong instant is noticed."""

from dataclasses import replace

import pytest

from hil.protocol.link_messages import Bank
from hil.protocol.trace_messages import TraceKind
from hil.timeline.align import align
from hil.timeline.capture import BoardTrace, Capture
from tests.broken import broken_image
from tests.timeline.conftest import drifted_run

BOUND_US = 15
"""A bound that holds is worth something only if it is small; this is what drifted runs of milliseconds must reach."""


def worst_us(capture, truth, alignment):
    """The largest (true error - bound) of any instant of any board, in microseconds; at most 0 if the bounds hold."""
    worst = float("-inf")
    for board in capture.boards:
        clock = alignment.clocks[board.rank]
        for event in board.events:
            for reading in {event.begin_us, event.open_us, event.header_us, event.end_us}:
                shown, bound_us = clock.at_us(reading), clock.error_at_us(reading)
                if clock.x0_us <= reading < clock.x1_us:
                    assert bound_us <= clock.error_us
                for edge in (reading, reading + 1):
                    true = truth.at_us(board.rank, edge, alignment.reference) - float(alignment.zero_us)
                    worst = max(worst, abs(shown - true) - bound_us)
    return worst


def check_run(folder, seed):
    capture, truth = drifted_run(folder, seed)
    alignment = align(capture)
    assert alignment.problems == ()
    assert set(alignment.clocks) == {0, 1, 2, 3}
    assert worst_us(capture, truth, alignment) <= 0
    assert alignment.error_us < BOUND_US
    return alignment.error_us


def changed(capture, rank, change):
    """The capture with every event of a board replaced by change(event)."""
    boards = [
        BoardTrace(b.rank, tuple(change(e) for e in b.events), b.dropped) if b.rank == rank else b
        for b in capture.boards
    ]
    return Capture(tuple(boards), capture.links)


def moved(event, by_us):
    return replace(
        event,
        begin_us=event.begin_us + by_us,
        open_us=event.open_us + by_us,
        header_us=event.header_us + by_us,
        end_us=event.end_us + by_us,
    )


@pytest.mark.parametrize("seed", range(3))
def test_true_error_of_drifted_boards_is_within_the_stated_bound(tmp_path, seed):
    check_run(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_true_error_is_within_the_stated_bound_in_a_hundred_drifted_runs(tmp_path):
    bounds = sorted(check_run(tmp_path, seed) for seed in range(1000, 1100))
    print(f"bound of 100 runs: least {bounds[0]:.2f}, median {bounds[50]:.2f}, largest {bounds[-1]:.2f} us")


def test_bound_is_checked_against_the_truth(one_run):
    """Half the bound would be too small, or a clock a bit beside the truth: the comparison can fail."""
    capture, truth = one_run
    alignment = align(capture)
    assert worst_us(capture, truth, alignment) <= 0
    wrong = {rank: replace(clock, y0_us=clock.y0_us + 30) for rank, clock in alignment.clocks.items()}
    assert worst_us(capture, truth, replace(alignment, clocks=wrong)) > 0


def test_clock_that_jumps_is_reported(one_run):
    capture, _ = one_run
    middle = sorted(e.begin_us for e in capture.boards[2].events)[len(capture.boards[2].events) // 2]
    jumped = changed(capture, 2, lambda e: moved(e, 200) if e.begin_us >= middle else e)
    problems = align(jumped).problems
    assert any(p.startswith(("link 1->2:", "link 2->3:")) for p in problems), problems
    assert any("no two clocks of constant rate can have recorded them" in p for p in problems)


@pytest.mark.parametrize("instant", ["begin_us", "open_us", "header_us"])
def test_one_wrong_instant_is_reported_or_breaks_the_bound(one_run, instant):
    capture, truth = one_run
    for by_us in (-2000, 2000):
        frames = [e for e in capture.boards[1].events if e.kind is TraceKind.FRAME_IN and e.bank is Bank.UPSTREAM]
        victim = frames[len(frames) // 2]
        wrong = changed(
            capture, 1, lambda e, v=victim, by=by_us: replace(e, **{instant: getattr(e, instant) + by}) if e is v else e
        )
        alignment = align(wrong)
        harmless = (instant, by_us) in {("begin_us", -2000), ("open_us", 2000), ("header_us", -2000)}
        if harmless:  # says less than the right instant, and nothing wrong
            assert alignment.problems == ()
            assert worst_us(capture, truth, alignment) <= 0
        else:
            assert any(p.startswith("link 0->1:") for p in alignment.problems) or (
                worst_us(capture, truth, alignment) > 0
            )


def test_ways_round_the_ring_that_disagree_are_reported(one_run):
    """Every link is consistent with itself, and yet a turn round the ring ends beside where it began."""
    capture, _ = one_run
    shifted = changed(capture, 1, lambda e: moved(e, 300) if e.kind.name.startswith(("FRAME", "ANSWER"))
                      and e.bank is Bank.UPSTREAM else e)  # fmt: skip
    alignment = align(shifted)
    assert [p for p in alignment.problems if p.startswith("link")] == []
    assert any("contradict each other by" in p for p in alignment.problems)
    assert not alignment.good


def test_link_that_carried_nothing_says_so(one_run):
    capture, truth = one_run
    silent = changed(capture, 1, lambda e: replace(e, ok=False) if e.bank is Bank.DOWNSTREAM else e)
    alignment = align(silent)
    assert [str(c.link) for c in alignment.links if c.error_us is None] == ["1->2"]
    assert {c.sentence for c in alignment.links if c.error_us is None} == {"carried nothing that both ends recorded"}
    assert alignment.good
    assert worst_us(silent, truth, alignment) <= 0  # the other way round still leads there
    alone = changed(silent, 0, lambda e: replace(e, ok=False))
    alignment = align(alone)
    assert set(alignment.clocks) == {2, 3}
    assert len(alignment.problems) == 2
    assert alignment.problems[0].endswith("it cannot be placed")


def test_frame_that_was_sent_twice_is_not_used(one_run):
    capture, _ = one_run
    twice = changed(capture, 0, lambda e: replace(e, sequence=1) if e.kind is TraceKind.FRAME_OUT else e)
    assert next(c.orders for c in align(twice).links if str(c.link) == "0->1") == 0


def test_noise_costs_resends_and_never_the_bound(tmp_path):
    capture, truth = drifted_run(tmp_path, 6, faults=("glitch:1-2.D3=1e-2", "glitch:2-3.CLK=2e-2/300ns"))
    again = [e for b in capture.boards for e in b.events if e.attempt > 1]
    assert again, "nothing was sent again; this run proves nothing"
    alignment = align(capture)
    assert alignment.problems == ()
    assert worst_us(capture, truth, alignment) <= 0


def test_firmware_that_takes_an_instant_before_what_it_stands_for_is_found_out(tmp_path):
    """The sender says that its header was acknowledged when it had not even been sent."""
    right = "link->burst.header_us = port_now_us();"
    image = broken_image(tmp_path, "link/instruments.c", right, "link->burst.header_us = link->looked_us;")
    capture, _ = drifted_run(tmp_path, 1, image=image)
    assert any("contradict each other" in problem for problem in align(capture).problems)
