"""The one loop: wait until any serial port has something, a timer is due, or a deadline passes.

Nothing else in the harness blocks, sleeps or polls. On real ports time is wall time and waiting is `select`; a port
without a file descriptor gets threads. On simulated ports time is virtual and waiting runs the simulation.
A port whose device is gone is opened again by its name, ten times a second while somebody waits.
Owns: the open ports and the timers.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from hil.errors import BoardError, PortError
from hil.line.port import WRITE_LIMIT_S, DataHandler, DescriptorPort, Port, ThreadedPort, may_come_back, open_device
from hil.sim.simulation import SimulationError

RECONNECT_S = 5.0
"""How long a port that has disappeared may stay away in mid-run; USB enumerates anew within two seconds."""
REOPEN_EVERY_S = 0.1


class Waiter(Protocol):
    """What a loop needs from the world: the time, and waiting for ports."""

    def now_s(self) -> float:
        """Seconds, monotonic."""

    def make_port(self, url: str, baud: int, device: Any, handler: DataHandler) -> Port:
        """A port that this waiter can wait for, without its device yet."""

    def wait(self, ports: list[Port], deadline_s: float) -> None:
        """Return when one of the ports may have something to read or take more bytes, or at the deadline."""

    def close(self) -> None:
        """Let go of what waiting needed."""


class SimWaiter:
    """Virtual time: waiting runs the simulation."""

    def __init__(self, simulation: Any) -> None:
        self._simulation = simulation

    def now_s(self) -> float:
        """Virtual seconds."""
        return float(self._simulation.time_ns) / 1e9

    def make_port(self, url: str, baud: int, device: Any, handler: DataHandler) -> Port:
        """An in-process port."""
        return Port(url, baud, handler)

    def wait(self, ports: list[Port], deadline_s: float) -> None:
        """Run until a board's byte has arrived at the host, or the deadline.

        Raises: BoardError if a board does what is not modelled.
        """
        boards = [port.device.board_index for port in ports]
        try:
            self._simulation.run(max(int(deadline_s * 1e9), self._simulation.time_ns) + 1, stop_on_rx=boards)
        except SimulationError as error:
            raise BoardError(str(error)) from error

    def close(self) -> None:
        """Nothing to let go of: the rig owns the simulation."""


class WallWaiter:
    """Wall time: waiting is `selectors` on file descriptors, fed by a thread where a port has none."""

    def __init__(self) -> None:
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)

    def now_s(self) -> float:
        """Monotonic wall seconds."""
        return time.monotonic()

    def make_port(self, url: str, baud: int, device: Any, handler: DataHandler) -> Port:
        """With a descriptor to wait for, or with threads."""
        if _has_descriptor(device):
            return DescriptorPort(url, baud, handler)
        return ThreadedPort(url, baud, handler, self._wake_write)

    def wait(self, ports: list[Port], deadline_s: float) -> None:
        """Wait in the operating system; nothing is polled."""
        reading: list[int | socket.socket] = [self._wake_read]
        writing: list[int] = []
        for port in ports:
            if port.descriptor is not None:
                reading.append(port.descriptor)
                if port.outgoing:
                    writing.append(port.descriptor)
        select.select(reading, writing, [], max(0.0, deadline_s - self.now_s()))
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)

    def close(self) -> None:
        """Close the wake-up pair; the ports are closed before."""
        self._wake_read.close()
        self._wake_write.close()


def _has_descriptor(device: Any) -> bool:
    try:
        return int(device.fileno()) >= 0
    except (AttributeError, OSError, TypeError, ValueError):
        return False


class Loop:
    """Ports and timers of one rig, and the only way to wait.

    Args:
        reconnect_s: how long a port that has disappeared may stay away before it has failed.
    """

    def __init__(self, waiter: Waiter, *, reconnect_s: float = 0.0) -> None:
        self._waiter = waiter
        self._reconnect_s = reconnect_s
        self._ports: list[Port] = []
        self._lost: dict[Port, float] = {}
        self._writing: dict[Port, tuple[int, float]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = itertools.count()

    def now_s(self) -> float:
        """The rig's clock."""
        return self._waiter.now_s()

    def open_port(self, url: str, baud: int, handler: DataHandler) -> Port:
        """Open a port and start listening. Raises PortError."""
        device = open_device(url, baud)
        port = self._waiter.make_port(url, baud, device, handler)
        port.attach(device)
        self._ports.append(port)
        return port

    def reopen(self, port: Port) -> None:
        """Begin anew with a port that has failed or is lost; it counts as lost where that does not work."""
        if not may_come_back(port.url):
            return
        try:
            port.attach(open_device(port.url, port.baud))
        except PortError as error:
            port.failure, port.lost = None, str(error)
            self._note_lost(port)

    def call_at(self, time_s: float, action: Callable[[], None]) -> None:
        """Call action once when the clock reaches time_s and somebody waits."""
        heapq.heappush(self._timers, (time_s, next(self._ticket), action))

    def run_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Serve ports and timers until done() or the time is over; whether done() holds."""
        deadline_s = self.now_s() + timeout_s
        while not done():
            now_s = self.now_s()
            if self._run_timers(now_s):
                continue
            if now_s >= deadline_s:
                return False
            if self._notice_lost():
                continue
            until_s = min(deadline_s, self._timers[0][0]) if self._timers else deadline_s
            usable = [port for port in self._ports if port.usable]
            self._waiter.wait(usable, min(until_s, self._write_limit_s(usable, now_s)))
            for port in usable:
                port.flush()
                port.receive()
        return True

    def _write_limit_s(self, ports: list[Port], now_s: float) -> float:
        """When the first port that takes no bytes has hung; those that have are failed."""
        first_s = float("inf")
        for port in ports:
            if not port.waiting_bytes:
                self._writing.pop(port, None)
                continue
            taken_bytes, since_s = self._writing.get(port, (-1, now_s))
            if taken_bytes != port.taken_bytes:
                since_s = now_s
                self._writing[port] = port.taken_bytes, now_s
            elif now_s >= since_s + WRITE_LIMIT_S:
                waiting = port.waiting_bytes
                port.fail(f"took no byte for {WRITE_LIMIT_S:g} s, {waiting} wait to be written")
                return now_s  # whoever waits for it wants to know
            first_s = min(first_s, since_s + WRITE_LIMIT_S)
        return first_s

    def _notice_lost(self) -> bool:
        """Begin to look for ports that have just disappeared; whether there were any."""
        new = [p for p in self._ports if p.lost is not None and p.failure is None and p not in self._lost]
        for port in new:
            self._note_lost(port)
        return bool(new)

    def _note_lost(self, port: Port) -> None:
        """Fail it, or try to open it again until it has been away for too long."""
        self._writing.pop(port, None)
        if port not in self._lost:
            self._lost[port] = self.now_s()
            self._try_again(port)

    def _try_again(self, port: Port) -> None:
        if port not in self._lost or port not in self._ports:
            return
        away_s = self.now_s() - self._lost[port]
        if port.usable or away_s >= self._reconnect_s or not may_come_back(port.url):
            del self._lost[port]
            if not port.usable:
                port.failure = port.lost
            return
        try:
            port.attach(open_device(port.url, port.baud))
        except PortError:
            self.call_at(self.now_s() + REOPEN_EVERY_S, lambda: self._try_again(port))
            return
        del self._lost[port]
        port.on_back(f"port {port.url}: came back after {away_s:.1f} s")

    def _run_timers(self, now_s: float) -> bool:
        ran = False
        while self._timers and self._timers[0][0] <= now_s:
            heapq.heappop(self._timers)[2]()
            ran = True
        return ran

    def close(self) -> None:
        """Close every port."""
        for port in self._ports:
            port.close()
        self._ports.clear()
        self._waiter.close()
