"""The policy for text that comes from boards."""

import pytest

from hil.text import count, duration, first_line, number, printable, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nof two lines", "plain\ttext\nof two lines"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("nul \x00 bel \x07 del \x7f csi \x9b", "nul \\x00 bel \\x07 del \\x7f csi \\x9b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth\ufeff soft\u00adhyphen", "zero\\u200bwidth\\ufeff soft\\xadhyphen"),
        ("\udc80 \U000e0041", "\\udc80 \\U000e0041"),
        ("line\u2028sep", "line\\u2028sep"),
        ("\r\n and \r alone", "\n and \\r alone"),
        ("größe 日本 \U0001f9ea", "größe 日本 \U0001f9ea"),
        ("<script>&", "<script>&"),
    ],
)
def test_what_acts_is_shown_and_what_is_text_stays(text, shown):
    assert visible(text) == shown
    visible(text).encode("utf-8")


def test_every_character_below_160_shows_or_is_white_space():
    for letter in map(chr, range(160)):
        assert visible(letter).isprintable() or letter in "\n\t"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[31m\r\n\t", "\\x1b[31m\\r\\n\\t"),
        ("größe".encode(), "gr\\xf6\\xdfe"),
        (b"\xff\\x41", "\\\\xff\\\\x41"),
    ],
)
def test_bytes_in_a_log_are_one_line_of_ascii(data, shown):
    assert printable(data) == shown


def test_line_ends_are_shown_where_a_line_is_wanted():
    assert visible("a\nb", lines=False) == "a\\nb"


def test_long_text_says_what_was_left_out():
    shown = visible("a" * 1000 + "z", limit=100)
    assert len(shown) < 150
    assert shown.endswith("z")
    assert "902 letters left out" in shown


def test_words_for_figures():
    assert [number(v) for v in (5824.0, 0.41237, None, float("nan"), 123456.7)] == [
        "5,824", "0.412", "no data", "nan", "123,457"
    ]  # fmt: skip
    assert [duration(v) for v in (0.4123, 185, 26000, float("nan"), -1)] == [
        "0.412 s", "3 min 5 s", "7 h 13 min", "no data", "no data"
    ]  # fmt: skip
    assert [count(1, "board"), count(2000, "board")] == ["1 board", "2,000 boards"]
    assert first_line("\n\n  one\ntwo") == "one"
    assert first_line("x" * 300, 10) == "x" * 9 + "…"
