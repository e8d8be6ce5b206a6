"""The tables of a history, version by version. Owns the SQL; hil/nightly/history.py runs it.

`PRAGMA user_version` counts the steps that a file has been through: a new file takes all of them, an older one those
that it lacks, in one transaction. A step is never changed after a release; what is new becomes a step of its own.
"""

from __future__ import annotations

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
