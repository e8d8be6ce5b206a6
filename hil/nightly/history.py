"""The history of nights: one SQLite file that any number of nights, and of readers, may share.

Every check is committed as it ends, so a killed process loses the check it was in and no other. The file is in WAL
mode: readers never wait for a writer. A damaged file is set aside, and `set_aside` says so.
Schema: hil/nightly/history.py. Owns: HistoryError, the file, the way between records and rows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hil.errors import HilError
from hil.nightly.record import (
    Attempt,
    BoardFigures,
    Check,
    Failure,
    Kind,
    LinkFigures,
    Mark,
    Night,
    Outcome,
    Subject,
    WireFigures,
    from_json,
    to_json,
)
from hil.timeline.spans import Timeline

MIGRATIONS: tuple[str, ...] = (
    """
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
    """,
    """
    CREATE TABLE marks (
        night TEXT NOT NULL REFERENCES nights (id) ON DELETE CASCADE, position INTEGER NOT NULL, subject TEXT NOT NULL,
        name TEXT NOT NULL, what TEXT NOT NULL, value REAL NOT NULL, usual REAL NOT NULL, chance REAL NOT NULL,
        sentence TEXT NOT NULL, PRIMARY KEY (night, position)
    );
    """,
)
"""Step k brings a file from version k to k + 1. Seeds are text: SQLite's integers are signed."""

SCHEMA_VERSION = len(MIGRATIONS)


BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another one; a check is written in milliseconds."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
NIGHT_COLUMNS = (
    "id", "rig", "simulated", "world_size", "profile", "seed", "started", "ended", "stopped", "harness",
    "firmware_sha256", "firmware_git", "compiler", "model", "version",
)  # fmt: skip
CHECK_COLUMNS = (
    "number", "round", "name", "kind", "outcome", "seed", "started", "seconds", "sentence", "losses", "golden_losses",
    "failure", "cause",
)  # fmt: skip


class HistoryError(HilError):
    """The history cannot be opened, read or written; nothing that is in it has changed."""


@dataclass(frozen=True, slots=True)
class WirePoint:
    """Bits and errors of one wire over all checks of one night."""

    night: str
    started: str
    link: str
    wire: str
    bits: int
    errors: int


@dataclass(frozen=True, slots=True)
class LinkPoint:
    """One link over all checks of one night. throughput_kb_s: the mean over the night's runs."""

    night: str
    started: str
    link: str
    bytes: int
    frames: int
    resends: int
    timeouts: int
    throughput_kb_s: float


@dataclass(frozen=True, slots=True)
class FigurePoint:
    """A figure of a check in one night: the median of its rounds."""

    night: str
    started: str
    value: float


@dataclass(frozen=True, slots=True)
class CheckCount:
    """How often a check ran over nights, and how it ended."""

    name: str
    runs: int
    flaky: int
    failed: int


class History:
    """An open history; made if the file is missing. Close it, or use it as a context.

    Args:
        path: of the SQLite file; its folder is made if missing.
    Raises: HistoryError if the file cannot be opened or comes from a newer version of this program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set_aside: str | None = None
        """One sentence if a damaged file was found and moved away."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_name(path.name + ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # two processes must not set aside each other's new file
                self._db = self._opened()
        except (OSError, sqlite3.Error) as error:
            raise HistoryError(f"history {path}: cannot be opened: {error}; check the folder and its space") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless when it is closed."""
        self._db.close()

    # --- opening -------------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if (error.sqlite_errorcode & 0xFF) not in DAMAGED:
                raise
            self._move_away(str(error))
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = ON")
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
            if found != "ok":
                error = sqlite3.DatabaseError(found)
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise error
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise HistoryError(
                f"history {self.path}: has schema {version}, this program knows up to {SCHEMA_VERSION}; "
                "use the newer program, or another --out folder"
            )
        for number in range(version, SCHEMA_VERSION):
            with _transaction(db):
                for statement in MIGRATIONS[number].split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number + 1}")

    def _move_away(self, why: str) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        away = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                file.rename(away.with_name(away.name + suffix))
        self.set_aside = (
            f"history {self.path}: is damaged ({why}); it was set aside as {away.name} and a new one begun; "
            "`sqlite3 FILE .recover` may bring back what is left of it"
        )

    # --- writing -------------------------------------------------------------------------------

    def begin(self, night: Night) -> None:
        """Enter a night with what it has so far. Raises HistoryError, also if its id is taken."""
        with self._writing(f"night {night.id}") as db:
            values = [str(night.seed) if name == "seed" else getattr(night, name) for name in NIGHT_COLUMNS]
            db.execute(f"INSERT INTO nights ({', '.join(NIGHT_COLUMNS)}) VALUES ({_places(values)})", values)
            self._put_end(db, night)
            for check in night.checks:
                _insert_check(db, night.id, check)

    def add(self, night_id: str, check: Check) -> None:
        """Enter a finished check; it is on the disk when this returns. Raises HistoryError."""
        with self._writing(f"check {check.number} of night {night_id}") as db:
            _insert_check(db, night_id, check)

    def boards(self, night_id: str, boards: Sequence[BoardFigures]) -> None:
        """Enter the boards' figures, in place of those before. Raises HistoryError."""
        with self._writing(f"boards of night {night_id}") as db:
            _put_boards(db, night_id, boards)

    def end(self, night: Night) -> None:
        """Enter how a night ended: ended, stopped, boards, timeline, marks. Raises HistoryError."""
        with self._writing(f"end of night {night.id}") as db:
            self._put_end(db, night)

    @staticmethod
    def _put_end(db: sqlite3.Connection, night: Night) -> None:
        timeline = json.dumps(to_json(night.timeline)) if night.timeline is not None else None
        done = db.execute(
            "UPDATE nights SET ended = ?, stopped = ?, timeline = ? WHERE id = ?",
            (night.ended, night.stopped, timeline, night.id),
        )
        if done.rowcount != 1:
            raise sqlite3.IntegrityError("there is no such night")
        _put_boards(db, night.id, night.boards)
        db.execute("DELETE FROM marks WHERE night = ?", (night.id,))
        for position, mark in enumerate(night.marks):
            _insert(db, "marks", {"night": night.id, "position": position, **to_json(mark)})

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[sqlite3.Connection]:
        try:
            with _transaction(self._db):
                yield self._db
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(f"history {self.path}: {what} cannot be written: {error}; is the disk full?") from error

    # --- reading -------------------------------------------------------------------------------

    def nights(self, rig: str | None = None, last: int | None = None) -> list[Night]:
        """The latest `last` nights (default: all) of a rig (default: of any), oldest first."""
        rows = self._rows(
            "SELECT * FROM nights WHERE ? IS NULL OR rig = ? ORDER BY started DESC, rowid DESC LIMIT ?",
            (rig, rig, -1 if last is None else last),
        )
        return [self._night(row) for row in reversed(rows)]

    def night(self, night_id: str) -> Night:
        """One night. Raises HistoryError if there is none of that id."""
        rows = self._rows("SELECT * FROM nights WHERE id = ?", (night_id,))
        if not rows:
            raise HistoryError(f"history {self.path}: has no night {night_id}; `hil report list` shows those it has")
        return self._night(rows[0])

    def last_good(self, rig: str, before: str) -> Night | None:
        """The latest good night of a rig that started before a time; None if there is none."""
        rows = self._rows(
            "SELECT * FROM nights n WHERE rig = ? AND started < ? AND ended IS NOT NULL AND stopped IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM checks WHERE night = n.id AND outcome <> 'passed') "
            "AND NOT EXISTS (SELECT 1 FROM marks WHERE night = n.id) ORDER BY started DESC, rowid DESC LIMIT 1",
            (rig, before),
        )
        return self._night(rows[0]) if rows else None

    def ids(self, rig: str | None = None) -> list[str]:
        """Ids of all nights of a rig (default: of any), oldest first."""
        rows = self._rows("SELECT id FROM nights WHERE ? IS NULL OR rig = ? ORDER BY started, rowid", (rig, rig))
        return [row["id"] for row in rows]

    def check_numbers(self, night_id: str) -> set[int]:
        """Numbers of the checks that a night has so far."""
        return {row["number"] for row in self._rows("SELECT number FROM checks WHERE night = ?", (night_id,))}

    def rigs(self) -> list[str]:
        """Names of the rigs that have nights."""
        return [row["rig"] for row in self._rows("SELECT DISTINCT rig FROM nights ORDER BY rig", ())]

    def wire_trend(self, rig: str, last: int | None = None) -> list[WirePoint]:
        """Bits and errors of every wire, night by night, oldest first."""
        rows = self._rows(
            _latest("SELECT night, started, link, wire, SUM(bits) bits, SUM(errors) errors FROM wires "
                    "JOIN latest ON latest.id = night GROUP BY night, link, wire ORDER BY started, link, wire"),
            (rig, -1 if last is None else last),
        )  # fmt: skip
        return [WirePoint(**dict(row)) for row in rows]

    def link_trend(self, rig: str, last: int | None = None) -> list[LinkPoint]:
        """Every link, night by night, oldest first."""
        rows = self._rows(
            _latest("SELECT night, started, link, SUM(bytes) bytes, SUM(frames) frames, SUM(resends) resends, "
                    "SUM(timeouts) timeouts, COALESCE(AVG(NULLIF(throughput_kb_s, 0)), 0) throughput_kb_s FROM links "
                    "JOIN latest ON latest.id = night GROUP BY night, link ORDER BY started, link"),
            (rig, -1 if last is None else last),
        )  # fmt: skip
        return [LinkPoint(**dict(row)) for row in rows]

    def figure_names(self, rig: str) -> list[tuple[str, str]]:
        """(check, figure) of everything that has a trend."""
        rows = self._rows(
            "SELECT DISTINCT checks.name check_name, figures.name name FROM figures "
            "JOIN checks USING (night, number) JOIN nights ON nights.id = night WHERE rig = ? ORDER BY 1, 2",
            (rig,),
        )
        return [(row["check_name"], row["name"]) for row in rows]

    def figure_trend(
        self, rig: str, name: str, check: str | None = None, last: int | None = None, like: Night | None = None
    ) -> list[FigurePoint]:
        """A figure night by night, oldest first: the median of what its checks gave.

        Args:
            name: of the figure, such as tokens_s.
            check: name of the check it must come from (default: any).
            like: only nights of this one's profile, model and world size, up to it.
        """
        rows = self._rows(
            _latest("SELECT night, latest.started started, value FROM figures JOIN latest ON latest.id = night "
                    "JOIN checks USING (night, number) WHERE figures.name = ? AND (? IS NULL OR checks.name = ?) "
                    "AND outcome IN ('passed', 'flaky') ORDER BY latest.started, night, value", like),
            (rig, *_same(like), -1 if last is None else last, name, check, check),
        )  # fmt: skip
        by_night: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            by_night.setdefault((row["night"], row["started"]), []).append(row["value"])
        return [FigurePoint(*key, (v[(len(v) - 1) // 2] + v[len(v) // 2]) / 2) for key, v in by_night.items()]

    def marks(self, rig: str, last: int | None = None) -> list[tuple[str, Mark]]:
        """(night, mark) of the latest nights, oldest first."""
        rows = self._rows(
            _latest("SELECT marks.* FROM marks JOIN latest ON latest.id = night ORDER BY started, position"),
            (rig, -1 if last is None else last),
        )
        return [(row["night"], _record(Mark, row, subject=Subject(row["subject"]))) for row in rows]

    def check_counts(self, rig: str, last: int | None = None) -> list[CheckCount]:
        """How often each check ran, and was flaky or failed, over the latest nights; skipped ones do not count."""
        rows = self._rows(
            _latest("SELECT name, COUNT(*) runs, SUM(outcome = 'flaky') flaky, "
                    "SUM(outcome = 'failed') failed FROM checks JOIN latest ON latest.id = night "
                    "WHERE outcome <> 'skipped' GROUP BY name ORDER BY name"),
            (rig, -1 if last is None else last),
        )  # fmt: skip
        return [CheckCount(**dict(row)) for row in rows]

    def _rows(self, query: str, values: Sequence[Any]) -> list[sqlite3.Row]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise HistoryError(f"history {self.path}: cannot be read: {error}") from error

    def _night(self, row: sqlite3.Row) -> Night:
        night_id = row["id"]
        values = {name: row[name] for name in NIGHT_COLUMNS}
        boards = self._rows("SELECT * FROM boards WHERE night = ? ORDER BY rank", (night_id,))
        marks = self._rows("SELECT * FROM marks WHERE night = ? ORDER BY position", (night_id,))
        timeline = from_json(Timeline, json.loads(row["timeline"])) if row["timeline"] is not None else None
        return Night(
            **values | {"simulated": bool(row["simulated"]), "seed": int(row["seed"])},
            boards=[_record(BoardFigures, board) for board in boards],
            checks=self._checks(night_id),
            timeline=timeline,
            marks=[_record(Mark, mark, subject=Subject(mark["subject"])) for mark in marks],
        )

    def _checks(self, night_id: str) -> list[Check]:
        figures = self._by_check("figures", night_id)
        links = self._by_check("links", night_id)
        wires = self._by_check("wires", night_id)
        attempts = self._by_check("attempts", night_id)
        checks = []
        for row in self._rows("SELECT * FROM checks WHERE night = ? ORDER BY number", (night_id,)):
            number = row["number"]
            checks.append(
                Check(
                    number, row["round"], row["name"], Kind(row["kind"]), Outcome(row["outcome"]), int(row["seed"]),
                    row["started"], row["seconds"], row["sentence"],
                    figures={r["name"]: r["value"] for r in figures.get(number, ())},
                    links=[_record(LinkFigures, r, phases_us=json.loads(r["phases_us"]))
                           for r in links.get(number, ())],
                    wires=[_record(WireFigures, r) for r in wires.get(number, ())],
                    losses=json.loads(row["losses"]),
                    golden_losses=json.loads(row["golden_losses"]),
                    attempts=[_record(Attempt, r, where=r["place"], passed=bool(r["passed"]))
                              for r in attempts.get(number, ())],
                    failure=from_json(Failure, json.loads(row["failure"])) if row["failure"] is not None else None,
                )
            )  # fmt: skip
        return checks

    def _by_check(self, table: str, night_id: str) -> dict[int, list[sqlite3.Row]]:
        found: dict[int, list[sqlite3.Row]] = {}
        for row in self._rows(f"SELECT * FROM {table} WHERE night = ? ORDER BY number, position", (night_id,)):
            found.setdefault(row["number"], []).append(row)
        return found


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; waits for other writers at its begin."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _latest(query: str, like: Night | None = None) -> str:
    """A query over the table `latest`, the rig's latest nights. Its first values: the rig, _same(like), their count."""
    alike = "AND profile = ? AND model = ? AND world_size = ? AND started <= ?" if like is not None else ""
    latest = f"SELECT id, started FROM nights WHERE rig = ? {alike} ORDER BY started DESC, rowid DESC LIMIT ?"
    return f"WITH latest AS ({latest}) {query}"


def _same(like: Night | None) -> tuple[object, ...]:
    return (like.profile, like.model, like.world_size, like.started) if like is not None else ()


def _places(values: Iterable[object]) -> str:
    return ", ".join("?" for _ in values)


def _insert(db: sqlite3.Connection, table: str, values: dict[str, Any]) -> None:
    db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({_places(values)})", list(values.values()))


def _put_boards(db: sqlite3.Connection, night_id: str, boards: Sequence[BoardFigures]) -> None:
    db.execute("DELETE FROM boards WHERE night = ?", (night_id,))
    for board in boards:
        _insert(db, "boards", {"night": night_id, **to_json(board)})


def _insert_check(db: sqlite3.Connection, night_id: str, check: Check) -> None:
    where = {"night": night_id, "number": check.number}
    whole = to_json(check)
    whole |= {name: json.dumps(whole[name]) for name in ("losses", "golden_losses")}
    whole |= {"seed": str(check.seed), "failure": None, "cause": None}
    if check.failure is not None:
        whole |= {"failure": json.dumps(to_json(check.failure)), "cause": check.failure.cause}
    _insert(db, "checks", {"night": night_id, **{name: whole[name] for name in CHECK_COLUMNS}})
    for position, (name, value) in enumerate(check.figures.items()):
        _insert(db, "figures", {**where, "position": position, "name": name, "value": value})
    for position, link in enumerate(whole["links"]):
        _insert(db, "links", {**where, "position": position, **link, "phases_us": json.dumps(link["phases_us"])})
    for position, wire in enumerate(whole["wires"]):
        _insert(db, "wires", {**where, "position": position, **wire})
    for position, attempt in enumerate(whole["attempts"]):
        attempt["place"] = attempt.pop("where")
        _insert(db, "attempts", {**where, "position": position, **attempt})


def _record(cls: Any, row: sqlite3.Row, **values: Any) -> Any:
    """A record from the columns of its name; values: those that need more than that."""
    columns = set(row.keys())
    return cls(**{f.name: row[f.name] for f in fields(cls) if f.name in columns} | values)
