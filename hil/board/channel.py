"""What a board was asked and what it said unasked: a command in flight, an event. Used by hil/board/board.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil.protocol.fields import Message
from hil.protocol.messages import Command, Event


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
