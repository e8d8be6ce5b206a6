"""The pages in a real Chromium: what a person sees at both widths and in both colour schemes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.nightly.page.render import render_index, render_night
from tests.page import nights

SHOTS = Path("build/page-screenshots")
CHARTS = """() => [...document.querySelectorAll('svg')].filter(s => s.checkVisibility()).map(s => {
    const box = s.getBoundingClientRect();
    return [s.getAttribute('class') || '', box.width, box.height, s.querySelectorAll('line,path,rect,circle').length];
})"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    past = nights.history(23)
    bad = nights.bad_night()
    texts = {
        "bad": render_night(bad, past),
        "good": render_night(past[9], past[:9]),
        "hostile": render_night(nights.hostile_night(), past),
        "killed": render_night(nights.killed_night(), []),
        "index": render_index([*past, bad, nights.partial_night(), nights.killed_night()]),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [(name, width, scheme) for name in ("bad", "index") for width in (400, 1400) for scheme in ("light", "dark")]
    + [(name, *look) for name in ("good", "hostile", "killed") for look in ((400, "light"), (1400, "dark"))],
)
def test_page_opens_without_error_request_or_sideways_scroll(pages, open_page, name, width, scheme):
    from hil import attach

    opened = open_page(pages / f"{name}.html", width, scheme)
    assert opened.console == []
    others = [url for url in opened.requests if not url.startswith("data:")]
    assert others == [(pages / f"{name}.html").as_uri()], "the page asked for something"
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    for class_, wide, high, parts in opened.page.evaluate(CHARTS):
        assert wide > 5, f"{class_} is not drawn"
        assert high > 3, f"{class_} is not drawn"
        assert parts > 0, f"{class_} is empty"
    SHOTS.mkdir(parents=True, exist_ok=True)
    shot = SHOTS / f"{name}-{width}-{scheme}.png"
    opened.page.screenshot(path=shot, full_page=True)
    attach.picture(shot, f"{name}, {width} px, {scheme}")


def test_a_page_with_a_script_or_a_picture_from_outside_is_noticed(pages, open_page, tmp_path):
    page = tmp_path / "tampered.html"
    text = (pages / "good.html").read_text(encoding="utf-8")
    evil = "<script>document.title = 'ran'</script><img src='http://example.invalid/x.png'>"
    page.write_text(text.replace("<main", evil + "<main"), encoding="utf-8")
    opened = open_page(page)
    assert any("Content Security Policy" in line for line in opened.console)
    assert opened.page.title() != "ran", "the policy let a script run"


def test_schemes_differ_and_the_charts_of_a_bad_night_are_all_there(pages, open_page):
    light, dark = (open_page(pages / "bad.html", 1400, scheme).page for scheme in ("light", "dark"))
    background = "getComputedStyle(document.body).backgroundColor"
    assert light.evaluate(background) != dark.evaluate(background)
    classes = " ".join(class_ for class_, *_ in light.evaluate(CHARTS))
    for chart in ("ring", "sparkline", "wave", "wide"):
        assert chart in classes.split()
    assert light.locator("svg.ring g.wire").count() == 40
    assert light.locator("svg.sparkline").count() == 32
    assert light.locator("svg.wide rect.span").count() > 50


def test_hostile_text_of_boards_is_text(pages, open_page):
    page = open_page(pages / "hostile.html").page
    for details in page.locator("details").all():
        details.evaluate("node => node.open = true")
    text = page.inner_text("body")
    for shown in (
        "<script>alert('x')</script>",
        "\\x1b[31mred\\x1b[0m",
        "\\u202egnp.exe",
        "{{ 7 * 7 }}",
        "<img src=http",
    ):
        assert shown in text
    assert page.locator("script").count() == 0
    assert page.locator("img").count() == 0
    assert not set(text) & {chr(number) for number in [*range(9), *range(11, 32), 127]}


def test_keyboard_reaches_the_content_and_opens_a_failure(pages, open_page):
    page = open_page(pages / "bad.html").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    second = page.locator("#failure-2")
    second.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert second.evaluate("node => node.open")


def test_a_click_selects_the_whole_replay_command(pages, open_page):
    page = open_page(pages / "bad.html").page
    command = page.locator(".replay code").first
    command.click()
    assert page.evaluate("getSelection().toString()").strip() == command.inner_text().strip()


def test_print_shows_what_is_folded_away(pages, open_page):
    page = open_page(pages / "bad.html").page
    cell = page.locator("#failure-2 .replay code")
    assert not cell.is_visible()
    page.emulate_media(media="print")
    assert cell.is_visible()


def test_ten_thousand_checks_open_and_can_be_unfolded(open_page, tmp_path):
    page = tmp_path / "big.html"
    page.write_text(render_night(nights.big_night(), []), encoding="utf-8")
    assert page.stat().st_size < 5e6
    opened = open_page(page)
    assert opened.console == []
    assert opened.page.locator(".checks tbody tr").count() == 10_000
    assert opened.page.locator("*").count() < 150_000
