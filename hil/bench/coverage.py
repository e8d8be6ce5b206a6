"""How many wiring faults the scan finds and names: sets of faults, one judged scan each.

Definitions (strict):
- detected: the report is not good.
- exact: the findings' fault texts are the faults set, no more and no fewer. A bridge's kind (and, or) is left out: it
  shows only while two outputs disagree, which a scan never lets happen.
- same nets: not exact, but the findings give exactly the nets that were measured, with no more faults than were set.
  No electrical measurement can choose between the two sets: a fault that hides behind another (a wire of a missing
  link), or one net that can be described in two ways (stuck and bridged).
- named: exact or same nets.
- hidden: of these, named with fewer faults than were set.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from hil.checks.wiring import scan_wiring
from hil.rig.faults import Fault, single_faults
from hil.rig.specs import RigConfig
from hil.ring.ring import Ring

KIND_ORDER = ("crossed", "reversed", "swap", "missing")
"""Faults that move wires come first, so that the same texts mean the same nets."""


@dataclass(frozen=True, slots=True)
class JudgedScan:
    """One scan: the faults that were set, what was found, and how the two compare."""

    faults: tuple[str, ...]
    found: tuple[str, ...]
    detected: bool
    exact: bool
    same_nets: bool
    hidden: bool
    contentions: int
    virtual_s: float

    @property
    def named(self) -> bool:
        """The findings are the faults, or electrically the same."""
        return self.exact or self.same_nets


def judge(ring: Ring, faults: Sequence[Fault]) -> JudgedScan:
    """Set the faults on a simulated ring, scan it, compare. The faults stay set."""
    ordered = sorted(faults, key=_rank)
    before = len(ring.desk.contentions())
    ring.desk.set_faults(ordered)
    report = scan_wiring(ring)
    texts = tuple(map(str, ordered))
    exact = canonical(report.codes) == canonical(texts)
    same_nets = not exact and not report.good and report.explained and len(report.codes) <= len(texts)
    return JudgedScan(
        faults=texts,
        found=report.codes,
        detected=not report.good,
        exact=exact,
        same_nets=same_nets,
        hidden=same_nets and len(report.codes) < len(texts),
        contentions=len(ring.desk.contentions()) - before,
        virtual_s=report.seconds,
    )


def _rank(fault: Fault) -> int:
    kind = str(fault).partition(":")[0]
    return KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER)


def canonical(codes: Sequence[str]) -> frozenset[str]:
    """Fault texts with what a scan cannot see left out, and pairs in one order."""
    plain = set()
    for code in codes:
        kind, _, rest = code.partition(":")
        names = rest.split(",")
        if kind == "swap" and "." not in names[1]:
            names[1] = f"{names[0].partition('.')[0]}.{names[1]}"
        if kind in ("swap", "crossed") or kind.startswith("bridge"):
            names.sort()
        plain.add(f"{kind.partition('-')[0]}:{','.join(names)}")
    return frozenset(plain)


def double_faults(config: RigConfig, count: int, seed: int) -> list[tuple[Fault, Fault]]:
    """Pairs of different single faults, every kind as likely as any other, by the seed.

    Not drawn: one wire shorted to both rails (a short of the supply), and two kinds of one bridge.
    """
    by_kind: dict[str, list[Fault]] = {}
    for fault in single_faults(config):
        by_kind.setdefault(str(fault).partition(":")[0], []).append(fault)
    kinds = sorted(by_kind)
    rng = random.Random(seed)
    pairs: list[tuple[Fault, Fault]] = []
    while len(pairs) < count:
        one, other = (rng.choice(by_kind[rng.choice(kinds)]) for _ in range(2))
        where = {str(fault).partition(":")[2] for fault in (one, other)}
        stuck = all(str(fault).startswith("stuck") for fault in (one, other))
        if canonical([str(one)]) != canonical([str(other)]) and not (stuck and len(where) == 1):
            pairs.append((one, other))
    return pairs
