"""What stands behind remote rigs in the tests: `hil sim --pty` in a process of its own, two RFC 2217 servers.

pyserial's PortManager is the server that pyserial ships the protocol of; ser2net is what people run.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest
import serial
from serial.rfc2217 import PortManager

WAIT_S = 60.0


def wait_for(event: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> None:
    """Wait for something that another process does and does not announce."""
    tick = threading.Event()
    for _ in range(int(limit_s / 0.02)):
        if event():
            return
        tick.wait(0.02)
    pytest.fail(f"{what}: not within {limit_s:g} s")


class SimDesk:
    """`hil sim --pty` in a process of its own. `rig` is the rig file that it writes; `output` what it printed."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.rig = folder / "rig.toml"
        self.output = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hil.cli", "sim", "--pty", str(folder), "--fast", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder.parent,
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout.readline()
        assert " at " in self.output, f"hil sim did not start: {self.output}{self._process.stdout.read()}"

    @property
    def ports(self) -> list[Path]:
        """The boards' terminals by rank."""
        return sorted(self.folder.glob("pi*"), key=lambda path: int(path.name[2:]))

    def close(self) -> int:
        """End it; its exit code."""
        self._process.terminate()
        rest, _ = self._process.communicate(timeout=WAIT_S)
        self.output += rest
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.close()


class _Terminal(serial.Serial):
    """A pseudo-terminal as PortManager needs it: it has no modem lines."""

    cts = dsr = ri = cd = False
    dtr = rts = property(lambda self: False, lambda self, value: None)


class PortServer:
    """An RFC 2217 server for one port, made of pyserial's PortManager. One client at a time.

    `url` is for a rig file; `drop` closes the client's connection. `drop_after`: so many bytes to the port from the
    client, after which it is closed once.
    """

    def __init__(self, path: str, drop_after: int | None = None) -> None:
        self._left = drop_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.number = int(self._listener.getsockname()[1])
        self.url = f"rfc2217://127.0.0.1:{self.number}"
        self._path = path
        self._client: socket.socket | None = None
        self._wake, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def drop(self) -> None:
        """Close the client's connection, as when the server's computer is switched off."""
        if self._client is not None:
            self._client.shutdown(socket.SHUT_RDWR)

    def say(self, data: bytes) -> None:
        """Send bytes without 0xff to the client, beside those of the port."""
        wait_for(lambda: self._client is not None, "a client")
        assert self._client is not None
        self._client.sendall(data)

    def close(self) -> None:
        """End the server; harmless when repeated."""
        self._stop.close()
        self._thread.join(timeout=WAIT_S)
        for made in (self._listener, self._wake):
            made.close()

    def _run(self) -> None:
        while self._wake not in select.select([self._listener, self._wake], [], [])[0]:
            self._client, _ = self._listener.accept()
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._client, _Terminal(self._path, timeout=0) as port, contextlib.suppress(OSError):
                self._serve(self._client, port)

    def _serve(self, client: socket.socket, port: serial.Serial) -> None:
        manager = PortManager(port, _Connection(client))
        while True:
            ready, _, _ = select.select([client, port, self._wake], [], [])
            if self._wake in ready:
                return
            if client in ready:
                data = client.recv(4096)
                if not data:
                    return
                written = b"".join(manager.filter(data))
                port.write(written)
                if self._left is not None:
                    self._left -= len(written)
                    if self._left <= 0:
                        self._left = None
                        return
            if port in ready:
                client.sendall(b"".join(manager.escape(port.read(4096))))


class _Connection:
    def __init__(self, client: socket.socket) -> None:
        self.write = client.sendall


def need_ser2net() -> str:
    """The path of ser2net; the test is skipped where it is not installed, but fails in CI."""
    found = shutil.which("ser2net", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("ser2net is not installed, and CI must have it: apt-get install ser2net")
        pytest.skip("ser2net is not installed: apt-get install ser2net")
    return found


@contextlib.contextmanager
def ser2net(ports: Sequence[Path | str], folder: Path, *, chardelay: bool = False) -> Iterator[list[int]]:
    """ser2net for these ports; the numbers that it listens at.

    chardelay: collect characters for some milliseconds before they are sent on, which is ser2net's default.
    """
    numbers = free_numbers(len(ports))
    lines = ["%YAML 1.1", "---"]
    for index, (port, number) in enumerate(zip(ports, numbers, strict=True)):
        lines += [f"connection: &pi{index}", f"    accepter: telnet(rfc2217),tcp,127.0.0.1,{number}"]
        lines += [f"    connector: serialdev,{port},115200n81,local"]
        lines += [f"    options: {{chardelay: {str(chardelay).lower()}}}"]
    path = folder / "ser2net.yaml"
    path.write_text("\n".join(lines) + "\n")
    with (folder / "ser2net.out").open("w") as output:
        process = subprocess.Popen([need_ser2net(), "-n", "-u", "-c", str(path)], stdout=output, stderr=output)
    try:
        wait_for(lambda: all(_listens(number) for number in numbers), "ser2net listens")
        yield numbers
    finally:
        process.kill()
        process.wait(timeout=WAIT_S)


def free_numbers(count: int) -> list[int]:
    """TCP ports that nobody listens at just now."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(server.getsockname()[1]) for server in made]


def _listens(number: int) -> bool:
    """Whether somebody listens, without connecting: that would open the port behind it. Linux only."""
    wanted = f":{number:04X} 00000000:0000 0A"
    return any(wanted in line for line in Path("/proc/net/tcp").read_text().splitlines())


def with_ports(rig: Path, ports: Sequence[str], name: str) -> Path:
    """The same rig file with other ports, beside it."""
    lines = rig.read_text().splitlines()
    left = iter(ports)
    changed = [f'port = "{next(left)}"' if line.startswith("port") else line for line in lines]
    path = rig.with_name(f"{name}.toml")
    path.write_text("\n".join(changed) + "\n")
    return path
