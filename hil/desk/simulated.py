"""Simulated rigs: from a rig's description to a simulation with written cards.

Owns: the cards' folders, serial numbers of simulated boards, and the border at which the simulator's errors become a
rig's: the simulator knows nothing of the harness. Wires and faults: hil/desk/faulty.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.desk.faulty import rig_wires
from hil.errors import RigError
from hil.model.card import write_card
from hil.probe.pins import WIRE_MASK
from hil.rig.specs import BoardSpec, RigConfig
from hil.sim import BoardConfig, BuildError, Fault, Netlist, Simulation, SimulationError, Wire
from hil.sim.card import read_card
from hil.toolchain import Image

if TYPE_CHECKING:
    from hil.sim.ft232h import Ft232h

_NUMBERS = itertools.count(1)
"""So that each virtual adapter of this process has a serial number of its own."""
MIB = 1 << 20
SERIAL_BASE = 0xB0A2_D000
"""Serial number of simulated board 0, unless the rig file gives one."""


class RigSimulation(Simulation):
    """The simulation of a rig: what goes wrong in it is a RigError that names the rig."""

    def __init__(self, name: str, boards: Sequence[BoardConfig], netlist: Netlist, **options: Any) -> None:
        self._rig = name
        try:
            super().__init__(boards, netlist, **options)
        except (SimulationError, BuildError) as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> RigError:
        return RigError(f"rig {self._rig} (simulated): {error}")

    def set_wires(self, wires: Iterable[Wire], faults: Sequence[Fault] = ()) -> None:
        """As Simulation does."""
        try:
            super().set_wires(wires, faults)
        except SimulationError as error:
            raise self._named(error) from error

    def power_on(self, index: int) -> None:
        """As Simulation does."""
        try:
            super().power_on(index)
        except SimulationError as error:
            raise self._named(error) from error

    def run(self, until_ns: int, *, stop_on_rx: Iterable[int] = (), stop_on_act: bool = False) -> bool:
        """As Simulation does."""
        try:
            return super().run(until_ns, stop_on_rx=stop_on_rx, stop_on_act=stop_on_act)
        except SimulationError as error:
            raise self._named(error) from error


def simulate(
    config: RigConfig, *, seed: int, kernel: Image, shards: Sequence[Path | None] | None, work: Path
) -> Simulation:
    """The simulation of a rig, powered off, with the rig file's cards or one card folder per board under work.

    Raises: RigError if a card cannot be written or its board would not start from it, or for what the simulator
    cannot do.
    """
    if config.sim is None:
        raise RigError(f"rig {config.name} has real ports; there is nothing to simulate")
    boards = [
        BoardConfig(
            card=_given_card(config, spec) or _write_card(config, spec, kernel, shards, work),
            ram_bytes=spec.memory_mb * MIB,
            serial=spec.serial if spec.serial is not None else SERIAL_BASE + spec.rank,
            drift_ppm=_entry(config.sim.drift_ppm, spec.rank),
            start_delay_ns=int(_entry(config.sim.start_delay_ms, spec.rank) * 1e6),
        )
        for spec in config.boards
    ]
    outside = {}
    if config.probe is not None:
        from hil.sim.ft232h import PINS

        outside = {"FT232H": PINS}
    return RigSimulation(config.name, boards, Netlist(rig_wires(config).values()), seed=seed, outside=outside)


def _given_card(config: RigConfig, spec: BoardSpec) -> Path | None:
    """The rig file's card of a board, if it has one and the board would start from it."""
    if config.sim is None or not config.sim.cards:
        return None
    card = config.sim.cards[spec.rank]
    boot = read_card(card, ram_bytes=spec.memory_mb * MIB)
    if boot.entry is None:
        raise RigError(
            f"rig {config.name}: [sim] cards: board {spec.rank}: {boot.notes[-1]}; `hil sd write` makes a good one"
        )
    return card


def _write_card(
    config: RigConfig, spec: BoardSpec, kernel: Image, shards: Sequence[Path | None] | None, work: Path
) -> Path:
    card = work / "cards" / config.name / f"board{spec.rank}"
    try:
        write_card(
            card, kernel=kernel.path, shard=shards[spec.rank] if shards is not None else None, rank=spec.rank,
            gpu_mem=config.gpu_mem, memory_bytes=spec.memory_mb * MIB,
        )  # fmt: skip
    except ValueError as error:
        raise RigError(f"rig {config.name}: the simulated card: {error}") from error
    except OSError as error:
        raise RigError(
            f"rig {config.name}: the simulated card {card} cannot be written: {error.strerror or error}; "
            "is there room, and may you write there?"
        ) from error
    return card


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
