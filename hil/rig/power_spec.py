"""What a rig file says about power: `power = {...}` in `[rig]`. Format: docs/rigs.md. Back ends: hil/desk/power.py."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hil.errors import RigError

PowerKind = Literal["reset", "uhubctl", "cbus", "gpio", "person", "sim"]
FIELDS = {"rank", "port", "serial"}
"""What a reset command may name in braces."""
CBUS_PINS = range(4)
GPIO_PINS = range(8)
"""AC0..AC7 of an FT232H."""
_KEYS: dict[PowerKind, set[str]] = {
    "reset": set(), "uhubctl": {"ports"}, "cbus": {"pin"}, "gpio": {"pins"}, "person": set(), "sim": set(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PowerSpec:
    """How boards are reset. Only what belongs to the kind is set.

    command: with {rank}, {port}, {serial}. hub, ports: uhubctl's location and one port number per rank.
    urls, pin: one pyftdi URL per rank, and the CBUS pin that pulls RUN low when it is high.
    urls, pins: one URL, and the number n of the pin ACn by rank, which pulls RUN low when it is low.
    address: HOST:PORT of a simulated rig in another process.
    """

    kind: PowerKind
    command: str = ""
    hub: str = ""
    ports: tuple[int, ...] = ()
    urls: tuple[str, ...] = ()
    pins: tuple[int, ...] = ()
    pin: int = 0
    address: str = ""


def parse_power(table: Any, world_size: int, where: str) -> PowerSpec:
    """The spec of a `power` table. Raises RigError naming the key that is wrong."""
    where = f"{where}: power"
    kinds = [kind for kind in _KEYS if isinstance(table, Mapping) and kind in table]
    if len(kinds) != 1:
        raise RigError(f"{where} = {table!r}: give one of {', '.join(f'{{{kind} = ...}}' for kind in _KEYS)}")
    kind = kinds[0]
    for key in table:
        if key != kind and key not in _KEYS[kind]:
            raise RigError(f"{where}: unknown key `{key}` beside `{kind}`")
    value = table[kind]
    if kind == "reset":
        return PowerSpec(kind, command=_command(value, where))
    if kind == "uhubctl":
        ports = tuple(found) if isinstance(found := table.get("ports"), list) else ()
        if not isinstance(value, str) or len(ports) != world_size or not all(isinstance(port, int) for port in ports):
            raise RigError(f'{where}: write uhubctl = "HUB", ports = [one port number for each of {world_size} boards]')
        return PowerSpec(kind, hub=value, ports=ports)
    if kind == "cbus":
        urls, pin = tuple(value) if isinstance(value, list) else (), table.get("pin", 0)
        if len(urls) != world_size or not all(str(url).startswith("ftdi://") for url in urls) or pin not in CBUS_PINS:
            raise RigError(f"{where}: write cbus = [one ftdi:// URL for each of {world_size} boards], pin = 0 to 3")
        return PowerSpec(kind, urls=urls, pin=pin)
    if kind == "gpio":
        return PowerSpec(kind, urls=(str(value),), pins=_gpio_pins(value, table.get("pins"), world_size, where))
    if kind == "sim":
        if not isinstance(value, str) or not value.rpartition(":")[2].isdecimal():
            raise RigError(f'{where}: sim = {value!r}: give "HOST:PORT", as `hil sim --pty` writes it')
        return PowerSpec(kind, address=value)
    if value is not True:
        raise RigError(f"{where}: write person = true")
    return PowerSpec(kind)


def _gpio_pins(url: Any, pins: Any, world_size: int, where: str) -> tuple[int, ...]:
    known = [f"AC{n}" for n in GPIO_PINS]
    right = isinstance(pins, list) and len(pins) == len(set(map(str, pins))) == world_size
    if not right or not all(pin in known for pin in pins) or not str(url).startswith("ftdi://"):
        raise RigError(
            f'{where}: write gpio = "ftdi://ftdi:232h/1", pins = [a pin of its own, "AC0" to "AC7", for each of '
            f"{world_size} boards]"
        )
    return tuple(known.index(pin) for pin in pins)


def _command(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RigError(f'{where}: reset = {value!r}: give a shell command, such as reset = "pull-run {{rank}}"')
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(value) if name is not None}
    except ValueError as error:
        raise RigError(f"{where}: reset = {value!r}: {error}; write a brace of the shell's twice") from None
    if names - FIELDS:
        raise RigError(
            f"{where}: reset = {value!r} names {', '.join(sorted(names - FIELDS))}; known are "
            f"{', '.join(sorted(FIELDS))}, and a brace of the shell's is written twice"
        )
    return value
