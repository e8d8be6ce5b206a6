"""Faults of a simulated rig: the kinds that a user can name, each with its text, as `open:1-2.D3`.

Reading the texts: hil/rig/faults.py. What faults do to a simulation: hil/desk/faulty.py. Format: docs/rigs.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn

from hil.errors import RigError
from hil.rig.pins import WIRE_NAMES
from hil.rig.specs import LinkSpec, RigConfig, end_text

UNITS_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
DELAY_NS_MAX = 100_000.0
DRIFT_PPM_MAX = 10_000.0
TIME_NS_MAX = 3600e9


def parse_fault(text: str, config: RigConfig) -> Fault:
    """The fault that a text like `open:1-2.D3` means on this rig; str() of it gives the text back.

    Raises: RigError, naming the part that is wrong and what would be right.
    """
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise RigError(f"fault {text!a}: unknown kind `{kind}`; known are {', '.join(KINDS)}")
    return KINDS[kind][1](_Reader(text, kind, config), rest)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the parts of one fault's text."""

    text: str
    kind: str
    config: RigConfig

    def wrong(self, what: str) -> NoReturn:
        raise RigError(f"fault {self.text!a}: {what}; an example is {KINDS[self.kind][0]}")

    def pair(self, text: str, mark: str) -> tuple[str, str]:
        parts = text.split(mark)
        if len(parts) != 2 or not all(parts):
            self.wrong(f"`{text}` must be two parts with one `{mark}` between them")
        return parts[0], parts[1]

    def link(self, text: str) -> LinkSpec:
        links = self.config.all_links
        for link in links:
            if link_text(link) == text:
                return link
        known = ", ".join(link_text(link) for link in links) or "none"
        self.wrong(f"rig {self.config.name} has no link `{text}`; its links are {known}")

    def links(self, text: str) -> tuple[LinkSpec, LinkSpec]:
        first, second = (self.link(part) for part in self.pair(text, ","))
        if first == second:
            self.wrong("the two links must differ")
        return first, second

    def wire(self, text: str) -> WireRef:
        link, name = self.pair(text, ".")
        return WireRef(self.link(link), self.wire_number(name))

    def wire_number(self, name: str) -> int:
        if name not in WIRE_NAMES:
            self.wrong(f"no wire is called `{name}`; wires are {', '.join(WIRE_NAMES)}")
        return WIRE_NAMES.index(name)

    def wires(self, text: str) -> tuple[WireRef, WireRef]:
        first, second = (self.wire(part) for part in self.pair(text, ","))
        if first == second:
            self.wrong("the two wires must differ")
        return first, second

    def board(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) >= self.config.world_size:
            self.wrong(f"rig {self.config.name} has no board `{text}`; its boards are 0..{self.config.world_size - 1}")
        return int(text)

    def number(self, text: str, low: float, high: float, unit: str = "") -> float:
        try:
            value = float(text.removesuffix(unit)) if text.endswith(unit) else float("nan")
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            self.wrong(f"`{text}` must be a number from {low:g} to {high:g}{' with ' + unit if unit else ''}")
        return value

    def time_ns(self, text: str, most_ns: float = TIME_NS_MAX) -> float:
        match = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)(s|ms|us|ns)", text)
        if match is None:
            self.wrong(f"`{text}` must be a time, as 1.5s, 20ms, 3us or 30ns")
        return self.number(match[1], 0, most_ns / UNITS_NS[match[2]]) * UNITS_NS[match[2]]


def _read_bridge(read: _Reader, rest: str) -> Fault:
    return Bridge(*read.wires(rest), "and" if read.kind == "bridge-and" else "or")


def _read_swap(read: _Reader, rest: str) -> Fault:
    first, second = read.pair(rest, ",")
    at, other = read.wire(first), read.wire_number(second)
    if at.wire == other:
        read.wrong("the two wires must differ")
    return Swap(at, other)


def _read_delay(read: _Reader, rest: str) -> Fault:
    wire, delay = read.pair(rest, "=")
    return Delay(read.wire(wire), read.time_ns(delay, DELAY_NS_MAX))


def _read_glitch(read: _Reader, rest: str) -> Fault:
    wire, value = read.pair(rest, "=")
    rate, slash, width = value.partition("/")
    width_ns = read.time_ns(width, DELAY_NS_MAX) if slash else GLITCH_WIDTH_NS
    return Glitch(read.wire(wire), read.number(rate, 0, 1), width_ns)


def _read_strike(read: _Reader, rest: str) -> Fault:
    board, when = read.pair(rest, "@")
    kind = STRIKES[read.kind]
    if when.startswith("byte"):
        count = when.removeprefix("byte")
        if not count.isascii() or not count.isdigit() or int(count) == 0:
            read.wrong(f"`{when}` must be a byte's number from 1 on, as byte1000")
        return Strike(kind, read.board(board), byte=int(count))
    return Strike(kind, read.board(board), after_ns=round(read.time_ns(when)))


def _read_drift(read: _Reader, rest: str) -> Fault:
    board, value = read.pair(rest, "=")
    return Drift(read.board(board), read.number(value, -DRIFT_PPM_MAX, DRIFT_PPM_MAX, "ppm"))


def _read_noise(read: _Reader, rest: str) -> Fault:
    board, value = read.pair(rest, "=")
    return UartNoise(NOISES[read.kind], read.board(board), read.number(value, 0, 1))


def _read_limit(read: _Reader, rest: str) -> Fault:
    board, value = read.pair(rest, "=")
    return UartLimit(read.board(board), round(read.number(value, 1, 12e6)))


def _read_hang_up(read: _Reader, rest: str) -> Fault:
    board, when = read.pair(rest, "@")
    return UartHangUp(read.board(board), round(read.time_ns(when)))


STRIKES: dict[str, StrikeKind] = {"halt": "halt", "reset": "reset", "off": "off"}
NOISES: dict[str, UartKind] = {"uart-drop": "drop", "uart-corrupt": "corrupt", "uart-duplicate": "duplicate"}
KINDS: dict[str, tuple[str, Callable[[_Reader, str], Fault]]] = {
    "open": ("open:1-2.D3", lambda read, rest: Open(read.wire(rest))),
    "stuck0": ("stuck0:1-2.D3", lambda read, rest: Stuck(read.wire(rest), 0)),
    "stuck1": ("stuck1:1-2.ACK", lambda read, rest: Stuck(read.wire(rest), 1)),
    "bridge-and": ("bridge-and:1-2.D3,2-3.CLK", _read_bridge),
    "bridge-or": ("bridge-or:1-2.D3,2-3.CLK", _read_bridge),
    "swap": ("swap:1-2.D3,D4", _read_swap),
    "reversed": ("reversed:1-2", lambda read, rest: Reversed(read.link(rest))),
    "crossed": ("crossed:0-1,1-2", lambda read, rest: Crossed(*read.links(rest))),
    "missing": ("missing:1-2", lambda read, rest: Missing(read.link(rest))),
    "noground": ("noground:1-2", lambda read, rest: NoGround(read.link(rest))),
    "delay": ("delay:1-2.D3=30ns", _read_delay),
    "glitch": ("glitch:1-2.CLK=1e-4", _read_glitch),
    "halt": ("halt:2@1.5s", _read_strike),
    "reset": ("reset:2@byte1000", _read_strike),
    "off": ("off:2@0.2s", _read_strike),
    "drift": ("drift:1=+50ppm", _read_drift),
    "uart-drop": ("uart-drop:1=1e-3", _read_noise),
    "uart-corrupt": ("uart-corrupt:1=1e-3", _read_noise),
    "uart-duplicate": ("uart-duplicate:1=1e-3", _read_noise),
    "uart-limit": ("uart-limit:1=460800", _read_limit),
    "uart-hangup": ("uart-hangup:1@2s", _read_hang_up),
}
"""Kind -> example, reader of what follows the colon."""


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
