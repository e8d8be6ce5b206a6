"""Trends."""

from __future__ import annotations

from hil.nightly.history import History
from hil.nightly.record import Mark, Night


def marks_of(history: History, night: Night) -> list[Mark]:
    """Marks of a night."""
    return []
