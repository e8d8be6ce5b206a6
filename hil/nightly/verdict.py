"""The end of a night in words and files: night.json, the pages, the verdict on the terminal, its exit code."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from hil.errors import HilError
from hil.nightly.history import History
from hil.nightly.outputs import OUTPUTS, write_outputs
from hil.nightly.page import write_pages
from hil.nightly.page.views import file_name
from hil.nightly.record import Check, Night, Outcome, to_json

EXIT_GOOD, EXIT_BAD, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 130, 143


def write_reports(history: History, out: Path, folder: Path, night: Night) -> list[str]:
    """night.json in the night's folder, and the pages; one sentence for each that could not be written."""
    problems = []
    try:
        _write_json(folder / "night.json", night)
    except OSError as error:
        problems.append(f"{folder / 'night.json'} could not be written: {error}")
    try:
        write_outputs(night, folder)
    except (OSError, HilError) as error:
        problems.append(str(error))
    try:
        write_pages(history, out, partial(beside_of, out))
    except (OSError, HilError) as error:
        problems.append(f"{error}; `hil report page` makes the pages again")
    return problems


def _write_json(path: Path, night: Night) -> None:
    """night.json. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(to_json(night), indent=1), encoding="utf-8")
    partial.replace(path)


def beside_of(out: Path, night: Night) -> list[tuple[str, str]]:
    """(path relative to out, what it is) of the outputs that a night's folder has."""
    folder = out / "nights" / night.id
    return [
        ((folder / name).relative_to(out).as_posix(), what)
        for name, what in OUTPUTS.items()
        if (folder / name).exists()
    ]


def counts(night: Night) -> str:
    """`12 checks: 11 passed, 1 failed`."""
    found = {outcome: sum(check.outcome is outcome for check in night.checks) for outcome in Outcome}
    return f"{len(night.checks)} checks: " + (
        ", ".join(f"{count} {outcome}" for outcome, count in found.items() if count) or "none ran"
    )


def closing_lines(history: History, out: Path, folder: Path, night: Night, problems: list[str]) -> list[str]:
    """What stands at the end of the terminal's output."""
    lines = ["", f"{'GOOD' if night.good and not problems else 'NOT GOOD'}: {counts(night)}"]
    lines += [f"  ended early: {night.stopped}"] if night.stopped else []
    lines += [f"  marked: {mark.sentence}" for mark in night.marks]
    for check in night.checks:
        if check.failure is not None:
            lines.append(f"  {check.name} (round {check.round}): {check.outcome}, {check.failure.cause}")
            lines.append(f"    again: {check.failure.replay}")
    lines += [f"  {problem}" for problem in problems]
    lines += [f"  {line}" for line in changes(history.last_good(night.rig, night.started), night)]
    lines.append(f"  page:   {out / file_name(night.id)}")
    lines.append(f"  record: {folder / 'night.json'}")
    return lines


def changes(good: Night | None, night: Night) -> list[str]:
    """What is different from the last good night, a line each."""
    if good is None:
        return ["no good night of this rig before"]
    lines = differences(good, night)
    return [f"since the last good night, {good.id}:" + ("" if lines else " nothing changed"), *lines]


def differences(a: Night, b: Night) -> list[str]:
    """What ran, and how it ended, as far as it is not the same in two nights: a line each."""
    pairs = (
        ("harness", a.harness, b.harness),
        ("firmware", a.firmware_sha256[:12], b.firmware_sha256[:12]),
        ("compiler", a.compiler, b.compiler),
        ("model", a.model, b.model),
        ("profile", a.profile, b.profile),
        ("boards", _serials(a), _serials(b)),
    )
    lines = [f"{name}: {old} -> {new}" for name, old, new in pairs if old != new]
    was, now = _worst(a), _worst(b)
    lines += [f"{name}: {was.get(name, 'not run')} -> {now.get(name, 'not run')}" for name in was | now
              if was.get(name) != now.get(name)]  # fmt: skip
    return lines


def _serials(night: Night) -> str:
    return " ".join(board.serial for board in night.boards)


def _worst(night: Night) -> dict[str, Outcome]:
    """The worst outcome of each check over the rounds."""
    order = [Outcome.PASSED, Outcome.SKIPPED, Outcome.FLAKY, Outcome.FAILED]
    worst: dict[str, Check] = {}
    for check in night.checks:
        if check.name not in worst or order.index(check.outcome) > order.index(worst[check.name].outcome):
            worst[check.name] = check
    return {name: check.outcome for name, check in worst.items()}


def exit_code(night: Night) -> int:
    """0 only if all is well."""
    if night.stopped == "interrupted":
        return EXIT_INTERRUPTED
    if night.stopped == "ended by SIGTERM":
        return EXIT_TERMINATED
    return EXIT_GOOD if night.good else EXIT_BAD
