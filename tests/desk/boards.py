"""Boards on pseudo-terminals for the tests of the desk. They run in threads until close."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import struct
import threading
import time
import tty
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from hil.protocol.frames import Frame
from hil.protocol.messages import Command, Identity, Status
from tests.harness.doubles import BoardDouble

GET_PROG_INFO = struct.pack("<I", 0x11112222)
BUILD = bytes(range(16))


@dataclass
class RunningBoard(BoardDouble):
    """A board whose ring image runs already: it answers IDENTIFY and PING, and never boots."""

    rank: int = 0
    world_size: int = 1

    def _boot(self) -> bool:
        return True

    def _execute(self, frame: Frame) -> bytes:
        payload = super()._execute(frame)
        if frame.code == Command.IDENTIFY:
            identity = Identity.unpack(payload[1:])
            payload = (
                bytes([Status.OK]) + dataclasses.replace(identity, rank=self.rank, world_size=self.world_size).pack()
            )
        return payload


class Bootloader:
    """A board in its bootloader, byte by byte from the protocol's description; then `program(write)` runs.

    `reset()` makes it silent for a moment, then it starts again, as after RUN was pulled.
    """

    AWAY_S = 1.0

    def __init__(
        self, program: Callable[[Callable[[bytes], None]], None] | None = None, *, greeting: bytes = b""
    ) -> None:
        said = struct.pack("<2I", 0xDDDDEEEE, len(greeting)) + greeting if greeting else b""
        self._announcement = said + GET_PROG_INFO
        self.master, self._slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self.images: list[bytes] = []
        self._program = program
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._closing = False
        self._thread.start()

    def reset(self) -> None:
        """Pull RUN."""
        os.write(self._wake_write, b"r")

    def close(self) -> None:
        """End the thread; the terminal disappears."""
        self._closing = True
        os.write(self._wake_write, b"c")
        self._thread.join(timeout=20)
        for descriptor in (self.master, self._slave, self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._boot()
                self._wait(None)
            except _ResetError:
                deadline = time.monotonic() + self.AWAY_S
                with contextlib.suppress(_ResetError):
                    while not self._closing and (left := deadline - time.monotonic()) > 0:
                        self._wait(left)
                        self._drain()

    def _wait(self, timeout_s: float | None) -> bool:
        """Whether bytes are there; a reset interrupts."""
        readable, _, _ = select.select([self.master, self._wake_read], [], [], timeout_s)
        if self._wake_read in readable:
            os.read(self._wake_read, 100)
            raise _ResetError
        return self.master in readable

    def _drain(self) -> None:
        if select.select([self.master], [], [], 0)[0]:
            os.read(self.master, 65536)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            self._wait(None)
            data += os.read(self.master, count - len(data))
        return data

    def _boot(self) -> None:
        window = b""
        while window != struct.pack("<I", 0x33334444):
            os.write(self.master, self._announcement)
            while self._wait(0.3):
                window = (window + os.read(self.master, 1))[-4:]
                if window == struct.pack("<I", 0x33334444):
                    break
        _, size, crc = struct.unpack("<3I", self._read(12))
        os.write(self.master, struct.pack("<2I", 0x55556666, crc))
        assert self._read(4) == struct.pack("<I", 0x77778888)
        image = self._read(size)
        assert zlib.crc32(image) == crc
        self.images.append(image)
        os.write(self.master, struct.pack("<I", 0x9999AAAA))
        if self._program is not None:
            self._program(lambda data: os.write(self.master, data) and None)


class _ResetError(Exception):
    """RUN was pulled, or the board is closed."""
