"""Rig files: which boards, ports and links there are.

Format: docs/rigs.md. Owns: the TOML reader and the built-in simulated rigs `sim` and `sim-loopback`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hil.errors import RigError
from hil.protocol.messages import Bank
from hil.rig.memory import GPU_MEM_DEFAULT, MEMORY_MB, parse_gpu_mem, parse_memory
from hil.rig.power_spec import PowerSpec, parse_power

WORLD_SIZE_MAX = 16
PROBE = -1
"""Stands for the probe where a link's end is a rank."""
BAUD_DEFAULT = 115200
BAUD_MIN, BAUD_MAX = 1200, 3_000_000
WATCHDOG_S_DEFAULT = 15.0
WATCHDOG_S_MIN, WATCHDOG_S_MAX = 0.1, 15.999
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
    """As hil/rig/fault_reader.py reads them."""
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


def load_rig(text: str, *, world_size: int = 4) -> RigConfig:
    """The rig that `--hil-rig TEXT` means.

    Args:
        text: `sim`, `sim-loopback`, `sim-probe`, or a path: of a TOML rig file, a devices.conf, or a
            labgrid environment (.yaml).
    Raises RigError with one sentence if there is no such rig or the file is wrong.
    """
    if text == "sim":
        return sim_rig(world_size)
    if text == "sim-loopback":
        return sim_rig(1, name="sim-loopback", loopback=True)
    if text == "sim-probe":
        return replace(sim_rig(1, name="sim-probe"), probe=ProbeSpec())
    path = Path(text)
    if not path.is_file():
        raise RigError(f"rig {text}: no such file; give a rig file, or `sim` for the simulated ring")
    if path.suffix == ".conf":
        from hil.rig.devices_conf import devices_rig

        return devices_rig(path)
    if path.suffix in (".yaml", ".yml"):
        from hil.rig.labgrid_rig import labgrid_config

        return labgrid_config(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RigError(f"rig {path}: not TOML: {error}") from None
    return replace(_parse(data, path), source=path)


def _parse(data: Mapping[str, Any], path: Path) -> RigConfig:
    _refuse_unknown(data, {"rig", "board", "link", "sim", "probe"}, f"rig {path}")
    head = data.get("rig", {})
    _refuse_unknown(
        head, {"name", "baud", "boot_baud", "power", "watchdog_s", "memory_mb", "gpu_mem"}, f"rig {path}: [rig]"
    )
    sim = _parse_sim(data["sim"], path) if "sim" in data else None
    boards = _parse_boards(data, path, sim_boards=data.get("sim", {}).get("boards"))
    links = _parse_links(data["link"], len(boards), path) if "link" in data else ring_links(len(boards))
    baud = _parse_baud(head, "baud", path)
    boot_baud = _parse_baud(head, "boot_baud", path)
    if sim is not None and "power" in head:
        raise RigError(f"rig {path}: power is for real boards; the simulator resets its boards itself")
    power = parse_power(head["power"], len(boards), f"rig {path}") if "power" in head else None
    probe = (
        _parse_probe(data["probe"], len(boards), links, path, simulated=sim is not None) if "probe" in data else None
    )
    memory_mb = parse_memory(head.get("memory_mb", MEMORY_MB[0]), len(boards), f"rig {path}")
    gpu_mem = parse_gpu_mem(head.get("gpu_mem", GPU_MEM_DEFAULT), memory_mb, f"rig {path}")
    boards = tuple(replace(spec, memory_mb=size) for spec, size in zip(boards, memory_mb, strict=True))
    name = str(head.get("name", path.stem))
    return RigConfig(
        name, boards, links, baud or boot_baud or BAUD_DEFAULT, sim, power=power, probe=probe, gpu_mem=gpu_mem,
        boot_baud=boot_baud, watchdog_s=_parse_watchdog(head, path),
    )  # fmt: skip


def _parse_baud(head: Mapping[str, Any], key: str, path: Path) -> int | None:
    baud = head.get(key)
    if baud is not None and (not isinstance(baud, int) or not BAUD_MIN <= baud <= BAUD_MAX):
        raise RigError(f"rig {path}: {key} = {baud!r}: give a whole number from {BAUD_MIN} to {BAUD_MAX}")
    return baud


def _parse_watchdog(head: Mapping[str, Any], path: Path) -> float:
    limit_s = head.get("watchdog_s", WATCHDOG_S_DEFAULT)
    if isinstance(limit_s, bool) or not isinstance(limit_s, int | float):
        limit_s = -1
    if limit_s != 0 and not WATCHDOG_S_MIN <= limit_s <= WATCHDOG_S_MAX:
        raise RigError(
            f"rig {path}: watchdog_s = {head['watchdog_s']!r}: give seconds from {WATCHDOG_S_MIN} to "
            f"{WATCHDOG_S_MAX}, or 0 for none"
        )
    return float(limit_s)


def _refuse_unknown(table: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise RigError(f"{where}: unknown key `{key}`; known are {', '.join(sorted(known))}")


def _parse_sim(table: Mapping[str, Any], path: Path) -> SimSpec:
    _refuse_unknown(table, {"boards", "drift_ppm", "start_delay_ms", "faults", "cards"}, f"rig {path}: [sim]")
    faults = table.get("faults", [])
    if not isinstance(faults, list) or not all(isinstance(fault, str) for fault in faults):
        raise RigError(f'rig {path}: [sim] faults = {faults!r}: give a list of texts, like ["open:1-2.D3"]')
    cards = table.get("cards", [])
    if cards and (not isinstance(cards, list) or len(cards) != table.get("boards")):
        raise RigError(f"rig {path}: [sim] cards = {cards!r}: give a list with one folder or image for each board")
    found = tuple(path.parent / str(card) for card in cards)
    for card in found:
        if not card.exists():
            raise RigError(f"rig {path}: [sim] cards: {card} does not exist; `hil sd write` makes one")
    return SimSpec(tuple(table.get("drift_ppm", ())), tuple(table.get("start_delay_ms", ())), tuple(faults), found)


def _parse_boards(data: Mapping[str, Any], path: Path, *, sim_boards: int | None) -> tuple[BoardSpec, ...]:
    if sim_boards is not None:
        if "board" in data:
            raise RigError(f"rig {path}: give either `boards` in [sim] or [[board]] tables, not both")
        return sim_rig(sim_boards).boards
    boards = []
    for table in data.get("board", []):
        _refuse_unknown(table, {"rank", "port", "serial"}, f"rig {path}: [[board]]")
        if "rank" not in table or "port" not in table:
            raise RigError(f"rig {path}: every [[board]] needs `rank` and `port`; got {dict(table)}")
        serial = int(table["serial"], 16) if "serial" in table else None
        boards.append(BoardSpec(int(table["rank"]), str(table["port"]), serial))
    boards.sort(key=lambda spec: spec.rank)
    ranks = [spec.rank for spec in boards]
    if not boards or ranks != list(range(len(boards))):
        raise RigError(f"rig {path}: ranks are {ranks}; they must be 0, 1, 2, ... without gaps")
    if len(boards) > WORLD_SIZE_MAX:
        raise RigError(f"rig {path}: {len(boards)} boards; at most {WORLD_SIZE_MAX}")
    ports = [spec.port for spec in boards]
    for port in ports:
        if ports.count(port) > 1:
            raise RigError(f"rig {path}: port {port} is given to {ports.count(port)} boards; each board needs its own")
    return tuple(boards)


def _parse_probe(
    table: Mapping[str, Any], world_size: int, links: tuple[LinkSpec, ...], path: Path, *, simulated: bool
) -> ProbeSpec:
    where = f"rig {path}: [probe]"
    _refuse_unknown(table, {"url", "board", "bank"}, where)
    board, bank, url = table.get("board", 0), table.get("bank", "downstream"), table.get("url", "")
    if not isinstance(board, int) or not 0 <= board < world_size:
        raise RigError(f"{where} board = {board!r}: give the rank of a board, 0..{world_size - 1}")
    if bank not in ("downstream", "upstream"):
        raise RigError(f'{where} bank = {bank!r}: give "downstream" (GPIO 16..25) or "upstream" (GPIO 4..13)')
    if simulated and url:
        raise RigError(f"{where} url = {url!r}: a simulated rig has a simulated adapter; leave url out")
    if not simulated and not str(url).startswith("ftdi://"):
        raise RigError(f'{where} url = {url!r}: give the adapter\'s pyftdi URL, such as "ftdi://ftdi:232h/1"')
    probe = ProbeSpec(board, Bank[bank.upper()], str(url))
    for link in links:
        if board == (link.source if probe.bank == Bank.DOWNSTREAM else link.target):
            raise RigError(f"{where}: the {bank} bank of board {board} is on link {link} already; take that link away")
    return probe


def _parse_links(tables: list[Mapping[str, Any]], world_size: int, path: Path) -> tuple[LinkSpec, ...]:
    links = []
    for table in tables:
        _refuse_unknown(table, {"from", "to"}, f"rig {path}: [[link]]")
        link = LinkSpec(int(table.get("from", -1)), int(table.get("to", -1)))
        if not (0 <= link.source < world_size and 0 <= link.target < world_size):
            raise RigError(f"rig {path}: link {link}: `from` and `to` must be ranks 0..{world_size - 1}")
        links.append(link)
    return tuple(links)
