"""labgrid environment files as rigs.

A board is a target with one serial port, or a SerialDriver of a target with several; its rank is the number at
the end of that name. Ports are RawSerialPort, USBSerialPort, NetworkSerialPort, or whatever a RemotePlace holds.
Format: docs/rigs.md. Source: labgrid 25 and 26, `Config` and `target_factory`, which read the file. Nothing is
acquired here: hil/desk/labgrid.py does that. Owns: the form of a port before then, `labgrid://TARGET/NAME`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hil.errors import RigError
from hil.rig.specs import BAUD_DEFAULT, BoardSpec, LinkSpec, RigConfig, by_rank, ring_links

SUFFIXES = (".yaml", ".yml")
PORT_CLASSES = ("NetworkSerialPort", "USBSerialPort", "RawSerialPort")
"""labgrid's resources that are serial ports."""
_SCHEME = "labgrid://"


def labgrid_config(path: Path) -> RigConfig:
    """The rig of an environment file; no coordinator is asked yet. Raises RigError."""
    targets, options = _read(path)
    named = [(n, f"{_SCHEME}{t}/{port}") for t, config in targets.items() for n, port in _boards(t, config, path)]
    found: dict[int, str] = {}
    for name, port in named:
        rank = _rank(name, path) if len(named) > 1 else 0
        if rank in found:
            raise RigError(
                f"rig {path}: rank {rank} is given to {found[rank]} and {port}; end each name in its own rank"
            )
        found[rank] = port
    boards = by_rank((BoardSpec(rank, port) for rank, port in found.items()), f"rig {path}")
    baud = options.get("hil_baud", BAUD_DEFAULT)
    if not isinstance(baud, int):
        raise RigError(f"rig {path}: options: hil_baud = {baud!r}: give a whole number")
    return RigConfig(path.stem, boards, _links(options, len(boards), path), baud, source=path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Targets by role, and options."""
    with labgrid_errors(path):
        from labgrid.config import Config
        from labgrid.factory import target_factory

        config = Config(str(path))
        targets = {
            str(role): target_factory.normalize_config(table or {}) for role, table in config.get_targets().items()
        }
        return targets, dict(config.data.get("options") or {})


@contextlib.contextmanager
def labgrid_errors(path: Path) -> Iterator[None]:
    """labgrid's errors, and its absence, as RigErrors."""
    try:
        yield
    except ImportError as error:
        if not str(error.name).startswith("labgrid"):
            raise
        raise RigError(
            f"rig {path}: is a labgrid environment, and labgrid is not installed: pip install 'pi-ring-hil[labgrid]'"
        ) from None
    except RigError:
        raise
    except Exception as error:  # labgrid has no base class of its own, and lets those of its libraries through
        raise RigError(f"rig {path}: labgrid says: {' '.join(str(error).split())}") from error


def _boards(target: str, config: Any, path: Path) -> Iterator[tuple[str, str]]:
    """Name and serial port of every board of a target; the port's name is "" where there is no choice."""
    resources, drivers = config
    serial_drivers = drivers.get("SerialDriver", {})
    if len(serial_drivers) == 1:
        ((_, bindings),) = serial_drivers.values()
        yield target, str(bindings.get("port", "")) if isinstance(bindings, dict) else ""
        return
    if serial_drivers:
        for name, (_, bindings) in serial_drivers.items():
            if not isinstance(bindings, dict) or not isinstance(bindings.get("port"), str):
                raise RigError(f"rig {path}: target {target}: SerialDriver {name}: write bindings: {{port: NAME}}")
            yield str(name), bindings["port"]
        return
    ports = [cls for cls in (*PORT_CLASSES, "RemotePlace") for _ in resources.get(cls, {})]
    if len(ports) != 1:
        raise RigError(
            f"rig {path}: target {target} has {len(ports)} serial ports; write one target for each board, "
            "or a SerialDriver with a name and bindings: {port: NAME} for each"
        )
    yield target, ""


def _rank(name: str, path: Path) -> int:
    number = re.search(r"(\d+)$", name)
    if number is None:
        raise RigError(f"rig {path}: {name}: its name must end in the board's rank, like pi0")
    return int(number[1])


def _links(options: dict[str, Any], world_size: int, path: Path) -> tuple[LinkSpec, ...]:
    """A ring, unless `options` has `hil_links: [[0, 0]]`."""
    given = options.get("hil_links")
    if given is None:
        return ring_links(world_size)
    ranks = range(world_size)
    try:
        links = tuple(LinkSpec(source, target) for source, target in given)
        if all(link.source in ranks and link.target in ranks for link in links):
            return links
    except (TypeError, ValueError):
        pass
    raise RigError(f"rig {path}: options: hil_links = {given!r}: give a list of [from, to] with ranks of this rig")


def is_labgrid(config: RigConfig) -> bool:
    """Whether a rig's ports are labgrid's and not resolved yet."""
    return any(spec.port.startswith(_SCHEME) for spec in config.boards)


def port_names(spec: BoardSpec) -> tuple[str, str]:
    """The target that a board's port belongs to, and the port's name there; "" where the target has but one."""
    target, _, port = spec.port.removeprefix(_SCHEME).rpartition("/")
    return target, port
