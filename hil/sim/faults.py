"""Faults as data: what can be wrong with simulated boards, the wires between them and their serial lines.

`Simulation.set_faults` takes any number of them, also while boards run. A wire is one of the simulation's netlist.
Wiring mistakes (swapped, reversed, crossed, missing wires) are not faults here but other wires: `set_wires`.
Times count from when a fault is set. What is random follows the simulation's seed.
A kind is one class: its fields, and `set`, which gives it to the core. What the core does then: core/faults.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from hil.sim.netlist import Wire

BridgeKind = Literal["and", "or"]
StrikeKind = Literal["halt", "reset", "off"]
STRIKES: tuple[StrikeKind, ...] = ("halt", "reset", "off")
"""Twin: SIM_STRIKE_ in core/sim.h."""
NOISES = ("drop_rate", "corrupt_rate", "duplicate_rate")
"""Twin: SIM_NOISE_ in core/sim.h."""
FAULTS_MAX = 256
"""Of one kind at a time. Twin: core/internal.h."""


Call = Callable[..., None]
"""Calls a function of core/sim.h, by name, for the simulation that is being changed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What all kinds have in common. A field of type Wire is one of the netlist; `board` is a board's index."""

    CUTS: ClassVar[bool] = False
    """Whether the wire itself is left out."""
    COUNT_MAX: ClassVar[int | None] = None
    """Of this kind at a time."""

    def set(self, call: Call) -> None:
        """Give it to the core, between two runs."""
        raise NotImplementedError

    @property
    def wires(self) -> tuple[Wire, ...]:
        """The wires that it names."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in values if isinstance(value, Wire))


@dataclass(frozen=True, slots=True)
class Open(Fault):
    """The wire is broken: each pad is left with its own output and pull."""

    CUTS = True
    wire: Wire

    def set(self, call: Call) -> None:
        """That the wire is left out is all."""


@dataclass(frozen=True, slots=True)
class Stuck(Fault):
    """The wire is shorted to ground (level 0) or supply (1). An output against it is a conflict of kind `stuck`."""

    wire: Wire
    level: int

    def set(self, call: Call) -> None:
        call("sim_tie", *self.wire.pads[0], self.level)


@dataclass(frozen=True, slots=True)
class Bridge(Fault):
    """Two wires touch. Outputs that disagree give 0 (`and`) or 1 (`or`), and a conflict of kind `bridge`."""

    COUNT_MAX = FAULTS_MAX
    wire_a: Wire
    wire_b: Wire
    kind: BridgeKind

    def set(self, call: Call) -> None:
        call("sim_bridge", *self.wire_a.pads[0], *self.wire_b.pads[0], self.kind == "or")


@dataclass(frozen=True, slots=True)
class NoGround(Fault):
    """The two ends share no ground: what one end drives reads as noise at the other, pulls notwithstanding."""

    CUTS = True
    wire: Wire

    def set(self, call: Call) -> None:
        for pad in self.wire.pads:
            call("sim_noise", *pad)


@dataclass(frozen=True, slots=True)
class Delay(Fault):
    """The wire carries its level from one end to the other after a time, both ways."""

    CUTS = True
    COUNT_MAX = FAULTS_MAX
    wire: Wire
    delay_ns: float

    def set(self, call: Call) -> None:
        near, far = self.wire.pads
        call("sim_delay", *near, *far, round(self.delay_ns * 1000))


@dataclass(frozen=True, slots=True)
class Glitch(Fault):
    """After a rising edge of the clock wire, with probability `rate`, the wire's level is inverted for `width_ns`.

    The pulse begins 0 to 1000 ns after the edge. A wire may glitch at its own clock.
    """

    COUNT_MAX = FAULTS_MAX
    wire: Wire
    clock: Wire
    rate: float
    width_ns: float

    def set(self, call: Call) -> None:
        call("sim_glitch", *self.wire.pads[0], *self.clock.pads[0], self.rate, round(self.width_ns * 1000))


@dataclass(frozen=True, slots=True)
class StrikeAt(Fault):
    """A board halts (executes nothing more, pads as they are), resets or loses power after a time."""

    board: int
    kind: StrikeKind
    after_ns: int

    def set(self, call: Call) -> None:
        call("sim_strike_at", self.board, STRIKES.index(self.kind), self.after_ns * 1000)


@dataclass(frozen=True, slots=True)
class StrikeAfter(Fault):
    """The same at the `edges`-th rising edge on any of the board's clock pins: one per byte on a link."""

    COUNT_MAX = FAULTS_MAX
    board: int
    kind: StrikeKind
    edges: int
    clock_pins: tuple[int, ...]

    def set(self, call: Call) -> None:
        pins = sum(1 << pin for pin in set(self.clock_pins))
        call("sim_strike_after", self.board, STRIKES.index(self.kind), pins, self.edges)


@dataclass(frozen=True, slots=True)
class Drift(Fault):
    """The board's crystal is off by this much, from its next start on; replaces BoardConfig.drift_ppm."""

    board: int
    drift_ppm: float

    def set(self, call: Call) -> None:
        call("sim_drift", self.board, self.drift_ppm)


@dataclass(frozen=True, slots=True)
class UartNoise(Fault):
    """Each byte, in both directions, is lost, has one bit flipped, or comes twice with these probabilities.

    A rate that is None is left to other faults of the board; without any it is 0.
    """

    board: int
    drop_rate: float | None = None
    corrupt_rate: float | None = None
    duplicate_rate: float | None = None

    def set(self, call: Call) -> None:
        for kind, name in enumerate(NOISES):
            rate = getattr(self, name)
            if rate is not None:
                call("sim_uart_noise", self.board, kind, rate)


@dataclass(frozen=True, slots=True)
class UartLimit(Fault):
    """The line carries at most this baud; above it one byte in sixteen has a bit flipped, both ways."""

    board: int
    baud: int

    def set(self, call: Call) -> None:
        call("sim_uart_limit", self.board, self.baud)


@dataclass(frozen=True, slots=True)
class UartHangUp(Fault):
    """The host's adapter is pulled out after a time."""

    board: int
    after_ns: int

    def set(self, call: Call) -> None:
        call("sim_hang_up_at", self.board, self.after_ns * 1000)
