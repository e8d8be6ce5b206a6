"""When a link gave up: ask the wires. A scan of the ring, then bytes over the link; what they say in a sentence.

The ring calls it through `Ring.ask_wires`, which hil/session.py sets. About a second of the rig's clock.
"""

from __future__ import annotations

from hil.checks.link.runs import RunPlan, run_links
from hil.checks.wiring import WiringReport, scan_wiring
from hil.errors import BoardError, LinkError
from hil.protocol.link_messages import Bank, Pattern
from hil.rig.pins import HEADER_PIN, WIRE_NAMES, gpio, wire_name
from hil.rig.specs import LinkSpec
from hil.ring.ring import Ring

STUCK_TEXT = {"stuck-0": "stuck at 0", "stuck-1": "stuck at 1"}
TRIAL = RunPlan(Pattern.PRBS15, frames=4, length_bytes=2048, seed=1)
"""Enough for a wire that spoils one byte in some hundred; hopeless ones are found by the scan."""


def ask_wires(ring: Ring, link: LinkSpec) -> str | None:
    """What the wires say when they are measured, or None where they could not be.

    The boards must be quiet. Every pad is an input with pull-down afterwards.
    """
    try:
        report = scan_wiring(ring)
    except BoardError:
        return None
    if not report.good:
        return findings_text(report)
    sound = f"measured one at a time, all wires of the ring are right (scanned in {report.seconds:.1f} s)"
    try:
        results = [run_links(ring, [link], TRIAL, reverse=reverse)[0] for reverse in (False, True)]
    except (LinkError, BoardError):
        return f"{sound}, and yet bytes do not get over link {link}: look for noise on its CLK and ACK, or a bad ground"
    wrong = {
        index: (sum(r.wires[index].errors for r in results), sum(r.wires[index].bits for r in results))
        for index in range(8)
        if any(r.wires[index].errors for r in results)
    }
    if wrong:
        worst = max(wrong, key=lambda index: wrong[index][0])
        errors, bits = wrong[worst]
        return f"{errors:,} of {bits:,} bits come wrong over {wire_name(link, worst)}: a noisy or loose wire"
    return f"{sound}, and link {link} carries bytes again: a contact or a disturbance that came and went"


def cause_text(report: WiringReport) -> str:
    """What the scan found first, short: `link 1->2 D3 is open (board 1 pin 35)`."""
    first = report.findings[0]
    verdict = next((v for v in report.wires if first.wires == (str(v.wire),)), None)
    if verdict is None:
        return first.text
    wire = verdict.wire
    pin = HEADER_PIN[gpio(Bank.DOWNSTREAM, wire.number)]
    said = STUCK_TEXT.get(first.kind, first.kind)
    return f"link {wire.link} {WIRE_NAMES[wire.number]} is {said} (board {wire.source} pin {pin})"


def findings_text(report: WiringReport) -> str:
    """What the scan found, in one line."""
    return "; ".join(finding.text for finding in report.findings)
