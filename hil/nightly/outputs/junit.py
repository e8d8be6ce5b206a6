"""The night as JUnit XML, for CI systems: a suite for each round, a case for each check, properties on all of them.

Shape: the schema of Apache Ant's and Jenkins's JUnit reports, with Surefire's `flakyFailure` for a check that passed
only when tried again, as a reader that knows no flaky outcome would call it passed. Control characters, which XML can
not hold, are escaped by `visible`. Pure.
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence

from hil.nightly.record import CheckRecord, Night, Outcome
from hil.nightly.verdict import retries, sentence_of
from hil.text import finite, one_line, visible

FAULT_LETTERS_MAX = 8000


def junit(night: Night) -> str:
    """The report as the text of an XML file."""
    root = ET.Element("testsuites", _counts(night.checks) | {"name": one_line(f"nightly {night.rig}")})
    rounds = itertools.groupby(night.checks, key=lambda check: check.round)
    for at, (number, checks) in enumerate(rounds):
        root.append(_suite(night, at, number, list(checks)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(night: Night, at: int, number: int, checks: Sequence[CheckRecord]) -> ET.Element:
    facts = {
        "name": one_line(f"{night.rig} round {number}"),
        "timestamp": one_line(checks[0].started[:19]),
        "hostname": one_line(night.rig),
        "id": str(at),
        "package": "hil.nightly",
    }
    suite = ET.Element("testsuite", _counts(checks) | facts)
    shared = {
        "night": night.id,
        "seed": f"{night.seed:#x}",
        "image_sha256": night.firmware_sha256,
        "firmware_git": night.firmware_git,
        "compiler": night.compiler,
        "harness": night.harness,
        "model": night.model,
        "simulated": str(night.simulated).lower(),
        "board_serials": " ".join(board.serial for board in night.boards),
        "retries": str(sum(retries(check) for check in checks)),
        "stopped": night.stopped or "",
    }
    suite.append(_properties(shared))
    for check in checks:
        suite.append(_case(check))
    return suite


def _case(check: CheckRecord) -> ET.Element:
    case = ET.Element(
        "testcase",
        {
            "name": one_line(f"{check.name} [round {check.round}]"),
            "classname": f"hil.nightly.{check.kind.value}",
            "time": _seconds(check.seconds),
        },
    )
    facts = {"seed": f"{check.seed:#x}", "retries": str(retries(check)), "outcome": check.outcome.value}
    if check.failure is not None:
        facts |= {"cause": check.failure.cause.value, "replay": check.failure.replay}
    facts |= {name: repr(value) for name, value in check.figures.items()}
    case.append(_properties(facts))
    sentence = sentence_of(check)
    kind = check.failure.cause.value if check.failure is not None else "not triaged"
    if check.outcome is Outcome.SKIPPED:
        ET.SubElement(case, "skipped", {"message": _message(sentence)})
    elif check.outcome is Outcome.FAILED:
        ET.SubElement(case, "failure", {"message": _message(sentence), "type": kind}).text = _evidence(check)
    elif check.outcome is Outcome.FLAKY:
        ET.SubElement(case, "flakyFailure", {"message": _message(sentence), "type": kind}).text = _evidence(check)
    return case


def _evidence(check: CheckRecord) -> str:
    parts = [
        f"try {at} on the {a.where}: {'passed' if a.passed else a.sentence}" for at, a in enumerate(check.attempts, 1)
    ]
    if check.failure is not None:
        parts += [check.failure.sentence, check.failure.detail]
        parts += [f"{line.time_s:.6f} board {line.rank}: {line.text}" for line in check.failure.logs[-40:]]
        parts += [f"again: {check.failure.replay}"]
    return visible("\n".join(part for part in parts if part), limit=FAULT_LETTERS_MAX)


def _properties(facts: Mapping[str, str]) -> ET.Element:
    holder = ET.Element("properties")
    for name, value in facts.items():
        ET.SubElement(holder, "property", {"name": one_line(name), "value": one_line(value)})
    return holder


def _counts(checks: Iterable[CheckRecord]) -> dict[str, str]:
    held = list(checks)
    return {
        "tests": str(len(held)),
        "failures": str(sum(check.outcome is Outcome.FAILED for check in held)),
        "errors": "0",
        "skipped": str(sum(check.outcome is Outcome.SKIPPED for check in held)),
        "time": _seconds(sum(check.seconds for check in held if finite(check.seconds))),
    }


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}" if finite(seconds) and seconds >= 0 else "0"


def _message(sentence: str) -> str:
    return visible(sentence, limit=1000)
