"""The nets that a set of wiring faults gives: the analysis run backwards, on paper.

Pure functions. The analysis uses them to find out whether its findings explain all that was seen; the bench, whether
two sets of faults are electrically the same. Knows the faults of docs/simulator.md that change nets, and the scan's
own texts: `bridge:A,B` (of which kind is not visible), a pad by itself (`1.GPIO19`), and a wire with `/far`: the
loose end of an open wire that is not at the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hil.checks.wiring.pads import WIRES, Held, Observation, Pad, Wire, bank_pad, group, pads_of, wires_of
from hil.errors import RigError
from hil.protocol.link_messages import Bank
from hil.rig.pins import WIRE_NAMES
from hil.rig.specs import LinkSpec

LEVEL_OF = {"stuck0": Held.LOW, "stuck1": Held.HIGH}


@dataclass(frozen=True, slots=True)
class Nets:
    """Pads grouped by net, and what holds a pad."""

    groups: tuple[tuple[Pad, ...], ...]
    held: Mapping[Pad, Held]


class _Paper:
    """Wires of a rig with faults drawn in, one after the other."""

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

    def link(self, text: str) -> list[Wire]:
        """The ten wires of a link."""
        return [self.wire(f"{text}.{name}") for name in WIRE_NAMES]

    def pad(self, text: str) -> Pad:
        """A wire's pad, or a pad by its own name (`1.GPIO19`)."""
        rank, _, pin = text.partition(".GPIO")
        if pin:
            return int(rank), int(pin)
        name, _, far = text.partition("/")
        wire = self.wire(name)
        return self.far[wire] if far else wire.near

    def exchange(self, one: Iterable[Wire], other: Iterable[Wire]) -> None:
        """Exchange the far ends of pairs of wires."""
        for a, b in zip(one, other, strict=True):
            self.far[a], self.far[b] = self.far[b], self.far[a]


def nets_of(links: Sequence[LinkSpec], codes: Iterable[str], world_size: int) -> Nets:
    """The nets of boards wired by these links with these faults.

    Raises: RigError for a text that names no wire of the rig.
    """
    paper = _Paper(links)
    parts = [(kind, rest.split(",")) for kind, _, rest in (code.partition(":") for code in codes)]
    for kind, names in parts:
        if kind == "crossed":
            paper.exchange(paper.link(names[0]), paper.link(names[1]))
    for kind, names in parts:
        if kind == "swap":
            first = paper.wire(names[0])
            second = names[1] if "." in names[1] else f"{first.source}-{first.target}.{names[1]}"
            paper.exchange([first], [paper.wire(second)])
    for kind, names in parts:
        if kind == "reversed":
            paper.far.update(_turned(paper, names[0]))
    for kind, names in parts:
        _draw(paper, kind, names)
    return _solve(paper, world_size)


def _turned(paper: _Paper, link: str) -> dict[Wire, Pad]:
    """Far ends of a link whose connector was turned round: line k of the connector is line 9 - k."""
    turned = {}
    for wire in paper.link(link):
        rank, pin = paper.far[wire]
        first = bank_pad((rank, Bank.UPSTREAM), 0)[1]
        turned[wire] = (rank, first + WIRES - 1 - (pin - first))
    return turned


def _draw(paper: _Paper, kind: str, names: Sequence[str]) -> None:
    """Faults that do not move wires."""
    if kind == "open":
        paper.open.add(paper.wire(names[0]))
    elif kind == "missing":
        paper.open.update(paper.link(names[0]))
    elif kind in LEVEL_OF:
        paper.shorts.append((paper.pad(names[0]), LEVEL_OF[kind]))
    elif kind in ("bridge", "bridge-and", "bridge-or"):
        paper.joints.append((paper.pad(names[0]), paper.pad(names[1])))
    elif kind == "noground":
        for wire in paper.link(names[0]):
            paper.open.add(wire)
            paper.shorts += [(wire.near, Held.NOISE), (paper.far[wire], Held.NOISE)]
    elif kind == "noise":
        paper.shorts.append((paper.pad(names[0]), Held.NOISE))


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
