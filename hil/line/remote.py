"""Ports on another computer: `rfc2217://HOST:PORT`, and in words what goes wrong with them.

Sources: RFC 2217, RFC 854; pyserial's rfc2217 module, which does the protocol. Owns: RemoteSerial, which loses
nothing that had arrived when a connection breaks, and does not mistake a slow line for a broken one.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import serial
from serial import rfc2217

SCHEMES = ("rfc2217", "socket")
"""URLs whose port is on another computer."""
WRITE_BYTES = 512
"""pyserial gives each write 5 s: at 1200 baud this many bytes take 4.3 s."""
GREETING_S = 1.0
READ_BYTES = 65536
SUBNEGOTIATION_BYTES_MAX = 1024
"""One that goes on for longer is none: the server does not speak telnet."""
IAC = b"\xff"
_COMMAND = re.compile(
    rb"\xff(?:(?P<escaped>\xff)|(?P<verb>[\xfb-\xfe])(?P<option>.)"
    rb"|\xfa(?P<body>(?:[^\xff]|\xff\xff)*)\xff\xf0|[^\xfa-\xff])",
    re.DOTALL,
)
_TELNET = re.compile(rb"\xff(?:\xfa.*?\xff\xf0|[\xfb-\xfe].|.)", re.DOTALL)
"""IAC SB ... IAC SE, IAC WILL/WONT/DO/DONT option, IAC command (RFC 854)."""


class RemoteSerial(rfc2217.Serial):
    """pyserial's RFC 2217 port. Reading waits for one byte at most and gives all there is."""

    _ended = False
    _socket: socket.socket  # pyserial's, as are the two below; its types leave them out
    _telnet_negotiate_option: Callable[[bytes, bytes], None]
    _telnet_process_subnegotiation: Callable[[bytes], None]
    _read_buffer: queue.Queue[bytes | None]

    def open(self) -> None:
        """Connect and agree on the settings. Raises: SerialException."""
        self._ended = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pyserial 3.5 names its thread in the old way
            super().open()

    def _telnet_read_loop(self) -> None:
        """The reading thread. pyserial's own goes byte by byte: 0.2 MB/s. However this ends, the reader learns it."""
        rest = b""
        try:
            while self.is_open:
                with contextlib.suppress(TimeoutError):
                    data = self._socket.recv(READ_BYTES)
                    if not data:
                        return
                    rest = self._decode(rest + data)
        except OSError:
            return
        finally:
            self._read_buffer.put(None)

    def _decode(self, data: bytes) -> bytes:
        """Hand out what is data, let pyserial answer telnet's commands; what is not complete yet is returned."""
        plain, at = bytearray(), 0
        while (found := data.find(IAC, at)) >= 0:
            plain += data[at:found]
            command = _COMMAND.match(data, found)
            if command is None and len(data) - found < SUBNEGOTIATION_BYTES_MAX:
                at = found
                break
            at = command.end() if command is not None else found + 1
            if command is None or command["escaped"]:
                plain += IAC
            elif command["verb"]:
                self._telnet_negotiate_option(command["verb"], command["option"])
            elif command["body"] is not None:
                self._telnet_process_subnegotiation(command["body"].replace(IAC + IAC, IAC))
        else:
            plain += data[at:]
            at = len(data)
        if plain:
            self._read_buffer.put(bytes(plain))
        return data[at:]

    def _update_dtr_state(self) -> None:
        """Leave DTR as it is: no board is wired to it, and ser2net answers for no port that has none."""

    _update_rts_state = _update_dtr_state

    def read(self, size: int = 1) -> bytes:
        """What has arrived, waiting up to `timeout` for the first byte; empty after the time.

        Raises: SerialException once the connection is closed and everything that came before has been given.
        """
        data = bytearray()
        while not self._ended:
            try:
                part = self._read_buffer.get(timeout=self.timeout) if not data else self._read_buffer.get_nowait()
            except queue.Empty:
                return bytes(data)
            self._ended = part is None
            data += part or b""
        if not data:
            raise serial.SerialException("the connection was closed")
        return bytes(data)

    def write(self, data: Any) -> int:
        """Send in small parts, so that the time limit is one for a part and not for an image at a slow line."""
        for start in range(0, len(data), WRITE_BYTES):
            super().write(data[start : start + WRITE_BYTES])
        return len(data)


def is_remote(url: str) -> bool:
    """Whether a port's URL names another computer."""
    return urlsplit(url).scheme.lower() in SCHEMES


def remote_device(url: str, baud: int, timeout_s: float) -> RemoteSerial:
    """An RFC 2217 port, not open yet. Raises ValueError for a URL without host or port number."""
    _place(url)
    device = RemoteSerial(None, baudrate=baud, timeout=timeout_s)
    device.port = url
    return device


def closed_reason(url: str) -> str:
    """What to do when the connection of an open port has ended."""
    return f"is the serial server on {urlsplit(url).hostname} still running, and the adapter plugged in there?"


def open_reason(url: str, error: Exception) -> str:
    """Why a remote port could not be opened, and what to do."""
    try:
        host, number = _place(url)
    except ValueError as wrong:
        return str(wrong)
    cause = _cause(error)
    text = str(error)
    if isinstance(cause, socket.gaierror) or "Name or service not known" in text or "nodename" in text:
        return f"host {host} is not known; correct its name in the rig file"
    if isinstance(cause, ConnectionRefusedError) or "refused" in text:
        return (
            f"nothing listens at port {number} of {host}; start the serial server there (ser2net), "
            "or correct the number in the rig file"
        )
    if isinstance(cause, TimeoutError) or "timed out" in text or "route" in text or "unreachable" in text:
        return f"{host} does not answer; is it on, and is port {number} open in its firewall?"
    said = _greeting(host, number)
    if "in use" in said:
        return f"is in use by another computer (the server says: {said}); end that connection and try again"
    if said:
        return f"the server does not let it be used; it says: {said}"
    if "waiting for option" in text:
        return f"the server does not answer a setting ({text}); add ?ign_set_control to the URL"
    return (
        f"what listens at port {number} of {host} does not speak RFC 2217, or hangs up without a word; ser2net speaks "
        f"it with `accepter: telnet(rfc2217),tcp,{number}`, and socket:// is for a server that speaks nothing"
    )


def _place(url: str) -> tuple[str, int]:
    """Host and port number. Raises ValueError with a sentence."""
    parts = urlsplit(url)
    try:
        number = parts.port
    except ValueError:
        number = None
    if not parts.hostname or number is None:
        raise ValueError(f"names no host and port; write {parts.scheme}://HOST:NUMBER, such as rfc2217://lab:4000")
    return parts.hostname, number


def _cause(error: BaseException) -> BaseException:
    """The error at the bottom: pyserial wraps what the socket said."""
    below: Any = error.__cause__ or error.__context__
    return _cause(below) if below is not None else error


def _greeting(host: str, number: int) -> str:
    """What the server says by itself in words, without telnet's commands; empty if nothing."""
    data = b""
    try:
        with socket.create_connection((host, number), timeout=GREETING_S) as connection:
            while len(data) < 1024 and (part := connection.recv(1024)):
                data += part
    except OSError:
        pass
    words = _TELNET.sub(b"", data).decode("ascii", "backslashreplace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())[:200]
