"""Two looks at what boards do: has the ring stopped, or is somebody at work?"""

from dataclasses import replace

from hil.protocol.link_messages import Bank, Phase, Role
from hil.protocol.messages import Activity, Command, JobResult, JobState
from hil.ring.look import STILL_US, Look

WAITS = JobState(
    3, Command.SERVE, JobResult.RUNNING, 5, 0, moves=700, activity=Activity.LINK, bank=Bank.UPSTREAM,
    role=Role.RECEIVER, phase=Phase.WAIT_CLAIM, byte_index=0, burst_bytes=16, gplev0=1 << 13, waited_us=2_000_000,
)  # fmt: skip
COMPUTES = replace(WAITS, activity=Activity.COMPUTING, waited_us=0)


def look(*states):
    return Look(dict(enumerate(states)))


def test_boards_that_all_wait_at_both_looks_stand_still():
    assert look(WAITS, WAITS).stands_still_since(look(WAITS, WAITS))


def test_ring_in_which_one_board_computes_goes_on():
    assert not look(WAITS, COMPUTES).stands_still_since(look(WAITS, COMPUTES))


def test_board_that_moved_between_the_looks_goes_on():
    assert not look(WAITS, replace(WAITS, moves=701)).stands_still_since(look(WAITS, WAITS))


def test_wait_that_has_only_begun_is_no_standstill():
    begun = replace(WAITS, waited_us=STILL_US - 1)
    assert not look(begun).stands_still_since(look(begun))


def test_first_look_finds_no_standstill():
    assert not look(WAITS).stands_still_since(Look())


def test_another_job_is_no_standstill():
    assert not look(WAITS).stands_still_since(look(replace(WAITS, job=2)))


def test_looks_without_a_running_job_find_no_standstill():
    assert not Look().stands_still_since(Look())


def test_boards_that_wait_report_where_they_stand_and_others_do_not():
    (report,) = look(COMPUTES, WAITS, replace(WAITS, waited_us=1)).reports(9.0)
    assert (report.rank, report.still, report.time_s) == (1, True, 9.0)
    fault = report.fault
    assert (fault.bank, fault.role, fault.phase) == (Bank.UPSTREAM, Role.RECEIVER, Phase.WAIT_CLAIM)
    assert (fault.burst_bytes, fault.gplev0, fault.waited_us) == (16, 1 << 13, 2_000_000)
