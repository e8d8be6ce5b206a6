"""Files that docs, code and comments name are there."""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXAMPLES = {"hil/suite/test_link.py"}
"""Made up, in data of tests."""
SUFFIXES = (".py", ".md", ".c", ".h", ".S", ".ld")
_PATH = re.compile(r"(?<![\w/.-])(?:hil|golden|firmware|fixtures|tests|docs)/[\w./-]+\.(?:py|c|h|S|ld|md|toml)\b")


def missing(text: str, root: Path) -> list[str]:
    """Paths of this repository in a text that lead nowhere."""
    return sorted({path for path in _PATH.findall(text) if not (root / path).exists()} - EXAMPLES)


def test_files_that_are_named_exist():
    folders = (ROOT / name for name in ("hil", "golden", "firmware", "tests", "docs"))
    files = [ROOT / "README.md", *(path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES)]
    found = {path: missing(path.read_text(), ROOT) for path in files if path.parent != HERE}
    assert not {path: names for path, names in found.items() if names}


def test_file_that_is_gone_is_seen():
    text = "Format: docs/rigs.md. Twin: hil/rig/gone.py, and docs/gone.md; build/hil/x.py is not ours."
    assert missing(text, ROOT) == ["docs/gone.md", "hil/rig/gone.py"]
