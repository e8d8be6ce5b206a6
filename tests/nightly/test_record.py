"""The record of a night: what is written is what is read."""

import dataclasses
import json

import pytest

from hil.checks.model.mismatch import MapRow
from hil.nightly.record import (
    Attempt,
    BoardFigures,
    Cause,
    CheckKind,
    CheckRecord,
    Failure,
    LogLine,
    Night,
    Outcome,
    Subject,
    TrendMark,
    from_json,
    to_json,
)
from hil.timeline.spans import Span, Timeline


def a_night() -> Night:
    failure = Failure("a", Cause.WIRING, "hil x", [LogLine(0, 1.5, "<b>")], {"signal": []}, [MapRow("QUERY 1", "=x?")])
    check = CheckRecord(
        1, 1, "link", CheckKind.LINK, Outcome.FAILED, 7, "2026-01-01T00:00:00.000Z", 2.0,
        losses=[1.0], golden_losses=[1.0], attempts=[Attempt("rig", False, 1.0, "a")], failure=failure,
    )  # fmt: skip
    timeline = Timeline("step 1", [Span(0, "send", "hop", 0.0, 1.0)], 1e-6)
    return Night(
        "n1", "sim", True, 4, "quick", 7, "2026-01-01T00:00:00.000Z", "2026-01-01T01:00:00.000Z", None, "0.1", "ab",
        "cd", "zig", "tiny", [BoardFigures(0, "b0", 1.0)], [check], timeline,
        marks=[TrendMark(Subject.WIRE, "1->2 D3", "errors", 7.0, 0.0, 1e-6, "worse")],
    )  # fmt: skip


def test_a_night_survives_json():
    night = a_night()
    assert from_json(Night, json.loads(json.dumps(to_json(night)))) == night


def test_a_failed_check_or_an_early_end_makes_no_good_night():
    night = a_night()
    passed = dataclasses.replace(night.checks[0], outcome=Outcome.PASSED, failure=None)
    assert not night.good
    assert not dataclasses.replace(night, checks=[passed]).good, "a mark makes no good night"
    night = dataclasses.replace(night, marks=[])
    assert dataclasses.replace(night, checks=[passed]).good
    assert not dataclasses.replace(night, checks=[passed], stopped="interrupted").good
    assert not dataclasses.replace(night, checks=[passed], ended=None).good
    assert not dataclasses.replace(night, checks=[dataclasses.replace(passed, outcome=Outcome.FLAKY)]).good


@pytest.mark.parametrize(("key", "value"), [("seed", "7"), ("checks", [{"number": 1}]), ("ended", 5), ("nothing", 1)])
def test_what_does_not_fit_is_refused(key, value):
    with pytest.raises((TypeError, ValueError, KeyError)):
        from_json(Night, to_json(a_night()) | {key: value})
