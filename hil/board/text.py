"""Text that an image prints on its serial line: kept, cut into lines, searched.

For images of any make, which know nothing of our frames. Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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
