"""What a night runs: the checks of a round in their order, and how much of each.

A round is the checks of the catalogue (hil/checks/catalogue.py) that are for a night and that the rig has what it needs
for; a link is soaked for every link. Each check has a seed of its own, derived from the night's, the round and the
check's name, so it can be run again alone. Owns: Profile, Planned.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from golden.optimizer import AdamW
from hil.checks.catalogue import CHECKS
from hil.checks.check import LONG, QUICK, Result, Setup, Size
from hil.checks.model.checks import corpus, traced_step
from hil.nightly.record import CheckKind
from hil.rig.specs import RigConfig
from hil.ring.training import Plan
from hil.timeline.spans import Timeline, to_record

KINDS = {
    "ring": CheckKind.BOOT, "wiring": CheckKind.WIRING, "link": CheckKind.LINK, "layers": CheckKind.LAYERS,
    "gradients": CheckKind.GRADIENTS,
    "generate": CheckKind.GENERATION, "train": CheckKind.TRAINING,
}  # fmt: skip
"""Marker -> what a night's record calls it. Of the checks marked `ring` only `boot` is for a night."""
TRACED_POSITIONS, TRACED_MICROBATCHES = 8, 4


@dataclass(frozen=True, slots=True)
class Profile(Size):
    """How much a night does: the size of its checks, and how many rounds of them.

    rounds: None: until time is up. hours: on the rig's clock, unless the user says otherwise; None: no limit.
    kinds: what to leave in; a rig without a ring leaves out what needs one.
    """

    rounds: int | None
    hours: float | None
    kinds: frozenset[CheckKind] = frozenset(CheckKind)


PROFILES = {
    size.name: Profile(**dataclasses.asdict(size), rounds=rounds, hours=hours)
    for size, rounds, hours in ((QUICK, 1, None), (LONG, None, 8.0))
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A check to run. ranks: the boards it cannot do without; None: all of them."""

    name: str
    kind: CheckKind
    run: Callable[[Setup, int], Result]
    ranks: frozenset[int] | None = None


def plan_round(config: RigConfig, profile: Profile) -> list[Planned]:
    """The checks of a round on a rig, in order. Their names are the same every night."""
    planned = []
    for check in CHECKS:
        if not check.night or check.need.lack(config) or KINDS[check.marker] not in profile.kinds:
            continue
        if check.each_link:
            planned += [
                Planned(f"{check.name} {link}", KINDS[check.marker], partial(check, link=link),
                        frozenset((link.source, link.target)))
                for link in config.links
            ]  # fmt: skip
        else:
            ranks = None if check.all_boards else frozenset[int]()
            planned.append(Planned(check.name, KINDS[check.marker], check, ranks))
    return planned


def check_seed(night_seed: int, round_number: int, name: str) -> int:
    """32 bits, the same for the same night, round and check."""
    text = f"{night_seed}/{round_number}/{name}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def night_timeline(setup: Setup) -> Timeline:
    """One step of training with its timeline; the boards hold other weights afterwards. Raises HilError."""
    plan = Plan(AdamW(1e-3), TRACED_POSITIONS, TRACED_MICROBATCHES, slots=TRACED_MICROBATCHES)
    title = f"one training step, {TRACED_MICROBATCHES} microbatches of {TRACED_POSITIONS} positions"
    return to_record(traced_step(setup.ring, setup.model, plan, corpus(setup.model, 0), title))
