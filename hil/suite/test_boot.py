"""Does the ring boot, and is every board the one it should be?"""

import pytest

from hil.board.board import Board
from hil.model.bundle import Model
from hil.protocol.messages import PROTOCOL_VERSION, Blob, Command, Empty, Health
from hil.ring.ring import Ring
from hil.session import Session

pytestmark = pytest.mark.ring


def test_boards_run_the_image_that_was_sent(ring: Ring, hil: Session) -> None:
    for identity in ring.identities():
        assert identity.protocol == PROTOCOL_VERSION
        assert identity.build_id == hil.image("ring").build_id


def test_boards_stand_at_their_ranks(ring: Ring) -> None:
    ring.check_ranks()


def test_boards_have_different_serial_numbers(ring: Ring) -> None:
    serials = [identity.board_serial for identity in ring.identities()]
    assert len(set(serials)) == len(serials)


def test_layers_are_shared_out_without_gap(ring: Ring, golden: Model) -> None:
    ranges = [(i.layer_start, i.layer_end) for i in ring.identities() if not i.has_head]
    at = 0
    for start, end in ranges:
        assert start == at
        at = end
    assert at == golden.weights.config.n_layers


def test_every_board_echoes(boards: list[Board]) -> None:
    for board in boards:
        data = bytes(range(256)) * 4
        assert board.command(Command.PING, Blob(data), Blob).data == data


def test_every_board_is_healthy(boards: list[Board]) -> None:
    for board in boards:
        health = board.command(Command.HEALTH, Empty(), Health)
        assert health.uart_clock_hz > 0
        assert health.arm_clock_hz > 0
        assert health.temperature_mc < 85_000, f"board {board.rank}: {health.temperature_mc / 1000} degrees"
        assert health.uart_overruns == 0
