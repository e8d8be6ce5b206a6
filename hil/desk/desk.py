"""The desk: a rig that is open. Its loop, its boards with their logs, its power.

Owns: opening every port *before* any board is reset, closing in order. Simulated rigs: hil/desk/simulated.py.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hil.board.board import Board
from hil.desk.faulty import apply_faults
from hil.desk.lock import RigLock
from hil.desk.power import Power, make_power, sim_power
from hil.errors import PortError, RigError
from hil.line.log import BoardLog
from hil.line.loop import RECONNECT_S, Loop, SimWaiter, WallWaiter
from hil.line.names import resolve_port
from hil.rig.faults import Fault, WireRef, parse_fault
from hil.rig.labgrid import is_labgrid
from hil.rig.specs import BoardSpec, RigConfig
from hil.toolchain import Image

if TYPE_CHECKING:
    from hil.desk.wires import WireRecording
    from hil.sim import Contention, Simulation
    from hil.sim.ft232h import Ft232h


class Desk:
    """An open rig.

    Args:
        config: the rig.
        logs: folder for pi{n}.log and pi{n}.raw.
        seed: of everything random; printed in reports.
        simulation: set for a simulated rig; see `simulate`.
        held: what the rig holds (locks, places, simulated cards); let go by `close`.
        power: resets the boards; default what the rig file says.
        virtual_probe: the plugged-in adapter of a simulated rig's probe; unplugged by `close`.
    Raises: PortError if a port cannot be opened; then every port is closed again.
    """

    def __init__(
        self,
        config: RigConfig,
        logs: Path,
        *,
        seed: int,
        simulation: Simulation | None = None,
        held: ExitStack | None = None,
        power: Power | None = None,
        virtual_probe: Ft232h | None = None,
    ) -> None:
        self.config = config
        self.logs = logs
        self.seed = seed
        self.simulation = simulation
        self.virtual_probe = virtual_probe
        self._held = held or ExitStack()
        waiter = SimWaiter(simulation) if simulation is not None else WallWaiter()
        self.loop = Loop(waiter, reconnect_s=RECONNECT_S)
        self.power = power or (make_power(config.power) if simulation is None else sim_power(simulation))
        self.boards: list[Board] = []
        self._recording: WireRecording | None = None
        session = random.Random(seed).getrandbits(32)
        try:
            for spec in config.boards:
                self.boards.append(self._open_board(spec, session))
        except BaseException:
            self.close()
            raise

    def _open_board(self, spec: BoardSpec, session: int) -> Board:
        log = BoardLog(self.logs, spec.rank)
        try:
            board = Board(spec, self.loop, log, self.config.baud_at_boot, session=session)
        except PortError as error:
            raise PortError(f"board {spec.rank}: {error}") from None
        board.reset = lambda: self.power.reset(board)
        board.describe_reset = lambda: self.power.describe()
        return board

    def contentions(self) -> Sequence[Contention]:
        """Outputs that met on a wire so far; empty on a real rig, which cannot see them."""
        return self.simulation.contentions if self.simulation is not None else []

    def set_faults(self, faults: Iterable[Fault | str]) -> tuple[Fault, ...]:
        """Give a simulated rig exactly these faults from now on, its boards running or not; () repairs it.

        Args:
            faults: as text (`open:1-2.D3`, docs/rigs.md) or as parse_fault and single_faults give them.
        Returns: them, parsed.
        Raises: RigError if one is wrong (then nothing has changed) or the rig is real.
        """
        parsed = tuple(parse_fault(f, self.config) if isinstance(f, str) else f for f in faults)
        if self.simulation is not None:
            apply_faults(self.simulation, self.config, parsed)
            self.simulation.mark("faults: " + (", ".join(map(str, parsed)) or "none"))
        elif parsed:
            raise RigError(
                f"fault {parsed[0]}: rig {self.config.name} has real boards; faults can be set on simulated rigs only"
            )
        return parsed

    def trace(self, path: Path, wires: Iterable[WireRef] | None = None) -> None:
        """Record wires of a simulated rig into a VCD file (GTKWave), until `end_trace` or `close`.

        Args:
            wires: default all. Names of signals: hil/desk/wires.py.
        Raises: RigError on a real rig.
        """
        if self.simulation is None:
            raise RigError(f"rig {self.config.name} has real boards; only a simulated rig can record its wires")
        from hil.desk.wires import WireRecording

        self.end_trace()
        self._recording = WireRecording(self.simulation, self.config, path, wires)

    def flush_trace(self, latest: int | None = None) -> Path | None:
        """Make the file of the running recording readable as it is now; its path, or None when none runs.

        Args:
            latest: write at most this many changes, the latest ones.
        """
        if self._recording is None:
            return None
        self._recording.flush(latest)
        return self._recording.path

    def discard_trace(self) -> None:
        """Stop recording and remove the file; harmless when nothing is recorded."""
        if self._recording is not None:
            self._recording.discard()
            self._recording = None

    def end_trace(self) -> None:
        """Stop recording and complete the file; harmless when nothing is recorded."""
        if self._recording is not None:
            self._recording.close()
            self._recording = None

    def close(self) -> None:
        """Close ports, logs and the simulation."""
        self.end_trace()
        self.power.close()
        self.loop.close()
        for board in self.boards:
            board.finish_text()
            board.log.close()
        self._held.close()
        if self.virtual_probe is not None:
            from hil.sim.ftdi_usb import unplug

            unplug(self.virtual_probe)
        if self.simulation is not None:
            from hil.sim import registry

            registry.unregister(self.config.name)
            self.simulation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_desk(
    config: RigConfig,
    logs: Path,
    *,
    seed: int,
    kernel: Image | None = None,
    shards: Sequence[Path | None] | None = None,
    work: Path | None = None,
    faults: Iterable[str] = (),
) -> Desk:
    """Open a rig: for a simulated one, write the boards' cards and start the simulation first.

    Args:
        kernel: bootloader for the simulated cards; needed for a simulated rig only.
        shards: one shard file per rank for the simulated cards, or None for boards without a model.
        work: folder for the simulated cards; default: one of this desk alone beside its logs, removed when it closes.
        faults: of a simulated rig, beside those of its rig file.
    Raises: RigError, PortError.
    """
    if config.sim is None:
        for fault in faults:
            raise RigError(
                f"fault {fault}: rig {config.name} has real boards; faults can be set on simulated rigs only"
            )
        with ExitStack() as held:
            config, power = hold_ports(config, held)
            return Desk(config, logs, seed=seed, held=held.pop_all(), power=power)
    if kernel is None:
        raise RigError(f"rig {config.name} is simulated: its cards need a bootloader image")
    from hil.desk.simulated import simulate

    with ExitStack() as held:
        folder = work or held.enter_context(own_folder(logs))
        simulation = simulate(config, seed=seed, kernel=kernel, shards=shards, work=folder)
        desk = _open_simulated(config, logs, seed, simulation, held.pop_all())
    try:
        desk.set_faults((*config.sim.faults, *faults))
    except BaseException:
        desk.close()
        raise
    return desk


@contextmanager
def own_folder(logs: Path) -> Iterator[Path]:
    """A folder for simulated cards that no other run has, beside the logs; removed at the end. Raises RigError."""
    try:
        logs.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="cards-", dir=logs))
    except OSError as error:
        raise RigError(
            f"{logs}: cannot be written: {error.strerror or error}; name another folder with --logs"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_simulated(config: RigConfig, logs: Path, seed: int, simulation: Simulation, held: ExitStack) -> Desk:
    """The desk of a simulation, which is closed if that does not work."""
    from hil.desk.simulated import plug_probe, sim_ports
    from hil.sim import registry

    registry.register(config.name, simulation)
    try:
        config, probe = plug_probe(config, simulation)
        return Desk(sim_ports(config), logs, seed=seed, simulation=simulation, held=held, virtual_probe=probe)
    except BaseException:
        registry.unregister(config.name)
        simulation.close()
        held.close()
        raise


def hold_ports(config: RigConfig, held: ExitStack) -> tuple[RigConfig, Power | None]:
    """Make the ports of a real rig this run's own: acquire a labgrid's places, find the ports, lock them.

    Args:
        held: lets go of everything when it is closed.
    Returns: the rig with paths and URLs, and what a labgrid has to reset its boards.
    Raises: RigError, PortError.
    """
    power = None
    if is_labgrid(config):
        from hil.desk.labgrid import LabgridRig

        rig = LabgridRig(config)
        held.callback(rig.release)
        power = rig.power(config)
        ports = [rig.port(spec) for spec in config.boards]
    else:
        ports = [resolve_port(spec.port) for spec in config.boards]
    probe = [config.probe.url] if config.probe is not None else []
    held.callback(RigLock([*ports, *probe], rig=config.name).release)
    boards = tuple(replace(spec, port=port) for spec, port in zip(config.boards, ports, strict=True))
    return replace(config, boards=boards), power
