"""Thirty nights in a real history: the pages mark the wire that degrades, in time, and no other."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from hil.nightly.history import History
from hil.nightly.page.files import write_pages
from hil.nightly.page.views import file_name
from hil.nightly.series import figures_of
from hil.nightly.trends import LOOKBACK_NIGHTS, marks_of
from tests.page import nights

WORN = f"link {nights.WORN[0]} {nights.WORN[1]}"
SLOW_NIGHT = 17
"""Night on which the generator's tokens come slower."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of 30 nights, each written when it was the newest."""
    folder = tmp_path_factory.mktemp("nights")
    with History(folder / "history.sqlite") as history:
        for night in nights.history(30):
            history.begin(night)
            marks = marks_of(history.figures(night.rig, night.started, LOOKBACK_NIGHTS), figures_of(night))
            history.update(dataclasses.replace(night, marks=marks))
            write_pages(history, folder)
    return folder


def page(out: Path, number: int) -> str:
    return (out / file_name(nights.history(number)[-1].id)).read_text(encoding="utf-8").replace("&gt;", ">")


def marked_wires(text: str) -> set[str]:
    """By the list above the trends, by the table of sparklines and by the picture of the ring."""
    listed = set(re.findall(r"▼ <strong>(link \S+ \w+)</strong>", text))
    tables = re.findall(r"<caption>(link \S+)</caption>(.*?)</table>", text, re.DOTALL)
    flagged = {f"{link} {wire}" for link, table in tables for wire in re.findall(r'scope="row">(\w+) ▼', table)}
    drawn = set(re.findall(r'<g class="wire bad"><title>(link \S+ \w+): bad', text))
    assert listed == flagged == drawn
    return listed


def test_the_page_marks_the_worn_wire_by_night_23_and_no_other_in_any_night(out):
    by_night = {number: marked_wires(page(out, number)) for number in range(1, 31)}
    first = min(number for number, wires in by_night.items() if wires)
    assert nights.WORN_FROM <= first <= 23
    assert all(wires == {WORN} for number, wires in by_night.items() if number >= 23)
    assert set().union(*by_night.values()) == {WORN}


def test_verdict_and_index_name_it(out):
    assert f"{WORN} is getting worse" in re.search(r"<h1>.*?</h1>", page(out, 23), re.DOTALL)[0]
    assert "The ring is healthy" in page(out, nights.WORN_FROM - 1)
    index = (out / "index.html").read_text(encoding="utf-8").replace("&gt;", ">")
    rows = re.findall(r'<tr><th scope="row">.*?</tr>', index, re.DOTALL)
    assert len(rows) == 30
    marked = [f"▼ {WORN}" in row for row in reversed(rows)]  # oldest first
    assert all(marked[22:])
    assert not any(marked[: nights.WORN_FROM - 1])


def test_a_slow_night_is_marked_by_median_and_mad_and_the_next_is_not(out):
    slow, after = page(out, SLOW_NIGHT), page(out, SLOW_NIGHT + 1)
    assert "tokens_s is out of its usual range" in re.search(r"<h1>.*?</h1>", slow, re.DOTALL)[0]
    card = re.search(r'<figure class="card flagged">.*?</figure>', slow, re.DOTALL)[0]
    assert "tokens per second" in card
    assert 'class="flag"' in card
    assert 'class="card flagged"' not in after
    assert "usual: " in after


def test_the_newest_page_in_a_browser_shows_the_mark_in_the_banner(out, open_page):
    opened = open_page(out / file_name(nights.history(30)[-1].id), 400)
    banner = opened.page.locator(".banner h1")
    assert f"{WORN} is getting worse" in banner.inner_text()
    assert opened.console == []
    flagged = opened.page.locator("tr.flagged")
    assert flagged.count() == 1
    assert flagged.locator("svg path.marked").bounding_box()["width"] > 50
