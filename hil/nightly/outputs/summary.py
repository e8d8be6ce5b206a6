"""The night in a page of strict JSON, for scripts and dashboards: verdict, counts, what failed, the figures. Pure."""

from __future__ import annotations

import math
from typing import Any

from hil.checks.link.runs import ber_limit
from hil.nightly.page.inputs import boot_seconds, figure, links_of, resends, throughput, wires_of
from hil.nightly.page.verdict import groups, outcomes, verdict
from hil.nightly.record import Night, Outcome, to_json
from hil.text import first_line, visible

SUMMARY_VERSION = 1


def summary(night: Night) -> dict[str, Any]:
    """The summary as JSON values; None for what was not measured or is no finite number."""
    said = verdict(night)
    counts = outcomes(night)
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
        "retries": sum(max(0, len(check.attempts) - 1) for check in night.checks),
        "failures": [_group(group) for outcome in (Outcome.FAILED, Outcome.FLAKY) for group in groups(night, outcome)],
        "marks": [to_json(mark) for mark in night.marks],
        "figures": {
            "tokens_s": figure(night, "tokens_s"),
            "step_s": figure(night, "step_s"),
            "boot_s": boot_seconds(night),
            "skew_s": figure(night, "skew_s"),
        },
        "links": [
            {"link": link, "throughput_kb_s": throughput(night, link), "resends": resends(night, link)}
            for link in links_of(night)
        ],
        "wires": [
            {
                "link": link,
                "wire": wire,
                "bits": bits,
                "errors": errors,
                "ber_limit_95": ber_limit(bits, errors) if bits else None,
            }
            for (link, wire), (bits, errors) in sorted(wires_of(night).items())
        ],
        "seed": night.seed,
        "harness": night.harness,
        "firmware_sha256": night.firmware_sha256,
        "firmware_git": night.firmware_git,
        "boards": [to_json(board) for board in night.boards],
    }
    return {key: strict(value) for key, value in facts.items()}


def _group(group: Any) -> dict[str, Any]:
    check = group.first
    return {
        "outcome": check.outcome.value,
        "cause": str(group.cause) if group.cause is not None else None,
        "place": group.place,
        "checks": [first_line(name) for name in group.names[:20]],
        "times": len(group.checks),
        "sentence": visible(check.failure.sentence if check.failure else check.sentence, limit=2000),
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
