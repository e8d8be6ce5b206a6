"""Faults as data: what can be wrong with the wires between simulated boards.

`Simulation.set_faults` takes any number of them, also while boards run. A wire is one of the simulation's netlist.
Wiring mistakes (swapped, reversed, crossed, missing wires) are not faults here but other wires: `set_wires`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hil.sim.netlist import Wire

BridgeKind = Literal["and", "or"]


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


Fault = Open | Stuck | Bridge | NoGround
