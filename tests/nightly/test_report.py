"""`hil report`: nights listed, compared, exported; pages made again."""

import csv

import pytest

from hil.cli import main
from hil.nightly.history import History
from hil.nightly.record import Outcome, Subject, TrendMark
from tests.nightly.nights import a_check, a_failed_check, a_night


@pytest.fixture
def out(tmp_path):
    """A folder with three nights: good, flaky with a mark, killed."""
    with History(tmp_path / "history.sqlite") as history:
        history.begin(a_night(1, [a_check(1), a_check(2, "layers")]))
        mark = TrendMark(Subject.WIRE, "1->2 D3", "errors", 9.0, 0.0, 1e-9, "worse")
        slow = a_failed_check(1, figures={"kb_s": 150.25})
        flaky = a_check(2, "layers", outcome=Outcome.FLAKY, figures={"kb_s": 150.25})
        history.begin(a_night(2, [slow, flaky], firmware_sha256="cd" * 32, marks=[mark]))
        history.begin(a_night(3, [a_check(1)], ended=None))
    return tmp_path


def report(capsys, out, *arguments) -> tuple[int, str]:
    code = main(["report", "--out", str(out), *arguments])
    return code, capsys.readouterr().out


def test_list_tells_nights_and_flake_rates(capsys, out):
    code, text = report(capsys, out, "list")
    assert code == 0
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["sim-001", "sim-002", "sim-003"]
    assert "good" in lines[0]
    assert "NOT GOOD" in lines[1]
    assert lines[1].endswith("2 checks: 1 flaky, 1 failed, marked: 1->2 D3")
    assert "no end" in lines[2], "killed"
    assert lines[3] == "rig sim: layers was flaky in 1 of 2 runs, 50.0% (9.5% to 90.5% at 95 %)"


def test_the_folder_may_stand_behind_the_verb(capsys, out):
    assert main(["report", "list", "--out", str(out)]) == 0
    assert capsys.readouterr().out == report(capsys, out, "list")[1]


def test_compare_tells_what_changed(capsys, out):
    code, text = report(capsys, out, "compare", "sim-001", "sim-002")
    assert code == 1, "B is not good"
    assert "firmware: abababababab then, cdcdcdcdcdcd now" in text
    assert "passed then, failed now: link 1->2" in text
    assert "passed then, passed only when tried again now: layers" in text
    row = next(line for line in text.splitlines() if "layers: kb_s" in line)
    assert row.split()[-3:] == ["300.5", "150.25", "0.500"]
    row = next(line for line in text.splitlines() if "link 1->2: kb_s" in line)
    assert row.split()[-2:] == ["300.5", "-"], "what a failed check gave is no figure"
    code, text = report(capsys, out, "compare", "sim-001", "sim-001")
    assert code == 0
    assert "nothing changed" in text


def test_compare_finds_nights_by_their_beginning_and_the_last_one(capsys, out):
    code, text = report(capsys, out, "compare", "sim-002", "last")
    assert "B sim-003: no end" in text
    assert code == 1
    assert main(["report", "--out", str(out), "compare", "sim", "last"]) == 1
    assert "night sim: 3 nights begin so, sim-001 and sim-002 among them" in capsys.readouterr().err
    assert main(["report", "--out", str(out), "compare", "desk", "last"]) == 1
    assert "has no night desk" in capsys.readouterr().err


def test_export_has_a_row_for_every_figure(capsys, out, tmp_path):
    code, _ = report(capsys, out, "export", "--csv", str(tmp_path / "x.csv"))
    assert code == 0
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(r["night"], r["number"], r["subject"], r["figure"]): r["value"] for r in rows}
    assert found["sim-002", "1", "check", "kb_s"] == "150.25"
    assert found["sim-001", "2", "wire 1->2 D7", "errors"] == "0"
    assert found["sim-001", "1", "link 1->2", "ACK high p99 us"] == "2.0"
    assert found["sim-003", "", "board 0", "temperature_c"] == "47.2"
    assert len({tuple(row.values()) for row in rows}) == len(rows)
    code, text = report(capsys, out, "export", "--rig", "desk")
    assert (code, len(text.splitlines())) == (0, 1), "a header alone"


def test_pages_are_made_again(capsys, out):
    code, text = report(capsys, out, "page")
    assert code == 0
    assert text.strip() == str(out / "night-sim-003.html")
    page = out / "night-sim-001.html"
    before = page.stat().st_mtime_ns
    assert report(capsys, out, "page")[0] == 0
    assert page.stat().st_mtime_ns > before
    assert (out / "index.html").exists()


def test_pages_made_again_link_to_what_each_night_left(capsys, out):
    for night in ("sim-001", "sim-003"):
        (out / "nights" / night).mkdir(parents=True)
        (out / "nights" / night / "night.json").write_text("{}")
    assert report(capsys, out, "page")[0] == 0
    for night in ("sim-001", "sim-003"):
        assert f"nights/{night}/night.json" in (out / f"night-{night}.html").read_text()
    assert "nights/sim-002" not in (out / "night-sim-002.html").read_text()


def test_a_folder_without_history_is_one_sentence_and_stays_empty(capsys, tmp_path):
    assert main(["report", "--out", str(tmp_path), "list"]) == 1
    assert "there is none; give the folder of `hil nightly --out` as --out" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_history_is_told(capsys, out):
    (out / "history.sqlite").write_bytes(b"x" * 9000)
    assert main(["report", "--out", str(out), "list"]) == 0
    assert "is damaged" in capsys.readouterr().err


def test_an_export_that_cannot_be_written_is_one_sentence(capsys, out):
    assert main(["report", "--out", str(out), "export", "--csv", str(out / "no" / "x.csv")]) == 1
    assert "x.csv: cannot be written: No such file" in capsys.readouterr().err
