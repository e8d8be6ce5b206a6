"""Board logs: every byte that a board sent, exactly, and a readable view with arrival times.

Two files per board and run: `pi{n}.raw` holds the bytes as they came, nothing else. `pi{n}.log` has one
line per thing understood (boot word, frame, junk): arrival time in seconds, offset in pi{n}.raw, text.
Lines of the .log account for every byte of the .raw. Text from a board is data: escaped.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO, TextIO


class BoardLog:
    """The two log files of one board. Lines are flushed as they come, so `tail -f` works."""

    def __init__(self, folder: Path, rank: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"pi{rank}.log"
        self.raw_path = folder / f"pi{rank}.raw"
        self._raw: BinaryIO = open(self.raw_path, "wb", buffering=0)  # noqa: SIM115 - closed by close()
        self._text: TextIO = open(self.path, "w", encoding="ascii", buffering=1)  # noqa: SIM115
        self.size_bytes = 0
        self._explained = 0

    def received(self, data: bytes) -> None:
        """Keep bytes exactly as they came."""
        self._raw.write(data)
        self.size_bytes += len(data)

    def line(self, time_s: float, text: str, *, size_bytes: int = 0) -> None:
        """One line of the view. size_bytes: how many received bytes this line explains."""
        if not self._text.closed:
            self._text.write(f"{time_s:13.6f} +{self._explained:08x} {text}\n")
        self._explained += size_bytes

    def tail(self, lines: int = 20) -> str:
        """The last lines of the view."""
        if not self._text.closed:
            self._text.flush()
        return "\n".join(self.path.read_text(encoding="ascii").splitlines()[-lines:])

    def close(self) -> None:
        """Close both files. What a full disk did not take is lost; it was an error when it was written."""
        for file in (self._raw, self._text):
            with contextlib.suppress(OSError):
                file.close()
