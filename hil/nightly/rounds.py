"""What a night runs: the checks of a round in their order.

A round is: boot, wiring scan, every link by itself, all links at once, layers, gradients, generation, training. Each
check has a seed of its own, derived from the night's, the round and the check's name, so it can be run again alone.
Owns: Planned, the names of the checks. What they do: hil/nightly/checks.py; how much: hil/nightly/checks.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hil.nightly import checks
from hil.nightly.checks import Bench, Found, Profile
from hil.nightly.record import Kind
from hil.rig.specs import LinkSpec, RigConfig


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
