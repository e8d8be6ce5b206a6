"""The wiring scan: which pads are joined, and what that says about every wire.

`scan_wiring` does all of it on a booted ring. Parts: pads (names), scan (procedure), trace and analysis (what follows),
model (the way back: from faults to nets), report (text, JSON).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hil.checks.wiring.analysis import analyse
from hil.checks.wiring.report import WireVerdict, WiringFinding, WiringReport
from hil.checks.wiring.scan import BoardPins, observe, wrong_codes
from hil.errors import BoardError
from hil.protocol.messages import NO_RANK

if TYPE_CHECKING:
    from hil.protocol.messages import Identity
    from hil.rig.specs import RigConfig
    from hil.ring.ring import Ring

__all__ = ["WireVerdict", "WiringFinding", "WiringReport", "analyse", "known_ranks", "scan_wiring"]

CODES_ADVICE = "A wire that is right by itself but not together with others: look for noise."


def scan_wiring(ring: Ring, config: RigConfig | None = None) -> WiringReport:
    """Scan a booted ring, or a single board, and say what is wrong with its wires.

    Jobs are stopped first, since they use the same pins. Every pad is an input with pull-down afterwards.

    Args:
        config: what the wires should be; default: the desk's own rig.
    Raises: BoardError if a board does not answer; its wires cannot be scanned then.
    """
    config = config or ring.desk.config
    silent = ring.quiet()
    if silent:
        raise BoardError("\n".join(silent))
    start_s = ring.desk.loop.now_s()
    pins = BoardPins(ring.boards, ring.desk.loop)
    report = analyse(observe(pins), config, known_ranks(ring.identities(), config))
    if report.good and config.links:
        wrong = [WiringFinding("codes", (), said, CODES_ADVICE) for said in wrong_codes(pins, config.links)]
        report = dataclasses.replace(report, findings=tuple(wrong), codes_sent=True, explained=not wrong)
    return dataclasses.replace(report, seconds=ring.desk.loop.now_s() - start_s)


def known_ranks(identities: Sequence[Identity], config: RigConfig) -> list[int | None]:
    """The rank that each board has by its serial number in the rig file, or else by the shard on its card."""
    by_serial = {spec.serial: spec.rank for spec in config.boards if spec.serial is not None}
    by_shard = [None if identity.rank == NO_RANK else identity.rank for identity in identities]
    return [by_serial.get(i.board_serial, rank) for i, rank in zip(identities, by_shard, strict=True)]
