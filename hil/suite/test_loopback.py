"""One board, its high bank jumpered to its low bank: commands, links and the whole model through its own two banks."""

import pytest

from hil import attach
from hil.board.board import Board
from hil.checks.link.runs import Flip, RunPlan, run_links
from hil.checks.link.stalls import LONG_STALL_US, SHORT_STALL_US, Stall, places, problems, stall_link
from hil.checks.model.verify import GenerationRequest, verify_generation
from hil.model.bundle import Model
from hil.protocol.link_messages import Edge, Pattern
from hil.protocol.messages import Blob, Command
from hil.ring.ring import Ring
from hil.session import Session

pytestmark = pytest.mark.loopback

directions = pytest.mark.parametrize("reverse", [False, True], ids=["downstream-sends", "upstream-sends"])


def test_board_boots_and_echoes(board: Board) -> None:
    assert board.identity is not None
    assert board.command(Command.PING, Blob(b"hello"), Blob).data == b"hello"


@directions
@pytest.mark.parametrize("pattern", Pattern, ids=lambda pattern: pattern.name)
def test_pattern_crosses_the_jumpers(loopback_ring: Ring, hil: Session, pattern: Pattern, reverse: bool) -> None:
    length_bytes = 65536 if pattern is Pattern.DE_BRUIJN else 4096
    plan = RunPlan(pattern, 1, length_bytes, hil.settings.seed)
    (result,) = run_links(loopback_ring, loopback_ring.desk.config.links, plan, reverse=reverse)
    attach.text("jumpers", result.describe())
    assert result.good, result.describe()


@directions
@pytest.mark.parametrize("length_bytes", [1, 255, 65536])
def test_length_crosses_the_jumpers(loopback_ring: Ring, hil: Session, length_bytes: int, reverse: bool) -> None:
    plan = RunPlan(Pattern.PRBS31, 1, length_bytes, hil.settings.seed)
    (result,) = run_links(loopback_ring, loopback_ring.desk.config.links, plan, reverse=reverse)
    assert result.good, result.describe()


@directions
def test_thousand_turnarounds(loopback_ring: Ring, hil: Session, reverse: bool) -> None:
    plan = RunPlan(Pattern.COUNT, 501, 1, hil.settings.seed)
    (result,) = run_links(loopback_ring, loopback_ring.desk.config.links, plan, reverse=reverse)
    assert result.good, result.describe()
    assert result.turnarounds >= 1000


@directions
def test_one_wrong_bit_is_counted_on_its_wire(loopback_ring: Ring, hil: Session, reverse: bool) -> None:
    plan = RunPlan(Pattern.PRBS15, 2, 512, hil.settings.seed, flip=Flip(wire=2, at=600))
    (result,) = run_links(loopback_ring, loopback_ring.desk.config.links, plan, reverse=reverse)
    assert [wire.errors for wire in result.wires] == [0, 0, 1, 0, 0, 0, 0, 0], result.describe()


@directions
@pytest.mark.parametrize("stall_us", [SHORT_STALL_US, LONG_STALL_US], ids=["below", "beyond"])
@pytest.mark.parametrize("edge", [edge for edge in Edge if edge is not Edge.NONE], ids=lambda edge: edge.name)
@pytest.mark.parametrize("byte", places(), ids=["first", "middle", "last"])
def test_stall_between_the_banks(
    loopback_ring: Ring, hil: Session, byte: int, edge: Edge, stall_us: int, reverse: bool
) -> None:
    """Below the limit the data arrives; beyond it both banks give up and the link comes back."""
    (link,) = loopback_ring.desk.config.links
    stall = Stall(edge, byte, stall_us)
    result = stall_link(loopback_ring, link, stall, seed=hil.settings.seed, reverse=reverse)
    attach.text("fault", result.sentence)
    found = problems(stall, result, [0, 0])
    assert not found, "\n".join(found)


def test_one_board_plays_every_rank_of_the_ring(loopback_ring: Ring, golden: Model) -> None:
    """Every hop goes through the jumpers; tokens and digests are those of a ring of as many boards."""
    tokens = golden.encode_prompt("", 16)
    request = GenerationRequest(tuple(tokens), 16)
    _, verification = verify_generation(loopback_ring, golden.weights, request)
    attach.text("taps", f"{loopback_ring.world_size} ranks, {verification.summary()}")
    assert verification.good, verification.describe()
