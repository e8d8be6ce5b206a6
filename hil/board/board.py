"""One board: boot it, give it commands, keep what it says.

A Board never waits by itself: bytes arrive through `on_data`, called by the loop, and everything that
waits goes through `Loop.run_until`. So four boards boot, and answer, at the same time.
Owns: the boot upload, the command in flight, the events, the crash of one board. Images that are not ours
talk plain text instead of frames: `boot`, `expect`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TypeVar, cast

from hil.board.boot import GET_PROG_INFO_BYTES, Announcements, Upload, identity_problem
from hil.board.channel import BoardEvent as BoardEvent
from hil.board.channel import Pending as Pending
from hil.board.text import BoardText, boot_program, expect_text, read_program
from hil.board.words import describe_crash, describe_message
from hil.desk.power import Power
from hil.errors import BoardError
from hil.line.log import BoardLog
from hil.line.loop import Loop
from hil.line.port import Port
from hil.protocol.boot import (
    BootError,
    BootSession,
    BootState,
    WrongBoardError,
)
from hil.protocol.fields import Message, MessageError
from hil.protocol.frames import Frame, FrameDecoder, Junk, encode_frame
from hil.protocol.messages import (
    COMMANDS,
    EVENTS,
    Command,
    Crashed,
    Event,
    Identify,
    Identity,
    Kind,
    Level,
    Reboot,
    Status,
)
from hil.rig.specs import BoardSpec
from hil.text import printable
from hil.toolchain import Image

M = TypeVar("M", bound=Message)

RETRY_S = 0.4
"""A command is repeated when no answer came for this long beyond the time its bytes take on the line."""
TRIES_MAX = 8
"""Unanswered tries after which a board counts as dead; those in which damaged bytes came are noise, not silence."""
BOOT_TIMEOUT_S = 60.0
REBOOT_TRIES, REBOOT_EVERY_S = 4, 0.3


class Mode(Enum):
    """How bytes from the board are understood."""

    BOOT = "boot"
    FRAMES = "frames"
    TEXT = "text"


class Board:
    """One board of a rig, opened.

    Args:
        spec: rank and port.
        loop: the rig's loop; opens the port.
        log: where the board's bytes go.
        baud: of the port.
        session: names this host's session with the board; boards forget older sequence numbers.
    """

    def __init__(self, spec: BoardSpec, loop: Loop, log: BoardLog, baud: int, *, session: int) -> None:
        self.spec = spec
        self.rank = spec.rank
        self.log = log
        self.identity: Identity | None = None
        self.crash: Crashed | None = None
        self.failure: str | None = None
        self.events: deque[BoardEvent] = deque(maxlen=65536)
        self.on_event: Callable[[Board, BoardEvent], None] | None = None
        self.junk_bytes = 0
        self.line_bytes = 0  # of frames, both ways, since the port was opened
        self.image: Image | None = None
        self.power: Power | None = None
        self.on_text: Callable[[Board, bytes], None] | None = None
        self.on_log: Callable[[Board, str], None] | None = None
        self.announcements = Announcements()
        self.line_share: float | None = None
        self.boot_started_s = 0.0
        self.boot_done_s: float | None = None
        self._loop = loop
        self.baud = self._boot_baud = baud
        self._reboot_asked = False
        self._session = session
        self._sequence = 0
        self._mode = Mode.BOOT
        self.upload: Upload | None = None
        self.wrong_board = False
        self._asked = False
        self._decoder = FrameDecoder()
        self._pending: Pending | None = None
        self.text: BoardText | None = None
        self.received_bytes = 0
        self.port: Port = loop.open_port(spec.port, baud, self.on_data)
        self.port.on_lost = self._port_lost
        self.port.on_back = self._port_back

    def __str__(self) -> str:
        return f"board {self.rank} ({self.spec.port})"

    # --- booting -------------------------------------------------------------------------------

    def begin_boot(self, image: Image, *, hold: bool = False) -> None:
        """Expect the bootloader and give it the image. Raises BootError if the image cannot fit.

        Args:
            hold: offer nothing before `upload.release()`.
        """
        content = image.path.read_bytes()
        session = BootSession(content, image.load_address, board_serial=self.spec.serial, hold=hold)
        self.stand_by()
        self.image = image
        self.upload = self._new_upload(session)

    def _new_upload(self, session: BootSession) -> Upload:
        return Upload(session, self.port.write, self.log, self._loop.now_s)

    def stand_by(self) -> None:
        """Forget what ran on the board; what it says is only logged until it is booted."""
        self.finish_text()
        self.upload = self.text = None
        self.wrong_board = self._asked = False
        self._mode = Mode.BOOT
        self._decoder = FrameDecoder()
        self._fail_pending("the board was booted anew")
        self.image = None
        self.identity = self.crash = self.failure = None
        self.events.clear()  # job numbers start again at 1
        self.boot_done_s = None
        self.boot_started_s = self._loop.now_s()
        self.received_bytes = 0
        self.line_share = None
        self.announcements.forget_greeting()
        if self.baud != self._boot_baud:
            self.set_baud(self._boot_baud)
        if not self.port.usable:
            self._loop.reopen(self.port)

    def stop_boot(self) -> None:
        """Give up an upload that has not sent the image yet."""
        if not self.boot_begun:
            self.upload = None

    @property
    def boot_begun(self) -> bool:
        """Whether the image, or a part of it, has been sent."""
        return self.boot_state in (BootState.SENDING, BootState.DONE)

    def set_baud(self, baud: int) -> None:
        """Change this end of the line, at once. Raises PortError if the adapter cannot."""
        self.port.set_baud(baud)
        self.baud = baud

    @property
    def booted(self) -> bool:
        """The image runs and has said who it is."""
        return self.identity is not None

    @property
    def boot_state(self) -> BootState:
        """How far the upload is."""
        return self.upload.state if self.upload else BootState.WAITING

    def boot_problem(self, timeout_s: float) -> str:
        """One sentence on a boot that did not finish in time."""
        lost = self._lost()
        if lost is not None:
            return lost
        head = f"{self}: "
        tail = f"; log: {self.log.path}"
        if self.received_bytes == 0:
            return f"{head}no byte in {timeout_s:.0f} s; is it powered, is its card in, are TX and RX crossed?{tail}"
        if self.boot_state is BootState.WAITING and self.upload is not None and self.upload.interrupted:
            return (
                f"{head}its port was away while the image was sent, and its bootloader did not ask again in "
                f"{timeout_s:.0f} s; it may have got all of it and run it already: reset the board{tail}"
            )
        if self.boot_state is BootState.WAITING:
            return (
                f"{head}{self.received_bytes} bytes arrived but no word of the bootloader at {self.baud} baud; "
                f"the other end probably runs at another rate{tail}"
            )
        if self.boot_state is BootState.DONE:
            return f"{head}took the image but did not answer within {timeout_s:.0f} s{tail}"
        return f"{head}stopped while {self.boot_state.value} ({timeout_s:.0f} s){tail}"

    # --- images of any make --------------------------------------------------------------------

    def begin_program(self, path: Path) -> None:
        """Expect the bootloader and give it any image for 0x8000, which then prints text.

        Raises: BoardError if the file cannot be read or cannot fit.
        """
        session = read_program(path, self.spec.serial)
        self.stand_by()
        self.upload = self._new_upload(session)
        self.text = BoardText(self._text_line)

    def boot(self, path: Path | str, *, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Reset the board and boot an image of any make; then `expect` what it prints.

        Raises: BoardError if the image cannot be used or the board does not take it in time.
        """
        __tracebackhide__ = True
        boot_program(self, Path(path), timeout_s)

    def expect(self, pattern: str | re.Pattern[str], timeout_s: float = 10.0) -> re.Match[str]:
        """Wait until the text that the board prints matches; what precedes the match's end is used up.

        Args:
            pattern: a regular expression, searched in the text (MULTILINE).
            timeout_s: on the rig's clock.
        Raises: BoardError with the pattern, the end of the text, and the log's path.
        """
        __tracebackhide__ = True
        return expect_text(self, pattern, timeout_s)

    def find(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """A match in the text so far, without waiting; None for an image that prints no text."""
        return self.text.search(pattern) if self.text is not None else None

    def finish_text(self) -> None:
        """Put an unfinished line of text into the log."""
        if self.text is not None:
            self.text.finish()

    def _text_line(self, line: bytes, size_bytes: int) -> None:
        self.log.line(self._loop.now_s(), f"text     {printable(line)}", size_bytes=size_bytes)
        if self.on_text is not None:
            self.on_text(self, line)

    # --- waiting -------------------------------------------------------------------------------

    def now_s(self) -> float:
        """The rig's clock."""
        return self._loop.now_s()

    def wait_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Serve the rig until done() or the time is over or the board is dead; whether done() holds."""
        self._loop.run_until(lambda: done() or self.dead is not None, timeout_s)
        return done()

    def call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call action once, in so many seconds, when somebody waits."""
        self._loop.call_at(self._loop.now_s() + delay_s, action)

    # --- commands ------------------------------------------------------------------------------

    def command(self, command: Command, request: Message, expect: type[M], *, timeout_s: float = 10.0) -> M:
        """Send a command and wait for its response, repeating it when it gets lost.

        Args:
            expect: the response class, as COMMANDS lists it.
        Raises: BoardError with the board's own sentence when it refuses, or when it does not answer.
        """
        __tracebackhide__ = True
        pending = self.start(command, request)
        self._loop.run_until(lambda: pending.done or self.dead is not None, timeout_s)
        return cast(M, self.result(pending, timeout_s))

    def ask_once(self, command: Command, request: Message, *, timeout_s: float) -> Message | None:
        """Send a command that is not repeated; its response, or None when none came in time."""
        pending = self.start(command, request)
        self._loop.run_until(lambda: pending.done or self.dead is not None, min(timeout_s, RETRY_S))
        pending.finish(error="no answer in time")
        return pending.response

    def start(self, command: Command, request: Message, *, on_done: Callable[[Pending], None] | None = None) -> Pending:
        """Send a command without waiting; `result` tells how it went, on_done is called when it is settled."""
        if self._pending is not None and not self._pending.done:
            raise BoardError(f"{self}: {command.name} while {self._pending.command.name} is not answered yet")
        request_class = COMMANDS[command][0]
        if not isinstance(request, request_class):
            raise TypeError(f"{command.name} takes {request_class.__name__}, not {type(request).__name__}")
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._reboot_asked = self._reboot_asked or command is Command.REBOOT
        frame = Frame(Kind.COMMAND, command, self._sequence, request.pack())
        pending = Pending(command, encode_frame(frame), self._sequence, junk_seen=self.junk_bytes, on_done=on_done)
        self._pending = pending
        self._transmit(pending)
        return pending

    def result(self, pending: Pending, timeout_s: float) -> Message:
        """The response of a finished command; raises BoardError otherwise."""
        __tracebackhide__ = True
        if pending.response is not None:
            return pending.response
        dead = self.dead or self._lost()
        if dead is not None:
            raise BoardError(dead)
        pending.finish(error=f"no answer to {pending.command.name} within {timeout_s:g} s ({pending.tries} tries)")
        raise BoardError(f"{self}: {pending.error}{self._garbage_hint()}; log: {self.log.path}")

    def identify(self, *, timeout_s: float = 5.0) -> Identity:
        """Ask the board who it is; starts a session. Raises BoardError."""
        self.identity = self.command(Command.IDENTIFY, Identify(self._session), Identity, timeout_s=timeout_s)
        return self.identity

    def say(self, command: Command, request: Message) -> None:
        """Send a command whose answer nobody waits for (a board that should reboot may not answer)."""
        self.port.write(encode_frame(Frame(Kind.COMMAND, command, 0, request.pack())))

    def expect_bootloader(self) -> None:
        """Ask firmware that may be running to return to the bootloader."""
        asked_s = self._loop.now_s()
        self._ask_to_reboot()

        def once_more() -> None:
            """A board left at a raised baud by another run comes back to this one when it hears garbage."""
            if (self.announcements.latest_s or 0.0) < asked_s and not self.booted and self.dead is None:
                self._ask_to_reboot()

        for number in range(1, REBOOT_TRIES):
            self._loop.call_at(asked_s + number * REBOOT_EVERY_S, once_more)

    def _ask_to_reboot(self) -> None:
        self.say(Command.IDENTIFY, Identify(self._session))
        self.port.write(encode_frame(Frame(Kind.COMMAND, Command.REBOOT, 1, Reboot(10).pack())))

    def _transmit(self, pending: Pending) -> None:
        if pending.done or pending is not self._pending:
            return
        heard = self.junk_bytes != pending.junk_seen or not self.port.usable
        pending.silent_tries = 0 if heard else pending.silent_tries + 1
        pending.junk_seen = self.junk_bytes
        if pending.silent_tries > TRIES_MAX:
            pending.finish(error=f"no answer to {pending.command.name} after {pending.tries} tries")
            self.failure = f"{self}: {pending.error}{self._garbage_hint()}; log: {self.log.path}"
            return
        pending.tries += 1
        self.line_bytes += len(pending.data)
        self.port.write(pending.data)
        wait_s = RETRY_S + (len(pending.data) + 4200) * 10 / self.baud
        self._loop.call_at(self._loop.now_s() + wait_s, lambda: self._transmit(pending))

    def _fail_pending(self, reason: str) -> None:
        if self._pending is not None:
            self._pending.finish(error=reason)

    def _lost(self) -> str | None:
        """Where the port is, if it has disappeared and may still come back."""
        return f"board {self.rank}: {self.port.lost}" if self.port.lost is not None else None

    @property
    def dead(self) -> str | None:
        """One sentence on why the board cannot go on, or None."""
        if self.port.failure is not None:
            return f"board {self.rank}: {self.port.failure}"
        if self.crash is not None:
            return f"{self}: {self.crash_text()}; log: {self.log.path}"
        return self.failure

    def _garbage_hint(self) -> str:
        if self.junk_bytes == 0:
            return ""
        return f"; {self.junk_bytes} bytes arrived that are no frame: a wrong baud rate or a bad ground gives that"

    def _port_lost(self, sentence: str) -> None:
        self.log.line(self._loop.now_s(), f"port     {sentence}")

    def _port_back(self, sentence: str) -> None:
        """Every handle is new: what was half received or half sent is void; a board in its bootloader is given all."""
        self.log.line(self._loop.now_s(), f"port     {sentence}")
        if self.upload is not None and self.upload.state is not BootState.DONE:
            self.upload.restart()
        rest = self._decoder.pending()
        if rest:
            self.junk_bytes += len(rest)
            self.log.line(self._loop.now_s(), f"junk     {printable(rest)} (the port was away)", size_bytes=len(rest))
        self._decoder = FrameDecoder()

    # --- what the board says -------------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self.log.received(data)
        self.received_bytes += len(data)
        self.line_bytes += len(data)
        self.announcements.hear(data, self._loop.now_s())
        if self._mode is Mode.BOOT:
            data = self._boot_data(data)
        if self._mode is Mode.FRAMES:
            self._frame_data(data)
        elif self._mode is Mode.TEXT and self.text is not None:
            self.text.feed(data)
            if GET_PROG_INFO_BYTES in self.text.recent and self.failure is None:
                self.failure = f"{self}: restarted and waits in its bootloader; log: {self.log.path}"

    def _boot_data(self, data: bytes) -> bytes:
        upload = self.upload
        if upload is None or self.failure is not None:
            self.log.line(self._loop.now_s(), f"unasked  {printable(data)}", size_bytes=len(data))
            return b""
        skipped_before = upload.skipped_bytes
        try:
            leftover = upload.feed(data)
        except BootError as error:
            self.wrong_board = isinstance(error, WrongBoardError)
            self.failure = f"{self}: {error}; log: {self.log.path}"
            return b""
        self.junk_bytes += upload.skipped_bytes - skipped_before
        if upload.state is BootState.DONE:
            self._mode = Mode.FRAMES if self.text is None else Mode.TEXT
            self._sequence = 0
            self._reboot_asked = False
            self.line_share = upload.line_share(self.baud)
        return leftover

    def _frame_data(self, data: bytes) -> None:
        for item in self._decoder.feed(data):
            if isinstance(item, Junk):
                self.junk_bytes += len(item.data)
                self.log.line(
                    self._loop.now_s(), f"junk     {printable(item.data)} ({item.reason})", size_bytes=len(item.data)
                )
            else:
                self._frame(item)
        if GET_PROG_INFO_BYTES in self._decoder.pending() and self.failure is None:
            why = self.announcements.restart_reason(asked=self._reboot_asked)
            self.failure = f"{self}: {why} and waits in its bootloader; log: {self.log.path}"
            self.log.line(self._loop.now_s(), "restart  the bootloader asks for an image")

    def _frame(self, frame: Frame) -> None:
        try:
            if frame.kind is Kind.RESPONSE:
                self._response(frame)
            elif frame.kind is Kind.EVENT:
                self._event(frame)
            elif frame.kind is Kind.LOG:
                level = Level(frame.code).name.lower()
                text = printable(frame.payload)
                self._note(frame, f"{level:8} {text}")
                if self.on_log is not None:
                    self.on_log(self, text)
            else:
                self._note(frame, "a board sent a command frame; ignored")
        except (MessageError, ValueError) as error:
            self._note(frame, f"not understood: {error}")

    def _note(self, frame: Frame, text: str) -> None:
        self.log.line(self._loop.now_s(), text, size_bytes=len(encode_frame(frame)))

    def _response(self, frame: Frame) -> None:
        command, pending = Command(frame.code), self._pending
        status = Status(frame.payload[0]) if frame.payload else Status.BAD_LENGTH
        if pending is None or pending.done or (command, frame.sequence) != (pending.command, pending.sequence):
            self._note(frame, f"response {command.name} #{frame.sequence} again")
            return
        if status is not Status.OK:
            text = printable(frame.payload[1:])
            self._note(frame, f"response {command.name} #{frame.sequence} {status.name}: {text}")
            pending.finish(error=f"refuses {command.name} ({status.name}): {text}")
            return
        response = COMMANDS[command][1].unpack(frame.payload[1:])
        self._note(frame, f"response {command.name} #{frame.sequence} {describe_message(response)}")
        pending.finish(response=response)

    def _event(self, frame: Frame) -> None:
        event = Event(frame.code)
        message = EVENTS[event].unpack(frame.payload)
        self._note(frame, f"event    {event.name} {describe_message(message)}")
        noted = BoardEvent(self._loop.now_s(), event, message)
        self.events.append(noted)
        if isinstance(message, Crashed):
            self.crash = message
            self.log.line(noted.time_s, f"crash    {self.crash_text()}")
        if event is Event.READY and self.image is not None and self.identity is None and not self._asked:
            self._asked = True
            self.start(Command.IDENTIFY, Identify(self._session), on_done=self._identified)
        if self.on_event is not None:
            self.on_event(self, noted)

    def _identified(self, pending: Pending) -> None:
        if isinstance(pending.response, Identity):
            self._accept(pending.response)
        else:
            self.failure = f"{self}: {pending.error}; log: {self.log.path}"

    def _accept(self, identity: Identity) -> None:
        problem = identity_problem(identity, self.image.build_id if self.image else None, self.spec.serial)
        if problem is not None:
            self.failure = f"{self}: {problem}"
        else:
            self.identity = identity
            self.boot_done_s = self._loop.now_s()

    def crash_text(self) -> str:
        """The crash in one line: kind, function and line, address; needs the image's ELF for names."""
        return describe_crash(self.crash, self.image.elf if self.image else None) if self.crash else "no crash"
