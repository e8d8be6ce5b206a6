"""A line of text in, a line of text out: how other processes reach a simulation that serves terminals.

TCP on this computer only. One request for each connection; the first word of an answer is `ok` or `error`.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

HOST = "127.0.0.1"
LINE_BYTES_MAX = 4096
PATIENCE_S = 1.0
"""How long a simulation waits for a client that has connected to say what it wants."""
ANSWER_S = 20.0


class ControlServer:
    """Listens; `serve_one` when `select` says that somebody has come.

    Args:
        execute: does what a line says; the answer's text. A ValueError becomes an `error` answer.
    """

    def __init__(self, execute: Callable[[str], str]) -> None:
        self._execute = execute
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"

    def fileno(self) -> int:
        """For `select`."""
        return self._listener.fileno()

    def serve_one(self) -> None:
        """Take one request and answer it. A client that hangs up or says nothing is left alone."""
        with contextlib.suppress(OSError, UnicodeDecodeError), self._listener.accept()[0] as client:
            client.settimeout(PATIENCE_S)
            with client.makefile("rb") as lines:
                line = lines.readline(LINE_BYTES_MAX).decode("utf-8").strip()
            try:
                answer = f"ok {self._execute(line)}"
            except ValueError as error:
                answer = f"error {error}"
            client.sendall(answer.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


def ask(address: str, line: str) -> str:
    """Send a line to the simulation at HOST:PORT; its answer without `ok`.

    Raises: ValueError with the simulation's sentence if it refuses; OSError if nobody is there.
    """
    host, _, number = address.rpartition(":")
    with socket.create_connection((host, int(number)), timeout=ANSWER_S) as connection:
        connection.sendall(f"{line}\n".encode())
        answer = b""
        while part := connection.recv(LINE_BYTES_MAX):
            answer += part
    word, _, text = answer.decode("utf-8").partition(" ")
    if word != "ok":
        raise ValueError(text or "no answer")
    return text
