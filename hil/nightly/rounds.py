"""What a night runs: profiles, and the checks of a round in their order.

A round is: boot, wiring scan, every link by itself, all links at once, layers, gradients, generation, training. Each
check has a seed of its own, derived from the night's, the round and the check's name, so it can be run again alone.
Owns: Profile, Planned, the names of the checks. What they do: hil/nightly/checks.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hil.nightly import checks
from hil.nightly.checks import Bench, Found
from hil.nightly.record import Kind
from hil.rig.specs import LinkSpec, RigConfig


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


@dataclass(frozen=True, slots=True)
class Planned:
    """A check to run. ranks: the boards it cannot do without; None: all of them."""

    name: str
    kind: Kind
    run: Callable[[Bench, int], Found]
    ranks: frozenset[int] | None = None


def plan_round(config: RigConfig, profile: Profile) -> list[Planned]:
    """The checks of a round on a rig, in order. Their names are the same every night."""
    planned = [Planned("boot", Kind.BOOT, checks.boot, frozenset()), Planned("wiring", Kind.WIRING, checks.wiring)]
    planned += [_link(link) for link in config.links]
    if len(config.links) > 1:
        planned.append(Planned("all links at once", Kind.LINK, checks.all_links, frozenset()))
    if config.is_ring or config.is_loopback:
        planned += [
            Planned("layers", Kind.LAYERS, checks.layers),
            Planned("gradients", Kind.GRADIENTS, checks.gradients),
            Planned("generation", Kind.GENERATION, checks.generation),
            Planned("training", Kind.TRAINING, checks.training),
        ]
    return [check for check in planned if check.kind in profile.kinds]


def _link(link: LinkSpec) -> Planned:
    return Planned(f"link {link}", Kind.LINK, partial(checks.soak, link), frozenset((link.source, link.target)))


def check_seed(night_seed: int, round_number: int, name: str) -> int:
    """32 bits, the same for the same night, round and check."""
    text = f"{night_seed}/{round_number}/{name}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
