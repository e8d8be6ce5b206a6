"""Every single wiring fault of a rig, for benches and sweeps."""

from __future__ import annotations

import itertools
from typing import Literal

from hil.rig.config import RigConfig
from hil.rig.faults import (
    WIRES_PER_LINK,
    Bridge,
    Crossed,
    Missing,
    Open,
    Reversed,
    Stuck,
    Swap,
    WireRef,
    WiringFault,
    rig_wires,
)


def single_faults(config: RigConfig) -> list[WiringFault]:
    """Every single wiring fault of a rig, in a fixed order: for benches.

    On a ring of four: 40 wires open, stuck at 0 and at 1; 780 pairs of wires bridged, with each kind of bridge;
    180 swaps within a link; 4 links reversed, 4 missing; 6 pairs of links crossed.
    """
    refs = list(rig_wires(config))
    faults: list[WiringFault] = [Open(ref) for ref in refs]
    faults += [Stuck(ref, level) for ref in refs for level in (0, 1)]
    kinds: tuple[Literal["and", "or"], ...] = ("and", "or")
    faults += [Bridge(a, b, kind) for a, b in itertools.combinations(refs, 2) for kind in kinds]
    for link in config.links:
        pairs = itertools.combinations(range(WIRES_PER_LINK), 2)
        faults += [Swap(WireRef(link, a), b) for a, b in pairs]
    faults += [Reversed(link) for link in config.links]
    faults += [Missing(link) for link in config.links]
    faults += [Crossed(a, b) for a, b in itertools.combinations(config.links, 2)]
    return faults
