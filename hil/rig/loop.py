"""The one loop: wait until any serial port has something, a timer is due, or a deadline passes.

Nothing else in the harness blocks, sleeps or polls. On real ports time is wall time and waiting is
`selectors`; a port without a file descriptor gets a feeder thread. On simulated ports time is virtual
and waiting runs the simulation.
Owns: the open ports and the timers.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import serial

from hil.errors import PortError
from hil.rig.remote import closed_reason, is_remote, open_reason, remote_device

DataHandler = Callable[[bytes], None]
READ_BYTES_MAX = 65536
WRITE_BYTES_MAX = 4096
THREAD_TIMEOUT_S = 0.1
"""How long closing a threaded port may take."""


class Port:
    """An open serial port: bytes out are queued, bytes in go to the handler.

    `failure` is set, and nothing more is sent or received, once the port has failed. This class serves
    in-process ports, which take and give bytes at once.
    """

    descriptor: int | None = None

    def __init__(self, url: str, device: Any, handler: DataHandler) -> None:
        self.url = url
        self.device = device
        self.handler = handler
        self.outgoing = bytearray()
        self.failure: str | None = None

    def write(self, data: bytes) -> None:
        """Queue bytes; the loop sends them as fast as the port takes them."""
        if self.failure is None:
            self.outgoing += data
            self.flush()

    def flush(self) -> None:
        """Send what the port takes without waiting."""
        if not self.outgoing or self.failure is not None:
            return
        try:
            taken = self._send(bytes(self.outgoing))
        except (serial.SerialException, OSError) as error:
            self.fail(f"writing failed: {error}")
            return
        del self.outgoing[:taken]

    def receive(self) -> bool:
        """Hand what has arrived to the handler; whether there was anything."""
        if self.failure is not None:
            return False
        try:
            data = self._take()
        except (serial.SerialException, OSError) as error:
            self.fail(f"reading failed: {error}")
            return False
        if data:
            self.handler(data)
        return bool(data)

    def fail(self, reason: str) -> None:
        """Stop using the port; the reason is kept for whoever waits for this board."""
        hint = closed_reason(self.url) if is_remote(self.url) else "is the adapter still plugged in?"
        self.failure = f"port {self.url}: {reason}; {hint}"
        self.outgoing.clear()

    def set_baud(self, baud: int) -> None:
        """Change the line's baud, at once. Raises PortError if the adapter cannot."""
        try:
            self.device.baudrate = baud
        except (serial.SerialException, OSError, ValueError) as error:
            raise PortError(f"port {self.url}: {baud} baud: {error}") from None

    def close(self) -> None:
        """Close the device."""
        self.device.close()

    def _send(self, data: bytes) -> int:
        return int(self.device.write(data))

    def _take(self) -> bytes:
        return bytes(self.device.read(READ_BYTES_MAX))


class DescriptorPort(Port):
    """A port of the operating system: written only when `select` says that it takes bytes.

    pyserial's non-blocking write spins while a terminal is full, so it must not be asked then.
    """

    def __init__(self, url: str, device: Any, handler: DataHandler, descriptor: int) -> None:
        super().__init__(url, device, handler)
        self.descriptor = self._descriptor = descriptor

    def _send(self, data: bytes) -> int:
        _, ready, _ = select.select([], [self._descriptor], [], 0)
        return super()._send(data[:WRITE_BYTES_MAX]) if ready else 0


class ThreadedPort(Port):
    """A port without file descriptor (USB, RFC 2217): one thread reads it, one writes it.

    Args:
        wake: written to when something has arrived, so that `select` returns.
    """

    def __init__(self, url: str, device: Any, handler: DataHandler, wake: socket.socket) -> None:
        super().__init__(url, device, handler)
        if device.timeout != THREAD_TIMEOUT_S or device.write_timeout is not None:  # costs a negotiation on a network
            device.timeout = THREAD_TIMEOUT_S
            device.write_timeout = None
        self._wake = wake
        self._arrived: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self._leaving: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stopping = False
        self._threads = [
            threading.Thread(target=body, name=f"{name} {url}", daemon=True)
            for name, body in (("reader", self._read_all), ("writer", self._write_all))
        ]
        for thread in self._threads:
            thread.start()

    def _read_all(self) -> None:
        while not self._stopping:
            try:
                data = self.device.read(max(1, self.device.in_waiting))
            except (serial.SerialException, OSError) as error:
                self._hand_over(error)
                return
            if data:
                self._hand_over(bytes(data))

    def _write_all(self) -> None:
        while (data := self._leaving.get()) is not None:
            try:
                self.device.write(data)
            except (serial.SerialException, OSError) as error:
                self._hand_over(error)
                return

    def _hand_over(self, item: bytes | Exception) -> None:
        self._arrived.put(item)
        with contextlib.suppress(OSError):
            self._wake.send(b".")

    def _send(self, data: bytes) -> int:
        self._leaving.put(data)
        return len(data)

    def _take(self) -> bytes:
        data = bytearray()
        while not self._arrived.empty():
            item = self._arrived.get()
            if isinstance(item, Exception):
                if data:
                    self._hand_over(item)  # wakes the loop again: the data is taken first
                    break
                raise item
            data += item
        return bytes(data)

    def close(self) -> None:
        """End both threads within the read's time limit, then close the device."""
        self._stopping = True
        self._leaving.put(None)
        for thread in self._threads:
            thread.join()
        super().close()


def open_device(url: str, baud: int) -> Any:
    """A pyserial object for a path or URL, exclusive, never blocking. Raises PortError."""
    if url.startswith("sim://"):
        from hil.sim.serial_handler import install

        install()
    try:
        if url.lower().startswith("rfc2217://"):
            device: Any = remote_device(url, baud, THREAD_TIMEOUT_S)
        else:
            device = serial.serial_for_url(url, baudrate=baud, timeout=0, write_timeout=0, do_not_open=True)
            device.exclusive = True
        device.open()
    except (serial.SerialException, OSError, ValueError, KeyError) as error:
        reason = open_reason(url, error) if is_remote(url) else _open_reason(error)
        raise PortError(f"port {url}: {reason}") from None
    return device


def _open_reason(error: Exception) -> str:
    text = str(error)
    code = getattr(error, "errno", None)
    if code == 2 or "No such file" in text or "FileNotFoundError" in text:
        return "does not exist; plug the adapter in, or correct the port in the rig file"
    if code in (11, 16) or "exclusively lock" in text or "busy" in text or "already open" in text:
        return "is in use by another program; close that program (a terminal, another run) and try again"
    if code == 13 or "Permission denied" in text:
        return "may not be opened by this user; add yourself to the group that owns it (often `dialout`)"
    return f"cannot be opened: {text}"


class Waiter(Protocol):
    """What a loop needs from the world: the time, and waiting for ports."""

    def now_s(self) -> float:
        """Seconds, monotonic."""

    def adopt(self, url: str, device: Any, handler: DataHandler) -> Port:
        """A port that this waiter can wait for."""

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

    def adopt(self, url: str, device: Any, handler: DataHandler) -> Port:
        """An in-process port."""
        return Port(url, device, handler)

    def wait(self, ports: list[Port], deadline_s: float) -> None:
        """Run until a board's byte has arrived at the host, or the deadline."""
        boards = [port.device.board_index for port in ports]
        self._simulation.run(max(int(deadline_s * 1e9), self._simulation.time_ns) + 1, stop_on_rx=boards)

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

    def adopt(self, url: str, device: Any, handler: DataHandler) -> Port:
        """A port that this waiter can wait for."""
        descriptor = _descriptor(device)
        if descriptor is None:
            return ThreadedPort(url, device, handler, self._wake_write)
        return DescriptorPort(url, device, handler, descriptor)

    def wait(self, ports: list[Port], deadline_s: float) -> None:
        """Wait in the operating system; nothing is polled."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            for port in ports:
                if port.descriptor is not None:
                    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if port.outgoing else 0)
                    selector.register(port.descriptor, events)
            selector.select(max(0.0, deadline_s - self.now_s()))
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)

    def close(self) -> None:
        """Close the wake-up pair; the ports are closed before."""
        self._wake_read.close()
        self._wake_write.close()


def _descriptor(device: Any) -> int | None:
    try:
        return int(device.fileno())
    except (AttributeError, OSError, TypeError, ValueError):
        return None


class Loop:
    """Ports and timers of one rig, and the only way to wait."""

    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter
        self._ports: list[Port] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = itertools.count()

    def now_s(self) -> float:
        """The rig's clock."""
        return self._waiter.now_s()

    def open_port(self, url: str, baud: int, handler: DataHandler) -> Port:
        """Open a port and start listening. Raises PortError."""
        port = self._waiter.adopt(url, open_device(url, baud), handler)
        self._ports.append(port)
        return port

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
            until_s = min(deadline_s, self._timers[0][0]) if self._timers else deadline_s
            alive = [port for port in self._ports if port.failure is None]
            self._waiter.wait(alive, until_s)
            for port in alive:
                port.flush()
                port.receive()
        return True

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
