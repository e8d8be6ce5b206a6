"""The nets that a set of wiring faults gives: the analysis run backwards, on paper.

Pure functions. The analysis uses them to find out whether its findings explain all that was seen; the bench, whether
two sets of faults are electrically the same. The faults of hil/rig/faults.py draw themselves. The scan has texts of its
own beside them: `bridge:A,B` (of which kind is not visible), `noise:A`, a pad by itself (`1.GPIO19`), a wire with
`/far` (the loose end of an open wire that is not at the source), and swaps between links (`swap:1-2.D3,2-3.D4`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hil.checks.wiring.pads import WIRES, Held, Observation, Pad, Wire, bank_pad, group, pads_of, wires_of
from hil.errors import RigError
from hil.protocol.link_messages import Bank
from hil.rig.faults import WireRef, link_text, read_fault
from hil.rig.pins import WIRE_NAMES
from hil.rig.specs import LinkSpec

HELD = {"stuck0": Held.LOW, "stuck1": Held.HIGH, "noise": Held.NOISE}
MOVES = ("crossed", "swap", "reversed")
"""These move far ends and are drawn first, in this order, so that the same texts in any order mean the same nets."""


@dataclass(frozen=True, slots=True)
class Nets:
    """Pads grouped by net, and what holds a pad."""

    groups: tuple[tuple[Pad, ...], ...]
    held: Mapping[Pad, Held]


class _Paper:
    """Wires of a rig that faults are drawn into (a Drawing), one after the other."""

    def __init__(self, links: Sequence[LinkSpec]) -> None:
        self.wires = wires_of(links)
        self.names = {str(wire): wire for wire in self.wires}
        self.far: dict[Wire, Pad] = {w: bank_pad((w.target, Bank.UPSTREAM), w.number) for w in self.wires}
        self.open: set[Wire] = set()
        self.joints: list[tuple[Pad, Pad]] = []
        self.shorts: list[tuple[Pad, Held]] = []

    def wire(self, text: str) -> Wire:
        """A wire by name."""
        wire = self.names.get(text)
        if wire is None:
            raise RigError(f"wiring fault: there is no wire `{text}` in this rig; wires are named like 1-2.D3")
        return wire

    def link(self, link: LinkSpec) -> list[Wire]:
        """The ten wires of a link."""
        return [self.wire(f"{link_text(link)}.{name}") for name in WIRE_NAMES]

    def pad(self, text: str) -> Pad:
        """A wire's pad, or a pad by its own name (`1.GPIO19`)."""
        rank, _, pin = text.partition(".GPIO")
        if pin:
            return int(rank), int(pin)
        name, _, far = text.partition("/")
        wire = self.wire(name)
        return self.far[wire] if far else wire.near

    def exchange_far(self, a: Wire, b: Wire) -> None:
        """Exchange the far ends of two wires."""
        self.far[a], self.far[b] = self.far[b], self.far[a]

    def exchange(self, a: WireRef, b: WireRef) -> None:
        self.exchange_far(self.wire(str(a)), self.wire(str(b)))

    def cross(self, a: LinkSpec, b: LinkSpec) -> None:
        for one, other in zip(self.link(a), self.link(b), strict=True):
            self.exchange_far(one, other)

    def turn(self, link: LinkSpec) -> None:
        """Line k of the connector is line 9 - k."""
        for wire in self.link(link):
            rank, pin = self.far[wire]
            first = bank_pad((rank, Bank.UPSTREAM), 0)[1]
            self.far[wire] = (rank, first + WIRES - 1 - (pin - first))

    def unplug(self, link: LinkSpec) -> None:
        self.open.update(self.link(link))

    def cut(self, at: WireRef) -> None:
        self.open.add(self.wire(str(at)))

    def tie(self, at: WireRef, level: int) -> None:
        self.shorts.append((self.pad(str(at)), Held.HIGH if level else Held.LOW))

    def join(self, a: WireRef, b: WireRef, wins: Literal["and", "or"]) -> None:
        self.joints.append((self.pad(str(a)), self.pad(str(b))))

    def unground(self, link: LinkSpec) -> None:
        for wire in self.link(link):
            self.open.add(wire)
            self.shorts += [(wire.near, Held.NOISE), (self.far[wire], Held.NOISE)]

    def add(self, make: object, *at: WireRef) -> None:
        """What a map does not show."""


def nets_of(links: Sequence[LinkSpec], codes: Iterable[str], world_size: int) -> Nets:
    """The nets of boards wired by these links with these faults.

    Raises: RigError for a text that is no fault, or that names no wire of the rig.
    """
    paper = _Paper(links)
    for code in sorted(codes, key=_turn):
        kind, _, rest = code.partition(":")
        if not _draw_own(paper, kind, rest):
            read_fault(code, "this rig", tuple(links), world_size).draw(paper)
    return _solve(paper, world_size)


def _turn(code: str) -> int:
    kind = code.partition(":")[0]
    return MOVES.index(kind) if kind in MOVES else len(MOVES)


def _draw_own(paper: _Paper, kind: str, rest: str) -> bool:
    """Draw one of the scan's own texts; False if it is none."""
    first, _, second = rest.partition(",")
    if kind == "swap" and "." in second:
        paper.exchange_far(paper.wire(first), paper.wire(second))
    elif kind == "bridge":
        paper.joints.append((paper.pad(first), paper.pad(second)))
    elif kind == "noise" or (kind in HELD and (".GPIO" in rest or "/" in rest)):
        paper.shorts.append((paper.pad(first), HELD[kind]))
    else:
        return False
    return True


def _solve(paper: _Paper, world_size: int) -> Nets:
    pads = [pad for rank in range(world_size) for pad in pads_of(rank)]
    wired = [(wire.near, paper.far[wire]) for wire in paper.wires if wire not in paper.open]
    held: dict[Pad, Held] = {}
    free = []
    for members in group(pads, wired + paper.joints):
        levels = {level for pad, level in paper.shorts if pad in members}
        if levels:
            held.update(dict.fromkeys(members, levels.pop() if len(levels) == 1 else Held.NOISE))
        else:
            free.append(members)
    return Nets(tuple(sorted(free)), held)


def seen_nets(observation: Observation) -> Nets:
    """What a scan saw, as nets."""
    return Nets(observation.nets, dict(observation.held))


def ring_order(links: Sequence[LinkSpec]) -> tuple[int, ...]:
    """Ranks in the order of the ring, from rank 0 (or the lowest); empty if the links are no single ring."""
    after = {link.source: link.target for link in links}
    if len(after) != len(links) or not links or set(after.values()) != set(after):
        return ()
    order = [min(after)]
    while (rank := after[order[-1]]) != order[0]:
        order.append(rank)
    return tuple(order) if len(order) == len(links) else ()
