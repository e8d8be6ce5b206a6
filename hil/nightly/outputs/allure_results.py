"""The night as Allure results: a result for each check, written with allure-python-commons' own model and writer.

A check that passed only when tried again carries Allure's flaky mark and says so; one that the harness itself broke is
`broken`, not `failed`. Owns: the folder of results.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allure_commons.logger import AllureFileLogger
from allure_commons.model2 import Attachment, Label, Link, Parameter, Status, StatusDetails, TestResult, TestStepResult
from allure_commons.types import AttachmentType, LabelType, Severity
from allure_commons.utils import md5, uuid4

from hil.nightly.outputs.summary import strict
from hil.nightly.record import Cause, CheckKind, CheckRecord, Night, Outcome
from hil.nightly.verdict import place_of, sentence_of
from hil.pictures.svg import standalone
from hil.pictures.waveform import waveform
from hil.text import finite, first_line, one_line, visible

SEVERITIES = {
    CheckKind.BOOT: Severity.BLOCKER,
    CheckKind.WIRING: Severity.CRITICAL,
    CheckKind.LINK: Severity.CRITICAL,
    CheckKind.LAYERS: Severity.CRITICAL,
    CheckKind.GRADIENTS: Severity.CRITICAL,
    CheckKind.GENERATION: Severity.NORMAL,
    CheckKind.TRAINING: Severity.NORMAL,
}
CATEGORIES = [
    {
        "name": f"Put down to: {cause.value}",
        "matchedStatuses": ["failed", "broken"],
        "messageRegex": rf"(?s)\[{cause.value}\].*",
    }
    for cause in Cause
]


def write_allure(night: Night, folder: Path, links: Sequence[tuple[str, str]] = (), waves: Path | None = None) -> int:
    """Write the results.

    Args:
        folder: made if missing; what is in it stays.
        links: (address, name) that every result carries.
        waves: folder with `check-N.vcd` of failed checks.
    Returns: how many results were written.
    Raises: OSError.
    """
    logger = AllureFileLogger(str(folder))
    for check in night.checks:
        logger.report_result(_result(logger, night, check, links, waves))
    environment = {
        "rig": night.rig, "boards": " ".join(board.serial for board in night.boards), "firmware": night.firmware_sha256,
        "firmware.git": night.firmware_git, "compiler": night.compiler, "harness": night.harness, "model": night.model,
        "seed": f"{night.seed:#x}", "simulated": str(night.simulated).lower(), "stopped": night.stopped or "no",
    }  # fmt: skip
    lines = [f"{key}={one_line(value)}".replace("\\", "\\\\") for key, value in environment.items()]
    (folder / "environment.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "categories.json").write_text(json.dumps(CATEGORIES, indent=1), encoding="utf-8")
    executor = {"name": "hil nightly", "type": "hil", "buildName": one_line(night.id)}
    (folder / "executor.json").write_text(json.dumps(executor), encoding="utf-8")
    return len(night.checks)


def _result(
    logger: AllureFileLogger, night: Night, check: CheckRecord, links: Sequence[tuple[str, str]], waves: Path | None
) -> TestResult:
    name = one_line(check.name)
    start = _milliseconds(check.started)
    result = TestResult(
        uuid=uuid4(),
        name=f"{name} [passed only when tried again]" if check.outcome is Outcome.FLAKY else name,
        fullName=f"hil.nightly.{check.kind.value}#{name}",
        historyId=md5(visible(night.rig), name, str(check.round)),
        testCaseId=md5(visible(night.rig), name),
        status=_status(check),
        statusDetails=_details(check),
        stage="finished",
        start=start,
        stop=start + _span(check.seconds),
        titlePath=[one_line(night.rig), check.kind.value],
    )
    result.labels = _labels(night, check)
    result.links = [Link(type="link", url=address, name=title) for address, title in links]
    result.parameters = [
        Parameter(name="round", value=str(check.round)),
        Parameter(name="seed", value=f"{check.seed:#x}", excluded=True),
        Parameter(name="model", value=one_line(night.model)),
        *(Parameter(name=one_line(key), value=repr(value), excluded=True) for key, value in check.figures.items()),
    ]
    result.steps = _tries(check, start) + _measured(check, start)
    result.attachments = _attachments(logger, check, waves)
    return result


def _status(check: CheckRecord) -> str:
    if check.outcome is Outcome.FAILED and check.failure is not None and check.failure.cause is Cause.HARNESS:
        return str(Status.BROKEN)
    status = {Outcome.FAILED: Status.FAILED, Outcome.SKIPPED: Status.SKIPPED}.get(check.outcome, Status.PASSED)
    return str(status)


def _details(check: CheckRecord) -> StatusDetails | None:
    if check.outcome is Outcome.PASSED:
        return None
    failure = check.failure
    sentence = visible(sentence_of(check), limit=4000)
    cause = f"[{failure.cause.value}] " if failure is not None else ""
    flaky = check.outcome is Outcome.FLAKY
    message = f"{cause}{'passed only when tried again: ' if flaky else ''}{sentence}"
    trace = visible(f"{failure.detail}\nagain: {failure.replay}".strip(), limit=8000) if failure is not None else None
    return StatusDetails(message=message, trace=trace, flaky=flaky, known=False)


def _labels(night: Night, check: CheckRecord) -> list[Label]:
    sentence = sentence_of(check)
    facts = {
        LabelType.PARENT_SUITE: night.rig,
        LabelType.SUITE: f"round {check.round}",
        LabelType.SUB_SUITE: check.kind.value,
        LabelType.EPIC: "nightly",
        LabelType.FEATURE: check.kind.value,
        LabelType.STORY: check.name,
        LabelType.HOST: night.rig,
        LabelType.SEVERITY: SEVERITIES[check.kind].value,
        LabelType.FRAMEWORK: "hil-nightly",
        LabelType.LANGUAGE: "python",
    }
    tags = ["simulated"] if night.simulated else []
    if check.outcome is Outcome.FLAKY:
        tags.append("flaky")
    if check.outcome in (Outcome.FAILED, Outcome.FLAKY) and place_of(sentence):
        tags.append(place_of(sentence))
    labels = [Label(name=str(key), value=one_line(value)) for key, value in facts.items()]
    return labels + [Label(name=str(LabelType.TAG), value=tag) for tag in tags]


def _tries(check: CheckRecord, start: int) -> list[TestStepResult]:
    steps, at = [], start
    for number, attempt in enumerate(check.attempts, 1):
        step = TestStepResult(name=f"try {number} on the {one_line(attempt.where)}", stage="finished", start=at)
        at += _span(attempt.seconds)
        step.stop, step.status = at, str(Status.PASSED if attempt.passed else Status.FAILED)
        if attempt.sentence:
            step.statusDetails = StatusDetails(message=visible(attempt.sentence, limit=2000))
        steps.append(step)
    return steps


def _measured(check: CheckRecord, start: int) -> list[TestStepResult]:
    """What was measured, a step for each link with its wires."""
    steps = []
    for entry in check.links:
        wires = [wire for wire in check.wires if wire.link == entry.link]
        wrong = sum(wire.errors for wire in wires)
        step = TestStepResult(name=f"link {one_line(entry.link)}", stage="finished", start=start, stop=start)
        step.status = str(Status.PASSED)
        facts = {
            "frames": entry.frames, "bytes": entry.bytes, "resends": entry.resends, "timeouts": entry.timeouts,
            "kB/s": round(entry.throughput_kb_s, 3), "wrong bits": wrong, "bits": sum(wire.bits for wire in wires),
        }  # fmt: skip
        step.parameters = [Parameter(name=key, value=str(value)) for key, value in facts.items()]
        step.parameters += [
            Parameter(name=one_line(wire.wire), value=f"{wire.errors} wrong") for wire in wires if wire.errors
        ]
        steps.append(step)
    return steps


def _attachments(logger: AllureFileLogger, check: CheckRecord, waves: Path | None) -> list[Attachment]:
    """The evidence of a failure."""
    failure = check.failure
    if failure is None:
        return []
    found: list[tuple[str, AttachmentType, str]] = [("replay", AttachmentType.TEXT, failure.replay)]
    if failure.logs:
        lines = [f"{line.time_s:12.6f} board {line.rank}: {line.text}" for line in failure.logs]
        found.append(("last lines of the boards", AttachmentType.TEXT, "\n".join(lines)))
    if failure.mismatch_map:
        rows = [f"{row.label:24} {row.cells}" for row in failure.mismatch_map]
        found.append(("mismatch map", AttachmentType.TEXT, "\n".join(rows)))
    if failure.detail:
        found.append(("detail", AttachmentType.TEXT, failure.detail))
    attached = [_attach(logger, name, kind, visible(text, limit=1_000_000)) for name, kind, text in found if text]
    if failure.waveform is not None:
        attached.append(
            _attach(logger, "handshake, WaveJSON", AttachmentType.JSON, json.dumps(strict(failure.waveform)))
        )
        picture = waveform(failure.waveform)
        if picture is not None:
            attached.append(_attach(logger, "handshake", AttachmentType.SVG, standalone(picture)))
    recording = waves / f"check-{check.number}.vcd" if waves is not None else None
    if recording is not None and recording.is_file():
        source = f"{uuid4()}-attachment.vcd"
        logger.report_attached_file(str(recording), source)
        attached.append(Attachment(name="wires, VCD", source=source, type=AttachmentType.TEXT.mime_type))
    return attached


def _attach(logger: Any, name: str, kind: AttachmentType, body: str) -> Attachment:
    source = f"{uuid4()}-attachment.{kind.extension}"
    logger.report_attached_data(body, source)
    return Attachment(name=first_line(name), source=source, type=kind.mime_type)


def _milliseconds(stamp: str) -> int:
    try:
        return round(datetime.datetime.fromisoformat(stamp).timestamp() * 1000)
    except ValueError:
        return 0


def _span(seconds: float) -> int:
    return round(seconds * 1000) if finite(seconds) and seconds > 0 else 0
