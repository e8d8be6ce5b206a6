"""The simulated ring: boards, wires and virtual time, down to GPIO pads and UART bit times.

Imports nothing from the rest of the harness. What is modelled and how faithfully: docs/simulator.md.
"""

from hil.sim.build import BuildError
from hil.sim.faults import (
    Bridge,
    Delay,
    Drift,
    Fault,
    Glitch,
    NoGround,
    Open,
    StrikeAfter,
    StrikeAt,
    Stuck,
    UartHangUp,
    UartLimit,
    UartNoise,
)
from hil.sim.netlist import Netlist, Wire
from hil.sim.records import BoardConfig, Contention, Counters, Output
from hil.sim.simulation import TIMER_START_US, Simulation, SimulationError

__all__ = [
    "TIMER_START_US",
    "BoardConfig",
    "Bridge",
    "BuildError",
    "Contention",
    "Counters",
    "Delay",
    "Drift",
    "Fault",
    "Glitch",
    "Netlist",
    "NoGround",
    "Open",
    "Output",
    "Simulation",
    "SimulationError",
    "StrikeAfter",
    "StrikeAt",
    "Stuck",
    "UartHangUp",
    "UartLimit",
    "UartNoise",
    "Wire",
]
