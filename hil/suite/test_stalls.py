"""A board stalls at an edge of the handshake: data arrives, or both boards give up and the link comes back."""

import pytest

from hil import attach
from hil.checks.link.stalls import LONG_STALL_US, SHORT_STALL_US, Stall, places, problems, stall_link
from hil.protocol.link_messages import Edge
from hil.ring.ring import Ring
from hil.session import Session

pytestmark = [pytest.mark.ring, pytest.mark.link]

EDGES = [edge for edge in Edge if edge is not Edge.NONE]
directions = pytest.mark.parametrize("reverse", [False, True], ids=["downstream", "upstream"])
edges = pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.name)
bytes_ = pytest.mark.parametrize("byte", places(), ids=["first", "middle", "last"])


def check(ring: Ring, hil: Session, stall: Stall, *, reverse: bool) -> None:
    """On link 0->1: every link has the same two programs at its ends."""
    link = ring.desk.config.links[0]
    result = stall_link(ring, link, stall, seed=hil.settings.seed, reverse=reverse)
    attach.text("fault", result.sentence)
    found = problems(stall, result, [link.source, link.target])
    assert not found, "\n".join(found)


@directions
@edges
@bytes_
def test_stall_below_the_limit_delays_but_delivers(
    ring: Ring, hil: Session, byte: int, edge: Edge, reverse: bool
) -> None:
    check(ring, hil, Stall(edge, byte, SHORT_STALL_US), reverse=reverse)


@directions
@edges
@bytes_
def test_stall_beyond_the_limit_is_given_up_and_named(
    ring: Ring, hil: Session, byte: int, edge: Edge, reverse: bool
) -> None:
    check(ring, hil, Stall(edge, byte, LONG_STALL_US), reverse=reverse)


@edges
@bytes_
def test_stall_beyond_the_limit_is_mended_by_sending_again(ring: Ring, hil: Session, byte: int, edge: Edge) -> None:
    check(ring, hil, Stall(edge, byte, LONG_STALL_US, attempts=8), reverse=False)
