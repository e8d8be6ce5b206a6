"""Checks with a probe: one board's bank as an FT232H on its wires sees it."""

from __future__ import annotations

from hil.checks.check import Result, Setup, Sign, check
from hil.checks.probe.rules import CASES, Case, check_case
from hil.checks.probe.runs import LONG_STALL, check_pattern, check_stall
from hil.checks.probe.wires import scan_wires
from hil.protocol.link_messages import Edge, Pattern
from hil.rig.needs import Need
from hil.ring.probe import Probe


def _probe(setup: Setup) -> Probe:
    assert setup.probe is not None, "a check with a probe was given none"
    return setup.probe


@check("probe wires", "probe", Need.PROBE)
def wires(setup: Setup, seed: int) -> Result:
    """Every wire between board and probe reaches its other end, and no other one."""
    verdicts = scan_wires(_probe(setup))
    bad = [verdict.describe() for verdict in verdicts if verdict.problem]
    return Result("\n".join(bad), Sign.LINK, "\n".join(verdict.describe() for verdict in verdicts), report=verdicts)


@check("probe pattern", "probe", Need.PROBE)
def pattern(
    setup: Setup, seed: int, *, pattern: Pattern = Pattern.PRBS31, board_sends: bool = True, length_bytes: int = 48
) -> Result:
    """A pattern between board and probe, each payload compared."""
    result = check_pattern(
        _probe(setup), pattern, board_sends=board_sends, frames=2, length_bytes=length_bytes, seed=seed
    )
    return Result("" if result.good else result.describe(), Sign.LINK, result.describe())


@check("probe stall", "probe", Need.PROBE)
def stall(setup: Setup, seed: int, *, edge: Edge = Edge.CLK_RAISE, byte: int = 0, limits: float = LONG_STALL) -> Result:
    """The probe stalls at an edge: the board names phase and byte, and its link comes back."""
    result = check_stall(_probe(setup), edge, byte, phase_limits=limits, seed=seed)
    return Result(result.describe() if result.problems else "", Sign.LINK, result.describe())


@check("wrong handshake", "probe", Need.PROBE)
def wrong_handshake(setup: Setup, seed: int, *, case: Case = CASES[0]) -> Result:
    """The probe breaks a rule of the handshake: the board says so, and its link comes back."""
    result = check_case(_probe(setup), case, seed=seed)
    return Result(result.describe() if result.problems else "", Sign.LINK, result.describe())
