"""Card: the files on a board's SD card, and the mistakes in config.txt that keep a board silent.

Keys and traps: docs/formats.md. The image and the shard must already exist; a card is a directory (a mounted
one, or one for the simulator, made if missing) or the image of a whole FAT32 card.
Owns: CardError, config.txt, the addresses on it, the names of the GPU's boot files.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ModelError
from hil.files import atomically, write_atomically
from hil.model.fat import write_image
from hil.model.shard import read_joined_headers, read_shard_header
from hil.protocol.boot import BOOTLOADER_ADDRESS, LOAD_ADDRESS
from hil.protocol.link_messages import RING_PINS
from hil.protocol.shard_header import SHARD_ADDRESS
from hil.sim.fat import FatVolume

KERNEL_ADDRESS = LOAD_ADDRESS
"""The GPU's default; the bootloader moves itself away from there."""
ARM_MEMORY_BYTES = 512 << 20
GPU_MEMORY_MB = 64
UART_CLOCK_HZ = 48_000_000
CORE_CLOCK_MHZ = 250
LINE_BYTES_MAX = 98
"""The GPU's firmware ignores what goes beyond in a line."""

KERNEL_NAME = "kernel.img"
SHARD_NAME = "shard.bin"
CONFIG_NAME = "config.txt"
BOOT_FILES = ("bootcode.bin", "start.elf", "fixup.dat")
"""What the GPU itself starts from; Broadcom's, so they come from a folder that the user names."""
SMALL_BOOT_FILES = ("start_cd.elf", "fixup_cd.dat")
"""Needed below 32 MB of gpu_mem, copied where the user has them."""

_SECTIONS = frozenset(("all", "pi1", "pi0", "pi0w"))
_COPY_BYTES = 1 << 20


class CardError(ModelError):
    """A card cannot be written as asked; the message says where, what, the limit, and what to do."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card (a directory or an image) that was written and read back: CRC-32 (zlib) by file name."""

    directory: Path
    checksums: Mapping[str, int]


def config_text(*, has_shard: bool, gpu_mem: int = GPU_MEMORY_MB) -> str:
    """config.txt of a ring board, a comment above each line saying why."""
    lines = [
        ("the image that the GPU loads", f"kernel={KERNEL_NAME}"),
        ("where the image was linked", f"kernel_address={KERNEL_ADDRESS:#x}"),
        ("megabytes for the GPU, from the top of memory; below 32 needs start_cd.elf", f"gpu_mem={gpu_mem}"),
        ("the PL011 on GPIO 14 and 15", "enable_uart=1"),
        ("its clock; was 3 MHz in old releases, and baud derives from it", f"init_uart_clock={UART_CLOCK_HZ}"),
        ("the mini UART's clock; newer releases move it", f"core_freq={CORE_CLOCK_MHZ}"),
        ("full processor speed: without Linux nothing else asks for it", "force_turbo=1"),
        ("no firmware text on the UART before the bootloader", "uart_2ndstage=0"),
        ("the GPU writes the ATAGs at 0x100", "disable_commandline_tags=0"),
        ("boot at once", "boot_delay=0"),
        ("no rainbow", "disable_splash=1"),
        ("the ring's 20 pins: inputs, pulled down, until the firmware takes them", "gpio=4-13,16-25=ip,pd"),
    ]
    if has_shard:
        lines.append(("the shard; this key takes no '='", f"initramfs {SHARD_NAME} {SHARD_ADDRESS:#x}"))
    return "".join(f"# {why}\n{line}\n" for why, line in lines)


@dataclass(frozen=True, slots=True)
class CardPlan:
    """What goes on a card: sources by file name in the order of writing, config.txt last."""

    rank: int
    sources: Mapping[str, Path]
    config: str

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(_size_bytes(path) for path in self.sources.values()) + len(self.config)


def plan_card(
    where: Path,
    *,
    kernel: Path,
    shard: Path | None,
    rank: int,
    boot_files: Path | None = None,
    present: Mapping[str, int] | None = None,
    gpu_mem: int = GPU_MEMORY_MB,
    memory_bytes: int = ARM_MEMORY_BYTES,
) -> CardPlan:
    """Check everything that can be checked before a byte is written.

    Args:
        where: the card, for messages.
        boot_files: folder with the GPU's own files, copied along.
        present: size by name of files that are on the card already and stay.
    Raises: CardError if a file is missing, does not fit, is for another rank, or config.txt has a trap.
    """
    sources = _boot_sources(boot_files) if boot_files is not None else {}
    sources[KERNEL_NAME] = Path(kernel)
    if shard is not None:
        sources[SHARD_NAME] = Path(shard)
    sizes = {name: _size_bytes(path) for name, path in sources.items()}
    if shard is not None and len(read_joined_headers(shard)) == 1:  # joined: a board that plays every rank
        read_shard_header(shard, expect_rank=rank)
    text = config_text(has_shard=shard is not None, gpu_mem=gpu_mem)
    problems = check_config(text, {**(present or {}), **sizes}, memory_bytes=memory_bytes)
    if problems:
        raise CardError(f"{where}: rank {rank}: " + "; ".join(problems) + "; nothing was written")
    return CardPlan(rank, sources, text)


def _boot_sources(folder: Path) -> dict[str, Path]:
    missing = [name for name in BOOT_FILES if not (folder / name).is_file()]
    if missing:
        raise CardError(
            f"{folder}: has no {', '.join(missing)}; name a folder with the boot files of one firmware release "
            "(github.com/raspberrypi/firmware, folder boot)"
        )
    return {name: folder / name for name in (*BOOT_FILES, *SMALL_BOOT_FILES) if (folder / name).is_file()}


def files_in(directory: Path) -> dict[str, int]:
    """Size in bytes of each file in a folder, by name; of a missing folder, none."""
    return {path.name: path.stat().st_size for path in directory.glob("*") if path.is_file()}


def write_card(
    directory: Path | str,
    *,
    kernel: Path,
    shard: Path | None,
    rank: int,
    boot_files: Path | None = None,
    gpu_mem: int = GPU_MEMORY_MB,
    memory_bytes: int = ARM_MEMORY_BYTES,
) -> Card:
    """Write image, shard and config.txt of one board and read them back.

    Other files in the directory (the GPU's own firmware) stay. config.txt comes last, so a card that was
    pulled out too early does not boot half. memory_bytes is 256 MiB for an old A+.
    Raises: CardError if a file is missing, does not fit, is for another rank, or reads back differently.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise CardError(f"{directory}: is a file; name the directory of a mounted card, or a new directory")
    plan = plan_card(
        directory, kernel=kernel, shard=shard, rank=rank, boot_files=boot_files, present=files_in(directory),
        gpu_mem=gpu_mem, memory_bytes=memory_bytes,
    )  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    checksums = {name: _copy(path, directory / name) for name, path in plan.sources.items()}
    write_atomically(directory / CONFIG_NAME, plan.config)
    checksums[CONFIG_NAME] = zlib.crc32(plan.config.encode())
    _compare(directory, checksums, {name: _crc32(directory / name) for name in checksums})
    return Card(directory, checksums)


def write_card_image(path: Path, plan: CardPlan, *, label: str) -> Card:
    """Write the image of a whole card, to be copied to a real one block by block, and read it back.

    Raises: CardError if it reads back differently; FatImageError if the label or a name is impossible.
    """
    write_image(path, {**plan.sources, CONFIG_NAME: plan.config.encode()}, label=label)
    checksums = {name: _crc32(source) for name, source in plan.sources.items()}
    checksums[CONFIG_NAME] = zlib.crc32(plan.config.encode())
    volume = FatVolume(path)
    _compare(path, checksums, {name: zlib.crc32(volume.read(name)) for name in checksums})
    return Card(path, checksums)


def _compare(card: Path, written: Mapping[str, int], found: Mapping[str, int]) -> None:
    for name, expected in written.items():
        if found[name] != expected:
            raise CardError(
                f"{card / name}: reads back with CRC-32 {found[name]:08x}, written was {expected:08x}; "
                "write it again, or use another card"
            )


def check_config(text: str, files: Mapping[str, int], *, memory_bytes: int = ARM_MEMORY_BYTES) -> list[str]:
    """Find what would keep a ring board from booting; one sentence each, none if all is well.

    Args:
        text: config.txt. files: size in bytes of each file on the card, by name.
        memory_bytes: the board's memory, ARM and GPU together.
    """
    keys, gpio, problems = _parse(text)
    kernel = keys.get("kernel", KERNEL_NAME)
    for name in (kernel, keys["initramfs"].split()[0] if keys.get("initramfs") else kernel):
        if name not in files:
            problems.append(f"{name} is named but is not on the card; copy it there")
    problems += _check_clocks(keys) + _check_pins(gpio) + _check_memory(keys, kernel, files, memory_bytes)
    if keys.get("enable_uart") != "1":
        problems.append("enable_uart=1 is missing; on some boards the UART stays off without it")
    if keys.get("uart_2ndstage", "0") != "0":
        problems.append("uart_2ndstage is on: the GPU's text comes before the bootloader's bytes; set it to 0")
    return list(dict.fromkeys(problems))


def _parse(text: str) -> tuple[dict[str, str], list[str], list[str]]:
    """Keys that a Pi Zero sees (the last one wins), its gpio= values in order, and problems of syntax."""
    keys: dict[str, str] = {}
    gpio: list[str] = []
    problems: list[str] = []
    applies = True
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if len(raw.encode()) > LINE_BYTES_MAX:
            problems.append(f"line {number} has {len(raw.encode())} bytes, the rest after {LINE_BYTES_MAX} is ignored")
        if line.startswith("["):
            applies = line.strip("[]") in _SECTIONS
        elif applies and line.startswith("initramfs"):
            if len(line.split()) == 3 and "=" not in line:
                keys["initramfs"] = line.split(maxsplit=1)[1]
            else:
                problems.append(f"line {number} '{line}': write it as 'initramfs FILE ADDRESS', without '='")
        elif applies:
            key, _, value = (part.strip() for part in line.partition("="))
            keys[key] = value
            if key == "gpio":
                gpio.append(value)
    return keys, gpio, problems


def _check_clocks(keys: Mapping[str, str]) -> list[str]:
    pins = {"init_uart_clock": UART_CLOCK_HZ, "core_freq": CORE_CLOCK_MHZ}
    return [
        f"{key} is not set, so the baud depends on the release of the GPU's firmware; add {key}={value}"
        for key, value in pins.items()
        if key not in keys
    ]


def _check_pins(gpio: list[str]) -> list[str]:
    """All 20 pins must come up as inputs with pull-down; later gpio= lines override earlier ones."""
    good: set[int] = set()
    for value in gpio:
        numbers, _, settings = value.partition("=")
        pins: set[int] = set()
        for part in numbers.split(","):
            first, _, last = part.partition("-")
            if first.isdigit() and (last or first).isdigit():
                pins.update(range(int(first), int(last or first) + 1))
        flags = set(settings.split(","))
        good = good | pins if {"ip", "pd"} <= flags else good - pins
    missing = [pin for pin in range(32) if RING_PINS >> pin & 1 and pin not in good]
    if not missing:
        return []
    names = ", ".join(str(pin) for pin in missing)
    return [f"GPIO {names} not set to input with pull-down: lines float while boards boot; add gpio=4-13,16-25=ip,pd"]


def _check_memory(keys: Mapping[str, str], kernel: str, files: Mapping[str, int], memory_bytes: int) -> list[str]:
    """Nothing on the card may lie over anything else, nor beyond the ARM's memory."""
    problems: list[str] = []
    address = _number(keys.get("kernel_address", hex(KERNEL_ADDRESS)))
    if address != KERNEL_ADDRESS or keys.get("kernel_old", "0") != "0":
        problems.append(
            f"the image would not load at {KERNEL_ADDRESS:#x}, where it was linked; "
            f"set kernel_address={KERNEL_ADDRESS:#x} and drop kernel_old"
        )
    kernel_end = KERNEL_ADDRESS + files.get(kernel, 0)
    if kernel_end > BOOTLOADER_ADDRESS:
        problems.append(
            f"{kernel} ends at {kernel_end:#x}, beyond {BOOTLOADER_ADDRESS:#x} where the bootloader goes; "
            "use a smaller image"
        )
    gpu_mem = _number(keys.get("gpu_mem", str(GPU_MEMORY_MB)))
    if gpu_mem is None or gpu_mem < 16:
        problems.append(f"gpu_mem={keys.get('gpu_mem')} is not a number from 16 up; set gpu_mem={GPU_MEMORY_MB}")
        gpu_mem = GPU_MEMORY_MB
    if gpu_mem < 32 and "start.elf" in files and not {"start_cd.elf", "fixup_cd.dat"} <= files.keys():
        problems.append(
            f"gpu_mem={gpu_mem} needs start_cd.elf and fixup_cd.dat on the card; copy them or set 32 or more"
        )
    if "initramfs" not in keys:
        return problems
    name, where = keys["initramfs"].split()
    if _number(where) != SHARD_ADDRESS:
        problems.append(f"initramfs loads {name} at {where}, the ring image reads it at {SHARD_ADDRESS:#x}")
        return problems
    end, top = SHARD_ADDRESS + files.get(name, 0), memory_bytes - (gpu_mem << 20)
    if end > top:
        problems.append(
            f"{name} ends at {end:#x}, beyond the ARM's memory at {top:#x} ({end - top} bytes too many); "
            "use more boards, a smaller model or less gpu_mem"
        )
    return problems


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise CardError(f"{path}: cannot read the file for the card: {error.strerror}; build it first") from error


def _copy(source: Path, target: Path) -> int:
    """Copy; return the CRC-32 of what was read."""
    with atomically(target) as part:
        shutil.copyfile(source, part)
    return _crc32(source)


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_COPY_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc
