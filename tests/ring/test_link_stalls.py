"""The judgement on stalls can fail: a stall that does not strike, pins that stay driven, a sentence that is wrong."""

from dataclasses import replace

from hil.checks.link.stalls import LONG_STALL_US, SHORT_STALL_US, Stall, StallResult, problems, stall_link
from hil.protocol.link_messages import Bank, Edge, LinkFault, Phase, Role
from hil.protocol.messages import JobResult
from hil.ring.link_faults import FaultReport

FAILED, DONE = JobResult.LINK_FAILED, JobResult.DONE
TOLD = "board 1 waited for board 0, which did nothing for 25.0 ms: no wire is to blame"
REPORTS = tuple(FaultReport(r, LinkFault(Bank(r), Role(r), Phase.HELD_UP, 0, 84, 0, 1), 0.0) for r in (0, 1))
LONG = Stall(Edge.CLK_RAISE, 0, LONG_STALL_US)
GIVEN_UP = StallResult(False, (FAILED, FAILED), REPORTS, {0: 0, 1: 0}, TOLD, 0, recovered=True)


def test_both_gave_up_and_said_so_is_right():
    assert problems(LONG, GIVEN_UP, [0, 1]) == []


def test_each_thing_that_is_missing_is_told():
    def told(**changes):
        return problems(LONG, replace(GIVEN_UP, **changes), [0, 1])

    assert told(recovered=False) == ["the link did not carry frames again"]
    assert told(outputs={0: 0x10, 1: 0}) == ["pins still driven: {0: '0x10', 1: '0x0'}"]
    assert told(results=(FAILED, DONE)) == ["not every board gave up: ['LINK_FAILED', 'DONE']"]
    assert told(reports=REPORTS[:1]) == ["reports came from boards [0], not from both ends"]
    assert told(sentence="the CLK wire") == ["the sentence does not name board 0 as held up: the CLK wire"]


def test_stall_that_was_to_be_harmless_must_deliver():
    short = Stall(Edge.CLK_RAISE, 0, SHORT_STALL_US)
    (found,) = problems(short, GIVEN_UP, [0, 1])
    assert found.startswith("the data did not arrive intact: ['LINK_FAILED', 'LINK_FAILED']; board 1 waited")


def test_stall_at_a_byte_that_never_comes_does_not_pass_for_one(open_ring):
    session, ring = open_ring(world_size=2)
    stall = Stall(Edge.ACK_RAISE, 5000, LONG_STALL_US)
    found = problems(stall, stall_link(ring, ring.desk.config.links[0], stall, seed=session.settings.seed), [0, 1])
    assert found[0] == "not every board gave up: ['DONE', 'DONE']"
