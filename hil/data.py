"""What comes with the package and what it keeps: its data, the folder of built things, its version.

The same in a checkout and in an installed wheel. Nothing is ever taken from the working folder, which may be anyone's.
Owns: the folder of built things, and the file `_data/revision` that the build of a wheel leaves (hatch_build.py).
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_REPOSITORY = _PACKAGE.parent
_INSTALLED = _PACKAGE / "_data"
DISTRIBUTION = "pi-ring-hil"


def data_path(name: str) -> Path:
    """The folder `firmware` or `fixtures`, or a file in one, such as `fixtures/corpus.txt`."""
    return (_REPOSITORY if is_checkout() else _INSTALLED) / name


def is_checkout() -> bool:
    """Whether the package runs from its source repository."""
    return not _INSTALLED.is_dir()


def build_path() -> Path:
    """Where built things are kept: `build/` of a checkout, else the user's cache folder; HIL_CACHE names another.

    Where that cannot be written (no home, a read-only one) it is a folder of this user's among the temporary files.
    """
    given = os.environ.get("HIL_CACHE")
    if given:
        return Path(given).absolute()
    wanted = _REPOSITORY / "build" if is_checkout() else _user_cache(DISTRIBUTION)
    return wanted if _writable(wanted) else _temporary()


def compiler_environment() -> dict[str, str]:
    """The environment for zig, which keeps a cache of its own: with us, where it would find no place for it."""
    environment = dict(os.environ)
    if not os.environ.get("HOME") or not _writable(_user_cache("zig")):  # zig asks the variable alone
        for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
            environment.setdefault(name, str(build_path() / "zig"))
    return environment


def version() -> str:
    """Of the installed package, such as `0.1.0`."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0"


def revision() -> str:
    """The revision of git that the package comes from: of the checkout now, or of the wheel when it was built."""
    if is_checkout():
        return git_revision(_REPOSITORY)
    try:
        return (_INSTALLED / "revision").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def git_revision(folder: Path) -> str:
    """12 hex digits of HEAD, `+` appended when files in the folder were changed; `unknown` outside git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return "unknown"
    return head[:12] + ("+" if git("status", "--porcelain", "--", ".") else "")


def _user_cache(name: str) -> Path:
    from platformdirs import user_cache_path

    return user_cache_path(name, appauthor=False)


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, RuntimeError):
        return False


def _temporary() -> Path:
    """A folder that is this user's alone: what is run from it must not be anyone else's work."""
    folder = Path(tempfile.gettempdir()) / f"{DISTRIBUTION}-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix=f"{DISTRIBUTION}-"))
