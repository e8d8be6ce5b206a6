"""A board double: the other end of a pseudo-terminal, stricter than a board.

It speaks the boot protocol and serial frames from docs/protocol.md, written without the host's code for
the boot words, and ends the test with a note in `complaints` for anything a real board would let pass.
"""

import contextlib
import os
import select
import struct
import threading
import tty
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from hil.protocol.frames import Frame, FrameDecoder, encode_frame
from hil.protocol.messages import PROTOCOL_VERSION, Command, Crashed, Event, Identify, Identity, Kind, Ready, Status


@dataclass
class Behaviour:
    """What this board does differently from a good one."""

    silent: bool = False
    before_boot: bytes = b""
    only_garbage: bytes = b""
    refuse_offer: bytes = b""
    crc_echo_xor: int = 0
    report_damage: bool = False
    restart_mid_upload: bool = False
    build_id: bytes | None = None
    serial: int = 0xB0A2D000
    protocol: int = PROTOCOL_VERSION
    lose_responses: int = 0
    repeat_responses: int = 0
    refuse_ping: str = ""
    crash_on_ping: bool = False
    hang_up_on_ping: bool = False
    restart_on_ping: bool = False
    silent_after_boot: bool = False
    greets: bool = False
    stop_reading_in_upload: bool = False
    garbage_on_ping: bytes = b""
    on_half_image: Callable[[], None] | None = None


@dataclass
class BoardDouble:
    """Runs in a thread from power_on to close. `path` is the port to open."""

    build_id: bytes
    behaviour: Behaviour = field(default_factory=Behaviour)

    def __post_init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave = slave
        self.complaints: list[str] = []
        self.executed: list[Command] = []
        self.image = b""
        self._open = True
        self._thread = threading.Thread(target=self._run, daemon=True)

    def power_on(self) -> None:
        """Start talking. After the port was opened, as on a desk: opening discards what came before."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; the terminal disappears."""
        if self._open:
            self._open = False
            os.write(self._slave, b"\0")
        if self._thread.ident is not None:
            self._thread.join(timeout=20)
        for fd in (self.master, self._slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _run(self) -> None:
        try:
            if self._boot():
                self._serve()
        except (OSError, EOFError):
            pass

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = os.read(self.master, count - len(data))
            if not chunk or not self._open:
                raise EOFError
            data += chunk
        return data

    def _words(self, *values: int) -> None:
        os.write(self.master, struct.pack(f"<{len(values)}I", *values))

    def _word(self) -> int:
        return struct.unpack("<I", self._read(4))[0]

    def _announce(self) -> None:
        if self.behaviour.greets:
            text = b"board serial %016x, reset status 0x00001000\n" % self.behaviour.serial
            self._words(0xDDDDEEEE, len(text))
            os.write(self.master, text)
        self._words(0x11112222)

    def _boot(self) -> bool:
        does = self.behaviour
        if does.silent:
            return False
        if does.only_garbage:
            self._write_all(does.only_garbage)
            return False
        os.write(self.master, does.before_boot)
        self._announce()
        while not select.select([self.master], [], [], 0.3)[0]:
            self._announce()
        word = self._word()
        if word != 0x33334444:
            self.complaints.append(f"expected PUT_PROG_INFO, got {word:#x}")
            return False
        address, size, crc = struct.unpack("<3I", self._read(12))
        if address != 0x8000:
            self.complaints.append(f"load address {address:#x}")
        if does.refuse_offer:
            self._words(0xDDDDEEEE, len(does.refuse_offer))
            os.write(self.master, does.refuse_offer)
            self._words(0xBBBBCCCC)
            return False
        self._words(0x55556666, crc ^ does.crc_echo_xor)
        if does.crc_echo_xor:
            return False
        if self._word() != 0x77778888:
            self.complaints.append("expected PUT_CODE")
            return False
        if does.restart_mid_upload:
            self._read(size // 2)
            self._words(0x11112222)
            return False
        if does.stop_reading_in_upload:
            return False
        if does.on_half_image is not None:
            self._read(size // 2)
            does.on_half_image()
            return False
        self.image = self._read(size)
        if zlib.crc32(self.image) != crc:
            self.complaints.append("the image does not have the CRC of the offer")
        if does.report_damage:
            self._words(0xBBBBCCCC)
            return False
        self._words(0x9999AAAA)
        return not does.silent_after_boot

    def _write_all(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data) :]

    def _send(self, kind: Kind, code: int, sequence: int, payload: bytes) -> None:
        os.write(self.master, encode_frame(Frame(kind, code, sequence, payload)))

    def _serve(self) -> None:
        ready = Ready(self.behaviour.protocol, 0, 1, self.build_id)
        self._send(Kind.EVENT, Event.READY, 0, ready.pack())
        decoder, last = FrameDecoder(), (None, b"")
        while True:
            for frame in decoder.feed(self._read(1)):
                if not isinstance(frame, Frame) or frame.kind is not Kind.COMMAND:
                    self.complaints.append(f"not a command: {frame}")
                    continue
                if frame.sequence == last[0]:
                    self._answer(frame, last[1])
                    continue
                payload = self._execute(frame)
                last = (frame.sequence, payload)
                self._answer(frame, payload)

    def _answer(self, frame: Frame, payload: bytes) -> None:
        if self.behaviour.lose_responses > 0 and frame.code != Command.IDENTIFY:
            self.behaviour.lose_responses -= 1
            return
        for _ in range(1 + self.behaviour.repeat_responses):
            self._send(Kind.RESPONSE, frame.code, frame.sequence, payload)

    def _execute(self, frame: Frame) -> bytes:
        does, command = self.behaviour, Command(frame.code)
        self.executed.append(command)
        if command is Command.IDENTIFY:
            session = Identify.unpack(frame.payload).session
            identity = Identity(
                session, does.protocol, 0, 1, 0, 5, 1, 1, does.serial, 0x900093, 448 << 20, 1000,
                does.build_id or self.build_id, b"test".ljust(16, b"\0"), 115200,
            )  # fmt: skip
            return bytes([Status.OK]) + identity.pack()
        if command is Command.PING:
            return self._ping(frame)
        return bytes([Status.UNKNOWN_COMMAND]) + b"the double knows IDENTIFY and PING"

    def _hang_up(self) -> None:
        self._open = False
        os.close(self.master)

    def _ping(self, frame: Frame) -> bytes:
        does = self.behaviour
        if does.hang_up_on_ping:
            self._hang_up()
            raise EOFError
        if does.restart_on_ping:
            self._words(0x11112222)
            raise EOFError
        if does.crash_on_ping:
            crash = Crashed(3, 0x8010, 0x8020, 0x9000, 0x13, 5, 0xDEAD0000, (0,) * 13, (0,) * 32, self.build_id[:8])
            self._send(Kind.EVENT, Event.CRASHED, 1, crash.pack())
            raise EOFError
        if does.garbage_on_ping:
            self._write_all(does.garbage_on_ping)
            does.garbage_on_ping = b""
        if does.refuse_ping:
            return bytes([Status.BAD_ARGUMENT]) + does.refuse_ping.encode()
        return bytes([Status.OK]) + frame.payload
