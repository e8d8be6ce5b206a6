"""The rules of triage one by one, and flake rates with their intervals. On a rig: test_runner.py."""

import pytest

from hil.checks.check import Result, Sign
from hil.errors import LinkError
from hil.nightly.record import Attempt, Cause
from hil.nightly.triage import Trial, classify, sign_of
from hil.protocol.link_messages import Bank, LinkFault, Phase, Role
from hil.rig.specs import LinkSpec
from hil.ring.link_faults import FaultReport, explain

PASSED = Trial(Attempt("rig", True, 1.0), Result())
LEFT = Trial(Attempt("simulator", False, 0.0, "no memory"), None, left="no memory")


def failed(sign: Sign) -> Trial:
    return Trial(Attempt("rig", False, 1.0, "no"), None, sign)


LINK, BOARD, VALUES, HARNESS = (failed(sign) for sign in (Sign.LINK, Sign.BOARD, Sign.VALUES, Sign.HARNESS))


@pytest.mark.parametrize(
    ("first", "retry", "simulated", "cause"),
    [
        (LINK, LINK, PASSED, Cause.WIRING),
        (VALUES, LINK, PASSED, Cause.WIRING),
        (LINK, LINK, None, Cause.WIRING),
        (LINK, LINK, LEFT, Cause.WIRING),
        (LINK, None, PASSED, Cause.WIRING),
        (VALUES, VALUES, PASSED, Cause.BOARD),
        (LINK, VALUES, PASSED, Cause.BOARD),
        (BOARD, BOARD, PASSED, Cause.BOARD),
        (BOARD, PASSED, PASSED, Cause.BOARD),
        (LINK, BOARD, PASSED, Cause.BOARD),
        (LINK, PASSED, PASSED, Cause.NOT_REPRODUCED),
        (VALUES, PASSED, None, Cause.NOT_REPRODUCED),
        (VALUES, VALUES, VALUES, Cause.FIRMWARE),
        (LINK, PASSED, LINK, Cause.FIRMWARE),
        (BOARD, BOARD, BOARD, Cause.FIRMWARE),
        (HARNESS, PASSED, PASSED, Cause.HARNESS),
        (LINK, LINK, HARNESS, Cause.HARNESS),
        (VALUES, HARNESS, VALUES, Cause.HARNESS),
    ],
)
def test_the_first_rule_that_fits_is_the_cause(first, retry, simulated, cause):
    assert classify(first, retry, simulated) is cause


def report(rank: int, bank: Bank, role: Role, phase: Phase) -> FaultReport:
    return FaultReport(rank, LinkFault(bank, role, phase, 5, 20, 0, 12_000), 1.0)


@pytest.mark.parametrize(("phase", "sign"), [(Phase.HELD_UP, Sign.BOARD), (Phase.WAIT_CLK_HIGH, Sign.LINK)])
def test_a_link_that_gave_up_because_a_board_was_held_up_is_the_boards(phase, sign):
    reports = [
        report(0, Bank.DOWNSTREAM, Role.SENDER, Phase.WAIT_ACK_HIGH), report(1, Bank.UPSTREAM, Role.RECEIVER, phase)
    ]  # fmt: skip
    assert sign_of(LinkError(explain(reports, [LinkSpec(0, 1)], ["a", "b"]))) is sign
