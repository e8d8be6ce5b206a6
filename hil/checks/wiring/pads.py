"""Pads, wires and what a scan has seen of them. Plain data; no I/O.

Owns: Pad, Wire, Observation. Names of pins: hil/rig/pins.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from hil.protocol.link_messages import Bank
from hil.rig.pins import HEADER_PIN, WIRE_NAMES, gpio
from hil.rig.specs import LinkSpec

WIRES = len(WIRE_NAMES)
Pad = tuple[int, int]
"""Board (its rank in the rig file) and GPIO number."""
Cable = tuple[tuple[int, Bank], tuple[int, Bank]]
"""Two banks that are joined: the one that sends forward, then the other."""


class Held(Enum):
    """Why a pad does not follow its own pull."""

    LOW = "0"
    HIGH = "1"
    NOISE = "noise"


@dataclass(frozen=True, slots=True, order=True)
class Wire:
    """One wire of the rig: number 0..9 of a link. str() is its name in fault texts, `1-2.D3`."""

    source: int
    target: int
    number: int

    def __str__(self) -> str:
        return f"{self.source}-{self.target}.{WIRE_NAMES[self.number]}"

    @property
    def link(self) -> LinkSpec:
        """The link that it belongs to."""
        return LinkSpec(self.source, self.target)

    @property
    def near(self) -> Pad:
        """The pad at the source, in its high bank."""
        return self.source, gpio(Bank.DOWNSTREAM, self.number)


def bank_pad(bank: tuple[int, Bank], number: int) -> Pad:
    """Pad of wire 0..9 of a board's bank."""
    return bank[0], gpio(bank[1], number)


def pads_of(rank: int) -> list[Pad]:
    """The board's 20 pads, high bank first."""
    return [bank_pad((rank, bank), number) for bank in Bank for number in range(WIRES)]


def pad_name(pad: Pad) -> str:
    """`board 1 GPIO19 (pin 35)`."""
    return f"board {pad[0]} GPIO{pad[1]} (pin {HEADER_PIN[pad[1]]})"


def pad_code(pad: Pad) -> str:
    """`1.GPIO19`."""
    return f"{pad[0]}.GPIO{pad[1]}"


def bank_name(bank: tuple[int, Bank]) -> str:
    """`board 1's high bank`."""
    return f"board {bank[0]}'s {'high' if bank[1] is Bank.DOWNSTREAM else 'low'} bank"


@dataclass(frozen=True, slots=True)
class OneWay:
    """A pad that followed a driver in some of the tests of the two, but not in all."""

    driver: Pad
    reader: Pad
    agreed: int
    asked: int


@dataclass(frozen=True, slots=True)
class Observation:
    """What a scan saw.

    Args:
        world_size: number of boards.
        held: pads that do not follow their pull; they were not driven.
        nets: every other pad, grouped by which follow each other; sorted.
        one_way: pairs that are neither joined nor apart.
        deaf: pads that did not even read their own level back while they drove.
    """

    world_size: int
    held: Mapping[Pad, Held]
    nets: tuple[tuple[Pad, ...], ...]
    one_way: tuple[OneWay, ...] = ()
    deaf: tuple[Pad, ...] = ()


def group(pads: Iterable[Pad], pairs: Iterable[tuple[Pad, Pad]]) -> tuple[tuple[Pad, ...], ...]:
    """Pads grouped by the pairs that join them, each group and the list of groups sorted."""
    parent = {pad: pad for pad in pads}

    def root(pad: Pad) -> Pad:
        while parent[pad] != pad:
            parent[pad] = parent[parent[pad]]
            pad = parent[pad]
        return pad

    for one, other in pairs:
        parent[root(one)] = root(other)
    groups: dict[Pad, list[Pad]] = {}
    for pad in parent:
        groups.setdefault(root(pad), []).append(pad)
    return tuple(sorted(tuple(sorted(members)) for members in groups.values()))


def wires_of(links: Sequence[LinkSpec]) -> list[Wire]:
    """Every wire of the links, in order."""
    return [Wire(link.source, link.target, number) for link in links for number in range(WIRES)]
