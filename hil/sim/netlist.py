"""Netlists: which pads of which boards are joined by wires. Pins are BCM GPIO numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

PINS = 54
"""GPIO pins of a board."""
DOWNSTREAM_PINS = tuple(range(16, 26))
"""High bank: D0..D7, CLK, ACK towards the next rank."""
UPSTREAM_PINS = tuple(range(4, 14))
"""Low bank: D0..D7, CLK, ACK towards the previous rank."""


@dataclass(frozen=True)
class Wire:
    """One wire between two pads."""

    board_a: int
    pin_a: int
    board_b: int
    pin_b: int

    @property
    def pads(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Its two ends, each a board and a pin."""
        return (self.board_a, self.pin_a), (self.board_b, self.pin_b)


@dataclass(frozen=True)
class Netlist:
    """Wires; pads that share a wire, directly or not, form one net."""

    wires: tuple[Wire, ...] = field(default=())

    def __init__(self, wires: Iterable[Wire] = ()) -> None:
        object.__setattr__(self, "wires", tuple(wires))

    @classmethod
    def ring(
        cls,
        world_size: int,
        *,
        downstream: Sequence[int] = DOWNSTREAM_PINS,
        upstream: Sequence[int] = UPSTREAM_PINS,
    ) -> Netlist:
        """Each board's high bank to the next board's low bank; one board alone has no wires."""
        if world_size < 2:
            return cls()
        return cls(
            Wire(board, high, (board + 1) % world_size, low)
            for board in range(world_size)
            for high, low in zip(downstream, upstream, strict=True)
        )

    @classmethod
    def loopback(
        cls, *, downstream: Sequence[int] = DOWNSTREAM_PINS, upstream: Sequence[int] = UPSTREAM_PINS
    ) -> Netlist:
        """One board with its high bank jumpered to its own low bank."""
        return cls(Wire(0, high, 0, low) for high, low in zip(downstream, upstream, strict=True))
