"""`hil probe`: test one board's link from outside, through an FT232H. Wiring: docs/probe.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from hil.checks.link.stalls import places
from hil.checks.probe.rules import CASES, check_case
from hil.checks.probe.runs import check_pattern, check_stall
from hil.checks.probe.wires import scan_wires
from hil.commands.options import on_rig
from hil.protocol.link_messages import Edge, Pattern
from hil.ring.probe import Probe, open_probe
from hil.session import Session

Line = tuple[str, bool]
"""What was found, and whether it is as it must be."""


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil probe`."""
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for every single check")
    on_rig(parser, probe)


def probe(session: Session, options: argparse.Namespace) -> int:
    """Boot, scan the wires, then patterns, stalls and wrong handshakes; 1 if something is wrong."""
    ring = session.open_ring(session.probe_config(), shards=False)
    with ring.desk:
        session.boot(ring)
        with open_probe(ring) as opened:
            return _test(opened, session.settings.seed, verbose=options.verbose)


def _test(opened: Probe, seed: int, *, verbose: bool) -> int:
    print(opened)
    bad = 0
    for verdict in scan_wires(opened):
        bad += bool(verdict.problem)
        print(f"  {verdict.describe()}")
    if bad:
        print(f"{bad} of 10 wires are not sound; nothing else was tested. Wiring: docs/probe.md")
        return 1
    for name, lines in (
        ("patterns", _patterns(opened, seed)),
        ("stalls", _stalls(opened, seed)),
        ("wrong handshakes", _wrong_handshakes(opened, seed)),
    ):
        bad += _show(name, lines, verbose=verbose)
    met = opened.ring.desk.contentions()
    for contention in met:
        print(f"outputs met on a wire: {contention}")
    print("the link is sound" if not bad and not met else "the link is not sound")
    return 1 if bad or met else 0


def _show(name: str, lines: Iterable[Line], *, verbose: bool) -> int:
    """Print a group; how many of it are wrong."""
    total = wrong = 0
    for text, good in lines:
        total += 1
        wrong += not good
        if verbose or not good:
            print(f"    {'ok ' if good else 'BAD'} {text}")
    print(f"  {name:<17} {total - wrong} of {total} as they must be")
    return wrong


def _patterns(opened: Probe, seed: int) -> Iterable[Line]:
    for pattern in Pattern:
        for board_sends in (False, True):
            result = check_pattern(opened, pattern, board_sends=board_sends, frames=2, length_bytes=128, seed=seed)
            yield result.describe(), result.good


def _stalls(opened: Probe, seed: int) -> Iterable[Line]:
    for edge in Edge:
        for byte in places() if edge is not Edge.NONE else ():
            result = check_stall(opened, edge, byte, seed=seed)
            yield result.describe(), not result.problems


def _wrong_handshakes(opened: Probe, seed: int) -> Iterable[Line]:
    for case in CASES:
        result = check_case(opened, case, seed=seed)
        yield result.describe(), not result.problems
