"""Names of serial ports: what is plugged into this computer, and what a name in a rig file means.

A port is named by its path, by any pyserial URL, or by the suffix of its adapter's name (devices.conf).
Sources: pyserial's serial.tools.list_ports; udev's names in /dev/serial/by-id.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from hil.errors import RigError

DEV = Path("/dev")
MAC_PREFIX = "cu.usbserial-"
_BY_ID_TAIL = r"(-if[0-9a-f]{2}(-port\d+)?)?"
"""udev adds the interface to an adapter's name."""


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A serial port of this computer. usb and serial are empty for a port that is not on USB."""

    device: str
    name: str
    usb: str
    serial: str
    description: str

    @property
    def is_usb(self) -> bool:
        """Whether the port is a USB adapter, as boards have."""
        return bool(self.usb)


def plugged_in(dev: Path = DEV) -> list[PortInfo]:
    """Every serial port, by device name; `name` is the stable path where there is one."""
    ports = []
    for port in sorted(list_ports.comports(), key=lambda info: str(info.device)):
        usb = f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None and port.pid is not None else ""
        description = " ".join(part for part in (port.manufacturer, port.product) if part) or str(port.description)
        ports.append(PortInfo(port.device, stable_name(port.device, dev), usb, port.serial_number or "", description))
    return ports


def stable_name(device: str, dev: Path = DEV) -> str:
    """The by-id path of a device, which does not change when adapters are plugged in another order; else itself."""
    target = os.path.realpath(device)
    links = (path for path in _by_id(dev) if os.path.realpath(path) == target)
    return str(next(links, device))


def resolve_port(text: str, dev: Path = DEV) -> str:
    """The path or URL that a port in a rig file means.

    Raises: RigError if a suffix fits no adapter, or more than one.
    """
    if "://" in text or "/" in text or Path(text).exists():
        return text
    found = [dev / f"{MAC_PREFIX}{text}"] if (dev / f"{MAC_PREFIX}{text}").exists() else []
    found += [path for path in _by_id(dev) if re.search(re.escape(text) + _BY_ID_TAIL + "$", path.name)]
    if len(found) == 1:
        return str(found[0])
    if found:
        names = ", ".join(str(path) for path in found)
        raise RigError(f"port {text}: fits {len(found)} adapters ({names}); give more of the name, or a path")
    raise RigError(
        f"port {text}: no adapter's name ends so (looked for {dev}/{MAC_PREFIX}{text} and {dev}/serial/by-id/*{text}); "
        "plug it in, or give the port's path; `hil ports` lists what there is"
    )


def _by_id(dev: Path) -> Sequence[Path]:
    return sorted((dev / "serial" / "by-id").glob("*"))
