"""What the templates are given: a night and its history cut into what each section shows, and no more than fits.

Every limit here keeps a page of ten thousand checks small; what is left out is said on the page. Pure.
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from hil.checks.model.mismatch import MapRow
from hil.nightly import verdict
from hil.nightly.compare import changes, last_good
from hil.nightly.page import charts
from hil.nightly.page.inputs import FigureTrend, Trends, gather
from hil.nightly.page.wires import LEVELS, link_states, ring_picture
from hil.nightly.record import CheckKind, CheckRecord, LogLine, Night, Outcome, Subject
from hil.nightly.series import NightFigures, figures_of
from hil.pictures.mismatch import mismatch_picture
from hil.pictures.timeline import timeline_picture
from hil.pictures.waveform import waveform
from hil.text import count, duration, finite, number, visible, when
from hil.timeline.spans import What

WINDOW = 30
"""Nights that a trend shows, the newest among them."""
CHANGES_MAX = 12
SIGNS_OF = {Outcome.PASSED: "✓", Outcome.FLAKY: "↻", Outcome.FAILED: "✗", Outcome.SKIPPED: "–"}
WORDS_OF = {
    Outcome.PASSED: "passed",
    Outcome.FLAKY: "flaky: passed only when tried again",
    Outcome.FAILED: "failed",
    Outcome.SKIPPED: "could not be tried",
}
ORDER = (Outcome.FAILED, Outcome.FLAKY, Outcome.SKIPPED, Outcome.PASSED)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a night is shown. groups: failures in full; rows, letters: of the table of all checks."""

    groups: int
    log_lines: int
    log_letters: int
    map_rows: int
    map_cells: int
    slots: int
    rows: int
    letters: int
    detail: int


LEVELS_OF_DETAIL = (
    Limits(40, 48, 240, 64, 256, 400, 12_000, 160, 4000),
    Limits(20, 24, 160, 24, 128, 120, 12_000, 60, 1000),
    Limits(4, 12, 80, 12, 64, 40, 4_000, 30, 400),
)
"""From all to little: the first that makes a page of PAGE_BYTES_MAX is taken."""


@dataclass(frozen=True, slots=True)
class FailureView:
    """One group of failures as the template shows it."""

    anchor: str
    group: verdict.Group
    title: str
    sentence: str
    detail: str
    replay: str
    times: str
    ranks: list[int]
    logs: list[dict[int, LogLine]]
    logs_cut: int
    picture: Markup | None
    mismatches: Markup | None


@dataclass(frozen=True, slots=True)
class FigureView:
    """A trend as the template shows it. newest: with its unit."""

    trend: FigureTrend
    chart: Markup | None
    newest: str
    usual: str


def file_name(night_id: str) -> str:
    """`night-ID.html`, whatever the id is."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", night_id)[:120].lstrip(".") or "_"
    return f"night-{safe}.html"


def length(night: Night) -> str:
    """How long the night took."""
    if night.ended is None:
        return "no end recorded"
    try:
        begin, end = (datetime.datetime.fromisoformat(text or "") for text in (night.started, night.ended))
        return duration((end - begin).total_seconds())
    except (ValueError, TypeError):
        return "no data"


def night_view(night: Night, earlier: Sequence[Night], limits: Limits) -> dict[str, Any]:
    """Everything that night.html shows.

    Args:
        earlier: nights of the same rig, oldest first.
    """
    trends = gather([*earlier[-(WINDOW - 1) :], night])
    before = last_good(reversed(earlier))
    changed = changes(before, night) if before is not None else []
    states = link_states(night, trends)
    failed, flaky = verdict.groups(night, Outcome.FAILED), verdict.groups(night, Outcome.FLAKY)
    ordered = failed + flaky
    return {
        "night": night,
        "verdict": verdict.verdict(night),
        "tallies": tallies(night),
        "when": when(night.started),
        "length": length(night),
        "before": before,
        "before_file": file_name(before.id) if before is not None else "",
        "previous": file_name(earlier[-1].id) if earlier else "",
        "changes": changed[:CHANGES_MAX],
        "changes_cut": max(0, len(changed) - CHANGES_MAX),
        "marks": night.marks,
        "failures": [
            failure_view(group, f"failure-{at}", limits) for at, group in enumerate(ordered[: limits.groups], 1)
        ],
        "failures_cut": max(0, len(ordered) - limits.groups),
        "skipped": verdict.groups(night, Outcome.SKIPPED)[: limits.groups],
        "ring": ring_picture(night, states),
        "states": states,
        "levels": [(key, *level) for key, level in LEVELS.items()],
        "noted": [wire for state in states for wire in state.wires if wire.level in ("bad", "errors")],
        **_history_view(night, trends),
        **_boards_view(night, trends),
        "training": _training(night),
        "pipeline": timeline_picture(night.timeline, night.world_size) if night.timeline is not None else None,
        "shares": charts.shares(night.timeline) if night.timeline is not None else [],
        "kinds": list(What),
        "rounds": list(_rounds(night.checks[: limits.rows])),
        "letters": limits.letters,
        "rows_cut": max(0, len(night.checks) - limits.rows),
    }


def tallies(night: Night) -> list[tuple[str, str, int]]:
    """(outcome, words, how many), the worst first, only what there is."""
    counts = verdict.outcomes(night)
    return [
        (outcome.value, f"{SIGNS_OF[outcome]} {outcome.value}", counts[outcome]) for outcome in ORDER if counts[outcome]
    ]


def failure_view(group: verdict.Group, anchor: str, limits: Limits) -> FailureView:
    """One group of failures with the evidence of its first."""
    failure = group.first.failure
    sentence = verdict.sentence_of(group.first)
    seen = [f"round {check.round}, check {check.number}" for check in group.checks[:12]]
    more = len(group.checks) - len(seen)
    times = "; ".join(seen) + (f"; and {more:,} more" if more > 0 else "")
    names = ", ".join(group.names[:4]) + (f" and {len(group.names) - 4} more" if len(group.names) > 4 else "")
    title = f"{group.place}: {names}" if group.place and names != group.place else names
    if failure is None:
        return FailureView(anchor, group, title, sentence, "", "", times, [], [], 0, None, None)
    lines = sorted((line for line in failure.logs if finite(line.time_s)), key=lambda line: line.time_s)
    shown = lines[-limits.log_lines :]
    rows = [MapRow(row.label, row.cells[: limits.map_cells]) for row in failure.mismatch_map[: limits.map_rows]]
    return FailureView(
        anchor, group, title, sentence, visible(failure.detail, limit=limits.detail), failure.replay, times,
        sorted({line.rank for line in shown}),
        _log_rows(shown, limits.log_letters),
        len(failure.logs) - len(shown),
        waveform(failure.waveform, limits.slots) if failure.waveform is not None else None,
        mismatch_picture(rows),
    )  # fmt: skip


def _log_rows(lines: Sequence[LogLine], letters: int) -> list[dict[int, LogLine]]:
    """Lines as rows with a cell for each board; read row by row, left to right, they are in the order of time."""
    rows: list[dict[int, LogLine]] = []
    for line in lines:
        if not rows or max(rows[-1]) >= line.rank:
            rows.append({})
        rows[-1][line.rank] = LogLine(line.rank, line.time_s, visible(line.text, limit=letters, lines=False))
    return rows


def _history_view(night: Night, trends: Trends) -> dict[str, Any]:
    links: dict[str, list[Any]] = {}
    for trend in trends.wires:
        links.setdefault(trend.newest.link, []).append((trend, charts.wire_spark(trend)))
    views = {trend.key: _figure_view(trend) for trend in trends.figures}
    speed = [view for key, view in views.items() if key.startswith("throughput") or key in ("tokens_s", "step_s")]
    resends = [view for key, view in views.items() if key.startswith("resends")]
    known = [view for view in resends if any(point.value for point in view.trend.points)]
    return {
        "nights": len(trends.nights),
        "wire_trends": links,
        "marked_wires": [trend for trend in trends.wires if trend.mark],
        "speed": speed,
        "resends": known,
        "resends_known": any(point.value is not None for view in resends for point in view.trend.points),
        "boots": [views[key] for key in ("boot_s", "skew_s") if key in views],
    }


def _figure_view(trend: FigureTrend) -> FigureView:
    point = trend.points[-1]
    newest = f"{number(point.value, 4)} {trend.unit}" if point.value is not None else "no data"
    usual = ""
    if point.usual is not None:
        usual = f"{number(point.usual.low, 4)} to {number(point.usual.high, 4)}"
    return FigureView(trend, charts.figure_chart(trend), newest, usual)


def _boards_view(night: Night, trends: Trends) -> dict[str, Any]:
    skew, slowest = (trends.nights[-1].figure(name) for name in ("skew_s", "boot_s"))
    return {
        "boot": charts.boot_chart(night.boards),
        "skew": duration(skew) if skew is not None else "no data",
        "slowest": duration(slowest) if slowest is not None else "no data",
        "flakes": trends.flakes,
    }


def _training(night: Night) -> dict[str, Any] | None:
    """The loss of the worst training of the night: the one that left the golden first, else the last."""
    found: tuple[int, CheckRecord] | None = None
    for check in night.checks:
        if check.kind is not CheckKind.TRAINING or not check.losses:
            continue
        pairs = itertools.zip_longest(check.losses, check.golden_losses)
        wrong = next((at for at, (a, b) in enumerate(pairs) if a is None or b is None or not charts.same(a, b)), -1)
        if found is None or found[0] < 0 or 0 <= wrong < found[0]:
            found = (wrong, check)
    if found is None:
        return None
    wrong, check = found
    return {
        "check": check,
        "chart": charts.loss_chart(check.losses, check.golden_losses),
        "wrong": wrong + 1,
        "rows": list(itertools.zip_longest(check.losses, check.golden_losses)),
    }


def _rounds(checks: Sequence[CheckRecord]) -> Iterable[tuple[int, str, bool, Sequence[CheckRecord]]]:
    """(round, its tally, whether something needs a look, its checks)."""
    for number_, group in itertools.groupby(checks, key=lambda check: check.round):
        rows = list(group)
        ends = Counter(check.outcome for check in rows)
        parts = ", ".join(f"{ends[outcome]:,} {outcome.value}" for outcome in ORDER if ends[outcome])
        yield number_, f"{count(len(rows), 'check')}: {parts}", ends[Outcome.PASSED] < len(rows), rows


def index_view(nights: Sequence[Night]) -> dict[str, Any]:
    """Everything that index.html shows. nights: oldest first, of any rig."""
    rows = []
    for night in reversed(nights):
        words, figures = verdict.verdict(night), figures_of(night)
        rows.append(
            {
                "night": night,
                "file": file_name(night.id),
                "verdict": words,
                "when": when(night.started),
                "length": length(night),
                "tallies": tallies(night),
                "marks": [
                    f"link {mark.name}" if mark.subject is not Subject.FIGURE else mark.name for mark in night.marks
                ],
                "tokens": number(figures.figure("tokens_s"), 4),
                "worst": _worst(figures),
            }
        )
    strip = [(file_name(night.id), verdict.verdict(night), when(night.started)) for night in nights[-WINDOW:]]
    return {"rows": rows, "strip": strip, "newest": rows[0] if rows else None}


def _worst(figures: NightFigures) -> str:
    """The wire with the highest error rate, where any wire has errors."""
    wrong = [wire for wire in figures.wires.values() if wire.errors and wire.bits]
    if not wrong:
        return "no wrong bit" if figures.wires else "no data"
    worst = max(wrong, key=lambda wire: (wire.errors / wire.bits, wire.link, wire.wire))
    return f"{worst.name}: {worst.errors:,} wrong, rate below {worst.limit:.2g}"
