"""The palette: text is readable on what it stands on, in both schemes."""

import re
from importlib.resources import files

import pytest

STYLE = files("hil.nightly.page").joinpath("templates/page.css").read_text(encoding="utf-8")
ON = [
    *((ink, paper) for ink in ("ink", "soft", "link", "good", "watch", "bad", "plain") for paper in ("paper", "sheet")),
    ("good", "good-paper"), ("watch", "watch-paper"), ("bad", "bad-paper"), ("plain", "plain-paper"),
    *(("ink", paper) for paper in ("good-paper", "watch-paper", "bad-paper", "plain-paper", "band")),
    ("link", "good-paper"), ("link", "watch-paper"), ("link", "bad-paper"), ("link", "plain-paper"),
    *(("on", fill) for fill in ("compute", "send", "receive", "host")), ("ink", "wait"), ("clean", "paper"),
    ("soft", "band"),
]  # fmt: skip


def palettes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    assert len(blocks) == 2, "one palette for light, one for dark"
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for name, block in zip(("light", "dark"), blocks, strict=True)
    }


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white_and_of_grey_on_grey():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#888888") < 1.4


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), ON)
def test_text_has_a_contrast_of_4_5_at_least(scheme, ink, paper):
    palette = palettes()[scheme]
    assert contrast(palette[ink], palette[paper]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("line", ["clean", "loose", "link", "watch", "bad", "soft"])
def test_lines_of_charts_have_a_contrast_of_3_at_least(scheme, line):
    palette = palettes()[scheme]
    assert contrast(palette[line], palette["paper"]) >= 3


def test_every_colour_is_in_both_palettes_and_none_is_named_elsewhere():
    light, dark = palettes().values()
    assert light.keys() == dark.keys()
    rest = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b", re.sub(r"/\*.*?\*/", "", rest))
