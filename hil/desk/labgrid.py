"""labgrid's places while a rig is open: acquired, asked for their ports and for what resets boards, given back.

What an environment file says: hil/rig/labgrid.py. Source: labgrid 25 and 26, `Environment`, `ClientSession`,
`RemotePlaceManager`. labgrid is imported where it is used: a rig without it does not need it.
Owns: the connection to the coordinator, and the places that were acquired over it.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from hil.board.board import Board
from hil.desk.power import Power
from hil.errors import RigError
from hil.rig.labgrid import PORT_CLASSES, labgrid_errors, port_names
from hil.rig.specs import BoardSpec, RigConfig

RESET_PROTOCOLS = (("ResetProtocol", "reset"), ("PowerProtocol", "cycle"))
"""What can start a board anew, best first, and the call that does it."""
AVAILABLE_S = 10.0
"""How long a port may take to be found at its exporter."""


class LabgridRig:
    """The environment of a rig, opened: its places are acquired, and given back by `release`.

    A place that this user on this computer holds already is used, and kept.
    Raises: RigError saying who holds a place, or what labgrid says; then nothing is held.
    """

    def __init__(self, config: RigConfig) -> None:
        assert config.source is not None
        self._path = config.source
        self._targets = {port_names(spec)[0] for spec in config.boards}
        self._acquired: list[str] = []
        self._environment: Any = None
        self._session: Any = None
        try:
            with labgrid_errors(self._path):
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
        """The places that the rig's targets name, each once."""
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

        default = os.environ.get("LG_COORDINATOR", "127.0.0.1:20408")
        address = str(self._environment.config.get_option("coordinator_address", default))
        arguments = Namespace(place=None, allow_unmatched=False, kick=False)
        try:
            return start_session(address, extra={"args": arguments})
        except (ServerError, OSError) as error:
            raise RigError(
                f"rig {self._path}: no labgrid coordinator answers at {address} ({' '.join(map(str, error.args))}); "
                "start labgrid-coordinator there, or set coordinator_address or LG_COORDINATOR"
            ) from None

    def _acquire(self, name: str) -> None:
        """Acquire a place, unless this user on this computer holds it already. Raises RigError saying who does."""
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
        target, name = port_names(spec)
        with labgrid_errors(self._path):
            from labgrid.util.proxy import proxymanager

            found = [
                resource
                for resource in self._environment.get_target(target).resources
                if type(resource).__name__ in PORT_CLASSES and name in ("", resource.name)
            ]
            if len(found) != 1:
                named = f" named {name}" if name else ""
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

    def power(self, config: RigConfig) -> LabgridPower | None:
        """What resets the boards, if each has a target of its own with a driver for that; else None."""
        targets = {spec.rank: port_names(spec)[0] for spec in config.boards}
        if len(self._targets) < len(targets):
            return None
        with labgrid_errors(self._path):
            resets = {rank: _reset_of(self._environment.get_target(target)) for rank, target in targets.items()}
        found = {rank: reset for rank, reset in resets.items() if reset is not None}
        return LabgridPower(found) if len(found) == len(targets) else None

    def release(self) -> None:
        """Give back the places that were acquired, and end the connection. Raises RigError if one stays held."""
        if self._environment is not None:
            self._environment.cleanup()
        session, self._session = self._session, None
        if session is None:
            return
        from labgrid.resource.remote import RemotePlaceManager

        RemotePlaceManager.get().session = None
        try:
            with labgrid_errors(self._path), contextlib.redirect_stdout(io.StringIO()):
                for place in self._acquired:
                    session.args.place = place
                    session.loop.run_until_complete(session.release())
        finally:
            session.loop.run_until_complete(session.stop())
            session.loop.run_until_complete(session.close())


def _reset_of(target: Any) -> Callable[[], None] | None:
    """The call of a target's driver that starts its board anew; None if it has no such driver."""
    from labgrid.exceptions import NoDriverFoundError

    for protocol, call in RESET_PROTOCOLS:
        with contextlib.suppress(NoDriverFoundError):
            reset: Callable[[], None] = getattr(target.get_driver(protocol), call)
            return reset
    return None


class LabgridPower(Power):
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
