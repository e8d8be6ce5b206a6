"""The night in a page of strict JSON, for scripts and dashboards: verdict, counts, what failed, the figures. Pure."""

from __future__ import annotations

import math
from typing import Any

from hil.nightly.compare import changes
from hil.nightly.record import Night, Outcome, to_json
from hil.nightly.series import figures_of, links_of
from hil.nightly.verdict import Group, groups, outcomes, retries, sentence_of, verdict
from hil.text import first_line, visible

SUMMARY_VERSION = 1


def summary(night: Night, good: Night | None = None) -> dict[str, Any]:
    """The summary as JSON values; None for what was not measured or is no finite number. good: the last good night."""
    said, counts, figures = verdict(night), outcomes(night), figures_of(night)
    facts = {
        "version": SUMMARY_VERSION,
        "night": night.id,
        "rig": night.rig,
        "simulated": night.simulated,
        "started": night.started,
        "ended": night.ended,
        "stopped": night.stopped,
        "good": night.good,
        "state": said.state.value,
        "verdict": said.sentence,
        "checks": {outcome.value: counts[outcome] for outcome in Outcome},
        "retries": sum(retries(check) for check in night.checks),
        "failures": [_group(group) for outcome in (Outcome.FAILED, Outcome.FLAKY) for group in groups(night, outcome)],
        "marks": [to_json(mark) for mark in night.marks],
        "last_good": good.id if good is not None else None,
        "changes": changes(good, night) if good is not None else [],
        "figures": {name: figures.figure(name) for name in ("tokens_s", "step_s", "boot_s", "skew_s")},
        "links": [
            {"link": link, "throughput_kb_s": figures.throughput(link), "resends": figures.resends(link)}
            for link in links_of(night)
        ],
        "wires": [{**to_json(wire), "ber_limit_95": wire.limit} for _, wire in sorted(figures.wires.items())],
        "seed": night.seed,
        "harness": night.harness,
        "firmware_sha256": night.firmware_sha256,
        "firmware_git": night.firmware_git,
        "boards": [to_json(board) for board in night.boards],
    }
    return {key: strict(value) for key, value in facts.items()}


def _group(group: Group) -> dict[str, Any]:
    check = group.first
    return {
        "outcome": check.outcome.value,
        "cause": str(group.cause) if group.cause is not None else None,
        "place": group.place,
        "checks": [first_line(name) for name in group.names[:20]],
        "times": len(group.checks),
        "sentence": visible(sentence_of(check), limit=2000),
        "replay": check.failure.replay if check.failure else "",
    }


def strict(value: Any) -> Any:
    """JSON values that any reader takes: no NaN, no infinity, no lone surrogate."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value
