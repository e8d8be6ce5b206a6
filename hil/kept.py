"""Kept folders: what takes long to make, such as an image or the shards of a model, made once and used again.

A folder appears under its name when it is complete, whoever else makes the same at that time. Beside the files stands
their SHA-256, which is checked at every use: a bit that flipped on the disk is said, and the folder made again.
Owns: the file SHA256SUMS in each of these folders, and the lock beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

SUMS = "SHA256SUMS"


def kept_folder(folder: Path, make: Callable[[Path], object], *, say: Callable[[str], object] | None = None) -> Path:
    """The folder with what `make` writes into the one that it is given; made if it is not there whole.

    Args:
        folder: its name tells its content, so that another content has another name.
        say: is told a sentence about a damaged file; default: to stderr.
    Raises: OSError where it cannot be written; what `make` raises.
    """
    if (folder / SUMS).is_file() and damage(folder) is None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        known = (folder / SUMS).is_file()
        wrong = damage(folder)
        if wrong is None:
            return folder
        if known:
            (say or _tell)(f"{wrong}; it is made again")
        _replace(folder, make)
    return folder


def damage(folder: Path) -> str | None:
    """What is wrong with a kept folder, in words; None if every file is as it was written."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return f"{folder}: is not complete"
    for line in lines:
        expected, _, name = line.partition("  ")
        try:
            found = _sha256(folder / name)
        except OSError as error:
            return f"{folder / name}: was kept and cannot be read: {error.strerror}"
        if found != expected:
            return f"{folder / name}: is not as it was written (SHA-256 {found[:12]}..., {expected[:12]}... was kept)"
    return None if lines else f"{folder}: is not complete"


def _replace(folder: Path, make: Callable[[Path], object]) -> None:
    part = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        fresh = part / "fresh"
        fresh.mkdir()
        make(fresh)
        names = sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file())
        sums = "".join(f"{_sha256(fresh / name)}  {name}\n" for name in names)
        (fresh / SUMS).write_text(sums, encoding="utf-8")
        if folder.exists():
            folder.rename(part / "old")
        fresh.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One maker at a time. The lock's file goes when it is done; whoever waited for it then takes a new one."""
    path = folder.with_name(f".{folder.name}.lock")
    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(lock.fileno()), path.stat())
            except FileNotFoundError:
                same = False
            if same:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
