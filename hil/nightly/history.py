"""The history of nights: one SQLite file that any number of nights, and of readers, may share.

A night is a row, and a check is a row: its record as JSON (hil/nightly/record.py), beside what rows are found by. Every
check is committed as it ends, so a killed process loses the check it was in and no other. The file is in WAL mode:
readers never wait for a writer. A damaged file is set aside, and `set_aside` says so.
Owns: HistoryError, the file, its schema.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from hil.errors import HilError
from hil.nightly.compare import last_good
from hil.nightly.record import CheckRecord, Night, from_json, to_json
from hil.nightly.series import NightFigures, figures_of

HISTORY_NAME = "history.sqlite"
SCHEMA = """
    CREATE TABLE nights (id TEXT PRIMARY KEY, rig TEXT NOT NULL, started TEXT NOT NULL, record TEXT NOT NULL);
    CREATE INDEX nights_by_rig ON nights (rig, started);
    CREATE TABLE checks (
        night TEXT NOT NULL REFERENCES nights (id) ON DELETE CASCADE, number INTEGER NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (night, number)
    )
"""
"""A night's record is that of night.json without its checks."""
SCHEMA_VERSION = 3
"""Version 2 had a table for each part of a record; version 1 had no marks."""

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another one; a check is written in milliseconds."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


UNREADABLE = (KeyError, TypeError, ValueError)
"""What a record raises that is not what this program writes."""


class HistoryError(HilError):
    """The history cannot be opened, read or written; nothing that is in it has changed."""


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

    def __exit__(self, *_: object) -> None:
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
        if version == SCHEMA_VERSION:
            return
        with _transaction(db):
            if version == 0:
                _create(db)
            else:
                self._fold(db, version)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _fold(self, db: sqlite3.Connection, version: int) -> None:
        try:
            _fold_tables(db, with_marks=version == 2)
        except UNREADABLE as error:
            raise HistoryError(
                f"history {self.path}: cannot be brought to schema {SCHEMA_VERSION}: {error}; "
                "use the program that wrote it, or another --out folder"
            ) from error

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
            db.execute(
                "INSERT INTO nights VALUES (?, ?, ?, ?)", (night.id, night.rig, night.started, _night_json(night))
            )
            for check in night.checks:
                _insert_check(db, night.id, check)

    def add(self, night_id: str, check: CheckRecord) -> None:
        """Enter a finished check; it is on the disk when this returns. Raises HistoryError."""
        with self._writing(f"check {check.number} of night {night_id}") as db:
            _insert_check(db, night_id, check)

    def update(self, night: Night) -> None:
        """Enter what has become of a night: boards, end, timeline, marks. Its checks stay. Raises HistoryError."""
        with self._writing(f"night {night.id}") as db:
            done = db.execute("UPDATE nights SET record = ? WHERE id = ?", (_night_json(night), night.id))
            if done.rowcount != 1:
                raise sqlite3.IntegrityError("there is no such night")

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
        return [self.night(night_id) for night_id in self.ids(rig, last)]

    def night(self, night_id: str) -> Night:
        """One night. Raises HistoryError if there is none of that id."""
        rows = self._rows("SELECT record FROM nights WHERE id = ?", (night_id,))
        if not rows:
            raise HistoryError(f"history {self.path}: has no night {night_id}; `hil report list` shows those it has")
        checks = self._rows("SELECT record FROM checks WHERE night = ? ORDER BY number", (night_id,))
        try:
            night = from_json(Night, json.loads(rows[0]["record"]))
            return replace(night, checks=[from_json(CheckRecord, json.loads(row["record"])) for row in checks])
        except UNREADABLE as error:
            raise HistoryError(
                f"history {self.path}: night {night_id} cannot be read: {type(error).__name__}: {error}; "
                "use the program that wrote it, or another --out folder"
            ) from error

    def last_good(self, rig: str, before: str) -> Night | None:
        """The latest good night of a rig that started before a time; None if there is none."""
        return last_good(self.night(night_id) for night_id in reversed(self.ids(rig, before=before)))

    def figures(self, rig: str, before: str, last: int) -> list[NightFigures]:
        """The figures of the latest nights of a rig that started before a time, oldest first."""
        return [figures_of(self.night(night_id)) for night_id in self.ids(rig, last, before)]

    def ids(self, rig: str | None = None, last: int | None = None, before: str | None = None) -> list[str]:
        """Ids of the latest nights (default: all) of a rig (default: any) that started before a time, oldest first."""
        rows = self._rows(
            "SELECT id FROM nights WHERE (?1 IS NULL OR rig = ?1) AND (?2 IS NULL OR started < ?2) "
            "ORDER BY started DESC, rowid DESC LIMIT ?3",
            (rig, before, -1 if last is None else last),
        )
        return [row["id"] for row in reversed(rows)]

    def check_numbers(self, night_id: str) -> set[int]:
        """Numbers of the checks that a night has so far."""
        return {row["number"] for row in self._rows("SELECT number FROM checks WHERE night = ?", (night_id,))}

    def rigs(self) -> list[str]:
        """Names of the rigs that have nights."""
        return [row["rig"] for row in self._rows("SELECT DISTINCT rig FROM nights ORDER BY rig", ())]

    def _rows(self, query: str, values: Sequence[Any]) -> list[sqlite3.Row]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise HistoryError(f"history {self.path}: cannot be read: {error}") from error


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


def _night_json(night: Night) -> str:
    whole = to_json(replace(night, checks=[]))
    del whole["checks"]
    return json.dumps(whole)


def _insert_check(db: sqlite3.Connection, night_id: str, check: CheckRecord) -> None:
    db.execute("INSERT INTO checks VALUES (?, ?, ?)", (night_id, check.number, json.dumps(to_json(check))))


# --- older files -----------------------------------------------------------------------------------


def _create(db: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        db.execute(statement)


def _fold_tables(db: sqlite3.Connection, *, with_marks: bool) -> None:
    """From versions 1 and 2, with a table for each part of a night and of a check, to a record for each of the two."""
    tables = ["figures", "links", "wires", "attempts", "checks", "boards", *(["marks"] if with_marks else []), "nights"]
    db.execute("DROP INDEX nights_by_rig")
    for table in tables:
        db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    _create(db)
    for (night_id,) in db.execute("SELECT id FROM old_nights ORDER BY rowid").fetchall():
        (record,) = _old_rows(db, "nights", "id", night_id)
        record |= {"seed": int(record["seed"]), "simulated": bool(record["simulated"])}
        record |= {"timeline": json.loads(record["timeline"] or "null"), "checks": []}
        record["boards"] = _old_parts(db, "boards", night_id, "rank")
        record["marks"] = _old_parts(db, "marks", night_id, "position") if with_marks else []
        values = (night_id, record["rig"], record["started"], _night_json(from_json(Night, record)))
        db.execute("INSERT INTO nights VALUES (?, ?, ?, ?)", values)
        for check in _old_checks(db, night_id):
            _insert_check(db, night_id, from_json(CheckRecord, check))
    for table in tables:
        db.execute(f"DROP TABLE old_{table}")


def _old_checks(db: sqlite3.Connection, night_id: str) -> Iterator[dict[str, Any]]:
    parts: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for table in ("figures", "links", "wires", "attempts"):
        for part in _old_parts(db, table, night_id, "position"):
            parts.setdefault((table, part.pop("number")), []).append(part)
    for check in _old_parts(db, "checks", night_id, "number"):
        del check["cause"]  # the failure has it
        check["seed"] = int(check["seed"])
        check |= {name: json.loads(check[name] or "null") for name in ("losses", "golden_losses", "failure")}
        check |= {name: parts.get((name, check["number"]), []) for name in ("figures", "links", "wires", "attempts")}
        check["figures"] = {figure["name"]: figure["value"] for figure in check["figures"]}
        for link in check["links"]:
            link["phases_us"] = json.loads(link["phases_us"])
        for attempt in check["attempts"]:
            attempt |= {"where": attempt.pop("place"), "passed": bool(attempt["passed"])}
        yield check


def _old_parts(db: sqlite3.Connection, table: str, night_id: str, order: str) -> list[dict[str, Any]]:
    """What a night has in a table, without the columns that only say where it belongs."""
    rows = _old_rows(db, table, "night", night_id, order)
    return [{name: value for name, value in row.items() if name not in ("night", "position")} for row in rows]


def _old_rows(
    db: sqlite3.Connection, table: str, key: str, night_id: str, order: str = "rowid"
) -> list[dict[str, Any]]:
    query = f"SELECT * FROM old_{table} WHERE {key} = ? ORDER BY {order}"
    return [dict(row) for row in db.execute(query, (night_id,))]
