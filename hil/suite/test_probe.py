"""One board and an FT232H as its neighbour: the link as the board plays it, seen and disturbed from outside."""

import pytest

from hil.checks.link.stalls import places
from hil.checks.probe import checks
from hil.checks.probe.rules import CASES, Case
from hil.checks.probe.runs import LONG_STALL, SHORT_STALL
from hil.protocol.link_messages import Edge, Pattern
from hil.ring.probe import Probe
from hil.suite.conftest import Passes

pytestmark = pytest.mark.probe

directions = pytest.mark.parametrize("board_sends", [True, False], ids=["board-sends", "probe-sends"])


def test_every_wire_reaches_the_other_end(probe: Probe, passes: Passes) -> None:
    passes(checks.wires, probe)


@directions
@pytest.mark.parametrize("pattern", Pattern, ids=lambda pattern: pattern.name)
def test_pattern_arrives(probe: Probe, passes: Passes, pattern: Pattern, board_sends: bool) -> None:
    passes(checks.pattern, probe, pattern=pattern, board_sends=board_sends)


@pytest.mark.parametrize("limits", [SHORT_STALL, LONG_STALL], ids=["below", "beyond"])
@pytest.mark.parametrize("edge", [edge for edge in Edge if edge is not Edge.NONE], ids=lambda edge: edge.name)
@pytest.mark.parametrize("byte", places(), ids=["first", "middle", "last"])
def test_board_names_phase_and_byte_of_a_stall(
    probe: Probe, passes: Passes, byte: int, edge: Edge, limits: float
) -> None:
    """Below the phase limit the frame arrives; beyond it the board tells where, and the link comes back."""
    passes(checks.stall, probe, edge=edge, byte=byte, limits=limits)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_board_survives_a_wrong_handshake(probe: Probe, passes: Passes, case: Case) -> None:
    passes(checks.wrong_handshake, probe, case=case)
