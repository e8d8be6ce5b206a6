"""The night in one sentence, its exit code, and its failures put together. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from hil.nightly.record import Cause, CheckRecord, Night, Outcome, Subject
from hil.nightly.series import sum_wires
from hil.text import count, first_line

WIRE = re.compile(r"link (\d+->\d+) (D[0-7]|CLK|ACK)\b")
LINK = re.compile(r"link (\d+->\d+)")
BOARD = re.compile(r"\b(?:board|rank) (\d+)")
EXIT_GOOD, EXIT_BAD, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 130, 143


class State(StrEnum):
    """What the banner says."""

    GOOD = "good"
    WATCH = "watch"
    BAD = "bad"
    UNFINISHED = "unfinished"


WORDS = {State.GOOD: "Healthy", State.WATCH: "Look at it", State.BAD: "Broken", State.UNFINISHED: "Unfinished"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """state, its word, and one sentence."""

    state: State
    sentence: str

    @property
    def word(self) -> str:
        """The state for people."""
        return WORDS[self.state]


@dataclass(frozen=True, slots=True)
class Group:
    """Checks that failed alike: one cause and place, or one name where no place is known. checks: at least one."""

    cause: Cause | None
    place: str
    checks: list[CheckRecord]

    @property
    def names(self) -> list[str]:
        """Names of its checks, each once."""
        return list(dict.fromkeys(check.name for check in self.checks))

    @property
    def first(self) -> CheckRecord:
        """The check that is shown in full: the first that carries what a failure carries."""
        return next((check for check in self.checks if check.failure is not None), self.checks[0])


def outcomes(night: Night) -> Counter[Outcome]:
    """How many checks ended in which way."""
    return Counter(check.outcome for check in night.checks)


def sentence_of(check: CheckRecord) -> str:
    """What there is to say of a check."""
    return check.failure.sentence if check.failure is not None else check.sentence


def retries(check: CheckRecord) -> int:
    """How often it was tried again on the rig."""
    return max(0, sum(attempt.where == "rig" for attempt in check.attempts) - 1)


def place_of(sentence: str) -> str:
    """Where it broke, as far as the sentence names it: `link 1->2 D3`, `link 1->2`, `board 2` or empty."""
    wire = WIRE.search(sentence)
    if wire is not None:
        return f"link {wire[1]} {wire[2]}"
    link = LINK.search(sentence)
    if link is not None:
        return f"link {link[1]}"
    board = BOARD.search(sentence)
    return f"board {board[1]}" if board is not None else ""


def groups(night: Night, outcome: Outcome) -> list[Group]:
    """The checks with this outcome, those alike together, the most first."""
    found: dict[tuple[str, Cause | None, str], list[CheckRecord]] = {}
    for check in night.checks:
        if check.outcome is outcome:
            cause = check.failure.cause if check.failure is not None else None
            place = place_of(sentence_of(check))
            found.setdefault(("" if place else check.name, cause, place), []).append(check)
    alike = [Group(cause, place, checks) for (_, cause, place), checks in found.items()]
    return sorted(alike, key=lambda group: -len(group.checks))


def verdict(night: Night) -> Verdict:
    """The night in one sentence."""
    counts = outcomes(night)
    total = len(night.checks)
    said = _what(night, counts)
    early = State.BAD if counts[Outcome.FAILED] else State.UNFINISHED
    if night.ended is None:
        return Verdict(early, f"No end is recorded (killed, or still running) after {count(total, 'check')}: {said}.")
    if night.stopped is not None:
        why = first_line(night.stopped, 120)
        return Verdict(early, f"Stopped early ({why}) after {count(total, 'check')}: {said}.")
    if total == 0:
        return Verdict(State.UNFINISHED, "Nothing was tested.")
    if counts[Outcome.FAILED]:
        return Verdict(State.BAD, f"{said[0].upper()}{said[1:]}.")
    if night.good:
        healthy = f"The ring is healthy: all {count(total, 'check')} passed, none needed a second try"
        return Verdict(State.GOOD, f"{healthy}{_within_limits(night)}.")
    return Verdict(State.WATCH, f"Nothing failed in {count(total, 'check')}, but {said}.")


def _marks(night: Night) -> list[str]:
    """What the history marks, by name."""
    told = {Subject.WIRE: "link {} is getting worse", Subject.LINK: "link {} has changed for the worse"}
    found = [told.get(mark.subject, "{} is out of its usual range").format(mark.name) for mark in night.marks]
    return list(dict.fromkeys(found))


def _within_limits(night: Night) -> str:
    """Wrong bits that no check calls too many."""
    wires = sum_wires(wire for check in night.checks for wire in check.wires)
    wrong = [wire for wire in wires.values() if wire.errors]
    if not wrong:
        return ""
    worst = max(wrong, key=lambda wire: wire.errors)
    where = worst.name + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
    return f"; {worst.errors:,} wrong bits on {where} are within what its check allows"


def _what(night: Night, counts: Counter[Outcome]) -> str:
    parts = []
    if counts[Outcome.FAILED]:
        parts.append(f"{counts[Outcome.FAILED]:,} of {count(len(night.checks), 'check')} failed{_blame(night)}")
    elif not night.good:
        parts.append("none failed")
    if counts[Outcome.FLAKY]:
        parts.append(f"{counts[Outcome.FLAKY]:,} passed only when tried again")
    if counts[Outcome.SKIPPED]:
        parts.append(f"{counts[Outcome.SKIPPED]:,} could not be tried")
    marks = _marks(night)
    parts += marks[:2] + ([f"{len(marks) - 2} more trends are marked"] if len(marks) > 2 else [])
    if len(parts) > 1 and parts[0] == "none failed" and night.ended is not None and night.stopped is None:
        parts = parts[1:]
    return "; ".join(parts) or "all of them passed"


def _blame(night: Night) -> str:
    """` (2 wiring: link 1->2 CLK; 1 board: board 2)`: causes by how often, with the place most often named."""
    causes: dict[str, Counter[str]] = {}
    for group in groups(night, Outcome.FAILED):
        cause = str(group.cause) if group.cause is not None else "not triaged"
        causes.setdefault(cause, Counter())[group.place] += len(group.checks)
    ordered = sorted(causes.items(), key=lambda item: -sum(item[1].values()))
    words = []
    for cause, places in ordered:
        named = [place for place, _ in places.most_common() if place]
        words.append(f"{sum(places.values()):,} {cause}" + (f", {named[0]}" if named else ""))
    return f" ({'; '.join(words)})" if words else ""


def tally(night: Night) -> str:
    """`12 checks: 11 passed, 1 failed`."""
    found = outcomes(night)
    return f"{len(night.checks)} checks: " + (
        ", ".join(f"{found[outcome]} {outcome}" for outcome in Outcome if found[outcome]) or "none ran"
    )


def exit_code(night: Night) -> int:
    """0 only if all is well."""
    if night.stopped == "interrupted":
        return EXIT_INTERRUPTED
    if night.stopped == "ended by SIGTERM":
        return EXIT_TERMINATED
    return EXIT_GOOD if night.good else EXIT_BAD
