"""The history: what goes in comes out; old files are migrated, damaged ones set aside, two writers do no harm."""

import dataclasses
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hil.nightly.history import MIGRATIONS, SCHEMA_VERSION, History, HistoryError
from hil.nightly.record import Mark, Outcome, Subject, to_json
from hil.timeline.spans import Span, Timeline
from tests.nightly.nights import a_check, a_failed_check, a_night

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def history(tmp_path):
    with History(tmp_path / "out" / "history.sqlite") as opened:
        yield opened


def test_a_night_comes_out_as_it_went_in(history):
    night = a_night(
        checks=[a_check(1), a_failed_check(2), a_check(3, losses=[2.0], golden_losses=[2.0])],
        timeline=Timeline("step 1", [Span(0, "send", "hop", 0.0, 1.0)], 1e-6),
        marks=[Mark(Subject.WIRE, "1->2 D3", "errors", 7.0, 0.0, 1e-7, "worse")],
    )
    history.begin(dataclasses.replace(night, ended=None, boards=[], checks=[], timeline=None, marks=[]))
    assert history.night(night.id).ended is None, "a night that runs, or was killed"
    for check in night.checks:
        history.add(night.id, check)
    history.boards(night.id, night.boards)
    history.end(night)
    assert history.night(night.id) == night
    assert history.nights("sim") == [night]


def test_a_night_can_be_entered_whole(history):
    night = a_night(checks=[a_check(1), a_failed_check(2)])
    history.begin(night)
    assert history.night(night.id) == night


def test_nights_are_a_rigs_latest_in_order_of_time(history):
    for day in (3, 1, 2):
        history.begin(a_night(day))
    history.begin(a_night(9, rig="desk"))
    assert [n.id for n in history.nights("sim", last=2)] == ["sim-002", "sim-003"]
    assert [n.id for n in history.nights()] == ["sim-001", "sim-002", "sim-003", "desk-009"]
    assert history.rigs() == ["desk", "sim"]


def test_last_good_night_is_complete_passed_and_unmarked(history):
    history.begin(a_night(1, [a_check()]))
    history.begin(a_night(2, [a_failed_check()]))
    history.begin(a_night(3, [a_check(outcome=Outcome.FLAKY)]))
    history.begin(a_night(4, [a_check()], ended=None))
    history.begin(a_night(5, [a_check()], stopped="interrupted"))
    history.begin(a_night(6, [a_check()], marks=[Mark(Subject.LINK, "1->2", "resends", 9, 0, 1e-9, "")]))
    for night in history.nights():
        assert night.good == (night.id == "sim-001")
    assert history.last_good("sim", a_night(7).started).id == "sim-001"
    assert history.last_good("sim", a_night(1).started) is None
    assert history.last_good("desk", a_night(7).started) is None


def test_trends_are_sums_and_medians_of_a_night(history):
    history.begin(a_night(1, [a_check(1), a_check(2, figures={"kb_s": 100.0}), a_check(3, figures={"kb_s": 500.0})]))
    history.begin(a_night(2, [a_check(1), a_check(2, outcome=Outcome.FAILED, figures={"kb_s": 0.0})]))
    points = [p for p in history.wire_trend("sim") if p.wire == "D3"]
    assert [(p.night, p.bits, p.errors) for p in points] == [("sim-001", 3000, 0), ("sim-002", 2000, 0)]
    link = history.link_trend("sim", last=1)
    assert [(p.night, p.frames, p.resends, p.throughput_kb_s) for p in link] == [("sim-002", 8, 2, 300.5)]
    assert [p.value for p in history.figure_trend("sim", "kb_s", "link 1->2")] == [300.5, 300.5], "failed ones are out"
    assert history.figure_trend("sim", "kb_s", "generation") == []
    assert ("link 1->2", "kb_s") in history.figure_names("sim")


def test_checks_are_counted_by_outcome(history):
    flaky, skipped = (a_check(n, outcome=o) for n, o in ((3, Outcome.FLAKY), (4, Outcome.SKIPPED)))
    history.begin(a_night(1, [a_check(1), a_failed_check(2), flaky, skipped]))
    (count,) = history.check_counts("sim")
    assert dataclasses.astuple(count) == ("link 1->2", 3, 1, 1)


def test_unknown_nights_and_doubled_ids_are_refused_and_change_nothing(history):
    history.begin(a_night(1, [a_check(1)]))
    with pytest.raises(HistoryError, match=r"has no night sim-009; `hil report list` shows"):
        history.night("sim-009")
    for attempt in (
        lambda: history.begin(a_night(1)),
        lambda: history.add("sim-001", a_check(1)),
        lambda: history.add("sim-009", a_check(1)),
        lambda: history.end(a_night(9)),
    ):
        with pytest.raises(HistoryError, match="cannot be written"):
            attempt()
    assert history.nights() == [a_night(1, [a_check(1)])]


# --- files ---------------------------------------------------------------------------------------


def old_file(path, version):
    """A history as an older program left it."""
    db = sqlite3.connect(path)
    for step in MIGRATIONS[:version]:
        db.executescript(step)
    db.execute(f"PRAGMA user_version = {version}")
    names = (
        "id rig simulated world_size profile seed started harness firmware_sha256 firmware_git compiler model version"
    )
    columns = names.split()
    night = to_json(a_night(1))
    db.execute(
        f"INSERT INTO nights ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
        [str(night[name]) if name == "seed" else night[name] for name in columns],
    )
    db.commit()
    db.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_file_is_migrated_and_keeps_its_nights(tmp_path, version):
    old_file(tmp_path / "h.sqlite", version)
    with History(tmp_path / "h.sqlite") as history:
        assert history.set_aside is None
        history.add("sim-001", a_check(1))
        night = history.night("sim-001")
        assert (night.seed, night.checks, night.marks) == (a_night(1).seed, [a_check(1)], [])
        history.end(a_night(1, marks=[Mark(Subject.LINK, "1->2", "resends", 9, 0, 1e-9, "")]))
        assert len(history.night("sim-001").marks) == 1
    db = sqlite3.connect(tmp_path / "h.sqlite")
    assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION


def test_a_file_of_a_newer_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "h.sqlite"
    History(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(HistoryError, match=f"has schema 99, this program knows up to {SCHEMA_VERSION}"):
        History(path)
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone()[0] == 99


@pytest.mark.parametrize("damage", ["text", "header", "middle", "cut"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path, damage):
    path = tmp_path / "h.sqlite"
    with History(path) as history:
        for day in range(20):
            history.begin(a_night(day, [a_check(n) for n in range(10)]))
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = bytearray(b"not a database at all, but long enough to be taken for one" * 100)
    elif damage == "header":
        data[:16] = b"\xff" * 16
    elif damage == "middle":
        data[4096 : len(data) - 4096] = b"\xa5" * (len(data) - 8192)
    else:
        del data[len(data) // 2 :]
    path.write_bytes(data)
    with History(path) as history:
        assert f"history {path}: is damaged" in history.set_aside
        assert "was set aside as h.sqlite.damaged-" in history.set_aside
        assert history.nights() == []
        history.begin(a_night(1))
    (away,) = tmp_path.glob("h.sqlite.damaged-*")
    assert away.read_bytes() == data
    with History(path) as history:
        assert history.set_aside is None
        assert [night.id for night in history.nights()] == ["sim-001"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match="cannot be opened: .*; check the folder and its space"):
        History(tmp_path / "file" / "h.sqlite")


WRITER = """
import sys
from pathlib import Path
from hil.nightly.history import History
from tests.nightly.nights import a_check, a_night

path, rig, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
with History(path) as history:
    history.begin(a_night(1, rig=rig))
    for number in range(count):
        history.add(f"{rig}-001", a_check(number))
    history.end(a_night(1, rig=rig))
"""


def test_two_writers_at_once_lose_nothing(tmp_path):
    path, count = tmp_path / "h.sqlite", 100
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen(
            [*command, rig, str(count)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        for rig in ("left", "right")
    ]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, said = writer.communicate(timeout=120)
        assert writer.returncode == 0, said
    with History(path) as history:
        assert history.set_aside is None
        for rig in ("left", "right"):
            assert history.night(f"{rig}-001") == a_night(1, [a_check(n) for n in range(count)], rig=rig)


def test_rows_hold_what_json_holds(history):
    """Trends are queries on columns, not on blobs."""
    history.begin(a_night(1, [a_failed_check(1)]))
    db = sqlite3.connect(history.path)
    assert db.execute("SELECT link, wire, bits, errors FROM wires ORDER BY position LIMIT 1").fetchone() == (
        "1->2", "D0", 1000, 0,
    )  # fmt: skip
    assert db.execute("SELECT cause FROM checks").fetchone() == ("wiring",)
    assert json.loads(db.execute("SELECT phases_us FROM links").fetchone()[0]) == {"ACK high": [1.0, 1.5, 2.0]}
