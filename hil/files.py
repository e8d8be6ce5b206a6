"""Files that are written whole or not at all, and that are on the disk when the call returns.

A reader, or a crash, finds the file that was there or the new one, never a piece. Two writers do not disturb each
other: each writes beside the file under a name of its own. Owns: the names of unfinished files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """Gives the path to write to in the block; at the block's end the file is moved to `path`.

    If the block raises, or makes no file, what was at `path` stays as it was. Raises: OSError, which names `path`.
    """
    part = path.with_name(f".{path.name[:60]}.{secrets.token_hex(6)}.part")
    try:
        yield part
        if part.exists():
            move_into_place(part, path)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == str(part):
            error.filename = str(path)  # the user knows no other name
        raise
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file; text as UTF-8 with its line ends as they are. Its folder is made if missing. Raises: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as part:
        part.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


def move_into_place(part: Path, path: Path) -> None:
    """Move a finished file to its name in the same file system, once its bytes are on the disk. Raises: OSError."""
    with part.open("rb") as file:
        os.fsync(file.fileno())  # the name must not be there before the bytes are
    os.replace(part, path)
    with contextlib.suppress(OSError):  # not every file system can: the file is whole in any case
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
