"""One board, its high bank jumpered to its low bank: boot, commands, frames through its own two banks."""

import pytest

from hil.board import Board
from hil.checks.forward import compare_taps, golden_run
from hil.model.bundle import Model
from hil.protocol.messages import (
    Bank,
    Blob,
    Command,
    JobResult,
    JobStarted,
    LoopbackTest,
)
from hil.ring import Ring
from hil.session import Session

pytestmark = pytest.mark.loopback


def test_board_boots_and_echoes(board: Board) -> None:
    assert board.identity is not None
    assert board.command(Command.PING, Blob(b"hello"), Blob).data == b"hello"


@pytest.mark.parametrize("reverse", [0, 1], ids=["downstream-sends", "upstream-sends"])
@pytest.mark.parametrize("length_bytes", [1, 256])
def test_frames_cross_the_jumpers(
    loopback_ring: Ring, board: Board, hil: Session, reverse: int, length_bytes: int
) -> None:
    frames = 2
    sender = Bank.UPSTREAM if reverse else Bank.DOWNSTREAM
    before = loopback_ring.link_counters(0, sender).frames_sent
    request = LoopbackTest(
        reverse=reverse, frames=frames, length_bytes=length_bytes, seed=hil.settings.seed & 0xFFFFFFFF
    )
    job = board.command(Command.LINK_LOOPBACK, request, JobStarted).job
    (state,) = loopback_ring.wait_jobs([(board, job)], timeout_s=30)
    assert state.result == JobResult.DONE
    assert state.progress == frames
    assert state.detail == 0, f"{state.detail} frames came back with wrong content"
    assert loopback_ring.link_counters(0, sender).frames_sent == before + frames


def test_one_board_tells_the_story_of_the_whole_model(loopback_ring: Ring, golden: Model) -> None:
    tokens = golden.encode_prompt("", 16)
    result = loopback_ring.generate(tokens, 16)
    expected = golden_run(golden.weights, tokens, 16, 0.0, 0.9, 1, 1)
    comparison = compare_taps(loopback_ring, expected)
    assert comparison.first is None, comparison.first.describe()
    assert result.tokens == expected.tokens
