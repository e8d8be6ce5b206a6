"""One board and an FT232H as its neighbour: the link as the board plays it, seen and disturbed from outside."""

import pytest

from hil import attach
from hil.checks.link.stalls import places
from hil.checks.probe.rules import CASES, Case, check_case
from hil.checks.probe.runs import LONG_STALL, SHORT_STALL, check_pattern, check_stall
from hil.checks.probe.wires import scan_wires
from hil.protocol.link_messages import Edge, Pattern
from hil.ring.probe import Probe
from hil.session import Session

pytestmark = pytest.mark.probe

directions = pytest.mark.parametrize("board_sends", [True, False], ids=["board-sends", "probe-sends"])


def test_every_wire_reaches_the_other_end(probe: Probe) -> None:
    verdicts = scan_wires(probe)
    attach.text("wires", "\n".join(verdict.describe() for verdict in verdicts))
    bad = [verdict.describe() for verdict in verdicts if verdict.problem]
    assert not bad, "\n".join(bad)


@directions
@pytest.mark.parametrize("pattern", Pattern, ids=lambda pattern: pattern.name)
def test_pattern_arrives(probe: Probe, hil: Session, pattern: Pattern, board_sends: bool) -> None:
    result = check_pattern(probe, pattern, board_sends=board_sends, frames=2, length_bytes=48, seed=hil.settings.seed)
    assert result.good, result.describe()


@pytest.mark.parametrize("limits", [SHORT_STALL, LONG_STALL], ids=["below", "beyond"])
@pytest.mark.parametrize("edge", [edge for edge in Edge if edge is not Edge.NONE], ids=lambda edge: edge.name)
@pytest.mark.parametrize("byte", places(), ids=["first", "middle", "last"])
def test_board_names_phase_and_byte_of_a_stall(
    probe: Probe, hil: Session, byte: int, edge: Edge, limits: float
) -> None:
    """Below the phase limit the frame arrives; beyond it the board tells where, and the link comes back."""
    result = check_stall(probe, edge, byte, phase_limits=limits, seed=hil.settings.seed)
    attach.text("stall", result.describe())
    assert not result.problems, result.describe()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_board_survives_a_wrong_handshake(probe: Probe, hil: Session, case: Case) -> None:
    result = check_case(probe, case, seed=hil.settings.seed)
    attach.text("wrong handshake", result.describe())
    assert not result.problems, result.describe()
