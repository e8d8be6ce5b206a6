r"""Text of boards as data: what of it is shown, and how.

One policy for the logs, the pages and every output beside them. A control character is shown as its escape (ESC is
`\x1b`), so that a terminal's sequence does nothing and can be read, in any font. So is what reorders or hides text
(bidirectional marks, characters without width) and what is no character at all (a lone surrogate, `\udc80`). Escaping
for HTML or XML comes after this and is the business of the template, of pictures/svg.py or of the writer. Pure.
"""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from typing import Any

LIMIT = 20_000
"""Letters of one text that are shown; the middle of a longer one is left out and said so."""
_ODD = re.compile("[^\n -~\u00a1-\u00ac\u00ae-\u02ff]")


def visible(text: str, *, limit: int = LIMIT, lines: bool = True) -> str:
    """The text with nothing in it that acts.

    Args:
        limit: letters kept; at least 40.
        lines: line ends stay; else they are shown as escapes too.
    """
    if len(text) > limit:
        head, tail = limit * 2 // 3, limit // 3
        text = f"{text[:head]} [... {len(text) - head - tail:,} letters left out ...] {text[len(text) - tail :]}"
    if text.isprintable() and text.isascii():
        return text
    if lines:
        text = text.replace("\r\n", "\n")
    shown = _ODD.sub(_escape, text)
    return shown if lines else shown.replace("\n", "\\n")


def one_line(text: str) -> str:
    """The text with nothing in it that acts, line ends shown as escapes too."""
    return visible(text, lines=False)


def printable(data: bytes) -> str:
    """Bytes as one line of ASCII, for logs: every other letter, and the backslash, is an escape, so it can be undone.

    `visible` is for readers, and leaves letters of other scripts as they are.
    """
    return _escaped(data.decode("utf-8", "backslashreplace"))


def _escape(match: re.Match[str]) -> str:
    letter = match.group()
    if letter == "\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return letter
    return _escaped(letter)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def finite(value: Any) -> bool:
    """Whether a value is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def first_line(text: str, limit: int = 200) -> str:
    """The first line that says something, made visible, then shortened."""
    text = text.lstrip()[: limit + 1]
    line = visible(text.splitlines()[0].rstrip() if text else "")
    return line if len(line) <= limit else line[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people: `5,824`, `0.412`, `no data`."""
    if value is None or not finite(value):
        return "no data" if value is None else str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """`7 h 12 min`, `3 min 5 s`, `0.412 s`."""
    if not finite(seconds) or seconds < 0:
        return "no data"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def count(how_many: int, thing: str, things: str = "") -> str:
    """`1 check`, `3 checks`."""
    return f"{how_many:,} {thing if how_many == 1 else things or thing + 's'}"


def when(stamp: str | None) -> str:
    """`2026-11-22 01:00 UTC`; a text that is no time stays as it is."""
    try:
        moment = datetime.datetime.fromisoformat(stamp or "")
    except ValueError:
        return stamp or "no data"
    return moment.strftime("%Y-%m-%d %H:%M UTC")
