"""Faults of a simulated rig: the kinds that a user can name, each with its text, as `open:1-2.D3`.

Reading the texts: hil/rig/fault_reader.py. What faults do to a simulation: hil/rig/faulty.py. Format: docs/rigs.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hil.checks.pins import WIRE_NAMES
from hil.rig.specs import LinkSpec, end_text

GLITCH_WIDTH_NS = 100.0
"""Default: two reads of the pads, so that a glitch on a line that is polled is seldom missed."""
StrikeKind = Literal["halt", "reset", "off"]
UartKind = Literal["drop", "corrupt", "duplicate"]


@dataclass(frozen=True, slots=True)
class WireRef:
    """A wire by its link and its place 0..9 at the link's source: `1-2.D3`."""

    link: LinkSpec
    wire: int

    def __str__(self) -> str:
        return f"{link_text(self.link)}.{WIRE_NAMES[self.wire]}"


@dataclass(frozen=True, slots=True)
class Open:
    """A broken wire: `open:1-2.D3`."""

    at: WireRef

    def __str__(self) -> str:
        return f"open:{self.at}"


@dataclass(frozen=True, slots=True)
class Stuck:
    """A wire shorted to ground or supply: `stuck0:1-2.D3`, `stuck1:1-2.ACK`."""

    at: WireRef
    level: int

    def __str__(self) -> str:
        return f"stuck{self.level}:{self.at}"


@dataclass(frozen=True, slots=True)
class Bridge:
    """Two wires that touch, of any links: `bridge-and:1-2.D3,2-3.CLK`, `bridge-or:...`."""

    a: WireRef
    b: WireRef
    kind: Literal["and", "or"]

    def __str__(self) -> str:
        return f"bridge-{self.kind}:{self.a},{self.b}"


@dataclass(frozen=True, slots=True)
class Swap:
    """Two wires of a link exchanged at one end: `swap:1-2.D3,D4`."""

    at: WireRef
    other: int

    def __str__(self) -> str:
        return f"swap:{self.at},{WIRE_NAMES[self.other]}"


@dataclass(frozen=True, slots=True)
class Reversed:
    """A connector turned round, so that wire k goes to 9 - k: `reversed:1-2`."""

    link: LinkSpec

    def __str__(self) -> str:
        return f"reversed:{link_text(self.link)}"


@dataclass(frozen=True, slots=True)
class Crossed:
    """The far ends of two links exchanged: `crossed:0-1,1-2`."""

    a: LinkSpec
    b: LinkSpec

    def __str__(self) -> str:
        return f"crossed:{link_text(self.a)},{link_text(self.b)}"


@dataclass(frozen=True, slots=True)
class Missing:
    """A link that is not plugged in: `missing:1-2`."""

    link: LinkSpec

    def __str__(self) -> str:
        return f"missing:{link_text(self.link)}"


@dataclass(frozen=True, slots=True)
class NoGround:
    """No common ground: all ten wires of the link read as noise at the far end: `noground:1-2`."""

    link: LinkSpec

    def __str__(self) -> str:
        return f"noground:{link_text(self.link)}"


@dataclass(frozen=True, slots=True)
class Delay:
    """A wire that carries its level late, both ways: `delay:1-2.D3=30ns`."""

    at: WireRef
    delay_ns: float

    def __str__(self) -> str:
        return f"delay:{self.at}={self.delay_ns:.12g}ns"


@dataclass(frozen=True, slots=True)
class Glitch:
    """Pulses on a wire, `rate` per byte on its link: `glitch:1-2.CLK=1e-4`, or with its width `...=1e-4/60ns`."""

    at: WireRef
    rate: float
    width_ns: float = GLITCH_WIDTH_NS

    def __str__(self) -> str:
        width = "" if self.width_ns == GLITCH_WIDTH_NS else f"/{self.width_ns:.12g}ns"
        return f"glitch:{self.at}={_rate_text(self.rate)}{width}"


@dataclass(frozen=True, slots=True)
class Strike:
    """A board halts, resets or loses power once: `halt:2@1.5s` after a time, `off:2@byte1000` at its n-th byte.

    Bytes count on both of the board's links and in both directions. Exactly one of the two is set.
    """

    kind: StrikeKind
    board: int
    after_ns: int | None = None
    byte: int | None = None

    def __str__(self) -> str:
        when = f"byte{self.byte}" if self.after_ns is None else _time_text(self.after_ns)
        return f"{self.kind}:{self.board}@{when}"


@dataclass(frozen=True, slots=True)
class Drift:
    """A board's crystal is off, from its next start on: `drift:1=+50ppm`."""

    board: int
    drift_ppm: float

    def __str__(self) -> str:
        return f"drift:{self.board}={self.drift_ppm:+.12g}ppm"


@dataclass(frozen=True, slots=True)
class UartNoise:
    """Bytes on a board's serial line are lost, changed or doubled, both ways: `uart-drop:1=1e-3`."""

    kind: UartKind
    board: int
    rate: float

    def __str__(self) -> str:
        return f"uart-{self.kind}:{self.board}={_rate_text(self.rate)}"


@dataclass(frozen=True, slots=True)
class UartLimit:
    """A board's serial line damages bytes above a baud: `uart-limit:1=460800`."""

    board: int
    baud: int

    def __str__(self) -> str:
        return f"uart-limit:{self.board}={self.baud}"


@dataclass(frozen=True, slots=True)
class UartHangUp:
    """A board's serial adapter is pulled out: `uart-hangup:1@2s`."""

    board: int
    after_ns: int

    def __str__(self) -> str:
        return f"uart-hangup:{self.board}@{_time_text(self.after_ns)}"


WiringFault = Open | Stuck | Bridge | Swap | Reversed | Crossed | Missing | NoGround
Fault = WiringFault | Delay | Glitch | Strike | Drift | UartNoise | UartLimit | UartHangUp


def link_text(link: LinkSpec) -> str:
    """How a fault names a link: `1-2`."""
    return f"{end_text(link.source)}-{end_text(link.target)}"


def _rate_text(rate: float) -> str:
    if rate == 0 or rate >= 0.01:
        return f"{rate:.12g}"
    mantissa, exponent = f"{rate:.11e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _time_text(time_ns: int) -> str:
    return f"{time_ns / 1e9:.9f}".rstrip("0").rstrip(".") + "s"
