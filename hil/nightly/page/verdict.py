"""The night in one sentence, what changed since the last good night, and its failures put together. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hil.nightly.page.inputs import wires_of
from hil.nightly.record import Cause, Check, Night, Outcome, Subject
from hil.text import count, first_line

WIRE = re.compile(r"link (\d+->\d+) (D[0-7]|CLK|ACK)\b")
LINK = re.compile(r"link (\d+->\d+)")
BOARD = re.compile(r"\b(?:board|rank) (\d+)")
CHANGES_MAX = 12
NAMES_MAX = 8
ENDED = {Outcome.FAILED: "failed", Outcome.FLAKY: "passed only when tried again", Outcome.SKIPPED: "not tried"}


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
    checks: list[Check]

    @property
    def names(self) -> list[str]:
        """Names of its checks, each once."""
        return list(dict.fromkeys(check.name for check in self.checks))

    @property
    def first(self) -> Check:
        """The check that is shown in full: the first that carries what a failure carries."""
        return next((check for check in self.checks if check.failure is not None), self.checks[0])


def outcomes(night: Night) -> Counter[Outcome]:
    """How many checks ended in which way."""
    return Counter(check.outcome for check in night.checks)


def sentence_of(check: Check) -> str:
    """What there is to say of a check."""
    return check.failure.sentence if check.failure is not None else check.sentence


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
    found: dict[tuple[str, Cause | None, str], list[Check]] = {}
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
    wrong = {wire: errors for wire, (_, errors) in wires_of(night).items() if errors}
    if not wrong:
        return ""
    (link, wire), most = max(wrong.items(), key=lambda item: item[1])
    where = f"link {link} {wire}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
    return f"; {most:,} wrong bits on {where} are within what its check allows"


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


def last_good(earlier: Sequence[Night]) -> Night | None:
    """The newest good night among earlier ones, oldest first."""
    return next((night for night in reversed(earlier) if night.good), None)


def changes(night: Night, before: Night) -> list[str]:
    """What is different from a good night, in sentences; empty where nothing is."""
    found = _versions(night, before) + _boards(night, before)
    was = {check.name for check in before.checks}
    for outcome, word in ENDED.items():
        names = list(dict.fromkeys(c.name for c in night.checks if c.outcome is outcome and c.name in was))
        more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
        found += [f"passed then, {word} now: {', '.join(names[:NAMES_MAX])}{more}"] if names else []
    now_wires, then_wires = wires_of(night), wires_of(before)
    for (link, wire), (bits, errors) in sorted(now_wires.items()):
        then_bits, then_errors = then_wires.get((link, wire), (0, 0))
        if errors and (not then_errors or errors / bits > 3 * then_errors / max(1, then_bits)):
            found.append(f"link {link} {wire}: {then_errors:,} wrong bits then, {errors:,} now")
    return found


def _versions(night: Night, before: Night) -> list[str]:
    pairs = (
        ("firmware", before.firmware_sha256[:12], night.firmware_sha256[:12]),
        ("firmware's git revision", before.firmware_git[:12], night.firmware_git[:12]),
        ("compiler", before.compiler, night.compiler),
        ("harness", before.harness, night.harness),
        ("model", before.model, night.model),
        ("profile", before.profile, night.profile),
        ("boards", str(before.world_size), str(night.world_size)),
    )
    return [f"{name}: {then or 'unknown'} then, {now or 'unknown'} now" for name, then, now in pairs if then != now]


def _boards(night: Night, before: Night) -> list[str]:
    then = {board.rank: board for board in before.boards}
    found = []
    for board in night.boards:
        old = then.get(board.rank)
        if old is not None and old.serial != board.serial:
            found.append(f"board {board.rank}: serial {old.serial} then, {board.serial} now")
        if old is not None and board.resets > old.resets:
            found.append(f"board {board.rank}: reset {count(board.resets, 'time')}, {old.resets:,} then")
        if old is not None and board.throttled and not old.throttled:
            found.append(f"board {board.rank}: throttled, not so then")
    return found
