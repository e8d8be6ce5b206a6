"""Which harness ran a night: version and revision."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hil.toolchain import git_revision


def harness_revision() -> str:
    """`0.1.0 3099970abcde`, with `+` behind it when files were changed; the version alone outside a clone."""
    try:
        number = version("pi-ring-hil")
    except PackageNotFoundError:
        number = "0"
    revision = git_revision(Path(__file__).resolve().parent.parent)
    return number if revision == "unknown" else f"{number} {revision}"
