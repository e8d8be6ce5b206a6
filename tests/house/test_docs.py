"""Lines of docs wrap at 110; tables, code and pictures may be longer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 110
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("firmware/*.md")])


def long_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of every line of prose that is too long."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        code ^= line.startswith("```")
        if len(line) > WIDTH and not code and not line.startswith(("|", "    ", "![")):
            yield number, line


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_prose_wraps(path: Path) -> None:
    assert list(long_lines(path.read_text(encoding="utf-8"))) == []


def test_long_prose_is_seen_and_tables_and_code_are_not() -> None:
    long = "word " * 30
    text = f"{long}\n| {long} |\n```\n{long}\n```\n    {long}\nshort\n"
    assert [number for number, _ in long_lines(text)] == [1]
