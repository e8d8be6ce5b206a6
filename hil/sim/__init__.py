"""The simulated ring: boards, wires and virtual time, down to GPIO pads and UART bit times.

Imports nothing from the rest of the harness. What is modelled and how faithfully: docs/simulator.md.
"""

from hil.sim.build import BuildError
from hil.sim.faults import Bridge, Fault, NoGround, Open, Stuck
from hil.sim.netlist import Netlist, Wire
from hil.sim.simulation import BoardConfig, Contention, Counters, Output, Simulation, SimulationError

__all__ = [
    "BoardConfig",
    "Bridge",
    "BuildError",
    "Contention",
    "Counters",
    "Fault",
    "Netlist",
    "NoGround",
    "Open",
    "Output",
    "Simulation",
    "SimulationError",
    "Stuck",
    "Wire",
]
