"""Does the ring boot, and is every board the one it should be?"""

import pytest

from hil.checks import boards
from hil.ring.ring import Ring
from hil.suite.conftest import Passes

pytestmark = pytest.mark.ring


def test_boards_run_the_image_that_was_sent(ring: Ring, passes: Passes) -> None:
    passes(boards.image_sent, ring)


def test_boards_stand_at_their_ranks(ring: Ring, passes: Passes) -> None:
    passes(boards.ranks, ring)


def test_boards_have_different_serial_numbers(ring: Ring, passes: Passes) -> None:
    passes(boards.serial_numbers, ring)


def test_layers_are_shared_out_without_gap(ring: Ring, passes: Passes) -> None:
    passes(boards.layers_shared_out, ring)


def test_every_board_echoes(ring: Ring, passes: Passes) -> None:
    passes(boards.echo, ring)


def test_every_board_is_healthy(ring: Ring, passes: Passes) -> None:
    passes(boards.healthy, ring)
