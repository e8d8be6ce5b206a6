"""What a rig is: its boards, ports, links, probe. Plain data. Read from files by hil/rig/config.py.

Owns: the limits of each field, and the built-in simulated rigs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hil.errors import RigError
from hil.protocol.link_messages import Bank
from hil.protocol.shard_header import WORLD_SIZE_MAX as WORLD_SIZE_MAX
from hil.rig.power_spec import PowerSpec

PROBE = -1
"""Stands for the probe where a link's end is a rank."""
BAUD_DEFAULT = 115200
BAUD_MIN, BAUD_MAX = 1200, 3_000_000
MEMORY_MB = (512, 256)
"""What boards of this family have; 256 is an old A+."""
GPU_MEM_DEFAULT = 64
GPU_MEM_MIN = 16
DRIFT_PPM_MAX = 10_000.0
START_DELAY_MS_MAX = 3_600_000.0
"""Both of simulated boards."""
WATCHDOG_S_DEFAULT = 15.0
WATCHDOG_S_MIN = 0.1
WATCHDOG_S_MAX = 15.999
"""The chip's watchdog counts 20 bits of 1/65536 s."""


@dataclass(frozen=True, slots=True)
class BoardSpec:
    """One board: its rank, its serial port (path, pyserial URL or suffix), if known its serial number, its memory."""

    rank: int
    port: str
    serial: int | None = None
    memory_mb: int = MEMORY_MB[0]


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """Ten wires from the downstream (high) bank of one board to the upstream (low) bank of another."""

    source: int
    target: int

    def __str__(self) -> str:
        return f"{end_text(self.source)}->{end_text(self.target)}"


def end_text(end: int) -> str:
    """One end of a link: a rank, or `probe`."""
    return "probe" if end == PROBE else str(end)


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """An FT232H on one bank of one board (docs/probe.md). url: pyftdi's; of a simulated rig, known once it is open."""

    board: int = 0
    bank: Bank = Bank.DOWNSTREAM
    url: str = ""

    @property
    def link(self) -> LinkSpec:
        """The link that it makes with the board."""
        return LinkSpec(self.board, PROBE) if self.bank == Bank.DOWNSTREAM else LinkSpec(PROBE, self.board)


@dataclass(frozen=True, slots=True)
class SimSpec:
    """How simulated boards differ from perfect ones. One entry per board, or empty for the default."""

    drift_ppm: tuple[float, ...] = ()
    start_delay_ms: tuple[float, ...] = ()
    faults: tuple[str, ...] = ()
    """As hil/rig/faults.py reads them."""
    cards: tuple[Path, ...] = ()
    """A folder or an image for each board; empty: cards are written for the run."""


@dataclass(frozen=True, slots=True)
class RigConfig:
    """A rig. `sim` is set where the boards are simulated; then ports are sim://RANK."""

    name: str
    boards: tuple[BoardSpec, ...]
    links: tuple[LinkSpec, ...]
    baud: int = BAUD_DEFAULT
    sim: SimSpec | None = None
    source: Path | None = None
    power: PowerSpec | None = None
    boot_baud: int | None = None
    """Of bootloader and image at start; None: as `baud`, to which the line is brought after boot."""
    watchdog_s: float = WATCHDOG_S_DEFAULT
    """A board whose image makes no progress for so long resets itself; 0: never."""
    probe: ProbeSpec | None = None
    gpu_mem: int = GPU_MEM_DEFAULT
    """Megabytes that the cards give to the GPU."""

    @property
    def baud_at_boot(self) -> int:
        """Of bootloader and image at start."""
        return self.boot_baud if self.boot_baud is not None else self.baud

    @property
    def world_size(self) -> int:
        """Number of boards."""
        return len(self.boards)

    @property
    def all_links(self) -> tuple[LinkSpec, ...]:
        """The links between boards, and the one to the probe."""
        return self.links if self.probe is None else (*self.links, self.probe.link)

    @property
    def is_loopback(self) -> bool:
        """One board whose high bank is wired to its own low bank."""
        return self.world_size == 1 and bool(self.links)

    @property
    def is_ring(self) -> bool:
        """Every board is wired to the next, and there are at least two."""
        return self.world_size >= 2 and set(self.links) == set(ring_links(self.world_size))


def by_rank(boards: Iterable[BoardSpec], where: str, name: str = "ranks") -> tuple[BoardSpec, ...]:
    """The boards of a rig, in order. Raises RigError if their ranks have gaps or if two of them share a port.

    Args:
        where: begins the message.
        name: what the ranks are called there.
    """
    found = tuple(sorted(boards, key=lambda spec: spec.rank))
    ranks, ports = [spec.rank for spec in found], [spec.port for spec in found]
    if not found or ranks != list(range(len(found))) or len(found) > WORLD_SIZE_MAX:
        raise RigError(
            f"{where}: {name} are {ranks}; they must be 0, 1, 2, ... without gaps, for at most {WORLD_SIZE_MAX} boards"
        )
    for port in ports:
        if ports.count(port) > 1:
            raise RigError(f"{where}: port {port} is given to {ports.count(port)} boards; each board needs its own")
    return found


def ring_links(world_size: int) -> tuple[LinkSpec, ...]:
    """The links of a ring; none for a single board."""
    if world_size < 2:
        return ()
    return tuple(LinkSpec(n, (n + 1) % world_size) for n in range(world_size))


def sim_rig(world_size: int = 4, *, name: str = "sim", loopback: bool = False) -> RigConfig:
    """A simulated rig. Raises RigError if world_size is not 1..16."""
    if not 1 <= world_size <= WORLD_SIZE_MAX:
        raise RigError(f"world size {world_size}: a simulated rig has 1 to {WORLD_SIZE_MAX} boards")
    boards = tuple(BoardSpec(rank, f"sim://{rank}") for rank in range(world_size))
    links = (LinkSpec(0, 0),) if loopback else ring_links(world_size)
    return RigConfig(name, boards, links, sim=SimSpec())
