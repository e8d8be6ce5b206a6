"""Power: making a board start anew. What a serial port cannot do.

Owns: the Power interface and its implementations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hil.board import Board
    from hil.sim import Simulation


class Power(Protocol):
    """How boards of a rig are reset."""

    def reset(self, board: Board) -> None:
        """Make the board start from its card. Returns at once; the boot is seen on the port."""

    def describe(self) -> str:
        """For messages: what a person must do if a board does not start."""


class SimPower:
    """The simulator's RUN pin and power switch."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def reset(self, board: Board) -> None:
        """Power the board on, or pull RUN if it is on."""
        if self._simulation.is_powered(board.rank):
            self._simulation.reset(board.rank)
        else:
            self._simulation.power_on(board.rank)

    def describe(self) -> str:
        """Nobody has to do anything."""
        return "the simulator resets its boards itself"


class FirmwareReset:
    """No reset line: firmware that runs is asked to reboot, otherwise a person presses RUN."""

    def reset(self, board: Board) -> None:
        """Ask firmware that may be running; a board in its bootloader ignores the bytes."""
        board.expect_bootloader()

    def describe(self) -> str:
        """What to do by hand."""
        return "short RUN to ground, or unplug the board and plug it in again"
