"""Does the ring boot, and is every board the one it should be?"""

import pytest

from hil.protocol.messages import PROTOCOL_VERSION, Blob, Command, Empty, Health

pytestmark = pytest.mark.ring


def test_boards_run_the_image_that_was_sent(ring, hil):
    for identity in ring.identities():
        assert identity.protocol == PROTOCOL_VERSION
        assert identity.build_id == hil.image("ring").build_id


def test_boards_stand_at_their_ranks(ring):
    ring.check_ranks()


def test_boards_have_different_serial_numbers(ring):
    serials = [identity.board_serial for identity in ring.identities()]
    assert len(set(serials)) == len(serials)


def test_layers_are_shared_out_without_gap(ring, golden):
    ranges = [(i.layer_start, i.layer_end) for i in ring.identities() if not i.has_head]
    at = 0
    for start, end in ranges:
        assert start == at
        at = end
    assert at == golden.weights.config.n_layers


def test_every_board_echoes(boards):
    for board in boards:
        data = bytes(range(256)) * 4
        assert board.command(Command.PING, Blob(data), Blob).data == data


def test_every_board_is_healthy(boards):
    for board in boards:
        health = board.command(Command.HEALTH, Empty(), Health)
        assert health.uart_clock_hz > 0
        assert health.arm_clock_hz > 0
        assert health.temperature_mc < 85_000, f"board {board.rank}: {health.temperature_mc / 1000} degrees"
        assert health.uart_overruns == 0
