"""Where the package's data is: firmware sources and fixtures, in a checkout or in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_REPOSITORY = _PACKAGE.parent


def data_path(name: str) -> Path:
    """The folder `firmware` or `fixtures`."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _REPOSITORY / name


def is_checkout() -> bool:
    """Whether the package runs from its source repository."""
    return not (_PACKAGE / "_data").is_dir()


def build_path() -> Path:
    """Where built things are kept: `build/` of a checkout, else the user's cache folder."""
    if is_checkout():
        return _REPOSITORY / "build"
    return Path.home() / ".cache" / "pi-ring-hil"
