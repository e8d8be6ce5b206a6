"""Progress of a night on the terminal: what runs, how far, time left.

On a terminal one line is written over and over while a check runs; elsewhere each check gives one plain
line. Owns the line.
"""

from __future__ import annotations

import time
from typing import TextIO

from hil.nightly.record import CheckRecord, Outcome
from hil.text import duration

REDRAW_S = 0.2
"""Of wall time, between two drawings of the line."""
_WORDS = {Outcome.PASSED: "passed", Outcome.FLAKY: "FLAKY", Outcome.FAILED: "FAILED", Outcome.SKIPPED: "skipped"}


class Progress:
    """Writes to a stream. total: checks of a round. width: of the terminal; used on a terminal only."""

    def __init__(self, stream: TextIO, total: int, *, width: int = 79) -> None:
        self._stream = stream
        self._total = total
        self._width = width
        self._live = stream.isatty()
        self._drawn = False
        self._last_s = 0.0
        self._head = ""
        self._left: str = ""

    def begin(self, round_number: int, place: int, name: str, left_s: float | None) -> None:
        """A check begins; it is the place-th of its round. left_s: until the night's end, if that is known."""
        self._head = f"round {round_number}, {place} of {self._total}: {name}"
        self._left = "" if left_s is None else f", {duration(max(0.0, left_s))} left"
        self._draw("", force=True)

    def update(self, fraction: float) -> None:
        """How far the check is, 0 .. 1."""
        self._draw(f", {fraction:4.0%}")

    def say(self, what: str) -> None:
        """What happens to the check now, such as `again`."""
        self._draw(f", {what}", force=True)

    def end(self, check: CheckRecord) -> None:
        """The check has ended: a line that stays."""
        why = f": {check.failure.cause}" if check.failure is not None else ""
        first = _gist(check.sentence)
        self.line(
            f"round {check.round:3}  {check.name:18} {_WORDS[check.outcome]}{why}, {check.seconds:.1f} s"
            f"{self._left}" + (f"\n           {first}" if first else "")
        )

    def line(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def _draw(self, what: str, *, force: bool = False) -> None:
        now_s = time.monotonic()
        if not self._live or (not force and now_s - self._last_s < REDRAW_S):
            return
        self._last_s = now_s
        text = (self._head + what + self._left)[: self._width - 1]
        self._stream.write(f"\r{text:{self._width - 1}}")
        self._stream.flush()
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * (self._width - 1) + "\r")
            self._drawn = False


def _gist(sentence: str) -> str:
    """The first line, and what follows from it where the sentence says so."""
    lines = sentence.splitlines()
    so = next((line.strip() for line in lines[1:] if line.strip().startswith("so:")), "")
    return "\n           ".join(filter(None, [*lines[:1], so]))
