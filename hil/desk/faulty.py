"""What faults do to a simulated rig: its wires, boards and serial lines; and every single wiring fault there is.

The kinds: hil/rig/faults.py. The models behind them: hil/sim/faults.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Literal

from hil import sim
from hil.probe.pins import WIRE_PINS
from hil.protocol.link_messages import Bank
from hil.rig.faults import (
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
    Stuck,
    Swap,
    UartHangUp,
    UartLimit,
    UartNoise,
    WireRef,
    WiringFault,
)
from hil.rig.pins import CLK, WIRE_NAMES, gpio
from hil.rig.specs import ProbeSpec, RigConfig

WIRES_PER_LINK = len(WIRE_NAMES)
CLOCK_PINS = tuple(gpio(bank, CLK) for bank in Bank)


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

    Faults on a wire of a link that is missing have no effect. Times count from now.
    """
    wires = faulty_wires(config, faults)
    made: list[sim.Fault] = []
    for fault in faults:
        made += _wire_faults(fault, wires) + _board_faults(fault)
    made += _noise(faults)
    simulation.set_wires(wires.values(), made)


def _wire_faults(fault: Fault, wires: dict[WireRef, sim.Wire]) -> list[sim.Fault]:
    match fault:
        case Open(at) if at in wires:
            return [sim.Open(wires[at])]
        case Stuck(at, level) if at in wires:
            return [sim.Stuck(wires[at], level)]
        case Bridge(a, b, kind) if a in wires and b in wires:
            return [sim.Bridge(wires[a], wires[b], kind)]
        case Delay(at, delay_ns) if at in wires:
            return [sim.Delay(wires[at], delay_ns)]
        case Glitch(at, rate, width_ns) if at in wires:
            return [sim.Glitch(wires[at], wires[WireRef(at.link, CLK)], rate, width_ns)]
        case NoGround(link):
            return [sim.NoGround(wire) for ref, wire in wires.items() if ref.link == link]
        case _:
            return []


def _board_faults(fault: Fault) -> list[sim.Fault]:
    match fault:
        case Strike(kind, board, None, int(byte)):
            return [sim.StrikeAfter(board, kind, byte, CLOCK_PINS)]
        case Strike(kind, board, int(after_ns)):
            return [sim.StrikeAt(board, kind, after_ns)]
        case Drift(board, drift_ppm):
            return [sim.Drift(board, drift_ppm)]
        case UartLimit(board, baud):
            return [sim.UartLimit(board, baud)]
        case UartHangUp(board, after_ns):
            return [sim.UartHangUp(board, after_ns)]
        case _:
            return []


def _noise(faults: Sequence[Fault]) -> list[sim.Fault]:
    """One entry per board with a noisy line; of two rates of one kind the later counts."""
    rates: dict[int, dict[str, float]] = {}
    for fault in faults:
        if isinstance(fault, UartNoise):
            rates.setdefault(fault.board, {})[f"{fault.kind}_rate"] = fault.rate
    return [sim.UartNoise(board, **of_board) for board, of_board in rates.items()]


def single_faults(config: RigConfig) -> list[WiringFault]:
    """Every single wiring fault of a rig, in a fixed order: for benches.

    On a ring of four: 40 wires open, stuck at 0 and at 1; 780 pairs of wires bridged, with each kind of bridge;
    180 swaps within a link; 4 links reversed, 4 missing; 6 pairs of links crossed.
    """
    refs = list(rig_wires(config))
    faults: list[WiringFault] = [Open(ref) for ref in refs]
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
