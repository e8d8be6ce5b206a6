"""Runs: the one folder of ours in a user's, `.hil/`, with a folder for every run and its logs.

`.hil/runs/20261128-191530.042-generate/` is a run, `.hil/latest` points at the newest. A run's folder is its own: no
other run writes there, and old ones go only when their process has ended. Owns: the names in `.hil/`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import sys
import weakref
from datetime import datetime
from pathlib import Path

from hil.errors import HilError

FOLDER = Path(".hil")


class RunError(HilError):
    """A run's folder cannot be made."""


class Run:
    """A run's folder, made when this is. It is safe from being removed as long as this object lives.

    Args:
        verb: what runs, for the name.
        keep: how many runs stay, this one among them.
        base: the folder of ours; default `.hil` of the working folder.
    Raises: RunError.
    """

    def __init__(self, verb: str, *, keep: int, base: Path = FOLDER) -> None:
        try:
            self.folder = _make(base, verb)
            self._let_go = weakref.finalize(self, os.close, _hold(self.folder))
        except OSError as error:
            raise RunError(
                f"{base}: a folder for this run's logs cannot be made: {error.strerror or error}; "
                "work in a folder where you may write, or name another with --logs"
            ) from None
        _point(base / "latest", self.folder)
        _remove_old(base / "runs", keep)

    def __repr__(self) -> str:
        return f"<Run {self.folder}>"


def _make(base: Path, verb: str) -> Path:
    runs = base / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), (base / ".gitignore").open("x", encoding="ascii") as file:
        file.write("# logs of runs: not for the repository\n*\n")
    while True:
        now = f"{datetime.now():%Y%m%d-%H%M%S.%f}"[:-3]
        folder = runs / f"{now}-{verb}"  # one that is there is another run's: then the clock has moved on
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            words = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
            (folder / "command").write_text(f"{words}\n", encoding="utf-8", errors="backslashreplace")
            return folder


def _hold(folder: Path) -> int:
    """A lock on the folder, which the kernel takes away when the process ends, however it does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _point(link: Path, folder: Path) -> None:
    """Let `latest` be this run. Not every file system has links: then there is none."""
    part = link.with_name(f".latest.{os.getpid()}")
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
        part.symlink_to(folder.relative_to(link.parent))
        part.replace(link)


def _remove_old(runs: Path, keep: int) -> None:
    with contextlib.suppress(OSError):
        found = sorted(path for path in runs.iterdir() if path.is_dir() and not path.is_symlink())
        for path in found[: max(0, len(found) - max(keep, 1))]:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a run, unless a process still works in it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)
