"""Reads the texts of faults, as `open:1-2.D3`, and says what is wrong with one. The kinds: hil/rig/faults.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from hil.checks.pins import WIRE_NAMES
from hil.errors import RigError
from hil.rig.faults import (
    GLITCH_WIDTH_NS,
    Bridge,
    Crossed,
    Delay,
    Drift,
    Fault,
    Glitch,
    Missing,
    NoGround,
    Open,
    Reversed,
    Strike,
    StrikeKind,
    Stuck,
    Swap,
    UartHangUp,
    UartKind,
    UartLimit,
    UartNoise,
    WireRef,
    link_text,
)
from hil.rig.specs import LinkSpec, RigConfig

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
