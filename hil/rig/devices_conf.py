"""devices.conf: a rig as existing rings write it down.

Lines `INDEX SERIAL_SUFFIX SD_LABEL "DESCRIPTION"`, `#` comments. Format and what a suffix means: docs/rigs.md.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from hil.errors import RigError
from hil.rig.specs import BAUD_DEFAULT, BAUD_MAX, BAUD_MIN, WORLD_SIZE_MAX, BoardSpec, RigConfig, ring_links

DEVICES_SUFFIX = ".conf"


@dataclass(frozen=True, slots=True)
class Device:
    """One line: rank, port (suffix, path or URL), label of the SD card, words for people."""

    index: int
    port: str
    sd_label: str
    description: str


def read_devices(path: Path) -> list[Device]:
    """The file's lines by index. Raises RigError naming the line that is wrong."""
    devices: list[Device] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RigError(f"rig {path}: cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise RigError(f"rig {path}: line {number}: {error}; close the quotes") from None
        if not words:
            continue
        if not 3 <= len(words) <= 4 or not words[0].isdecimal():
            raise RigError(
                f"rig {path}: line {number} has {len(words)} words ({line.strip()!r}); "
                'write INDEX SERIAL_SUFFIX SD_LABEL "DESCRIPTION"'
            )
        devices.append(Device(int(words[0]), words[1], words[2], words[3] if len(words) == 4 else ""))
    devices.sort(key=lambda device: device.index)
    indices = [device.index for device in devices]
    if not devices or indices != list(range(len(devices))) or len(devices) > WORLD_SIZE_MAX:
        raise RigError(f"rig {path}: indices are {indices}; they must be 0, 1, 2, ... without gaps, at most 16")
    ports = [device.port for device in devices]
    for port in ports:
        if ports.count(port) > 1:
            raise RigError(f"rig {path}: port {port} is given to {ports.count(port)} boards; each board needs its own")
    return devices


_BAUD = re.compile(r"^\s*#\s*hil:\s*baud\s*=\s*(\S+)\s*$", re.MULTILINE)
"""A comment to those who wrote the format: the baud to raise the line to after boot."""


def devices_rig(path: Path) -> RigConfig:
    """The rig of a devices.conf: a ring that boots at 115200 baud. Raises RigError."""
    boards = tuple(BoardSpec(device.index, device.port) for device in read_devices(path))
    return RigConfig(
        path.stem, boards, ring_links(len(boards)), _raised_baud(path), source=path, boot_baud=BAUD_DEFAULT
    )


def _raised_baud(path: Path) -> int:
    """Of a line `# hil: baud = 921600`; without one, that of the boot."""
    found = _BAUD.findall(path.read_text(encoding="utf-8"))
    if not found:
        return BAUD_DEFAULT
    if len(found) > 1 or not found[0].isdecimal() or not BAUD_MIN <= int(found[0]) <= BAUD_MAX:
        raise RigError(f"rig {path}: # hil: baud = {found[-1]}: give one whole number from {BAUD_MIN} to {BAUD_MAX}")
    return int(found[0])
