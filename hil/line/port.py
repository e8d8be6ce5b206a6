"""An open serial port: bytes out are queued, bytes in go to the handler; what is behind it may come and go.

A device that disappears (unplugged, re-enumerated by USB) is `lost`: nothing is sent or received, and the loop tries
to open it again under the same name. When it is back every handle is new: device, descriptor, threads. A port that
does not come back in time, or takes no byte for WRITE_LIMIT_S, has failed: `failure` says why.
Owns: the pyserial device, its threads. Waiting: hil/line/loop.py.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

import serial

from hil.errors import PortError
from hil.line.remote import closed_reason, is_remote, open_reason, remote_device

DataHandler = Callable[[bytes], None]
READ_BYTES_MAX = 65536
WRITE_BYTES_MAX = 4096
THREAD_TIMEOUT_S = 0.1
"""How long closing a threaded port may take."""
WRITE_LIMIT_S = 5.0
"""A port that takes no byte for so long is hung; at 1200 baud an adapter's buffer moves sooner."""


class Port:
    """A serial port by its name.

    `failure` is set, and nothing more is sent or received, once the port has failed; `reopen` begins anew. This class
    serves in-process ports, which take and give bytes at once.

    Attributes:
        lost: why the device cannot be used now, or None. What is written meanwhile is dropped.
        on_lost, on_back: called with a sentence; on_back when the device has been opened again.
    """

    descriptor: int | None = None

    def __init__(self, url: str, baud: int, handler: DataHandler) -> None:
        self.url = url
        self.baud = baud
        self.handler = handler
        self.device: Any = None
        self.outgoing = bytearray()
        self.taken_bytes = 0
        self.lost: str | None = None
        self.failure: str | None = None
        self.on_lost: Callable[[str], None] = lambda sentence: None
        self.on_back: Callable[[str], None] = lambda sentence: None

    @property
    def usable(self) -> bool:
        """Whether there is a device to send to and to receive from."""
        return self.lost is None and self.failure is None

    @property
    def waiting_bytes(self) -> int:
        """Written, but not taken by the device yet."""
        return len(self.outgoing)

    def attach(self, device: Any) -> None:
        """Use this open device from now on."""
        self.device = device
        self.lost = self.failure = None

    def detach(self) -> None:
        """Let go of the device, however broken it is."""
        device, self.device = self.device, None
        self.outgoing.clear()
        if device is not None:
            with contextlib.suppress(serial.SerialException, OSError, ValueError):
                device.close()

    def write(self, data: bytes) -> None:
        """Queue bytes; the loop sends them as fast as the port takes them."""
        if self.usable:
            self.outgoing += data
            self.flush()

    def flush(self) -> None:
        """Send what the port takes without waiting."""
        if not self.outgoing or not self.usable:
            return
        try:
            taken = self._send(bytes(self.outgoing))
        except (serial.SerialException, OSError) as error:
            self.lose(f"writing failed: {error}")
            return
        self.taken_bytes += taken
        del self.outgoing[:taken]

    def receive(self) -> bool:
        """Hand what has arrived to the handler; whether there was anything."""
        if not self.usable:
            return False
        try:
            data = self._take()
        except (serial.SerialException, OSError) as error:
            self.lose(f"reading failed: {error}")
            return False
        if data:
            self.handler(data)
        return bool(data)

    def lose(self, reason: str) -> None:
        """The device is gone; it may come back."""
        self.lost = self._sentence(reason)
        self.detach()
        self.on_lost(self.lost)

    def fail(self, reason: str) -> None:
        """Stop using the port; the reason is kept for whoever waits for this board."""
        self.failure = self._sentence(reason)
        self.detach()

    def _sentence(self, reason: str) -> str:
        hint = closed_reason(self.url) if is_remote(self.url) else "is the adapter still plugged in?"
        return f"port {self.url}: {reason}; {hint}"

    def set_baud(self, baud: int) -> None:
        """Change the line's baud, at once. Raises PortError if the adapter cannot."""
        try:
            if self.usable:
                self.device.baudrate = baud
        except (serial.SerialException, OSError, ValueError) as error:
            raise PortError(f"port {self.url}: {baud} baud: {error}") from None
        self.baud = baud

    def close(self) -> None:
        """Close the device."""
        self.detach()

    def _send(self, data: bytes) -> int:
        return int(self.device.write(data))

    def _take(self) -> bytes:
        return bytes(self.device.read(READ_BYTES_MAX))


class DescriptorPort(Port):
    """A port of the operating system: written only when `select` says that it takes bytes.

    pyserial's non-blocking write spins while a terminal is full, so it must not be asked then.
    """

    def attach(self, device: Any) -> None:
        """Use this open device from now on."""
        super().attach(device)
        self.descriptor = int(device.fileno())

    def detach(self) -> None:
        """Let go of the device."""
        self.descriptor = None
        super().detach()

    def _send(self, data: bytes) -> int:
        ready = self.descriptor is not None and select.select([], [self.descriptor], [], 0)[1]
        return super()._send(data[:WRITE_BYTES_MAX]) if ready else 0


class _Threads:
    """One thread that reads a device, one that writes it, and what is on its way between them and the loop."""

    def __init__(self, device: Any, url: str, wake: socket.socket) -> None:
        self._device = device
        self._wake = wake
        self.arrived: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self.leaving: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.handed_bytes = self.taken_bytes = 0
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
                data = self._device.read(max(1, self._device.in_waiting))
            except (serial.SerialException, OSError, TypeError) as error:  # TypeError: pyserial, closed under it
                self.hand_over(error)
                return
            if data:
                self.hand_over(bytes(data))

    def _write_all(self) -> None:
        while (data := self.leaving.get()) is not None and not self._stopping:
            try:
                self._device.write(data)
            except (serial.SerialException, OSError, TypeError) as error:
                self.hand_over(error)
                return
            self.taken_bytes += len(data)

    def hand_over(self, item: bytes | Exception) -> None:
        """Leave something for the loop and wake it."""
        self.arrived.put(item if not isinstance(item, TypeError) else OSError(str(item)))
        with contextlib.suppress(OSError):
            self._wake.send(b".")

    def end(self) -> None:
        """Within the read's time limit; a writer that hangs in its device is left behind."""
        self._stopping = True
        self.leaving.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=10 * THREAD_TIMEOUT_S)


class ThreadedPort(Port):
    """A port without file descriptor (USB, RFC 2217): one thread reads it, one writes it.

    Args:
        wake: written to when something has arrived, so that `select` returns.
    """

    def __init__(self, url: str, baud: int, handler: DataHandler, wake: socket.socket) -> None:
        super().__init__(url, baud, handler)
        self._wake = wake
        self._threads: _Threads | None = None

    @property
    def waiting_bytes(self) -> int:
        """Written, but not taken by the device yet."""
        threads = self._threads
        return len(self.outgoing) + (threads.handed_bytes - threads.taken_bytes if threads else 0)

    def attach(self, device: Any) -> None:
        """Use this open device from now on, with threads of its own."""
        super().attach(device)
        if device.timeout != THREAD_TIMEOUT_S or device.write_timeout is not None:  # costs a negotiation on a network
            device.timeout = THREAD_TIMEOUT_S
            device.write_timeout = None
        self._threads = _Threads(device, self.url, self._wake)

    def detach(self) -> None:
        """End both threads, then let go of the device."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.end()
        super().detach()

    def flush(self) -> None:
        """Hand everything to the writer; what it has written counts as taken."""
        super().flush()
        if self._threads is not None:
            self.taken_bytes = self._threads.taken_bytes

    def _send(self, data: bytes) -> int:
        assert self._threads is not None
        self._threads.handed_bytes += len(data)
        for start in range(0, len(data), WRITE_BYTES_MAX):  # so that progress is seen
            self._threads.leaving.put(data[start : start + WRITE_BYTES_MAX])
        return len(data)

    def _take(self) -> bytes:
        assert self._threads is not None
        arrived, data = self._threads.arrived, bytearray()
        while not arrived.empty():
            item = arrived.get()
            if isinstance(item, Exception):
                if data:
                    self._threads.hand_over(item)  # wakes the loop again: the data is taken first
                    break
                raise item
            data += item
        return bytes(data)


def may_come_back(url: str) -> bool:
    """Whether the same name means the same port later. A pseudo-terminal's number is given to whoever asks next."""
    return not url.startswith(("/dev/pts/", "/dev/ttys"))


def open_device(url: str, baud: int) -> Any:
    """A pyserial object for a path or URL, exclusive, never blocking. Raises PortError."""
    if url.startswith("sim://"):
        from hil.sim.handlers import install

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
