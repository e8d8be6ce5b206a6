"""Images of any make on a board: booted by the boot protocol, then read as plain text.

Behind `board.boot(path)` and `board.expect(pattern)`. Owns: what such a boot and such a wait say when they fail.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import BoardError
from hil.protocol.boot import BootError, BootSession, BootState
from hil.rig.log import printable

if TYPE_CHECKING:
    from hil.board import Board


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
