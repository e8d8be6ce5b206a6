"""A board stalls at an edge of the handshake: data arrives, or both boards give up and the link comes back."""

import pytest

from hil.checks.link import checks
from hil.checks.link.stalls import LONG_STALL_US, SHORT_STALL_US, Stall, places
from hil.protocol.link_messages import Edge
from hil.ring.ring import Ring
from hil.suite.conftest import Passes

pytestmark = [pytest.mark.ring, pytest.mark.link]

EDGES = [edge for edge in Edge if edge is not Edge.NONE]
directions = pytest.mark.parametrize("reverse", [False, True], ids=["downstream", "upstream"])
edges = pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.name)
bytes_ = pytest.mark.parametrize("byte", places(), ids=["first", "middle", "last"])


@directions
@edges
@bytes_
def test_stall_below_the_limit_delays_but_delivers(
    ring: Ring, passes: Passes, byte: int, edge: Edge, reverse: bool
) -> None:
    passes(checks.stall, ring, stalled=Stall(edge, byte, SHORT_STALL_US), reverse=reverse)


@directions
@edges
@bytes_
def test_stall_beyond_the_limit_is_given_up_and_named(
    ring: Ring, passes: Passes, byte: int, edge: Edge, reverse: bool
) -> None:
    passes(checks.stall, ring, stalled=Stall(edge, byte, LONG_STALL_US), reverse=reverse)


@edges
@bytes_
def test_stall_beyond_the_limit_is_mended_by_sending_again(ring: Ring, passes: Passes, byte: int, edge: Edge) -> None:
    passes(checks.stall, ring, stalled=Stall(edge, byte, LONG_STALL_US, attempts=8))
