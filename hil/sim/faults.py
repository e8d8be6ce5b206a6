"""Faults as data: what can be wrong with simulated boards, the wires between them and their serial lines.

`Simulation.set_faults` takes any number of them, also while boards run. A wire is one of the simulation's netlist.
Wiring mistakes (swapped, reversed, crossed, missing wires) are not faults here but other wires: `set_wires`.
Times count from when a fault is set. What is random follows the simulation's seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hil.sim.netlist import Wire

BridgeKind = Literal["and", "or"]
StrikeKind = Literal["halt", "reset", "off"]
STRIKES: tuple[StrikeKind, ...] = ("halt", "reset", "off")
"""Twin: SIM_STRIKE_ in core/sim.h."""
FAULTS_MAX = 256
"""Of one kind at a time. Twin: core/internal.h."""


@dataclass(frozen=True, slots=True)
class Open:
    """The wire is broken: each pad is left with its own output and pull."""

    wire: Wire


@dataclass(frozen=True, slots=True)
class Stuck:
    """The wire is shorted to ground (level 0) or supply (1). An output against it is a conflict of kind `stuck`."""

    wire: Wire
    level: int


@dataclass(frozen=True, slots=True)
class Bridge:
    """Two wires touch. Outputs that disagree give 0 (`and`) or 1 (`or`), and a conflict of kind `bridge`."""

    wire_a: Wire
    wire_b: Wire
    kind: BridgeKind


@dataclass(frozen=True, slots=True)
class NoGround:
    """The two ends share no ground: what one end drives reads as noise at the other, pulls notwithstanding."""

    wire: Wire


@dataclass(frozen=True, slots=True)
class Delay:
    """The wire carries its level from one end to the other after a time, both ways."""

    wire: Wire
    delay_ns: float


@dataclass(frozen=True, slots=True)
class Glitch:
    """After a rising edge of the clock wire, with probability `rate`, the wire's level is inverted for `width_ns`.

    The pulse begins 0 to 1000 ns after the edge. A wire may glitch at its own clock.
    """

    wire: Wire
    clock: Wire
    rate: float
    width_ns: float


@dataclass(frozen=True, slots=True)
class StrikeAt:
    """A board halts (executes nothing more, pads as they are), resets or loses power after a time."""

    board: int
    kind: StrikeKind
    after_ns: int


@dataclass(frozen=True, slots=True)
class StrikeAfter:
    """The same at the `edges`-th rising edge on any of the board's clock pins: one per byte on a link."""

    board: int
    kind: StrikeKind
    edges: int
    clock_pins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """The board's crystal is off by this much, from its next start on; replaces BoardConfig.drift_ppm."""

    board: int
    drift_ppm: float


@dataclass(frozen=True, slots=True)
class UartNoise:
    """Each byte, in both directions, is lost, has one bit flipped, or comes twice with these probabilities."""

    board: int
    drop_rate: float = 0.0
    corrupt_rate: float = 0.0
    duplicate_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class UartLimit:
    """The line carries at most this baud; above it one byte in sixteen has a bit flipped, both ways."""

    board: int
    baud: int


@dataclass(frozen=True, slots=True)
class UartHangUp:
    """The host's adapter is pulled out after a time."""

    board: int
    after_ns: int


WireFault = Open | Stuck | Bridge | NoGround | Delay | Glitch
BoardFault = StrikeAt | StrikeAfter | Drift | UartNoise | UartLimit | UartHangUp
Fault = WireFault | BoardFault


def wires_of(fault: Fault) -> tuple[Wire, ...]:
    """The wires that a fault names."""
    match fault:
        case Bridge(a, b, _):
            return (a, b)
        case Glitch(wire, clock, _, _):
            return (wire, clock)
        case Open() | Stuck() | NoGround() | Delay():
            return (fault.wire,)
        case _:
            return ()
