"""The channel to one board: commands executed exactly once, and what the board says unasked, both in frames.

A command is sent again under its number until its response comes; a board that has executed that number already only
answers again. Nothing here knows how a board boots: hil/board/board.py does, and builds on this.
Rule: docs/protocol.md, section 2. C twin: firmware/ring/console.c. Owns: the port, the command in flight, the events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar, cast

from hil.board.words import describe_message
from hil.errors import BoardError
from hil.line.log import BoardLog
from hil.line.loop import Loop
from hil.line.port import Port
from hil.protocol.fields import Message, MessageError
from hil.protocol.frames import Frame, FrameDecoder, Junk, encode_frame
from hil.protocol.messages import Command, Event, Kind, Level, Status
from hil.rig.specs import BoardSpec
from hil.text import printable

M = TypeVar("M", bound=Message)

RETRY_S = 0.4
"""A command is repeated when no answer came for this long beyond the time its bytes take on the line."""
TRIES_MAX = 8
"""Unanswered tries after which a board counts as dead; those in which damaged bytes came are noise, not silence."""


@dataclass(frozen=True, slots=True)
class BoardEvent:
    """Something a board said unasked, with the arrival time on the rig's clock."""

    time_s: float
    event: Event
    message: Message


@dataclass
class Pending:
    """A command in flight. Exactly one of response and error is set when done."""

    command: Command
    data: bytes
    sequence: int
    tries: int = 0
    silent_tries: int = 0
    junk_seen: int = 0
    response: Message | None = None
    error: str | None = None
    on_done: Callable[[Pending], None] | None = None

    def finish(self, *, response: Message | None = None, error: str | None = None) -> None:
        """Settle the command, once."""
        if self.done:
            return
        self.response, self.error = response, error
        if self.on_done is not None:
            self.on_done(self)

    @property
    def done(self) -> bool:
        """Whether there is a response or an error."""
        return self.response is not None or self.error is not None


class Channel:
    """One board's end of its serial line, open.

    It never waits by itself: bytes arrive through `on_data`, called by the loop, and everything that waits goes
    through `Loop.run_until`. So several boards answer at the same time.

    Args:
        spec: rank and port.
        loop: the rig's loop; opens the port.
        log: where the board's bytes go.
        baud: of the port.
    Attributes:
        junk_bytes: received, and part of no frame.
        line_bytes: of frames, both ways, since the port was opened.
        asked: the commands that were started since the image runs.
        failure: why the board cannot go on, beside what its port says.
    """

    on_event: Callable[[Self, BoardEvent], None] | None = None
    on_log: Callable[[Self, str], None] | None = None

    def __init__(self, spec: BoardSpec, loop: Loop, log: BoardLog, baud: int) -> None:
        self.spec = spec
        self.rank = spec.rank
        self.log = log
        self.baud = baud
        self.failure: str | None = None
        self.events: deque[BoardEvent] = deque(maxlen=65536)
        self.asked: set[Command] = set()
        self.junk_bytes = 0
        self.line_bytes = 0
        self._loop = loop
        self._sequence = 0
        self._decoder = FrameDecoder()
        self._pending: Pending | None = None
        self.port: Port = loop.open_port(spec.port, baud, self.on_data)
        self.port.on_lost = self._port_lost
        self.port.on_back = self._port_back

    def __str__(self) -> str:
        return f"board {self.rank} ({self.spec.port})"

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
        self._loop.call_at(self.now_s() + delay_s, action)

    @property
    def dead(self) -> str | None:
        """One sentence on why the board cannot go on, or None."""
        if self.port.failure is not None:
            return f"board {self.rank}: {self.port.failure}"
        return self.failure

    def sentence(self, what: str) -> str:
        """What happened, behind the board's name and before the place of its log."""
        return f"{self}: {what}; log: {self.log.path}"

    # --- commands ------------------------------------------------------------------------------

    def command(self, command: Command, request: Message, expect: type[M], *, timeout_s: float = 10.0) -> M:
        """Send a command and wait for its response, repeating it when it gets lost.

        Args:
            expect: command.response.
        Raises: BoardError with the board's own sentence when it refuses, or when it does not answer.
        """
        __tracebackhide__ = True
        pending = self.start(command, request)
        self.wait_until(lambda: pending.done, timeout_s)
        return cast(M, self.result(pending, timeout_s))

    def ask_once(self, command: Command, request: Message, *, timeout_s: float) -> Message | None:
        """Send a command that is not repeated; its response, or None when none came in time."""
        pending = self.start(command, request)
        self.wait_until(lambda: pending.done, min(timeout_s, RETRY_S))
        pending.finish(error="no answer in time")
        return pending.response

    def start(self, command: Command, request: Message, *, on_done: Callable[[Pending], None] | None = None) -> Pending:
        """Send a command without waiting; `result` tells how it went, on_done is called when it is settled."""
        if self._pending is not None and not self._pending.done:
            raise BoardError(f"{self}: {command.name} while {self._pending.command.name} is not answered yet")
        request_class = command.request
        if not isinstance(request, request_class):
            raise TypeError(f"{command.name} takes {request_class.__name__}, not {type(request).__name__}")
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.asked.add(command)
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
            pending.finish(error=dead)
            raise BoardError(dead)
        pending.finish(error=f"no answer to {pending.command.name} within {timeout_s:g} s ({pending.tries} tries)")
        raise BoardError(self.sentence(f"{pending.error}{self._garbage_hint()}"))

    def say(self, command: Command, request: Message, *, sequence: int = 0) -> None:
        """Send a command whose answer nobody waits for (a board that should reboot may not answer)."""
        self.port.write(encode_frame(Frame(Kind.COMMAND, command, sequence, request.pack())))

    def set_baud(self, baud: int) -> None:
        """Change this end of the line, at once. Raises PortError if the adapter cannot."""
        self.port.set_baud(baud)
        self.baud = baud

    def forget(self, why: str) -> None:
        """What ran on the board is gone: its events, the command in flight, half a frame."""
        self._decoder = FrameDecoder()
        if self._pending is not None:
            self._pending.finish(error=why)
        self.failure = None
        self.events.clear()  # job numbers start again at 1

    def restart_numbers(self) -> None:
        """A new image runs: it has seen no command yet."""
        self._sequence = 0
        self.asked.clear()

    def _transmit(self, pending: Pending) -> None:
        if pending.done or pending is not self._pending:
            return
        heard = self.junk_bytes != pending.junk_seen or not self.port.usable
        pending.silent_tries = 0 if heard else pending.silent_tries + 1
        pending.junk_seen = self.junk_bytes
        if pending.silent_tries > TRIES_MAX:
            pending.finish(error=f"no answer to {pending.command.name} after {pending.tries} tries")
            self.failure = self.sentence(f"{pending.error}{self._garbage_hint()}")
            return
        pending.tries += 1
        self.line_bytes += len(pending.data)
        self.port.write(pending.data)
        self.call_later(RETRY_S + (len(pending.data) + 4200) * 10 / self.baud, lambda: self._transmit(pending))

    def _garbage_hint(self) -> str:
        if self.junk_bytes == 0:
            return ""
        return f"; {self.junk_bytes} bytes arrived that are no frame: a wrong baud rate or a bad ground gives that"

    # --- the port goes and comes back ----------------------------------------------------------

    def _lost(self) -> str | None:
        """Where the port is, if it has disappeared and may still come back."""
        return f"board {self.rank}: {self.port.lost}" if self.port.lost is not None else None

    def _port_lost(self, sentence: str) -> None:
        self.log.line(self.now_s(), f"port     {sentence}")

    def _port_back(self, sentence: str) -> None:
        """Every handle is new: what was half received is void."""
        self.log.line(self.now_s(), f"port     {sentence}")
        rest = self._decoder.pending()
        if rest:
            self._junk(rest, "the port was away")
        self._decoder = FrameDecoder()

    # --- what the board says -------------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self.log.received(data)
        self.line_bytes += len(data)
        self._take(data)

    def _take(self, data: bytes) -> None:
        for item in self._decoder.feed(data):
            if isinstance(item, Junk):
                self._junk(item.data, item.reason)
            else:
                self._frame(item)

    def _junk(self, data: bytes, why: str) -> None:
        self.junk_bytes += len(data)
        self.log.line(self.now_s(), f"junk     {printable(data)} ({why})", size_bytes=len(data))

    def _frame(self: Self, frame: Frame) -> None:
        try:
            if frame.kind is Kind.RESPONSE:
                self._response(frame)
            elif frame.kind is Kind.EVENT:
                self._event(frame)
            elif frame.kind is Kind.LOG:
                level, text = Level(frame.code).name.lower(), printable(frame.payload)
                self._note(frame, f"{level:8} {text}")
                if self.on_log is not None:
                    self.on_log(self, text)
            else:
                self._note(frame, "a board sent a command frame; ignored")
        except (MessageError, ValueError) as error:
            self._note(frame, f"not understood: {error}")

    def _note(self, frame: Frame, text: str) -> None:
        self.log.line(self.now_s(), text, size_bytes=len(encode_frame(frame)))

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
        response = command.response.unpack(frame.payload[1:])
        self._note(frame, f"response {command.name} #{frame.sequence} {describe_message(response)}")
        pending.finish(response=response)

    def _event(self: Self, frame: Frame) -> None:
        event = Event(frame.code)
        message = event.payload.unpack(frame.payload)
        self._note(frame, f"event    {event.name} {describe_message(message)}")
        noted = BoardEvent(self.now_s(), event, message)
        self.events.append(noted)
        self._heard(noted)
        if self.on_event is not None:
            self.on_event(self, noted)

    def _heard(self, noted: BoardEvent) -> None:
        """What an event means for the board itself."""
