"""Pages as text and as files: self-contained, small, honest about what was not measured, whole or not at all."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from hil.checks.model.mismatch import MapRow
from hil.nightly.page.files import PageError, write_pages
from hil.nightly.page.render import render_index, render_night
from hil.nightly.page.views import file_name
from hil.nightly.record import Cause, LogLine, Subject, TrendMark
from tests.page import nights


class Seen(HTMLParser):
    """Counts tags, and collects what could make a request."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "srcset", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]


@pytest.fixture(scope="module")
def past():
    return nights.history(23)


@pytest.mark.parametrize(
    "night",
    [nights.bad_night(), nights.hostile_night(), nights.killed_night(), nights.empty_night(), nights.partial_night()],
)
def test_page_holds_everything_and_runs_nothing(night, past):
    for text in (render_night(night, past), render_index([*past, night])):
        seen = Seen(text)
        assert not set(seen.tags) & {"script", "img", "iframe", "object", "embed", "form", "base"}
        assert seen.handlers == []
        assert all(re.fullmatch(r"data:,|#[\w-]+|(night-[A-Za-z0-9._-]+|index)\.html", link) for link in seen.links)
        assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
        assert not re.search(r"url\(|@import", text)
        text.encode("utf-8")
    assert Seen(text).tags["h1"] == 1


def test_every_wire_is_drawn_named_and_told_in_a_table(past):
    text = render_night(nights.bad_night(), past)
    for link in ("0->1", "1->2", "2->3", "3->0"):
        for wire in (*(f"D{n}" for n in range(8)), "CLK", "ACK"):
            assert text.count(f"link {link.replace('>', '&gt;')} {wire}:") >= 2, (
                "tooltip of the drawing and of the table"
            )
            assert f'<th scope="row">link {link.replace(">", "&gt;")} {wire}</th>' in text


def test_bad_wire_is_told_by_sign_and_class_and_others_are_not(past):
    text = render_night(nights.bad_night(), past)
    bad = re.findall(r'<g class="wire bad"><title>link (.+?): bad', text)
    assert bad == ["1-&gt;2 CLK"]
    assert "CLK ✗" in text


def test_mark_of_history_names_the_wire_on_the_page(past):
    mark = TrendMark(Subject.WIRE, "1->2 D3", "errors", 40.0, 0.0, 1e-9, "1->2 D3: 40 wrong bits, usually none")
    text = render_night(dataclasses.replace(past[-1], marks=[mark]), past[:-1])
    assert "link 1-&gt;2 D3 is getting worse" in text
    assert re.findall(r"<th scope=\"row\">(D\d) ▼", text) == ["D3"]
    assert "▼" not in render_night(past[10], past[:10])


def test_what_was_not_measured_is_called_no_data():
    text = render_night(nights.empty_night(), [])
    for what in (
        "No data: no check was run.", "no wire was measured", "no training gave a loss", "no timeline was recorded",
        "no board&#39;s figures were recorded", "There is no good night",
    ):  # fmt: skip
        assert what in text
    assert "healthy" not in text


def test_flaky_check_is_never_shown_as_a_plain_pass(past):
    text = render_night(nights.bad_night(), past)
    assert "↻ flaky, 2 tries" in text
    rows = re.findall(r'<td class="(\w+)">([^<]*)</td>', text)
    assert sum(1 for class_, _ in rows if class_ == "flaky") == 2
    assert not [said for class_, said in rows if class_ == "flaky" and "passed" in said]


def test_flake_rates_stand_with_their_intervals(past):
    text = render_night(nights.bad_night(), past)
    row = re.search(r'<tr><th scope="row">link 3-&gt;0</th>.*?</tr>', text)[0]
    assert '<td class="num">49</td><td class="num">2</td><td>4.1 % (1.1 to 14 %)</td>' in row
    assert "How often checks needed" not in render_night(past[-1], past[:-1])


def test_failure_shows_sentence_replay_tries_waveform_map_and_logs(past):
    text = render_night(nights.bad_night(), past)
    for part in (
        "byte 1375 of 2052 stopped", "pytest &#39;hil/suite/test_link.py", "on the simulator", "waveform: link 1-&gt;2",
        'class="cell differs"',"====xxx", "<th scope=\"col\">board 3</th>", "response SERVE #5 job=1 rank=2",
    ):  # fmt: skip
        assert part in text
    first = text.index("4.510000</span>")
    assert first < text.index("4.513000</span>") < text.index("4.560000</span>"), "not in order of time"


def test_loss_that_leaves_the_golden_is_said_with_its_step(past):
    assert "Leaves the golden at step 7" in render_night(nights.bad_night(), past)
    assert "Equal to the golden at each of 10 steps" in render_night(past[3], past[:3])


def test_ten_thousand_checks_stay_small_and_keep_every_row():
    text = render_night(nights.big_night(), [])
    assert len(text.encode()) < 5_000_000
    assert text.count('<tr><td class="num">') >= 10_000


@pytest.mark.parametrize("many", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_checks_that_all_fail_differently_stay_small(many):
    night = nights.big_night(many, failed=many)
    rows = [MapRow("<" * 60, "=x?" * 100)] * 70
    lines = [LogLine(number % 4, number / 10, "<\udc80" * 300) for number in range(100)]
    checks = [
        dataclasses.replace(
            check,
            name=f"check {check.number} " + "\U000e0041" * 500,
            sentence="<\x00" * 2000,
            failure=dataclasses.replace(
                nights.failure(Cause.BOARD),
                sentence="<\x1b" * 2000,
                detail="\udc80" * 9000,
                mismatch_map=rows,
                logs=lines,
            ),
        )
        for check in night.checks
    ]
    text = render_night(dataclasses.replace(night, checks=checks), [])
    assert len(text.encode()) < 5_000_000
    assert "more kinds of failure are in the table" in text


@pytest.mark.parametrize(
    ("night_id", "name"),
    [
        ("2026-10-01-desk", "night-2026-10-01-desk.html"),
        ("../../etc/passwd", "night-_.._etc_passwd.html"),
        ("", "night-_.html"),
        ("<b>\x00", "night-_b__.html"),
    ],
)
def test_file_name_stays_in_the_folder(night_id, name):
    assert file_name(night_id) == name


class Kept:
    """A history in memory."""

    def __init__(self, kept):
        self.kept = kept

    def nights(self, rig=None, last=None):
        return self.kept[-last:] if last else self.kept

    def last_good(self, rig, before):
        return None


def test_write_pages_writes_each_night_once_and_the_newest_always(tmp_path, past):
    newest = write_pages(Kept(past[:3]), tmp_path)
    assert newest == tmp_path / file_name(past[2].id)
    old = tmp_path / file_name(past[0].id)
    old.write_text("kept")
    newest.write_text("replaced")
    write_pages(Kept(past[:3]), tmp_path)
    assert old.read_text() == "kept"
    assert newest.read_text().startswith("<!doctype html>")
    index = (tmp_path / "index.html").read_text()
    assert all(file_name(night.id) in index for night in past[:3])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(file_name(n.id) for n in past[:3]), "index.html"]
    )


def test_a_full_disk_leaves_the_old_page_and_says_so(tmp_path, past, monkeypatch):
    newest = write_pages(Kept(past[:1]), tmp_path)
    before = newest.read_text()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hil.files.os.fsync", full)
    with pytest.raises(PageError, match=r"cannot be written: No space left on device; the one before stays"):
        write_pages(Kept(past[:1]), tmp_path)
    assert newest.read_text() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_no_night_is_said_in_a_sentence(tmp_path):
    with pytest.raises(PageError, match="the history has no night yet"):
        write_pages(Kept([]), tmp_path)
