"""`hil wiring`: scan the wires of a rig and say what is wrong, in words, as JSON, as a picture."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from hil.checks.wiring import scan_wiring
from hil.pictures.wiring import wiring_svg
from hil.rig.specs import RigConfig
from hil.session import Session


def wiring(session: Session, *, as_json: bool, svg: Path | None) -> int:
    """Boot, scan, report; 1 if something is wrong. With as_json the last line of the output is the report."""
    ring = session.open_ring(_any_board(session.config), shards=False)
    try:
        session.boot(ring)
        report = scan_wiring(ring, session.config)
    finally:
        ring.desk.close()
    print(report.text())
    if svg is not None:
        svg.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(wiring_svg(report), encoding="utf-8")
        print(f"picture: {svg}", file=sys.stderr)
    if as_json:
        print(json.dumps(report.to_json()))
    return 0 if report.good else 1


def _any_board(config: RigConfig) -> RigConfig:
    """The rig without the boards' serial numbers: exchanged USB cables are to be found, not to stop the boot."""
    if config.sim is not None:
        return config
    return replace(config, boards=tuple(replace(spec, serial=None) for spec in config.boards))
