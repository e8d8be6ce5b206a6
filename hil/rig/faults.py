"""Faults of a simulated rig: how they are written, and what they do to its wires.

Format: docs/rigs.md, for example `open:1-2.D3`. Owns: the fault kinds that a user can name, their parser, and
the way from them to the simulation's wires. The electrical model: hil/sim/faults.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from hil import sim
from hil.checks.pins import WIRE_NAMES, gpio
from hil.errors import RigError
from hil.protocol.messages import Bank
from hil.rig.config import LinkSpec, RigConfig

WIRES_PER_LINK = len(WIRE_NAMES)


@dataclass(frozen=True, slots=True)
class WireRef:
    """A wire by its link and its place 0..9 at the link's source: `1-2.D3`."""

    link: LinkSpec
    wire: int

    def __str__(self) -> str:
        return f"{_link_text(self.link)}.{WIRE_NAMES[self.wire]}"


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
        return f"reversed:{_link_text(self.link)}"


@dataclass(frozen=True, slots=True)
class Crossed:
    """The far ends of two links exchanged: `crossed:0-1,1-2`."""

    a: LinkSpec
    b: LinkSpec

    def __str__(self) -> str:
        return f"crossed:{_link_text(self.a)},{_link_text(self.b)}"


@dataclass(frozen=True, slots=True)
class Missing:
    """A link that is not plugged in: `missing:1-2`."""

    link: LinkSpec

    def __str__(self) -> str:
        return f"missing:{_link_text(self.link)}"


@dataclass(frozen=True, slots=True)
class NoGround:
    """No common ground: all ten wires of the link read as noise at the far end: `noground:1-2`."""

    link: LinkSpec

    def __str__(self) -> str:
        return f"noground:{_link_text(self.link)}"


Fault = Open | Stuck | Bridge | Swap | Reversed | Crossed | Missing | NoGround


def _link_text(link: LinkSpec) -> str:
    return f"{link.source}-{link.target}"


# --- reading ------------------------------------------------------------------------------------------

KINDS = {
    "open": "open:1-2.D3",
    "stuck0": "stuck0:1-2.D3",
    "stuck1": "stuck1:1-2.ACK",
    "bridge-and": "bridge-and:1-2.D3,2-3.CLK",
    "bridge-or": "bridge-or:1-2.D3,2-3.CLK",
    "swap": "swap:1-2.D3,D4",
    "reversed": "reversed:1-2",
    "crossed": "crossed:0-1,1-2",
    "missing": "missing:1-2",
    "noground": "noground:1-2",
}
"""Kind -> example."""


def parse_fault(text: str, config: RigConfig) -> Fault:
    """The fault that a text like `open:1-2.D3` means on this rig; str() of it gives the text back.

    Raises: RigError, naming the part that is wrong and what would be right.
    """
    kind, colon, rest = text.partition(":")
    if kind not in KINDS:
        raise RigError(f"fault {text}: unknown kind `{kind}`; known are {', '.join(KINDS)}")
    if not colon or not rest:
        raise RigError(f"fault {text}: says not where; write it like {KINDS[kind]}")
    reader = _Reader(text, kind, config)
    return reader.fault(rest)


@dataclass(frozen=True)
class _Reader:
    """Reads the parts of one fault's text."""

    text: str
    kind: str
    config: RigConfig

    def wrong(self, what: str) -> RigError:
        return RigError(f"fault {self.text}: {what}; an example is {KINDS[self.kind]}")

    def fault(self, rest: str) -> Fault:
        match self.kind:
            case "open":
                return Open(self.wire(rest))
            case "stuck0" | "stuck1":
                return Stuck(self.wire(rest), int(self.kind[-1]))
            case "bridge-and" | "bridge-or":
                a, b = (self.wire(part) for part in self.pair(rest))
                if a == b:
                    raise self.wrong(f"{a} cannot touch itself")
                return Bridge(a, b, "and" if self.kind == "bridge-and" else "or")
            case "swap":
                first, second = self.pair(rest)
                at, other = self.wire(first), self.wire_number(second)
                if at.wire == other:
                    raise self.wrong(f"{second} cannot change places with itself")
                return Swap(at, other)
            case "crossed":
                link_a, link_b = (self.link(part) for part in self.pair(rest))
                if link_a == link_b:
                    raise self.wrong("two different links are needed")
                return Crossed(link_a, link_b)
            case "reversed":
                return Reversed(self.link(rest))
            case "missing":
                return Missing(self.link(rest))
            case _:
                return NoGround(self.link(rest))

    def pair(self, text: str) -> tuple[str, str]:
        parts = text.split(",")
        if len(parts) != 2:
            raise self.wrong(f"`{text}` has {len(parts)} part(s); two with a comma between them are needed")
        return parts[0], parts[1]

    def link(self, text: str) -> LinkSpec:
        for link in self.config.links:
            if _link_text(link) == text:
                return link
        known = ", ".join(_link_text(link) for link in self.config.links) or "none"
        raise self.wrong(f"rig {self.config.name} has no link `{text}`; its links are {known}")

    def wire(self, text: str) -> WireRef:
        link, dot, name = text.partition(".")
        if not dot:
            raise self.wrong(f"`{text}` is not a wire: link, dot, name are needed")
        return WireRef(self.link(link), self.wire_number(name))

    def wire_number(self, name: str) -> int:
        if name not in WIRE_NAMES:
            raise self.wrong(f"no wire is called `{name}`; wires are {', '.join(WIRE_NAMES)}")
        return WIRE_NAMES.index(name)


# --- what they do -------------------------------------------------------------------------------------


def rig_wires(config: RigConfig) -> dict[WireRef, sim.Wire]:
    """Every wire of a rig as it should be, from the source's high bank to the target's low bank."""
    return {
        WireRef(link, k): sim.Wire(link.source, gpio(Bank.DOWNSTREAM, k), link.target, gpio(Bank.UPSTREAM, k))
        for link in config.links
        for k in range(WIRES_PER_LINK)
    }


def faulty_wires(config: RigConfig, faults: Iterable[Fault]) -> dict[WireRef, sim.Wire]:
    """The wires after swaps, reversals, crossings and missing links, in the order given.

    A wire is still called by its place at the source: its other end is what has moved.
    """
    wires = rig_wires(config)

    def exchange(a: WireRef, b: WireRef) -> None:
        wire_a, wire_b = wires[a], wires[b]
        wires[a] = sim.Wire(wire_a.board_a, wire_a.pin_a, wire_b.board_b, wire_b.pin_b)
        wires[b] = sim.Wire(wire_b.board_a, wire_b.pin_a, wire_a.board_b, wire_a.pin_b)

    missing = set()
    for fault in faults:
        match fault:
            case Swap(at, other):
                exchange(at, WireRef(at.link, other))
            case Reversed(link):
                for k in range(WIRES_PER_LINK // 2):
                    exchange(WireRef(link, k), WireRef(link, WIRES_PER_LINK - 1 - k))
            case Crossed(a, b):
                for k in range(WIRES_PER_LINK):
                    exchange(WireRef(a, k), WireRef(b, k))
            case Missing(link):
                missing.add(link)
    return {ref: wire for ref, wire in wires.items() if ref.link not in missing}


def apply_faults(simulation: sim.Simulation, config: RigConfig, faults: Sequence[Fault]) -> None:
    """Make a simulation of this rig have exactly these faults, at once; () repairs it.

    Faults on a wire of a link that is missing have no effect.
    """
    wires = faulty_wires(config, faults)
    electrical: list[sim.Fault] = []
    for fault in faults:
        match fault:
            case Open(at) if at in wires:
                electrical.append(sim.Open(wires[at]))
            case Stuck(at, level) if at in wires:
                electrical.append(sim.Stuck(wires[at], level))
            case Bridge(a, b, kind) if a in wires and b in wires:
                electrical.append(sim.Bridge(wires[a], wires[b], kind))
            case NoGround(link):
                electrical += [sim.NoGround(wire) for ref, wire in wires.items() if ref.link == link]
    simulation.set_wires(wires.values(), electrical)


# --- every single one ---------------------------------------------------------------------------------


def single_faults(config: RigConfig) -> list[Fault]:
    """Every single wiring fault of a rig, in a fixed order: for benches.

    On a ring of four: 40 wires open, stuck at 0 and at 1; 780 pairs of wires bridged, with each kind of bridge;
    180 swaps within a link; 4 links reversed, 4 missing; 6 pairs of links crossed.
    """
    refs = list(rig_wires(config))
    faults: list[Fault] = [Open(ref) for ref in refs]
    faults += [Stuck(ref, level) for ref in refs for level in (0, 1)]
    kinds: tuple[Literal["and", "or"], ...] = ("and", "or")
    faults += [Bridge(a, b, kind) for a, b in itertools.combinations(refs, 2) for kind in kinds]
    for link in config.links:
        pairs = itertools.combinations(range(WIRES_PER_LINK), 2)
        faults += [Swap(WireRef(link, a), b) for a, b in pairs]
    faults += [Reversed(link) for link in config.links]
    faults += [Missing(link) for link in config.links]
    faults += [Crossed(a, b) for a, b in itertools.combinations(config.links, 2)]
    return faults
