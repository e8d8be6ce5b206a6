"""One board, its high bank jumpered to its low bank: commands, links and the whole model through its own two banks."""

import pytest

from golden.generate import GenerationRequest
from hil.checks import boards
from hil.checks.link import checks as link
from hil.checks.link.stalls import LONG_STALL_US, SHORT_STALL_US, Stall, places
from hil.checks.model import checks as model
from hil.model.bundle import Model
from hil.protocol.link_messages import Edge, Pattern
from hil.ring.ring import Ring
from hil.suite.conftest import Passes

pytestmark = pytest.mark.loopback

directions = pytest.mark.parametrize("reverse", [False, True], ids=["downstream-sends", "upstream-sends"])


def test_board_boots_and_echoes(loopback_ring: Ring, passes: Passes) -> None:
    passes(boards.echo, loopback_ring)


@directions
@pytest.mark.parametrize("pattern", Pattern, ids=lambda pattern: pattern.name)
def test_pattern_crosses_the_jumpers(loopback_ring: Ring, passes: Passes, pattern: Pattern, reverse: bool) -> None:
    passes(link.pattern, loopback_ring, pattern=pattern, reverse=reverse)


@directions
@pytest.mark.parametrize("length_bytes", [1, 255, 65536])
def test_length_crosses_the_jumpers(loopback_ring: Ring, passes: Passes, length_bytes: int, reverse: bool) -> None:
    passes(link.length, loopback_ring, length_bytes=length_bytes, reverse=reverse)


@directions
def test_thousand_turnarounds(loopback_ring: Ring, passes: Passes, reverse: bool) -> None:
    passes(link.turnarounds, loopback_ring, reverse=reverse)


@directions
def test_one_wrong_bit_is_counted_on_its_wire(loopback_ring: Ring, passes: Passes, reverse: bool) -> None:
    passes(link.one_wrong_bit, loopback_ring, reverse=reverse)


@directions
@pytest.mark.parametrize("stall_us", [SHORT_STALL_US, LONG_STALL_US], ids=["below", "beyond"])
@pytest.mark.parametrize("edge", [edge for edge in Edge if edge is not Edge.NONE], ids=lambda edge: edge.name)
@pytest.mark.parametrize("byte", places(), ids=["first", "middle", "last"])
def test_stall_between_the_banks(
    loopback_ring: Ring, passes: Passes, byte: int, edge: Edge, stall_us: int, reverse: bool
) -> None:
    """Below the limit the data arrives; beyond it both banks give up and the link comes back."""
    passes(link.stall, loopback_ring, stalled=Stall(edge, byte, stall_us), reverse=reverse)


def test_one_board_plays_every_rank_of_the_ring(loopback_ring: Ring, golden: Model, passes: Passes) -> None:
    """Every hop goes through the jumpers; tokens and digests are those of a ring of as many boards."""
    passes(model.layers, loopback_ring, request=GenerationRequest(golden.encode_prompt("", 16), 16))
