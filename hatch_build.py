"""What the build of a wheel adds: the revision of git, which an installed package could not ask for any more."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KEPT = "revision"
"""In a source distribution, which has no .git: the revision that it was made from."""


class RevisionHook(BuildHookInterface):  # type: ignore[type-arg,misc]
    """Leaves `hil/_data/revision` in a wheel, `revision` in a source distribution."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds; an editable install (a checkout) needs nothing."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="pi-ring-hil-")
        path = Path(self._folder.name) / KEPT
        path.write_text(revision(Path(self.root)) + "\n", encoding="ascii")
        build_data["force_include"][str(path)] = f"hil/_data/{KEPT}" if self.target_name == "wheel" else KEPT


def revision(root: Path) -> str:
    """12 hex digits and `+` for changed files; what a source distribution says; else `unknown`."""
    if not (root / ".git").exists():
        kept = root / KEPT
        return kept.read_text(encoding="ascii").strip() if kept.is_file() else "unknown"

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "--short=12", "HEAD").strip()[:12] + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
