"""What the GPU does with an SD card before the ARM runs: config.txt, files, clocks and pulls.

Source: the Raspberry Pi documentation of config.txt (boot, memory, overclocking and gpio options).
A card is a folder, or the image of a FAT32 card (fat.py). Pure: reads the card, touches no simulator state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hil.sim.fat import FatError, FatVolume
from hil.sim.fdt import FdtError, cells, child, read_fdt, write_fdt

BOOT_DELAY_NS = 1_000_000_000
"""Boot ROM, bootcode.bin and start.elf: about a second before anything of ours is read."""
SD_BYTES_PER_S = 17_000_000
ATAGS_ADDRESS = 0x100
KERNEL_ADDRESS = 0x8000
ARM_HZ_IDLE = 700_000_000
"""Without an operating system a Zero stays here unless turbo is asked for."""
MIB = 1 << 20
NUMBER_MAX = (1 << 32) - 1
"""Of anything in config.txt: an address, or a frequency in Hz."""
MHZ_MAX = 4000
BOOT_DELAY_S_MAX = 3600
PINS = 54
DEVICE_TREES = ("bcm2708-rpi-zero.dtb", "bcm2835-rpi-zero.dtb")
"""What the firmware looks for on a Zero's card: its own name first, then the mainline kernel's."""
DEVICE_TREE_ROOM = 0x100000


@dataclass
class Load:
    """Bytes to put at an address."""

    address: int
    data: bytes
    name: str


@dataclass
class Boot:
    """The outcome: loads in order, entry (None: nothing to start), clocks in Hz, pulls as pin masks."""

    loads: list[Load] = field(default_factory=list)
    entry: int | None = None
    delay_ns: int = BOOT_DELAY_NS
    arm_hz: int = ARM_HZ_IDLE
    arm_hz_max: int = 1_000_000_000
    core_hz: int = 250_000_000
    uart_hz: int = 48_000_000
    gpu_mem_bytes: int = 64 * MIB
    pull_up_mask: int = 0
    pull_down_mask: int = 0
    pull_none_mask: int = 0
    r2: int = ATAGS_ADDRESS
    enable_uart: bool = False
    notes: list[str] = field(default_factory=list)


class _Folder:
    """A folder that plays a card; same methods as FatVolume."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __contains__(self, name: str) -> bool:
        return (self._path / name).is_file()

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        return (self._path / name).read_bytes()


_Files = _Folder | FatVolume


def read_card(card: Path | None, *, ram_bytes: int) -> Boot:
    """Work out what the firmware loads from `card` into a board with `ram_bytes` of memory.

    Never raises for a bad card: as on a real board it does not start, and `notes` says why.
    """
    boot = Boot()
    if card is None:
        boot.notes.append("no SD card: the board stays silent")
        return boot
    try:
        files: _Files = FatVolume(card) if card.is_file() else _Folder(card)
        return _read_files(files, card, boot, ram_bytes)
    except FatError as error:
        return Boot(notes=[f"{error}: the board stays silent"])
    except OSError as error:
        return Boot(notes=[f"{card}: cannot be read: {error.strerror or error}: the board stays silent"])


def _read_files(files: _Files, card: Path, boot: Boot, ram_bytes: int) -> Boot:
    settings, initramfs = _parse(files, boot)
    _clocks(settings, boot)
    if boot.gpu_mem_bytes > ram_bytes // 2:  # only in simulations of boards smaller than any real one
        boot.gpu_mem_bytes = ram_bytes // 2
    _pulls(settings, boot)
    if "boot_delay" in settings:
        boot.delay_ns += _number(settings, "boot_delay", 1, boot, most=BOOT_DELAY_S_MAX) * 1_000_000_000
    kernel = settings.get("kernel", ["kernel.img"])[-1]
    if kernel not in files:
        boot.notes.append(f"{card / kernel} is missing: the board stays silent")
        return boot
    default = 0 if _number(settings, "kernel_old", 0, boot) else KERNEL_ADDRESS
    address = _number(settings, "kernel_address", default, boot)
    boot.loads.append(Load(address, files.read(kernel), kernel))
    _ramfs(files, card, settings, initramfs, boot)
    if not _number(settings, "disable_commandline_tags", 0, boot):
        boot.loads.insert(0, Load(ATAGS_ADDRESS, _atags(ram_bytes - boot.gpu_mem_bytes), "ATAGs"))
    _device_tree(files, card, settings, boot, ram_bytes - boot.gpu_mem_bytes)
    for load in list(boot.loads):
        if load.address + len(load.data) > ram_bytes - boot.gpu_mem_bytes:
            boot.notes.append(
                f"{load.name}: {len(load.data)} bytes at 0x{load.address:x} end above the ARM's memory "
                f"(0x{ram_bytes - boot.gpu_mem_bytes:x}); not loaded"
            )
            boot.loads.remove(load)
    boot.delay_ns += sum(len(load.data) for load in boot.loads) * 1_000_000_000 // SD_BYTES_PER_S
    boot.entry = address
    return boot


def _parse(files: _Files, boot: Boot) -> tuple[dict[str, list[str]], tuple[str, str] | None]:
    """Settings by key, in order, and the `initramfs FILE ADDRESS` line, which has no `=`."""
    settings: dict[str, list[str]] = {}
    initramfs: tuple[str, str] | None = None
    if "config.txt" not in files:
        return settings, None
    applies = True
    for raw in files.read("config.txt").decode("utf-8", "replace").splitlines():
        line = raw.split("#", 1)[0].strip()
        if line.startswith("["):
            applies = line.strip("[]").lower() in ("all", "pi0", "pi1")
        elif not applies or not line:
            continue
        elif line.split()[0] == "initramfs":
            words = line.split()
            initramfs = (words[1], words[2] if len(words) > 2 else "0") if len(words) > 1 else None
        elif "=" in line:
            key, value = line.split("=", 1)
            if key.strip() == "initramfs":
                boot.notes.append("config.txt: `initramfs=` is ignored by the firmware; write `initramfs FILE ADDRESS`")
            settings.setdefault(key.strip(), []).append(value.strip())
    return settings, initramfs


def _number(
    settings: dict[str, list[str]], key: str, default: int, boot: Boot, *, least: int = 0, most: int = NUMBER_MAX
) -> int:
    if key not in settings:
        return default
    text = settings[key][-1]
    try:
        value = int(text, 0)
    except ValueError:
        boot.notes.append(f"config.txt: {key}={text} is not a number; the default {default} is used")
        return default
    if not least <= value <= most:
        boot.notes.append(f"config.txt: {key}={text} is not from {least} to {most}; the default {default} is used")
        return default
    return value


def _clocks(settings: dict[str, list[str]], boot: Boot) -> None:
    boot.arm_hz_max = _number(settings, "arm_freq", 1000, boot, least=100, most=MHZ_MAX) * 1_000_000
    turbo = _number(settings, "force_turbo", 0, boot) or _number(settings, "initial_turbo", 0, boot)
    boot.arm_hz = boot.arm_hz_max if turbo else min(ARM_HZ_IDLE, boot.arm_hz_max)
    boot.core_hz = _number(settings, "core_freq", 250, boot, least=1, most=MHZ_MAX) * 1_000_000
    boot.uart_hz = _number(settings, "init_uart_clock", 48_000_000, boot, least=1)
    boot.enable_uart = bool(_number(settings, "enable_uart", 0, boot))
    boot.gpu_mem_bytes = max(16, _number(settings, "gpu_mem", 64, boot)) * MIB


def _pulls(settings: dict[str, list[str]], boot: Boot) -> None:
    for value in settings.get("gpio", []):
        pins_text, _, options = value.partition("=")
        mask = 0
        for part in pins_text.split(","):
            first, _, last = part.partition("-")
            if first.strip().isdecimal() and (not last or last.strip().isdecimal()):
                for pin in range(int(first), min(int(last or first) + 1, PINS)):
                    mask |= 1 << pin
        for option in options.split(","):
            if option in ("pu", "pd", "pn"):
                boot.pull_up_mask &= ~mask
                boot.pull_down_mask &= ~mask
                boot.pull_none_mask &= ~mask
                name = {"pu": "pull_up_mask", "pd": "pull_down_mask", "pn": "pull_none_mask"}[option]
                setattr(boot, name, getattr(boot, name) | mask)


def _ramfs(files: _Files, card: Path, settings: dict[str, list[str]], line: tuple[str, str] | None, boot: Boot) -> None:
    name, address = line or (settings.get("ramfsfile", [""])[-1], settings.get("ramfsaddr", ["0"])[-1])
    if not name:
        return
    kernel = boot.loads[0]
    after_kernel = (kernel.address + len(kernel.data) + 0xFFF) & ~0xFFF
    try:
        at = 0 if address == "followkernel" else int(address, 0)
    except ValueError:
        boot.notes.append(f"config.txt: initramfs address {address!r} is not a number; nothing loaded")
        return
    if not 0 <= at <= NUMBER_MAX:
        boot.notes.append(f"config.txt: initramfs address {address!r} is outside the memory; nothing loaded")
        return
    if name not in files:
        boot.notes.append(f"{card / name} is missing: no ramfs loaded")
        return
    boot.loads.append(Load(at or after_kernel, files.read(name), name))


def _device_tree(files: _Files, card: Path, settings: dict[str, list[str]], boot: Boot, arm_bytes: int) -> None:
    """The .dtb, with what the firmware writes into it, near the end of the ARM's memory; r2 points to it."""
    names = settings.get("device_tree", DEVICE_TREES)
    name = next((name for name in names if name in files), None) if names[-1] else None
    if name is None:
        if "device_tree" in settings and names[-1]:
            boot.notes.append(f"{card / names[-1]} is missing: no device tree, r2 points to the ATAGs")
        return
    try:
        tree = read_fdt(files.read(name))
    except FdtError as error:
        boot.notes.append(f"{card / name}: {error}; r2 points to the ATAGs")
        return
    chosen = child(tree, "chosen")
    if "cmdline.txt" in files:
        line = files.read("cmdline.txt").decode("utf-8", "replace").split("\n")[0].strip()
        chosen["bootargs"] = line.encode() + b"\0"
    memory = child(tree, next((key for key in tree if key.startswith("memory")), "memory@0"))
    memory["device_type"] = b"memory\0"
    memory["reg"] = cells(0, arm_bytes)
    ramfs = [load for load in boot.loads if load.name not in (boot.loads[0].name, "ATAGs")]
    kernel_at = next(i for i, load in enumerate(boot.loads) if load.name != "ATAGs")
    for load in ramfs if ramfs and ramfs[-1] is not boot.loads[kernel_at] else []:
        chosen["linux,initrd-start"] = cells(load.address)
        chosen["linux,initrd-end"] = cells(load.address + len(load.data))
    address = _number(settings, "device_tree_address", max(arm_bytes - DEVICE_TREE_ROOM, 0), boot)
    boot.loads.append(Load(address, write_fdt(tree), name))
    boot.r2 = address


def _atags(memory_bytes: int) -> bytes:
    words = [2, 0x54410001, 4, 0x54410002, memory_bytes, 0, 0, 0]  # CORE (empty), MEM (size, start), NONE
    return b"".join(word.to_bytes(4, "little") for word in words)
