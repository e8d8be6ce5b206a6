"""Pages on the disk: each written whole or not at all. Owns: PageError."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hil.errors import HilError
from hil.files import write_atomically
from hil.nightly.compare import last_good
from hil.nightly.history import History
from hil.nightly.page.render import render_index, render_night
from hil.nightly.page.views import WINDOW, file_name
from hil.nightly.record import Night

NIGHTS_MAX = 90
"""Nights in the index. Pages of older nights stay where they are."""


class PageError(HilError):
    """A page cannot be written; what was there before is as it was."""


def write_pages(
    history: History,
    out: Path,
    beside: Callable[[Night], Sequence[tuple[str, str]]] = lambda night: (),
    *,
    every: bool = False,
) -> Path:
    """Write the page of each night that has none yet, of the newest night in any case, and the index.

    Args:
        history: its latest NIGHTS_MAX nights go into the index.
        out: folder for `night-ID.html` and `index.html`; made if missing.
        beside: (file, what it is) of a night's other outputs, by paths relative to `out`.
        every: write the pages that are there again, too.
    Returns: the newest night's page.
    Raises: PageError where a file cannot be written, or if there is no night at all.
    """
    nights = history.nights(last=NIGHTS_MAX)
    if not nights:
        raise PageError(f"page {out}: the history has no night yet; run `hil nightly` first")
    for at, night in enumerate(nights):
        page = out / file_name(night.id)
        newest = at == len(nights) - 1
        if every or newest or night.ended is None or not page.exists():
            earlier = [other for other in nights[:at] if other.rig == night.rig][-WINDOW:]
            if last_good(reversed(earlier)) is None and (good := history.last_good(night.rig, night.started)):
                earlier.insert(0, good)  # older than what the trends show; the page says what changed since
            _write(page, render_night(night, earlier, beside(night)))
    _write(out / "index.html", render_index(nights))
    return out / file_name(nights[-1].id)


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise PageError(f"page {path}: cannot be written: {error.strerror or error}; the one before stays") from None
