"""Where every cable and every wire really goes, from the nets that a scan found.

Pure. Owns: the matching of banks (cables) and of wires, and its completion where nothing was seen. That completion is
the one with the fewest faults: a wire that shows nothing is thought to go where it should; failing that, chains of
exchanged ends are closed into circles.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hil.checks.wiring.pads import WIRES, Observation, Pad, Wire, bank_pad
from hil.protocol.link_messages import Bank
from hil.rig.specs import LinkSpec

CABLE_WIRES = 3
"""Wires between two banks that make a cable; fewer may be bridges."""
BankKey = tuple[int, Bank]
K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Cables:
    """target[i]: the link at whose target bank link i's cable arrives. odd: cables that join other banks."""

    target: Mapping[int, int]
    odd: tuple[tuple[BankKey, BankKey], ...]


def net_numbers(observation: Observation) -> dict[Pad, int]:
    """Number of the net of each pad that is not held."""
    return {pad: number for number, members in enumerate(observation.nets) for pad in members}


def find_cables(observation: Observation, links: Sequence[LinkSpec]) -> Cables:
    """Which bank is joined to which, by where most wires go."""
    banks = [(rank, bank) for rank in range(observation.world_size) for bank in Bank]
    expected = {(link.source, Bank.DOWNSTREAM): (link.target, Bank.UPSTREAM) for link in links}
    net = net_numbers(observation)
    found = []
    for at, one in enumerate(banks):
        for other in banks[at + 1 :]:
            ends = (other, one) if one[1] is Bank.UPSTREAM and other[1] is Bank.DOWNSTREAM else (one, other)
            weight = _joined(net, *ends)
            if weight >= CABLE_WIRES:
                found.append((-weight, expected.get(ends[0]) != ends[1], ends))
    taken: dict[BankKey, BankKey] = {}
    for _, _, (one, other) in sorted(found):
        if one not in taken and other not in taken:
            taken[one], taken[other] = other, one
    by_target = {(link.target, Bank.UPSTREAM): number for number, link in enumerate(links)}
    target: dict[int, int] = {}
    odd = []
    sources = {(link.source, Bank.DOWNSTREAM): number for number, link in enumerate(links)}
    for one, other in taken.items():
        if one in sources and other in by_target:
            target[sources[one]] = by_target[other]
        elif not (one in by_target and other in sources) and one < other:
            odd.append((one, other))
    return Cables(complete(target, range(len(links)), lambda link: link), tuple(odd))


def _joined(net: Mapping[Pad, int], one: BankKey, other: BankKey) -> int:
    """How many wires lead from one bank to the other, at most one per net."""
    first = {net[pad] for number in range(WIRES) if (pad := bank_pad(one, number)) in net}
    second = {net[pad] for number in range(WIRES) if (pad := bank_pad(other, number)) in net}
    return len(first & second)


def complete(found: Mapping[K, K], sources: Sequence[K], expected: Callable[[K], K]) -> dict[K, K]:
    """A one-to-one map from every source to a target, from a part of it.

    Args:
        found: source -> target, as far as seen.
        expected: the target of a source when nothing is wrong; every target is expected of exactly one source.
    """
    full = dict(found)
    owner = {target: source for source, target in full.items()}
    for source in sources:
        if source not in full and expected(source) not in owner:
            full[source] = expected(source)
            owner[expected(source)] = source
    for source in sources:
        if source in full:
            continue
        end = source
        while expected(end) in owner:
            end = owner[expected(end)]
        full[source] = expected(end)
        owner[expected(end)] = source
    return full


def exchanges(found: Mapping[K, T], expected: Mapping[K, T]) -> list[list[K]]:
    """The circles in which sources have exchanged their targets, each as a list of sources (two: a plain swap)."""
    owner = {target: source for source, target in expected.items()}
    circles: list[list[K]] = []
    done: set[K] = set()
    for start in found:
        circle = []
        at = start
        while at not in done:
            done.add(at)
            circle.append(at)
            at = owner[found[at]]
        if len(circle) > 1:
            circles.append(circle)
    return circles


@dataclass(frozen=True)
class Tracks:
    """Where each wire should end, turned connectors allowed for (`expected`), and where it does (`far`)."""

    expected: Mapping[Wire, Pad]
    far: Mapping[Wire, Pad]
    turned: frozenset[LinkSpec]


def find_wires(observation: Observation, wires: Sequence[Wire], banks: Mapping[LinkSpec, BankKey]) -> Tracks:
    """Where each wire ends.

    Args:
        banks: the bank at which each link's cable arrives.
    """
    net = net_numbers(observation)

    def together(one: Pad, other: Pad) -> bool:
        return one in net and net[one] == net.get(other)

    turned = frozenset(link for link in banks if _is_turned(net, link, banks[link]))
    expected = {w: bank_pad(banks[w.link], WIRES - 1 - w.number if w.link in turned else w.number) for w in wires}
    far = {w: pad for w, pad in expected.items() if together(w.near, pad)}
    alive = {wire.link for wire in far}
    loose = {pad: wire.link for wire, pad in expected.items() if pad not in far.values()}
    for wire in wires:
        if wire in far:
            continue
        # A wire that ends in another cable is thought of only where both cables carry something.
        reached = [
            pad for pad, link in loose.items()
            if together(wire.near, pad) and (link == wire.link or {link, wire.link} <= alive)
        ]  # fmt: skip
        if reached:
            far[wire] = min(reached, key=lambda pad: (loose[pad] != wire.link, pad))
            del loose[far[wire]]
    return Tracks(expected, complete_pads(far, wires, expected), turned)


def complete_pads(far: Mapping[Wire, Pad], wires: Sequence[Wire], expected: Mapping[Wire, Pad]) -> dict[Wire, Pad]:
    """`complete` for wires: their targets are pads."""
    owner = {pad: wire for wire, pad in expected.items()}
    full = complete({wire: owner[pad] for wire, pad in far.items()}, wires, lambda wire: wire)
    return {wire: expected[other] for wire, other in full.items()}


def _is_turned(net: Mapping[Pad, int], link: LinkSpec, bank: BankKey) -> bool:
    straight = turned = 0
    for number in range(WIRES):
        near = net.get(bank_pad((link.source, Bank.DOWNSTREAM), number))
        if near is not None:
            straight += near == net.get(bank_pad(bank, number))
            turned += near == net.get(bank_pad(bank, WIRES - 1 - number))
    return turned > straight and turned >= CABLE_WIRES
