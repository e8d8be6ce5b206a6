"""A folder that plays an SD card: only plain files that lie in it can be read, by names as FAT finds them.

A card has no links, no devices and nothing above its root, so nothing in config.txt may lead there on the host either.
Twin for images: hil/sim/fat.py. Owns: CardFileError, CardFolder.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class CardFileError(ValueError):
    """A name is no file of the card; the message says what it is instead, to stand behind the name."""


class CardFolder:
    """The files under a folder; names are found whatever their case. Same methods as FatVolume."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve()

    def size(self, name: str) -> int:
        """A file's size in bytes. Raises: CardFileError if it is no file of the card; OSError from the disk."""
        return self._find(name).stat().st_size

    def read(self, name: str, limit_bytes: int | None = None) -> bytes:
        """A file's bytes, at most so many. Raises as size()."""
        # Not blocking: a pipe that has come into the file's place since it was found has nobody at its other end.
        handle = os.open(self._find(name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise CardFileError("is not a plain file")
            return file.read(found.st_size if limit_bytes is None else min(found.st_size, limit_bytes))

    def _find(self, name: str) -> Path:
        path = self._root
        for part in name.split("/"):
            path = path / _entry(path, part)
        real = path.resolve()
        if not real.is_relative_to(self._root):
            raise CardFileError("leads out of the card")
        if not stat.S_ISREG(real.stat().st_mode):
            raise CardFileError("is not a plain file")
        return real


def _entry(folder: Path, name: str) -> str:
    """The entry that FAT would find under a name: the same but for case."""
    if name == "..":
        raise CardFileError("leads out of the card")
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise CardFileError("is missing") from None
    found = [entry for entry in names if entry.lower() == name.lower()]
    if not found:
        raise CardFileError("is missing")
    return name if name in found else min(found)
