"""A virtual FT232H on the nets of a simulation without boards, opened by real pyftdi over real pyusb."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from hil.sim import Netlist, Simulation, Wire
from hil.sim.ft232h import PINS, Ft232h
from hil.sim.ftdi_usb import NetPads, plug, unplug
from hil.sim.records import BoardConfig
from hil.sim.simulation import Outside

NO_BOARD = BoardConfig(None)


@dataclass
class Bench:
    """An adapter, whose pin n is wired to pad n of `peer`, which is the test's to drive."""

    simulation: Simulation
    adapter: Ft232h
    peer: Outside
    url: str


@pytest.fixture
def bench() -> Iterator[Bench]:
    wires = Netlist(Wire(1, pin, 2, pin) for pin in range(len(PINS)))
    outside: dict[str, Any] = {"FT232H": PINS, "peer": PINS}
    with Simulation([NO_BOARD], wires, seed=1, outside=outside) as simulation:
        adapter = Ft232h(NetPads(simulation.outside[0], pulled_down=0), serial="BENCH")
        yield Bench(simulation, adapter, simulation.outside[1], plug(adapter))
        unplug(adapter)
