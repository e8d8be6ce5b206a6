"""The firmware's short texts: formats, the end of the buffer, and formats that end where they should not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.firmware.host_build import build_host, run

SOURCES = ("ring/text.c",)
PERCENT_AT_THE_END = ("100%", b"100% 4")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host(tmp_path_factory.mktemp("text") / "x", "text_host", SOURCES)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("rank %u is %s", b"rank 7 is seven 15"),
        ("%x%%", b"7% 2"),
        ("%d %q", b"7 q 3"),
        ("", b" 0"),
        PERCENT_AT_THE_END,
        ("%", b"% 1"),
        ("%u%", b"7% 2"),
    ],
)
def test_text_is_made_of_its_format(program: Path, text: str, printed: bytes) -> None:
    done = run(program, "64", text)
    assert (done.returncode, done.stdout) == (0, printed), done.stderr.decode()


def test_text_ends_where_its_memory_ends(program: Path) -> None:
    assert run(program, "5", "rank %u").stdout == b"rank 4"


def test_reading_past_a_format_is_seen(tmp_path: Path) -> None:
    text, printed = PERCENT_AT_THE_END
    spoiled = build_host(tmp_path / "x", "text_host", SOURCES, edit=(SOURCES[0], "*--format", "*format"))
    assert run(spoiled, "64", text).stdout != printed
