"""All standard outputs of a night in one folder. Owns: what each file is called."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from hil.errors import HilError
from hil.files import write_atomically
from hil.nightly.outputs.allure_results import write_allure
from hil.nightly.outputs.junit import junit
from hil.nightly.outputs.summary import strict, summary
from hil.nightly.record import Night
from hil.timeline.perfetto import perfetto_of_timeline

WAVES = "waves"
"""Folder of `check-N.vcd` (put there by the runner) and `check-N.wave.json`, for checks that failed."""
OUTPUTS = {
    "summary.json": "summary",
    "night.json": "full record",
    "junit.xml": "JUnit",
    "trace.json": "trace for Perfetto",
    "allure-results": "Allure results",
    WAVES: "waveforms",
    "logs": "logs of the boards",
}
"""Name in the night's folder -> what it is."""


class OutputError(HilError):
    """An output cannot be written; the others, and what was there before, are as they were."""


def write_outputs(
    night: Night, folder: Path, good: Night | None = None, links: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """Write summary.json, junit.xml, trace.json (if there is a timeline), waves/*.wave.json and allure-results.

    Args:
        folder: of this night; made if missing. night.json is the runner's.
        good: the last good night before it, for what changed since.
        links: (address, name) for the Allure results.
    Returns: names written, as in OUTPUTS.
    Raises: OutputError (its text has each output that could not be written), after all were tried.
    """
    works: dict[str, Callable[[], bool]] = {
        "summary.json": lambda: _text(folder / "summary.json", _json(summary(night, good))),
        "junit.xml": lambda: _text(folder / "junit.xml", junit(night)),
        "trace.json": lambda: _trace(night, folder),
        WAVES: lambda: _waves(night, folder),
        "allure-results": lambda: _allure(night, folder, links),
    }
    problems: list[str] = []
    written: list[str] = []
    for name, work in works.items():
        try:
            written += [name] if work() else []
        except OSError as error:
            problems.append(f"{folder / name}: cannot be written: {error.strerror or error}")
    if problems:
        raise OutputError("\n".join(problems))
    return written


def _text(path: Path, text: str) -> bool:
    write_atomically(path, text)
    return True


def _trace(night: Night, folder: Path) -> bool:
    return night.timeline is not None and _text(folder / "trace.json", _json(perfetto_of_timeline(night.timeline)))


def _json(values: object) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _waves(night: Night, folder: Path) -> bool:
    found = [check for check in night.checks if check.failure is not None and check.failure.waveform is not None]
    for check in found:
        assert check.failure is not None
        write_atomically(folder / WAVES / f"check-{check.number}.wave.json", _json(strict(check.failure.waveform)))
    return bool(found)


def _allure(night: Night, folder: Path, links: Sequence[tuple[str, str]]) -> bool:
    """The results, made beside and moved into place, so that results of two writings never mix."""
    target, partial = folder / "allure-results", folder / ".allure-results.partial"
    shutil.rmtree(partial, ignore_errors=True)
    write_allure(night, partial, links, folder / WAVES)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return bool(night.checks)
