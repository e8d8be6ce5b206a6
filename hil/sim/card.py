"""What the GPU does with an SD card before the ARM runs: config.txt, files, clocks and pulls.

Source: the Raspberry Pi documentation of config.txt (boot, memory, overclocking and gpio options).
A card is a folder, or the image of a FAT32 card (fat.py). Pure: reads the card, touches no simulator state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hil.sim.card_folder import CardFileError, CardFolder
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
LINE_BYTES_MAX = 98
"""The GPU's firmware ignores what goes beyond in a line of config.txt."""
CONFIG_BYTES_MAX = 64 << 10
"""More of a config.txt is not read."""
PINS = 54
ARM_MHZ = (100, 1500)
"""From the lowest that the mailbox gives (core/mailbox.c) to beyond what any Zero was overclocked to."""
CORE_MHZ = (100, 600)
UART_HZ = (1_000_000, 250_000_000)
BOOT_DELAY_S = (0, 3600)
GPU_MEM_MIB_MIN = 16
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


_Files = CardFolder | FatVolume
_SILENT = "the board stays silent"


def read_card(card: Path | None, *, ram_bytes: int) -> Boot:
    """Work out what the firmware loads from `card` into a board with `ram_bytes` of memory.

    Never raises for a bad card: as on a real board it does not start, and `notes` says why. Every load lies whole
    in the ARM's memory, and every clock is one that a board can have.
    """
    boot = Boot()
    if card is None:
        boot.notes.append(f"no SD card: {_SILENT}")
        return boot
    try:
        files: _Files = FatVolume(card) if card.is_file() else CardFolder(card)
        return _read_files(files, card, boot, ram_bytes)
    except FatError as error:
        return Boot(notes=[f"{error}: {_SILENT}"])
    except OSError as error:
        return Boot(notes=[f"{card}: cannot be read: {error.strerror or error}: {_SILENT}"])


def _read_files(files: _Files, card: Path, boot: Boot, ram_bytes: int) -> Boot:
    settings, initramfs = _parse(files, card, boot)
    _clocks(settings, boot)
    _gpu_memory(settings, boot, ram_bytes)
    _pulls(settings, boot)
    if "boot_delay" in settings:
        boot.delay_ns += _number(settings, "boot_delay", 1, boot, BOOT_DELAY_S) * 1_000_000_000
    arm_bytes = ram_bytes - boot.gpu_mem_bytes
    kernel = settings.get("kernel", ["kernel.img"])[-1]
    image = _file(files, card, kernel, arm_bytes, boot, _SILENT)
    if image is None:
        return boot
    default = 0 if _number(settings, "kernel_old", 0, boot) else KERNEL_ADDRESS
    address = _number(settings, "kernel_address", default, boot)
    if not _put(boot, Load(address, image, kernel), arm_bytes, f"not loaded, and {_SILENT}"):
        return boot
    _ramfs(files, card, settings, initramfs, boot, arm_bytes)
    if not _number(settings, "disable_commandline_tags", 0, boot):
        boot.loads.insert(0, Load(ATAGS_ADDRESS, _atags(arm_bytes), "ATAGs"))
    _device_tree(files, card, settings, boot, arm_bytes)
    boot.delay_ns += sum(len(load.data) for load in boot.loads) * 1_000_000_000 // SD_BYTES_PER_S
    boot.entry = address
    return boot


def _file(files: _Files, card: Path, name: str, limit_bytes: int, boot: Boot, otherwise: str) -> bytes | None:
    """The bytes of a file that is to be loaded; None and a note if it is no file of the card, or too big."""
    try:
        size = files.size(name)
        if size <= limit_bytes:
            return files.read(name, limit_bytes)
        boot.notes.append(f"{card}/{name} has {size} bytes, the ARM's memory {limit_bytes}: {otherwise}")
    except CardFileError as error:
        boot.notes.append(f"{card}/{name} {error}: {otherwise}")
    return None


def _put(boot: Boot, load: Load, arm_bytes: int, otherwise: str) -> bool:
    """Add a load if both its ends are in the ARM's memory."""
    if load.address < 0 or load.address + len(load.data) > arm_bytes:
        where = "end above" if load.address >= 0 else "begin below"
        boot.notes.append(
            f"{load.name}: {len(load.data)} bytes at {load.address:#x} {where} the ARM's memory ({arm_bytes:#x}); "
            f"{otherwise}"
        )
        return False
    boot.loads.append(load)
    return True


def _parse(files: _Files, card: Path, boot: Boot) -> tuple[dict[str, list[str]], tuple[str, str] | None]:
    """Settings by key, in order, and the `initramfs FILE ADDRESS` line, which has no `=`."""
    settings: dict[str, list[str]] = {}
    initramfs: tuple[str, str] | None = None
    applies = True
    for raw in _lines(files, card, boot):
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
            if key.strip() == "initramfs" and "initramfs" not in settings:
                boot.notes.append("config.txt: `initramfs=` is ignored by the firmware; write `initramfs FILE ADDRESS`")
            settings.setdefault(key.strip(), []).append(value.strip())
    return settings, initramfs


def _lines(files: _Files, card: Path, boot: Boot) -> list[str]:
    """The lines of config.txt as far as the firmware reads them; none without that file."""
    try:
        size = files.size("config.txt")
    except CardFileError as error:
        if str(error) != "is missing":
            boot.notes.append(f"{card}/config.txt {error}: every setting is the firmware's own")
        return []
    data = files.read("config.txt", CONFIG_BYTES_MAX)
    if size > CONFIG_BYTES_MAX:
        boot.notes.append(f"config.txt has {size} bytes; what stands after the first {CONFIG_BYTES_MAX} is not read")
    lines = data.splitlines()
    long = [number for number, line in enumerate(lines, 1) if len(line) > LINE_BYTES_MAX]
    if long:
        boot.notes.append(
            f"config.txt: line {long[0]} has {len(lines[long[0] - 1])} bytes; "
            f"the firmware ignores what stands after the first {LINE_BYTES_MAX}"
        )
    return [line[:LINE_BYTES_MAX].decode("utf-8", "replace") for line in lines]


def _number(
    settings: dict[str, list[str]], key: str, default: int, boot: Boot, limits: tuple[int, int] | None = None
) -> int:
    """A setting's last value; the default, and a note, where it is no number or outside of the limits."""
    if key not in settings:
        return default
    text = settings[key][-1]
    try:
        value = int(text, 0)
    except ValueError:
        boot.notes.append(f"config.txt: {key}={text} is not a number; the default {default} is used")
        return default
    if limits is not None and not limits[0] <= value <= limits[1]:
        boot.notes.append(
            f"config.txt: {key}={text} is outside {limits[0]} to {limits[1]}; the default {default} is used"
        )
        return default
    return value


def _clocks(settings: dict[str, list[str]], boot: Boot) -> None:
    boot.arm_hz_max = _number(settings, "arm_freq", 1000, boot, ARM_MHZ) * 1_000_000
    turbo = _number(settings, "force_turbo", 0, boot) or _number(settings, "initial_turbo", 0, boot)
    boot.arm_hz = boot.arm_hz_max if turbo else min(ARM_HZ_IDLE, boot.arm_hz_max)
    boot.core_hz = _number(settings, "core_freq", 250, boot, CORE_MHZ) * 1_000_000
    boot.uart_hz = _number(settings, "init_uart_clock", 48_000_000, boot, UART_HZ)
    boot.enable_uart = bool(_number(settings, "enable_uart", 0, boot))


def _gpu_memory(settings: dict[str, list[str]], boot: Boot, ram_bytes: int) -> None:
    """Not more than half: without a word on boards that are smaller than any real one, if the card asks for nothing."""
    asked = _number(settings, "gpu_mem", 64, boot)
    most = ram_bytes // 2 // MIB
    given = min(max(GPU_MEM_MIB_MIN, asked), most)
    if given != asked and "gpu_mem" in settings:
        boot.notes.append(f"config.txt: gpu_mem={asked} is outside {GPU_MEM_MIB_MIN} to {most}; {given} is used")
    boot.gpu_mem_bytes = given * MIB


def read_pins(text: str) -> tuple[int, list[str]]:
    """The pins of `gpio=PINS=...`, such as `4-13,16`: a mask, and the parts that name no pins of this chip."""
    mask = 0
    wrong: list[str] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        ends = [
            int(end) for end in (first, last if dash else first) if end.isascii() and end.isdigit() and len(end) < 9
        ]
        if len(ends) == 2 and ends[0] <= ends[1] < PINS:
            mask |= (1 << ends[1] + 1) - (1 << ends[0])
        else:
            wrong.append(part)
    return mask, wrong


def _pulls(settings: dict[str, list[str]], boot: Boot) -> None:
    said = False
    for value in settings.get("gpio", []):
        pins_text, _, options = value.partition("=")
        mask, wrong = read_pins(pins_text)
        if wrong and not said:
            said = True
            boot.notes.append(f"config.txt: gpio={value}: `{wrong[0]}` names no pins of 0 to {PINS - 1}; it is ignored")
        for option in options.split(","):
            if option in ("pu", "pd", "pn"):
                boot.pull_up_mask &= ~mask
                boot.pull_down_mask &= ~mask
                boot.pull_none_mask &= ~mask
                name = {"pu": "pull_up_mask", "pd": "pull_down_mask", "pn": "pull_none_mask"}[option]
                setattr(boot, name, getattr(boot, name) | mask)


def _ramfs(
    files: _Files,
    card: Path,
    settings: dict[str, list[str]],
    line: tuple[str, str] | None,
    boot: Boot,
    arm_bytes: int,
) -> None:
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
    data = _file(files, card, name, arm_bytes, boot, "no ramfs loaded")
    if data is not None:
        _put(boot, Load(at or after_kernel, data, name), arm_bytes, "not loaded")


def _has(files: _Files, name: str) -> bool:
    """Whether the card has a file of this name."""
    try:
        files.size(name)
    except CardFileError:
        return False
    return True


def _device_tree(files: _Files, card: Path, settings: dict[str, list[str]], boot: Boot, arm_bytes: int) -> None:
    """The .dtb, with what the firmware writes into it, near the end of the ARM's memory; r2 points to it."""
    names = settings.get("device_tree", DEVICE_TREES)
    name = next((name for name in names if _has(files, name)), None) if names[-1] else None
    if name is None:
        if "device_tree" in settings and names[-1]:
            boot.notes.append(f"{card / names[-1]} is missing: no device tree, r2 points to the ATAGs")
        return
    data = _file(files, card, name, DEVICE_TREE_ROOM, boot, "no device tree, r2 points to the ATAGs")
    if data is None:
        return
    try:
        tree = read_fdt(data)
    except FdtError as error:
        boot.notes.append(f"{card / name}: {error}; r2 points to the ATAGs")
        return
    chosen = child(tree, "chosen")
    if _has(files, "cmdline.txt"):
        said = _file(files, card, "cmdline.txt", CONFIG_BYTES_MAX, boot, "no command line") or b""
        line = said.decode("utf-8", "replace").split("\n")[0].strip()
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
    if _put(boot, Load(address, write_fdt(tree), name), arm_bytes, "not loaded, r2 points to the ATAGs"):
        boot.r2 = address


def _atags(memory_bytes: int) -> bytes:
    words = [2, 0x54410001, 4, 0x54410002, memory_bytes, 0, 0, 0]  # CORE (empty), MEM (size, start), NONE
    return b"".join(word.to_bytes(4, "little") for word in words)
