"""Text that an image prints on its serial line: kept, cut into lines, searched.

For images of any make, which know nothing of our frames. Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import BoardError
from hil.protocol.boot import BootError, BootSession, BootState
from hil.text import printable

if TYPE_CHECKING:
    from hil.board.board import Board


def read_program(path: Path, board_serial: int | None) -> BootSession:
    """The upload of an image for 0x8000. Raises BoardError if the file cannot be read or cannot fit."""
    try:
        return BootSession(path.read_bytes(), board_serial=board_serial)
    except OSError as error:
        raise BoardError(f"{path}: cannot read the image: {error.strerror}; check the path") from None
    except BootError as error:
        raise BoardError(f"{path}: {error}") from None


def boot_program(board: Board, path: Path, timeout_s: float) -> None:
    """Reset the board and boot an image. Raises BoardError if it cannot be used or the board does not take it."""
    __tracebackhide__ = True
    board.begin_program(path)
    if board.power is not None:
        board.power.reset(board)
    if not board.wait_until(lambda: board.boot_state is BootState.DONE, timeout_s):
        how = f"; to start it anew: {board.power.describe()}" if board.power is not None else ""
        raise BoardError(f"{board.dead or board.boot_problem(timeout_s)}{how}")


def expect_text(board: Board, pattern: str | re.Pattern[str], timeout_s: float) -> re.Match[str]:
    """Wait for text. Raises BoardError with the pattern, the end of the text, and the log's path."""
    __tracebackhide__ = True
    text = board.text
    if text is None:
        raise BoardError(f"{board}: expect() reads the text of an image that was booted with board.boot(path)")
    wanted = re.compile(pattern, re.MULTILINE) if isinstance(pattern, str) else pattern
    found: list[re.Match[str]] = []

    def seen() -> bool:
        match = None if found else text.search(wanted)
        found.extend([match] if match else [])
        return bool(found)

    board.wait_until(seen, timeout_s)
    if found:
        return found[0]
    why = f"\n  {board.dead}" if board.dead else ""
    raise BoardError(
        f"{board}: nothing matches {wanted.pattern!r} within {timeout_s:g} s{why}\n"
        f"  the text ends: {printable(text.tail()) or '(nothing was printed)'}\n  log: {board.log.path}"
    )


KEPT_BYTES = 1 << 20
LINE_BYTES_MAX = 4096
"""A longer line is cut here, so that binary output makes lines too."""


class BoardText:
    """What one board printed since it was booted.

    Args:
        on_line: called with every line as it is complete, without its end.
    """

    def __init__(self, on_line: Callable[[bytes, int], None]) -> None:
        self._on_line = on_line
        self._line = bytearray()
        self._unsearched = bytearray()
        self.recent = b""
        """The last bytes fed, and three before them."""

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self.recent = self.recent[-3:] + data
        self._unsearched += data
        del self._unsearched[:-KEPT_BYTES]
        self._line += data
        *lines, rest = self._line.split(b"\n")
        for line in lines:
            self._on_line(bytes(line).rstrip(b"\r"), len(line) + 1)
        self._line = rest
        while len(self._line) > LINE_BYTES_MAX:
            self._cut(LINE_BYTES_MAX)

    def finish(self) -> None:
        """Hand over an unfinished line."""
        if self._line:
            self._cut(len(self._line))

    def search(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The first match after the last one that was found; what precedes its end is not searched again."""
        text = bytes(self._unsearched).decode("utf-8", "surrogateescape")
        match = pattern.search(text)
        if match is not None:
            del self._unsearched[: len(text[: match.end()].encode("utf-8", "surrogateescape"))]
        return match

    def tail(self, size_bytes: int = 400) -> bytes:
        """The end of what no search has matched yet."""
        return bytes(self._unsearched[-size_bytes:])

    def _cut(self, size_bytes: int) -> None:
        line = bytes(self._line[:size_bytes])
        del self._line[:size_bytes]
        self._on_line(line, size_bytes)
