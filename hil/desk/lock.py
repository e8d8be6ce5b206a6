"""Lock: one rig, one user. A lock file per port says who has it; the kernel says whether it is still true.

The lock is flock(2) on the file, so a run that died, however it died, holds nothing any more: its file is taken
over. Beside it the port itself is opened exclusively (hil/line/loop.py), which keeps other programs out.
Owns: the lock folder and what is written in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hil.errors import PortError

FOLDER = "pi-ring-hil-locks"


def lock_folder() -> Path:
    """The folder of lock files, shared by all users of this computer."""
    folder = Path(tempfile.gettempdir()) / FOLDER
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            folder.chmod(0o1777)
    return folder


def lock_path(port: str) -> Path:
    """The lock file of a port. Two names of one device have the same."""
    key = port if "://" in port else os.path.realpath(port)
    return lock_folder() / (hashlib.sha256(key.encode()).hexdigest()[:24] + ".lock")


class RigLock:
    """Locks on all ports of a rig, held until `release`.

    Raises: PortError saying who has a port; then none is held.
    """

    def __init__(self, ports: Sequence[str], *, rig: str) -> None:
        self._descriptors: list[int] = []
        try:
            for port in sorted(ports):
                self._descriptors.append(_lock(port, rig))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go. Lock files stay, empty: removing one could take away a lock that another run has just got."""
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)
        self._descriptors.clear()


def _lock(port: str, rig: str) -> int:
    path = lock_path(port)
    try:
        descriptor = _open(path)
    except OSError as error:
        raise PortError(f"port {port}: its lock file {path} cannot be opened: {error.strerror}; remove it") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PortError(f"port {port}: its lock file {path} is no file; remove it")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(descriptor)
        os.close(descriptor)
        raise PortError(f"port {port}: is in use by another program{owner}; end it, or wait for it") from None
    note = {
        "pid": os.getpid(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "rig": rig,
        "port": port,
        "since": time.strftime("%H:%M:%S"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(note).encode("ascii"), 0)
    return descriptor


def _open(path: Path) -> int:
    """Open or make it. Existing files are opened without O_CREAT, which Linux denies for those of other users."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not let us wait
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o666)
        return descriptor
    return os.open(path, flags)


def _owner(descriptor: int) -> str:
    """Who wrote the file, in words; nothing if that cannot be read (the owner may be about to write it)."""
    try:
        note = json.loads(os.pread(descriptor, 4096, 0))
        pid, command, rig = int(note["pid"]), str(note["command"]), str(note["rig"])
        since = str(note["since"])
    except (ValueError, KeyError, TypeError):
        return ""
    words = f": process {pid}, `{command}`, rig {rig}, since {since}"
    return words.encode("unicode_escape").decode("ascii")
