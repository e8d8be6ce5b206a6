"""Simulated rigs: from a rig's description to a simulation with written cards.

Owns: the cards' folders, serial numbers of simulated boards. Wires and faults: hil/desk/faulty.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hil.desk.faulty import rig_wires
from hil.errors import RigError
from hil.model.card import write_card
from hil.probe.pins import WIRE_MASK
from hil.rig.specs import RigConfig
from hil.sim import BoardConfig, Netlist, Simulation
from hil.toolchain import Image

if TYPE_CHECKING:
    from hil.sim.ft232h import Ft232h

_NUMBERS = itertools.count(1)
"""So that each virtual adapter of this process has a serial number of its own."""
MIB = 1 << 20
SERIAL_BASE = 0xB0A2_D000
"""Serial number of simulated board 0, unless the rig file gives one."""


def simulate(
    config: RigConfig, *, seed: int, kernel: Image, shards: Sequence[Path | None] | None, work: Path
) -> Simulation:
    """The simulation of a rig, powered off, with the rig file's cards or one card folder per board under work."""
    if config.sim is None:
        raise RigError(f"rig {config.name} has real ports; there is nothing to simulate")
    boards = []
    for spec in config.boards:
        if config.sim.cards:
            card = config.sim.cards[spec.rank]
        else:
            card = work / "cards" / config.name / f"board{spec.rank}"
            shard = shards[spec.rank] if shards is not None else None
            write_card(
                card, kernel=kernel.path, shard=shard, rank=spec.rank,
                gpu_mem=config.gpu_mem, memory_bytes=spec.memory_mb * MIB,
            )  # fmt: skip
        boards.append(
            BoardConfig(
                card=card,
                ram_bytes=spec.memory_mb * MIB,
                serial=spec.serial if spec.serial is not None else SERIAL_BASE + spec.rank,
                drift_ppm=_entry(config.sim.drift_ppm, spec.rank),
                start_delay_ns=int(_entry(config.sim.start_delay_ms, spec.rank) * 1e6),
            )
        )
    outside = {}
    if config.probe is not None:
        from hil.sim.ft232h import PINS

        outside = {"FT232H": PINS}
    return Simulation(boards, Netlist(rig_wires(config).values()), seed=seed, outside=outside)


def plug_probe(config: RigConfig, simulation: Simulation) -> tuple[RigConfig, Ft232h | None]:
    """Plug the virtual adapter of a simulated rig's probe in; the rig with its URL, and the adapter.

    The ten wires have resistors to ground, as docs/probe.md asks for.
    """
    if config.probe is None:
        return config, None
    from hil.sim.ft232h import Ft232h
    from hil.sim.ftdi_usb import NetPads, plug

    adapter = Ft232h(NetPads(simulation.outside[0], pulled_down=WIRE_MASK), serial=f"SIM{next(_NUMBERS)}")
    return replace(config, probe=replace(config.probe, url=plug(adapter))), adapter


def _entry(values: tuple[float, ...], rank: int) -> float:
    return values[rank] if rank < len(values) else 0.0


def sim_ports(config: RigConfig) -> RigConfig:
    """The same rig with its ports at the simulation that is registered under the rig's name."""
    boards = tuple(replace(spec, port=f"sim://{config.name}/{spec.rank}") for spec in config.boards)
    return replace(config, boards=boards)
