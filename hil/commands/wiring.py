"""`hil wiring`: scan the wires of a rig and say what is wrong, in words, as JSON, as a picture."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from hil.checks.wiring import scan_wiring
from hil.commands.options import add_shared, on_rig
from hil.pictures.wiring import wiring_svg
from hil.rig.specs import RigConfig
from hil.session import Session


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil wiring`."""
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a picture of the ring with faulty wires in red")
    add_shared(parser, "json")
    on_rig(parser, wiring)


def wiring(session: Session, options: argparse.Namespace) -> int:
    """Boot, scan, report; 1 if something is wrong."""
    ring = session.open_ring(_any_board(session.config), shards=False)
    try:
        session.boot(ring)
        report = scan_wiring(ring, session.config)
    finally:
        ring.desk.close()
    print(report.text())
    if options.svg is not None:
        options.svg.parent.mkdir(parents=True, exist_ok=True)
        options.svg.write_text(wiring_svg(report), encoding="utf-8")
        print(f"picture: {options.svg}", file=sys.stderr)
    if options.json:
        print(json.dumps(report.to_json()))
    return 0 if report.good else 1


def _any_board(config: RigConfig) -> RigConfig:
    """The rig without the boards' serial numbers: exchanged USB cables are to be found, not to stop the boot."""
    if config.sim is not None:
        return config
    return replace(config, boards=tuple(replace(spec, serial=None) for spec in config.boards))
