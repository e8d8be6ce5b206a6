"""labgrid: an environment file as a rig, through labgrid's own API.

A board is a target with one serial port, or a SerialDriver of a target with several; its rank is the number at
the end of that name. Ports are RawSerialPort, USBSerialPort, NetworkSerialPort, or whatever a RemotePlace holds.
Format: docs/rigs.md. Source: labgrid 25 and 26, `Environment`, `ClientSession`, `RemotePlaceManager`.
Owns: the `labgrid://` ports of a rig until they are resolved, and the places acquired for it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import RigError
from hil.rig.specs import BAUD_DEFAULT, WORLD_SIZE_MAX, BoardSpec, LinkSpec, RigConfig, ring_links

if TYPE_CHECKING:
    from hil.board import Board

SUFFIXES = (".yaml", ".yml")
SCHEME = "labgrid://"
PORT_CLASSES = ("NetworkSerialPort", "USBSerialPort", "RawSerialPort")
RESET_PROTOCOLS = (("ResetProtocol", "reset"), ("PowerProtocol", "cycle"))
"""What can start a board anew, best first, and the call that does it."""
AVAILABLE_S = 10.0


def labgrid_config(path: Path) -> RigConfig:
    """The rig of an environment file; no coordinator is asked yet. Raises RigError."""
    targets, options = _read(path)
    named = [(n, f"{SCHEME}{t}/{port}") for t, config in targets.items() for n, port in _boards(t, config, path)]
    found: dict[int, str] = {}
    for name, port in named:
        rank = _rank(name, path) if len(named) > 1 else 0
        if rank in found:
            raise RigError(
                f"rig {path}: rank {rank} is given to {found[rank]} and {port}; end each name in its own rank"
            )
        found[rank] = port
    ranks = sorted(found)
    if not ranks or ranks != list(range(len(ranks))) or len(ranks) > WORLD_SIZE_MAX:
        raise RigError(f"rig {path}: ranks are {ranks}; they must be 0, 1, 2, ... without gaps, at most 16")
    boards = tuple(BoardSpec(rank, found[rank]) for rank in ranks)
    baud = options.get("hil_baud", BAUD_DEFAULT)
    if not isinstance(baud, int):
        raise RigError(f"rig {path}: options: hil_baud = {baud!r}: give a whole number")
    return RigConfig(path.stem, boards, _links(options, len(boards), path), baud, source=path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Targets by role, and options."""
    with _labgrid_errors(path):
        from labgrid.config import Config
        from labgrid.factory import target_factory

        config = Config(str(path))
        targets = {
            str(role): target_factory.normalize_config(table or {}) for role, table in config.get_targets().items()
        }
        return targets, dict(config.data.get("options") or {})


@contextlib.contextmanager
def _labgrid_errors(path: Path) -> Iterator[None]:
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
    return any(spec.port.startswith(SCHEME) for spec in config.boards)


class LabgridRig:
    """The environment's targets, opened: places are acquired, and given back by `release`.

    A place that this user on this computer holds already is used, and kept.
    Raises: RigError saying who holds a place, or what labgrid says; then nothing is held.
    """

    def __init__(self, config: RigConfig) -> None:
        assert config.source is not None
        self._path = config.source
        self._targets = {self._names(spec)[0] for spec in config.boards}
        self._acquired: list[str] = []
        self._environment: Any = None
        self._session: Any = None
        try:
            with _labgrid_errors(self._path):
                self._open()
        except BaseException:
            self.release()
            raise

    def _open(self) -> None:
        from labgrid.environment import Environment
        from labgrid.resource.remote import RemotePlaceManager

        self._environment = Environment(str(self._path))
        places = self._places()
        if places:
            self._session = self._connect()
            for place in places:
                self._acquire(place)
            manager = RemotePlaceManager.get()
            manager.session, manager.loop = self._session, self._session.loop

    def _places(self) -> list[str]:
        from labgrid.factory import target_factory

        names = []
        for role, table in self._environment.config.get_targets().items():
            if role not in self._targets:
                continue
            resources, _ = target_factory.normalize_config(table)
            names += [str(name) for name in resources.get("RemotePlace", {})]
        return list(dict.fromkeys(names))

    def _connect(self) -> Any:
        """A connection to the coordinator."""
        from labgrid.remote.client import ServerError, start_session

        address = self._address()
        arguments = Namespace(place=None, allow_unmatched=False, kick=False)
        try:
            return start_session(address, extra={"args": arguments})
        except (ServerError, OSError) as error:
            raise RigError(
                f"rig {self._path}: no labgrid coordinator answers at {address} ({' '.join(map(str, error.args))}); "
                "start labgrid-coordinator there, or set coordinator_address or LG_COORDINATOR"
            ) from None

    def _address(self) -> str:
        default = os.environ.get("LG_COORDINATOR", "127.0.0.1:20408")
        return str(self._environment.config.get_option("coordinator_address", default))

    def _acquire(self, name: str) -> None:
        from labgrid.remote.client import Error

        session = self._session
        try:
            place = session.get_place(name)
        except Error as error:
            raise RigError(
                f"rig {self._path}: place {name}: {' '.join(error.args)}; `labgrid-client places` lists what there is"
            ) from None
        if place.acquired == f"{session.gethostname()}/{session.getuser()}":
            return
        if place.acquired:
            raise RigError(
                f"rig {self._path}: place {name} is held by {place.acquired}; wait, or ask for "
                f"`labgrid-client -p {name} release`"
            )
        session.args.place = name
        try:
            with contextlib.redirect_stdout(io.StringIO()) as said:
                session.loop.run_until_complete(session.acquire())
        except Error as error:
            words = " ".join([*said.getvalue().split(), *error.args])
            raise RigError(f"rig {self._path}: place {name} cannot be acquired: {words}") from None
        self._acquired.append(name)

    def port(self, spec: BoardSpec) -> str:
        """The path or URL of a board's serial port. Raises RigError."""
        target, resource_name = self._names(spec)
        with _labgrid_errors(self._path):
            from labgrid.util.proxy import proxymanager

            found = [
                resource
                for resource in self._environment.get_target(target).resources
                if type(resource).__name__ in PORT_CLASSES and resource_name in ("", resource.name)
            ]
            if len(found) != 1:
                named = f" named {resource_name}" if resource_name else ""
                raise RigError(
                    f"rig {self._path}: board {spec.rank}: target {target} has {len(found)} serial ports{named}; "
                    "`labgrid-client -p PLACE show` lists what a place holds"
                )
            (resource,) = found
            resource.target.await_resources([resource], timeout=AVAILABLE_S)
            if type(resource).__name__ != "NetworkSerialPort":
                return str(resource.port)
            host, number = proxymanager.get_host_and_port(resource)
            scheme = {"rfc2217": "rfc2217", "raw": "socket"}[resource.protocol]
            return f"{scheme}://{host}:{number}"

    @staticmethod
    def _names(spec: BoardSpec) -> tuple[str, str]:
        target, _, resource = spec.port.removeprefix(SCHEME).rpartition("/")
        return target, resource

    def power(self, config: RigConfig) -> LabgridPower | None:
        """What resets the boards, if every board's target has a driver for that."""
        targets = {spec.rank: self._names(spec)[0] for spec in config.boards}
        if len(self._targets) < len(targets):
            return None
        with _labgrid_errors(self._path):
            resets = {rank: _reset_of(self._environment.get_target(target)) for rank, target in targets.items()}
        found = {rank: reset for rank, reset in resets.items() if reset is not None}
        return LabgridPower(found) if len(found) == len(targets) else None

    def release(self) -> None:
        """Give back the places that were acquired, and end the connection. Raises RigError if one stays held."""
        from labgrid.resource.remote import RemotePlaceManager

        if self._environment is not None:
            self._environment.cleanup()
        session, self._session = self._session, None
        if session is None:
            return
        RemotePlaceManager.get().session = None
        try:
            with _labgrid_errors(self._path), contextlib.redirect_stdout(io.StringIO()):
                for place in self._acquired:
                    session.args.place = place
                    session.loop.run_until_complete(session.release())
        finally:
            session.loop.run_until_complete(session.stop())
            session.loop.run_until_complete(session.close())


def _reset_of(target: Any) -> Callable[[], None] | None:
    from labgrid.exceptions import NoDriverFoundError

    for protocol, call in RESET_PROTOCOLS:
        with contextlib.suppress(NoDriverFoundError):
            reset: Callable[[], None] = getattr(target.get_driver(protocol), call)
            return reset
    return None


class LabgridPower:
    """labgrid's drivers for reset or power, one per board."""

    def __init__(self, resets: dict[int, Callable[[], None]]) -> None:
        self._resets = resets
        self._threads: dict[int, threading.Thread] = {}
        self._problems: dict[int, str] = {}

    def reset(self, board: Board) -> None:
        """Start the driver's call in a thread: it waits between off and on, and the port is read meanwhile."""
        running = self._threads.get(board.rank)
        if running is None or not running.is_alive():
            self._threads[board.rank] = threading.Thread(target=self._run, args=(board.rank,), daemon=True)
            self._threads[board.rank].start()

    def _run(self, rank: int) -> None:
        self._problems.pop(rank, None)
        try:
            self._resets[rank]()
        except Exception as error:  # whatever a driver raises is told where somebody waits for the board
            self._problems[rank] = f"for board {rank} it says: {error}"

    def describe(self) -> str:
        """labgrid, and what went wrong."""
        return "; ".join(["labgrid's driver does it", *self._problems.values()])

    def close(self) -> None:
        """Nothing is held."""
