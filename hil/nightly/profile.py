"""Profiles of a night: how much each round does, and for how long. Figures: docs/nightly.md."""

from __future__ import annotations

from dataclasses import dataclass

from hil.nightly.record import Kind


@dataclass(frozen=True, slots=True)
class Profile:
    """How much a round does.

    ber: a link is soaked until every wire's bit error rate is below this at 95 %.
    soak_frames: of 16 KiB, in one direction, between two looks at the clock.
    rounds: None: until time is up. hours: on the rig's clock, unless the user says otherwise; None: no limit.
    kinds: what to leave in; a rig without a ring leaves out what needs one.
    """

    name: str
    ber: float
    soak_frames: int
    layer_positions: int
    story_positions: int
    steps: int
    rounds: int | None
    hours: float | None
    kinds: frozenset[Kind] = frozenset(Kind)


PROFILES = {
    "quick": Profile(
        "quick", ber=3e-5, soak_frames=8, layer_positions=16, story_positions=64, steps=3, rounds=1, hours=None
    ),
    "full": Profile(
        "full", ber=1e-8, soak_frames=256, layer_positions=64, story_positions=256, steps=10, rounds=None, hours=8.0
    ),
}
