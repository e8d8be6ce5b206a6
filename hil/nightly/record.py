"""What a night leaves behind: the record that the runner fills, the history stores and the page shows.

Plain data without behaviour. `to_json` and `from_json` are exact inverses; the JSON of a night is its `night.json`.
Times are UTC, ISO 8601, whole milliseconds; durations are seconds. Source of every figure: docs/nightly.md.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, partial
from typing import Any, TypeVar

from hil.checks.check import LinkFigures as LinkFigures
from hil.checks.check import WireFigures as WireFigures
from hil.checks.model.mismatch import MapRow
from hil.timeline.spans import Timeline

_T = TypeVar("_T")

RECORD_VERSION = 1
"""Version of night.json; a reader refuses a newer one."""


class CheckKind(StrEnum):
    """What a check is about. Order of a round."""

    BOOT = "boot"
    WIRING = "wiring"
    LINK = "link"
    LAYERS = "layers"
    GRADIENTS = "gradients"
    GENERATION = "generation"
    TRAINING = "training"


class Outcome(StrEnum):
    """How a check ended. FLAKY is never a plain pass: it failed first and passed when tried again."""

    PASSED = "passed"
    FLAKY = "flaky"
    FAILED = "failed"
    SKIPPED = "skipped"  # could not be tried; `sentence` says why


class Cause(StrEnum):
    """What triage puts a failure down to."""

    WIRING = "wiring"
    BOARD = "board"
    FIRMWARE = "firmware"
    HARNESS = "harness"
    NOT_REPRODUCED = "not reproduced"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a check. where: `rig`, or `simulator` for the same seed and image on the simulated ring."""

    where: str
    passed: bool
    seconds: float
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class BoardFigures:
    """One board over the night. boot_s: of its last boot; resets: that nobody asked for or that recovered it."""

    rank: int
    serial: str
    boot_s: float
    temperature_c: float | None = None
    throttled: int = 0
    resets: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a board's log. time_s: on the rig's clock, the same for all boards of the rig."""

    rank: int
    time_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What there is to say of a check that did not pass at the first try.

    sentence: who waits for whom, or op, layer, rank and index. waveform: WaveJSON of the handshake.
    replay: the command that does it again.
    """

    sentence: str
    cause: Cause
    replay: str
    logs: list[LogLine] = field(default_factory=list)
    waveform: dict[str, Any] | None = None
    mismatch_map: list[MapRow] = field(default_factory=list)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """One check of the night. figures: named numbers, as tokens_s, step_s, taps, taps_equal, skew_s.

    losses and golden_losses: of a training, step by step.
    """

    number: int
    round: int
    name: str
    kind: CheckKind
    outcome: Outcome
    seed: int
    started: str
    seconds: float
    sentence: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    links: list[LinkFigures] = field(default_factory=list)
    wires: list[WireFigures] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    golden_losses: list[float] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    failure: Failure | None = None


class Subject(StrEnum):
    """What a mark is about."""

    WIRE = "wire"
    LINK = "link"
    FIGURE = "figure"


@dataclass(frozen=True, slots=True)
class TrendMark:
    """Something that history says has become worse, though no check need have failed. Tests: docs/nightly.md.

    name: `1->2 D3`, `1->2` or a figure's name; what: errors, resends or the figure's name again. usual: what the nights
    before say. chance: that so much comes about without a change, at most.
    """

    subject: Subject
    name: str
    what: str
    value: float
    usual: float
    chance: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Night:
    """One night of one rig.

    marks: set when the night ends. ended is None while it runs or when the process was killed; stopped says why a
    night is partial.
    """

    id: str
    rig: str
    simulated: bool
    world_size: int
    profile: str
    seed: int
    started: str
    ended: str | None
    stopped: str | None
    harness: str
    firmware_sha256: str
    firmware_git: str
    compiler: str
    model: str
    boards: list[BoardFigures] = field(default_factory=list)
    checks: list[CheckRecord] = field(default_factory=list)
    timeline: Timeline | None = None
    version: int = RECORD_VERSION
    marks: list[TrendMark] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Complete, nothing failed, nothing flaky, nothing left out and nothing marked."""
        complete = self.ended is not None and self.stopped is None
        return complete and not self.marks and all(c.outcome is Outcome.PASSED for c in self.checks)


def to_json(record: Any) -> Any:
    """A record as JSON values (dicts, lists, numbers, strings, None)."""
    return dataclasses.asdict(record)


def from_json(cls: type[_T], value: Any) -> _T:
    """The record back. Raises: KeyError, TypeError or ValueError where the value does not fit the class."""
    reader: Callable[[Any], _T] = _reader(typing.cast(Any, cls))
    return reader(value)


@cache
def _reader(wanted: Any) -> Callable[[Any], Any]:
    """What makes a value of a type from JSON; worked out once for each type, as a history has many records."""
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        known = _reader(next(part for part in inner if part is not type(None)))
        return lambda value: None if value is None else known(value)
    if origin is list:
        item = _reader(inner[0])
        return lambda value: [item(one) for one in _plain(list, value)]
    if origin is dict:
        item = _reader(inner[1])
        return lambda value: {key: item(one) for key, one in _plain(dict, value).items()}
    if wanted is Any:
        return lambda value: value
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        parts = {name: _reader(hint) for name, hint in typing.get_type_hints(wanted).items()}
        return lambda value: wanted(**{key: parts[key](one) for key, one in _plain(dict, value).items()})
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        return wanted
    return partial(_plain, wanted)


def _plain(wanted: type, value: Any) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max:
            raise ValueError("a number is beyond all floating-point numbers")
        return float(value)
    if not isinstance(value, wanted):
        raise TypeError(f"{value!r} is no {wanted.__name__}")
    return value
