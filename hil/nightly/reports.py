"""The end of a night in words and files: night.json, the outputs, the pages, the verdict on the terminal."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from hil.errors import HilError
from hil.files import write_atomically
from hil.nightly.compare import told_changes
from hil.nightly.history import History
from hil.nightly.outputs.files import OUTPUTS, write_outputs
from hil.nightly.page.files import write_pages
from hil.nightly.page.views import file_name
from hil.nightly.record import Night, to_json
from hil.nightly.verdict import tally


def write_reports(history: History, out: Path, folder: Path, night: Night) -> list[str]:
    """night.json and the outputs in the night's folder, and the pages; a sentence for each that failed."""
    problems = []
    try:
        write_atomically(folder / "night.json", json.dumps(to_json(night), indent=1))
    except OSError as error:
        problems.append(f"{folder / 'night.json'} could not be written: {error}")
    try:
        write_outputs(night, folder, history.last_good(night.rig, night.started))
    except (OSError, HilError) as error:
        problems.append(str(error))
    try:
        write_pages(history, out, partial(beside_of, out))
    except (OSError, HilError) as error:
        problems.append(f"{error}; `hil report page` makes the pages again")
    return problems


def beside_of(out: Path, night: Night) -> list[tuple[str, str]]:
    """(path relative to out, what it is) of the outputs that a night's folder has."""
    folder = out / "nights" / night.id
    return [
        ((folder / name).relative_to(out).as_posix(), what)
        for name, what in OUTPUTS.items()
        if (folder / name).exists()
    ]


def closing_lines(history: History, out: Path, folder: Path, night: Night, problems: list[str]) -> list[str]:
    """What stands at the end of the terminal's output."""
    lines = ["", f"{'GOOD' if night.good and not problems else 'NOT GOOD'}: {tally(night)}"]
    lines += [f"  ended early: {night.stopped}"] if night.stopped else []
    lines += [f"  marked: {mark.sentence}" for mark in night.marks]
    for check in night.checks:
        if check.failure is not None:
            lines.append(f"  {check.name} (round {check.round}): {check.outcome}, {check.failure.cause}")
            lines.append(f"    again: {check.failure.replay}")
    lines += [f"  {problem}" for problem in problems]
    lines += [f"  {line}" for line in told_changes(history.last_good(night.rig, night.started), night)]
    lines.append(f"  page:   {out / file_name(night.id)}")
    lines.append(f"  record: {folder / 'night.json'}")
    return lines
