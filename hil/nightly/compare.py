"""What changed between two nights: for the terminal, the page, summary.json and `hil report compare`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hil.nightly.record import Night, Outcome
from hil.nightly.series import figures_of
from hil.text import count, one_line

NAMES_MAX = 8
WORSE_FACTOR = 3
"""A wire that had errors before is named when its error rate has grown to more than so many times what it was."""
WORDS = {
    Outcome.FAILED: "failed",
    Outcome.FLAKY: "passed only when tried again",
    Outcome.SKIPPED: "not tried",
    Outcome.PASSED: "passed",
    None: "not run",
}
"""The worst first. None: the night does not have the check."""


def last_good(newest_first: Iterable[Night]) -> Night | None:
    """The first good night among some, the newest of which comes first."""
    return next((night for night in newest_first if night.good), None)


def changes(then: Night, now: Night) -> list[str]:
    """What is different, in sentences: versions, boards, how checks ended, wires with more errors."""
    return _versions(then, now) + _boards(then, now) + _outcomes(then, now) + _wires(then, now)


def _versions(then: Night, now: Night) -> list[str]:
    pairs = (
        ("firmware", then.firmware_sha256[:12], now.firmware_sha256[:12]),
        ("firmware's git revision", then.firmware_git[:12], now.firmware_git[:12]),
        ("compiler", then.compiler, now.compiler),
        ("harness", then.harness, now.harness),
        ("model", then.model, now.model),
        ("profile", then.profile, now.profile),
        ("boards", str(then.world_size), str(now.world_size)),
    )
    return [f"{name}: {old or 'unknown'} then, {new or 'unknown'} now" for name, old, new in pairs if old != new]


def _boards(then: Night, now: Night) -> list[str]:
    old_boards = {board.rank: board for board in then.boards}
    found = []
    for board in now.boards:
        old = old_boards.get(board.rank)
        if old is None:
            continue
        if old.serial != board.serial:
            found.append(f"board {board.rank}: serial {old.serial} then, {board.serial} now")
        if board.resets > old.resets:
            found.append(f"board {board.rank}: reset {count(board.resets, 'time')}, {old.resets:,} then")
        if board.throttled and not old.throttled:
            found.append(f"board {board.rank}: throttled, not so then")
    return found


def _outcomes(then: Night, now: Night) -> list[str]:
    """Checks that ended otherwise, those alike in one sentence; what ends worst now comes first."""
    was, is_now = _worst(then), _worst(now)
    alike: dict[tuple[Outcome | None, Outcome | None], list[str]] = {}
    for name in was | is_now:
        pair = was.get(name), is_now.get(name)
        if pair[0] is not pair[1]:
            alike.setdefault(pair, []).append(name)
    order = list(WORDS)
    found = []
    for (old, new), names in sorted(alike.items(), key=lambda item: [order.index(end) for end in reversed(item[0])]):
        more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
        found.append(f"{WORDS[old]} then, {WORDS[new]} now: {', '.join(names[:NAMES_MAX])}{more}")
    return found


def _worst(night: Night) -> dict[str, Outcome]:
    """The worst outcome of each check over the rounds."""
    order = list(WORDS)
    worst: dict[str, Outcome] = {}
    for check in night.checks:
        worst[check.name] = min(worst.get(check.name, check.outcome), check.outcome, key=order.index)
    return worst


def _wires(then: Night, now: Night) -> list[str]:
    """Wires with wrong bits that had none, or far fewer for the bits they carried."""
    old_wires = figures_of(then).wires
    found = []
    for key, wire in sorted(figures_of(now).wires.items()):
        old = old_wires.get(key)
        bits, errors = (old.bits, old.errors) if old is not None else (0, 0)
        if wire.errors and (not errors or wire.errors * bits > WORSE_FACTOR * errors * wire.bits):
            found.append(f"{wire.name}: {errors:,} wrong bits then, {wire.errors:,} now")
    return found


def told_changes(good: Night | None, night: Night) -> list[str]:
    """What changed since the last good night, as lines for the terminal."""
    if good is None:
        return ["no good night of this rig before"]
    lines = changes(good, night)
    nothing = "" if lines else " nothing changed"
    return [f"since the last good night, {good.id}:{nothing}", *(one_line(line) for line in lines)]
