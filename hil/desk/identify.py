"""Asking ports who is there, without booting anything.

A running ring image answers IDENTIFY; a bootloader announces itself every 300 ms and ignores the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from hil.board.boot import Announcements
from hil.errors import PortError
from hil.line.loop import Loop, WallWaiter
from hil.protocol.fields import MessageError
from hil.protocol.frames import Frame, FrameDecoder, encode_frame
from hil.protocol.messages import NO_RANK, Command, Identify, Identity, Kind, Status

ASK_TIMEOUT_S = 2.0
ASK_EVERY_S = 0.5

Who = Literal["ring image", "bootloader", "other", "silent", "failed"]


@dataclass
class Answer:
    """What a port said. identity only for a ring image; note for people."""

    port: str
    who: Who = "silent"
    identity: Identity | None = None
    note: str = ""
    board_serial: int | None = None
    """Told by a ring image, and by our bootloader."""

    @property
    def is_board(self) -> bool:
        """Whether one of our boards is there."""
        return self.who in ("ring image", "bootloader")


class _Listener:
    """Listens to one port until it knows who is there."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self._decoder = FrameDecoder()
        self._announcements = Announcements()
        self._count = 0

    def on_data(self, data: bytes) -> None:
        if self.answer.is_board:
            return
        self._count += len(data)
        self._announcements.hear(data, 0.0)
        for item in self._decoder.feed(data):
            if isinstance(item, Frame):
                self._frame(item)
        if self.answer.is_board:
            return
        if self._announcements.latest_s is not None:
            greeting = self._announcements.greeting
            self.answer.who, self.answer.note = "bootloader", "waits for an image"
            if greeting is not None:
                self.answer.board_serial = greeting.board_serial
                self.answer.note += f", serial {greeting.board_serial:016x}"
        else:
            self.answer.who, self.answer.note = "other", f"{self._count} bytes that are neither; another baud?"

    def _frame(self, frame: Frame) -> None:
        if frame.kind is not Kind.RESPONSE or frame.code != Command.IDENTIFY or frame.payload[:1] != bytes([Status.OK]):
            return
        try:
            identity = Identity.unpack(frame.payload[1:])
        except MessageError:
            return
        place = f"rank {identity.rank} of {identity.world_size}" if identity.rank != NO_RANK else "no shard"
        self.answer.who, self.answer.identity = "ring image", identity
        self.answer.board_serial = identity.board_serial
        self.answer.note = f"{place}, serial {identity.board_serial:016x}"


def ask_ports(ports: Sequence[str], *, baud: int, timeout_s: float = ASK_TIMEOUT_S) -> list[Answer]:
    """Ask every port at the same time; one answer per port, in order. Never raises for a port that fails."""
    answers = [Answer(port) for port in ports]
    loop = Loop(WallWaiter())
    question = encode_frame(Frame(Kind.COMMAND, Command.IDENTIFY, 0, Identify(0).pack()))
    open_answers = []
    try:
        for answer in answers:
            try:
                port = loop.open_port(answer.port, baud, _Listener(answer).on_data)
            except PortError as error:
                answer.who, answer.note = "failed", str(error)
                continue
            open_answers.append(answer)
            for time in range(int(timeout_s / ASK_EVERY_S)):
                loop.call_at(loop.now_s() + time * ASK_EVERY_S, partial(port.write, question))
        loop.run_until(lambda: all(answer.is_board for answer in open_answers), timeout_s)
    finally:
        loop.close()
    return answers
