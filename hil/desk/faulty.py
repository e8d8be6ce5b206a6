"""Faults drawn into a simulated rig: its wires, and what is wrong with them, its boards and its serial lines.

The kinds: hil/rig/faults.py. The models behind them: hil/sim/faults.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from hil import sim
from hil.probe.pins import WIRE_PINS
from hil.protocol.link_messages import Bank
from hil.rig.faults import WIRES_PER_LINK, Fault, WireRef, wires_of
from hil.rig.pins import gpio
from hil.rig.specs import LinkSpec, ProbeSpec, RigConfig


def rig_wires(config: RigConfig) -> dict[WireRef, sim.Wire]:
    """Every wire of a rig as it should be, from the source's high bank to the target's low bank."""
    wires = {
        WireRef(link, k): sim.Wire(link.source, gpio(Bank.DOWNSTREAM, k), link.target, gpio(Bank.UPSTREAM, k))
        for link in config.links
        for k in range(WIRES_PER_LINK)
    }
    if config.probe is not None:
        wires |= _probe_wires(config.probe, config.world_size)
    return wires


def _probe_wires(probe: ProbeSpec, member: int) -> dict[WireRef, sim.Wire]:
    """The probe's wires; member: its number in the simulation."""
    wires = {}
    for k, pin in enumerate(WIRE_PINS):
        pads = (probe.board, gpio(probe.bank, k)), (member, pin)
        source, target = pads if probe.bank == Bank.DOWNSTREAM else pads[::-1]
        wires[WireRef(probe.link, k)] = sim.Wire(*source, *target)
    return wires


class _SimDrawing:
    """The wires of a rig with faults drawn in, in the order given.

    A wire is still called by its place at the source: its other end is what moves.
    """

    def __init__(self, config: RigConfig, faults: Iterable[Fault]) -> None:
        self._wires = rig_wires(config)
        self._unplugged: set[LinkSpec] = set()
        self._made: list[tuple[Callable[[Mapping[WireRef, sim.Wire]], sim.Fault], tuple[WireRef, ...]]] = []
        for fault in faults:
            fault.draw(self)

    @property
    def wires(self) -> dict[WireRef, sim.Wire]:
        """The wires as they are in the end."""
        return {ref: wire for ref, wire in self._wires.items() if ref.link not in self._unplugged}

    def faults(self) -> list[sim.Fault]:
        """What is wrong beside that; nothing on wires that are not there."""
        wires = self.wires
        return [make(wires) for make, at in self._made if all(ref in wires for ref in at)]

    def exchange(self, a: WireRef, b: WireRef) -> None:
        one, other = self._wires[a], self._wires[b]
        self._wires[a] = sim.Wire(one.board_a, one.pin_a, other.board_b, other.pin_b)
        self._wires[b] = sim.Wire(other.board_a, other.pin_a, one.board_b, one.pin_b)

    def cross(self, a: LinkSpec, b: LinkSpec) -> None:
        for one, other in zip(wires_of(a), wires_of(b), strict=True):
            self.exchange(one, other)

    def turn(self, link: LinkSpec) -> None:
        refs = wires_of(link)
        for k in range(WIRES_PER_LINK // 2):
            self.exchange(refs[k], refs[-1 - k])

    def unplug(self, link: LinkSpec) -> None:
        self._unplugged.add(link)

    def cut(self, at: WireRef) -> None:
        self.add(lambda wires: sim.Open(wires[at]), at)

    def tie(self, at: WireRef, level: int) -> None:
        self.add(lambda wires: sim.Stuck(wires[at], level), at)

    def join(self, a: WireRef, b: WireRef, wins: Literal["and", "or"]) -> None:
        self.add(lambda wires: sim.Bridge(wires[a], wires[b], wins), a, b)

    def unground(self, link: LinkSpec) -> None:
        for ref in wires_of(link):
            self._unground(ref)

    def _unground(self, at: WireRef) -> None:
        self.add(lambda wires: sim.NoGround(wires[at]), at)

    def add(self, make: Callable[[Mapping[WireRef, sim.Wire]], sim.Fault], *at: WireRef) -> None:
        self._made.append((make, at))


def faulty_wires(config: RigConfig, faults: Iterable[Fault]) -> dict[WireRef, sim.Wire]:
    """The wires after swaps, reversals, crossings and missing links, in the order given."""
    return _SimDrawing(config, faults).wires


def apply_faults(simulation: sim.Simulation, config: RigConfig, faults: Sequence[Fault]) -> None:
    """Make a simulation of this rig have exactly these faults, at once; () repairs it.

    Faults on a wire of a link that is missing have no effect. Times count from now.
    """
    drawing = _SimDrawing(config, faults)
    simulation.set_wires(drawing.wires.values(), drawing.faults())
