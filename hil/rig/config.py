"""Rig files: which boards, ports and links there are.

Format: docs/rigs.md. Owns: the TOML reader, and which reader a rig's name asks for. What a rig is: hil/rig/specs.py.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hil.errors import RigError
from hil.protocol.link_messages import Bank
from hil.rig.devices_conf import DEVICES_SUFFIX, devices_rig
from hil.rig.labgrid import SUFFIXES, labgrid_config
from hil.rig.power_spec import parse_power
from hil.rig.specs import (
    BAUD_DEFAULT,
    BAUD_MAX,
    BAUD_MIN,
    DRIFT_PPM_MAX,
    GPU_MEM_DEFAULT,
    GPU_MEM_MIN,
    MEMORY_MB,
    START_DELAY_MS_MAX,
    WATCHDOG_S_DEFAULT,
    WATCHDOG_S_MAX,
    WATCHDOG_S_MIN,
    WORLD_SIZE_MAX,
    BoardSpec,
    LinkSpec,
    ProbeSpec,
    RigConfig,
    SimSpec,
    by_rank,
    ring_links,
    sim_rig,
)


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
    if path.suffix == DEVICES_SUFFIX:
        return devices_rig(path)
    if path.suffix in SUFFIXES:
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
    memory_mb = _parse_memory(head.get("memory_mb", MEMORY_MB[0]), len(boards), f"rig {path}")
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


def _parse_memory(value: Any, count: int, where: str) -> tuple[int, ...]:
    """Megabytes of each of `count` boards, from one number for all or a list of one for each."""
    found = tuple(value) if isinstance(value, list) else (value,) * count
    if len(found) != count or any(size not in MEMORY_MB for size in found):
        sizes = " or ".join(map(str, MEMORY_MB))
        raise RigError(f"{where}: memory_mb = {value!r}: give {sizes}, or a list of {count}, one for each board")
    return found


def parse_gpu_mem(value: Any, memory_mb: Sequence[int], where: str) -> int:
    """Megabytes of every board that its GPU keeps. Raises RigError beginning with `where`."""
    most = min(memory_mb) - 1
    if not isinstance(value, int) or not GPU_MEM_MIN <= value <= most:
        raise RigError(f"{where}: gpu_mem = {value!r}: give {GPU_MEM_MIN} to {most} MB, as in config.txt on the cards")
    return value


def _refuse_unknown(table: Any, known: set[str], where: str) -> None:
    if not isinstance(table, Mapping):
        raise RigError(f"{where}: {table!r} is not a table of `key = value`; known keys are {', '.join(sorted(known))}")
    for key in table:
        if key not in known:
            raise RigError(f"{where}: unknown key `{key}`; known are {', '.join(sorted(known))}")


def _tables(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise RigError(f"{where}: {value!r} is not a list of tables; write [[...]] with two brackets")
    return value


def _whole(value: Any, what: str, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RigError(f"{where}: {what} = {value!r}: give a whole number")
    return value


def _numbers(table: Mapping[str, Any], key: str, low: float, high: float, where: str) -> tuple[float, ...]:
    values = table.get(key, [])
    good = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high for value in values
    )
    if not good:
        raise RigError(f"{where} {key} = {values!r}: give a list of numbers from {low:.12g} to {high:.12g}")
    return tuple(values)


def _serial(text: Any, where: str) -> int:
    try:
        value = int(text, 16) if isinstance(text, str) else -1
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise RigError(
            f'{where}: serial = {text!r}: give the 16 hexadecimal digits of the board, as "00000000a5c0ffee"'
        )
    return value


def _parse_sim(table: Mapping[str, Any], path: Path) -> SimSpec:
    _refuse_unknown(table, {"boards", "drift_ppm", "start_delay_ms", "faults", "cards"}, f"rig {path}: [sim]")
    faults = table.get("faults", [])
    if not isinstance(faults, list) or not all(isinstance(fault, str) for fault in faults):
        raise RigError(f'rig {path}: [sim] faults = {faults!r}: give a list of texts, like ["open:1-2.D3"]')
    cards = table.get("cards", [])
    if cards != [] and (not isinstance(cards, list) or len(cards) != table.get("boards")):
        raise RigError(f"rig {path}: [sim] cards = {cards!r}: give a list with one folder or image for each board")
    found = tuple(path.parent / str(card) for card in cards)
    for card in found:
        if "\0" in str(card) or not card.exists():
            raise RigError(f"rig {path}: [sim] cards: {card} does not exist; `hil sd write` makes one")
    where = f"rig {path}: [sim]"
    drift_ppm = _numbers(table, "drift_ppm", -DRIFT_PPM_MAX, DRIFT_PPM_MAX, where)
    start_delay_ms = _numbers(table, "start_delay_ms", 0, START_DELAY_MS_MAX, where)
    return SimSpec(drift_ppm, start_delay_ms, tuple(faults), found)


def _parse_boards(data: Mapping[str, Any], path: Path, *, sim_boards: int | None) -> tuple[BoardSpec, ...]:
    if sim_boards is not None:
        if "board" in data:
            raise RigError(f"rig {path}: give either `boards` in [sim] or [[board]] tables, not both")
        count = _whole(sim_boards, "boards", f"rig {path}: [sim]")
        if not 1 <= count <= WORLD_SIZE_MAX:
            raise RigError(f"rig {path}: [sim] boards = {count}: give 1 to {WORLD_SIZE_MAX}")
        return sim_rig(count).boards
    boards = []
    for table in _tables(data.get("board", []), f"rig {path}: [[board]]"):
        _refuse_unknown(table, {"rank", "port", "serial"}, f"rig {path}: [[board]]")
        if "rank" not in table or "port" not in table:
            raise RigError(f"rig {path}: every [[board]] needs `rank` and `port`; got {dict(table)}")
        where = f"rig {path}: [[board]]"
        serial = _serial(table["serial"], where) if "serial" in table else None
        boards.append(BoardSpec(_whole(table["rank"], "rank", where), str(table["port"]), serial))
    return by_rank(boards, f"rig {path}")


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


def _parse_links(tables: Any, world_size: int, path: Path) -> tuple[LinkSpec, ...]:
    links = []
    where = f"rig {path}: [[link]]"
    for table in _tables(tables, where):
        _refuse_unknown(table, {"from", "to"}, where)
        link = LinkSpec(*(_whole(table.get(key, -1), key, where) for key in ("from", "to")))
        if not (0 <= link.source < world_size and 0 <= link.target < world_size):
            raise RigError(f"rig {path}: link {link}: `from` and `to` must be ranks 0..{world_size - 1}")
        links.append(link)
    return tuple(links)
