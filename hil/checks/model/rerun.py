"""Rerun: a run that differs is done again, with taps and without, to tell what stays from what came and went.

Owns: Recurrence. What a run is, and what differs in it, is for the caller (hil/checks/model/verify.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from hil.checks.model.explain import Finding
from hil.errors import BoardError, LinkError

WITH_TAPS, WITHOUT = 2, 1
"""Further runs. Without taps only tokens, or losses and norm, are compared."""


class Pattern(StrEnum):
    """How a difference recurs."""

    DETERMINISTIC = "deterministic"
    TRANSIENT = "transient"
    GONE = "came and went"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What further runs gave, each in words; empty for one that was the golden's."""

    with_taps: tuple[str, ...]
    without: tuple[str, ...]

    @property
    def pattern(self) -> Pattern:
        """Deterministic: every run with taps differs in the same place. Gone: none differs."""
        if not any(self.with_taps) and not any(self.without):
            return Pattern.GONE
        same = all(self.with_taps) and len(set(self.with_taps)) == 1
        return Pattern.DETERMINISTIC if same else Pattern.TRANSIENT

    def text(self) -> str:
        """Pattern and counts."""
        wrong, quiet = sum(map(bool, self.with_taps)), sum(map(bool, self.without))
        return (
            f"{self.pattern}: {wrong} of {len(self.with_taps)} further runs with tensors recorded differ, and "
            f"{quiet} of {len(self.without)} without, of which results alone are compared"
        )


def rerun(once: Callable[[bool], str]) -> Recurrence:
    """Do a run again. once: with taps or without; gives what differs, in words."""

    def tried(taps: bool) -> str:
        try:
            return once(taps)
        except (BoardError, LinkError) as error:
            return f"it did not end: {error}".splitlines()[0]

    return Recurrence(tuple(tried(True) for _ in range(WITH_TAPS)), tuple(tried(False) for _ in range(WITHOUT)))


def with_recurrence(findings: Sequence[Finding], recurrence: Recurrence) -> tuple[Finding, ...]:
    """Findings in the light of further runs: what is right on the golden's inputs and right again came and went."""
    if recurrence.pattern is Pattern.DETERMINISTIC:
        return tuple(findings)
    unsure = {"memory": "transient", "unknown": "transient"}
    return tuple(replace(one, cause=unsure.get(one.cause, one.cause)) for one in findings)
