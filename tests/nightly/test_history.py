"""The history: what goes in comes out; old files are migrated, damaged ones set aside, two writers do no harm."""

import dataclasses
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hil.nightly.history import SCHEMA_VERSION, History, HistoryError
from hil.nightly.record import Outcome, Subject, TrendMark, to_json
from hil.nightly.series import figures_of
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
        marks=[TrendMark(Subject.WIRE, "1->2 D3", "errors", 7.0, 0.0, 1e-7, "worse")],
    )
    history.begin(dataclasses.replace(night, ended=None, boards=[], checks=[], timeline=None, marks=[]))
    assert history.night(night.id).ended is None, "a night that runs, or was killed"
    for check in night.checks:
        history.add(night.id, check)
    history.update(night)
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
    history.begin(a_night(6, [a_check()], marks=[TrendMark(Subject.LINK, "1->2", "resends", 9, 0, 1e-9, "")]))
    for night in history.nights():
        assert night.good == (night.id == "sim-001")
    assert history.last_good("sim", a_night(7).started).id == "sim-001"
    assert history.last_good("sim", a_night(1).started) is None
    assert history.last_good("desk", a_night(7).started) is None


def test_figures_of_nights_before_are_the_latest_oldest_first(history):
    for day in range(1, 5):
        history.begin(a_night(day, [a_check(1), a_check(2)]))
    history.begin(a_night(1, [a_check(1)], rig="desk"))
    found = history.figures("sim", a_night(4).started, last=2)
    assert [night.night for night in found] == ["sim-002", "sim-003"]
    assert found == [figures_of(history.night(night)) for night in ("sim-002", "sim-003")]


def test_unknown_nights_and_doubled_ids_are_refused_and_change_nothing(history):
    history.begin(a_night(1, [a_check(1)]))
    with pytest.raises(HistoryError, match=r"has no night sim-009; `hil report list` shows"):
        history.night("sim-009")
    for attempt in (
        lambda: history.begin(a_night(1)),
        lambda: history.add("sim-001", a_check(1)),
        lambda: history.add("sim-009", a_check(1)),
        lambda: history.update(a_night(9)),
    ):
        with pytest.raises(HistoryError, match="cannot be written"):
            attempt()
    assert history.nights() == [a_night(1, [a_check(1)])]


# --- files ---------------------------------------------------------------------------------------


OLD_SCHEMA = """
    CREATE TABLE nights (
        id TEXT PRIMARY KEY, rig TEXT NOT NULL, simulated INTEGER NOT NULL, world_size INTEGER NOT NULL,
        profile TEXT NOT NULL, seed TEXT NOT NULL, started TEXT NOT NULL, ended TEXT, stopped TEXT,
        harness TEXT NOT NULL, firmware_sha256 TEXT NOT NULL, firmware_git TEXT NOT NULL, compiler TEXT NOT NULL,
        model TEXT NOT NULL, timeline TEXT, version INTEGER NOT NULL
    );
    CREATE INDEX nights_by_rig ON nights (rig, started);
    CREATE TABLE boards (
        night TEXT NOT NULL REFERENCES nights (id) ON DELETE CASCADE, rank INTEGER NOT NULL, serial TEXT NOT NULL,
        boot_s REAL NOT NULL, temperature_c REAL, throttled INTEGER NOT NULL, resets INTEGER NOT NULL,
        retries INTEGER NOT NULL, PRIMARY KEY (night, rank)
    );
    CREATE TABLE checks (
        night TEXT NOT NULL REFERENCES nights (id) ON DELETE CASCADE, number INTEGER NOT NULL, round INTEGER NOT NULL,
        name TEXT NOT NULL, kind TEXT NOT NULL, outcome TEXT NOT NULL, seed TEXT NOT NULL, started TEXT NOT NULL,
        seconds REAL NOT NULL, sentence TEXT NOT NULL, losses TEXT NOT NULL, golden_losses TEXT NOT NULL,
        failure TEXT, cause TEXT, PRIMARY KEY (night, number)
    );
    CREATE TABLE figures (
        night TEXT NOT NULL, number INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,
        value REAL NOT NULL, PRIMARY KEY (night, number, position),
        FOREIGN KEY (night, number) REFERENCES checks (night, number) ON DELETE CASCADE
    );
    CREATE TABLE links (
        night TEXT NOT NULL, number INTEGER NOT NULL, position INTEGER NOT NULL, link TEXT NOT NULL,
        bytes INTEGER NOT NULL, frames INTEGER NOT NULL, resends INTEGER NOT NULL, timeouts INTEGER NOT NULL,
        throughput_kb_s REAL NOT NULL, phases_us TEXT NOT NULL, PRIMARY KEY (night, number, position),
        FOREIGN KEY (night, number) REFERENCES checks (night, number) ON DELETE CASCADE
    );
    CREATE TABLE wires (
        night TEXT NOT NULL, number INTEGER NOT NULL, position INTEGER NOT NULL, link TEXT NOT NULL, wire TEXT NOT NULL,
        bits INTEGER NOT NULL, errors INTEGER NOT NULL, PRIMARY KEY (night, number, position),
        FOREIGN KEY (night, number) REFERENCES checks (night, number) ON DELETE CASCADE
    );
    CREATE TABLE attempts (
        night TEXT NOT NULL, number INTEGER NOT NULL, position INTEGER NOT NULL, place TEXT NOT NULL,
        passed INTEGER NOT NULL, seconds REAL NOT NULL, sentence TEXT NOT NULL, PRIMARY KEY (night, number, position),
        FOREIGN KEY (night, number) REFERENCES checks (night, number) ON DELETE CASCADE
    );
"""
"""Of version 1."""
OLD_MARKS = """
    CREATE TABLE marks (
        night TEXT NOT NULL REFERENCES nights (id) ON DELETE CASCADE, position INTEGER NOT NULL, subject TEXT NOT NULL,
        name TEXT NOT NULL, what TEXT NOT NULL, value REAL NOT NULL, usual REAL NOT NULL, chance REAL NOT NULL,
        sentence TEXT NOT NULL, PRIMARY KEY (night, position)
    );
"""
"""What version 2 had more."""


def old_file(path, version, nights):
    """A history as an older program left it."""
    db = sqlite3.connect(path)
    db.executescript(OLD_SCHEMA + (OLD_MARKS if version == 2 else ""))
    db.execute(f"PRAGMA user_version = {version}")
    for night in nights:
        enter_old_night(db, night)
    db.commit()
    db.close()


def enter(db, table, **values):
    """A row; what a column cannot hold is JSON."""
    cells = [json.dumps(v) if isinstance(v, (list, dict)) else v for v in values.values()]
    db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(cells))})", cells)


def enter_old_night(db, night):
    whole = to_json(night)
    lists = {name: whole.pop(name) for name in ("boards", "checks", "marks")}
    enter(db, "nights", **whole | {"seed": str(night.seed)})
    for table in ("boards", "marks"):
        for position, part in enumerate(lists[table]):
            enter(db, table, night=night.id, **part, **({"position": position} if table == "marks" else {}))
    for check in lists["checks"]:
        where = {"night": night.id, "number": check["number"]}
        parts = {name: check.pop(name) for name in ("links", "wires", "attempts", "figures")}
        cause = check["failure"]["cause"] if check["failure"] else None
        enter(db, "checks", night=night.id, **check | {"seed": str(check["seed"]), "cause": cause})
        parts["figures"] = [{"name": name, "value": value} for name, value in parts["figures"].items()]
        for attempt in parts["attempts"]:
            attempt["place"] = attempt.pop("where")
        for table, rows in parts.items():
            for position, row in enumerate(rows):
                enter(db, table, **where, position=position, **row)


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_file_is_migrated_and_keeps_every_night_whole(tmp_path, version):
    mark = TrendMark(Subject.LINK, "1->2", "resends", 9.0, 0.1, 1e-9, "worse")
    trained = a_check(3, "training", losses=[2.5, 0.1 + 0.2], golden_losses=[2.5], outcome=Outcome.FLAKY)
    nights = [
        a_night(1, [a_check(1), a_failed_check(2), trained], marks=[mark] if version == 2 else []),
        a_night(2, [a_check(1, wires=[], links=[], attempts=[], figures={})], ended=None, boards=[]),
        a_night(3, timeline=Timeline("step 1", [Span(0, "send", "hop", 0.0, 1.0)], 1e-6)),
        a_night(1, [a_check(1)], rig="desk"),
    ]
    old_file(tmp_path / "h.sqlite", version, nights)
    with History(tmp_path / "h.sqlite") as history:
        assert history.set_aside is None
        assert [history.night(night.id) for night in nights] == nights
        assert history.nights() == [nights[0], nights[3], nights[1], nights[2]]
        history.add("sim-003", a_check(1))
        history.update(dataclasses.replace(nights[2], marks=[mark]))
        assert history.night("sim-003") == dataclasses.replace(nights[2], marks=[mark], checks=[a_check(1)])
    db = sqlite3.connect(tmp_path / "h.sqlite")
    assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"nights", "checks"}
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "h.sqlite"
    old_file(path, 2, [a_night(1, [a_check(1)])])
    db = sqlite3.connect(path)
    db.execute("UPDATE checks SET kind = 'unheard of'")
    db.commit()
    before = list(db.iterdump())
    with pytest.raises(
        HistoryError, match="cannot be brought to schema 3: .*'unheard of'.*; use the program that wrote it"
    ):
        History(path)
    assert list(db.iterdump()) == before
    assert db.execute("PRAGMA user_version").fetchone()[0] == 2


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
    history.update(a_night(1, rig=rig))
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


def test_any_question_is_a_query(history):
    history.begin(a_night(1, [a_failed_check(1)]))
    db = sqlite3.connect(history.path)
    query = (
        "SELECT json_extract(record, '$.name'), json_extract(record, '$.failure.cause'), "
        "json_extract(record, '$.wires[3].bits') FROM checks"
    )
    assert db.execute(query).fetchone() == ("link 1->2", "wiring", 1000)
    assert db.execute("SELECT json_extract(record, '$.compiler') FROM nights").fetchone() == ("zig",)


def test_a_record_that_is_no_record_is_one_sentence(history):
    history.begin(a_night(1, [a_check(1)]))
    db = sqlite3.connect(history.path)
    db.execute("UPDATE checks SET record = '{\"kind\": 7}'")
    db.commit()
    with pytest.raises(
        HistoryError, match="night sim-001 cannot be read: ValueError: .*; use the program that wrote it"
    ):
        history.night("sim-001")
