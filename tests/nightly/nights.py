"""Nights for tests of history, trends and reports: small ones, made by hand."""

import dataclasses
from datetime import UTC, datetime, timedelta

from hil.nightly.record import (
    Attempt,
    BoardFigures,
    Cause,
    CheckKind,
    CheckRecord,
    Failure,
    LinkFigures,
    Night,
    Outcome,
    WireFigures,
)

START = datetime(2026, 1, 1, 2, tzinfo=UTC)
SEED_LARGE = 0xFEDC_BA98_7654_3210
"""More than SQLite's signed integers hold."""


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def a_check(number: int = 1, name: str = "link 1->2", **values) -> CheckRecord:
    wires = [WireFigures("1->2", f"D{n}", 1000, 0) for n in range(8)]
    links = [LinkFigures("1->2", 1000, 4, 1, 0, 300.5, {"ACK high": [1.0, 1.5, 2.0]})]
    fields = dict(
        number=number, round=1, name=name, kind=CheckKind.LINK, outcome=Outcome.PASSED, seed=SEED_LARGE,
        started=stamp(START), seconds=2.5, figures={"kb_s": 300.5, "ber_limit": 3e-6}, links=links, wires=wires,
        attempts=[Attempt("rig", True, 2.5)],
    )  # fmt: skip
    return CheckRecord(**fields | values)


def a_failed_check(number: int = 1, **values) -> CheckRecord:
    failure = Failure("link 1->2: <b>", Cause.WIRING, "hil nightly --check 'link 1->2'")
    attempts = [Attempt("rig", False, 1.0, "no"), Attempt("rig", False, 1.0, "no"), Attempt("simulator", True, 1.0)]
    return a_check(number, outcome=Outcome.FAILED, failure=failure, attempts=attempts, **values)


def a_night(day: int = 0, checks=(), *, rig: str = "sim", **values) -> Night:
    start = START + timedelta(days=day)
    fields = dict(
        id=f"{rig}-{day:03}", rig=rig, simulated=True, world_size=4, profile="quick", seed=SEED_LARGE + day,
        started=stamp(start), ended=stamp(start + timedelta(hours=1)), stopped=None, harness="0.1.0",
        firmware_sha256="ab" * 32, firmware_git="0123456789ab", compiler="zig", model="tiny",
        boards=[BoardFigures(0, "b0a2d000", 6.8, 47.2, 0, 1, 2), BoardFigures(1, "b0a2d001", 6.9)],
        checks=list(checks),
    )  # fmt: skip
    return Night(**fields | values)


def with_checks(night: Night, *checks: CheckRecord) -> Night:
    return dataclasses.replace(night, checks=list(checks))
