"""When a link gave up: ask the wires. A scan of the ring, then bytes over the link; what they say in a sentence.

The ring calls it through `Ring.ask_wires`, which hil/session.py sets. About a second of the rig's clock.
"""

from __future__ import annotations

from dataclasses import replace

from hil.checks.link.runs import RunPlan, link_result, one_way, start_run, ways_requests
from hil.checks.wiring import WiringReport, scan_wiring
from hil.errors import BoardError, LinkError
from hil.protocol.link_messages import DATA_WIRES, Bank, LinkRun, Pattern
from hil.rig.pins import HEADER_PIN, WIRE_NAMES, gpio, wire_name
from hil.rig.specs import LinkSpec
from hil.ring.link_faults import WiresSaid
from hil.ring.ring import Ring

STUCK_TEXT = {"stuck-0": "stuck at 0", "stuck-1": "stuck at 1"}
TRIAL = RunPlan(Pattern.PRBS15, frames=48, length_bytes=64, seed=1)
"""Enough for a wire that spoils one byte in some hundred; hopeless ones are found by the scan."""
ONE_WIRE_SHARE = 0.8
"""Of all wrong bits, on the worst wire: with less the bytes have slipped, which is the work of CLK or ACK."""
TRIAL_ATTEMPTS, TRIAL_PHASE_US, TRIAL_S = 40, 1500, 3.0
"""Of a frame, of a wait in the handshake, of one direction."""


def ask_wires(ring: Ring, link: LinkSpec) -> WiresSaid | None:
    """What the wires say when they are measured, or None where they could not be.

    The boards must be quiet. Every pad is an input with pull-down afterwards.
    """
    try:
        report = scan_wiring(ring)
    except BoardError:
        return None
    if not report.good:
        return WiresSaid(findings_text(report), guilty=True)
    sound = f"measured one at a time, all wires of the ring are right (scanned in {report.seconds:.1f} s)"
    wrong, through = _trial(ring, link)
    worst = max(wrong, key=lambda wire: wrong[wire][0], default=0)
    if wrong and wrong[worst][0] >= ONE_WIRE_SHARE * sum(count for count, _ in wrong.values()):
        errors, bits = wrong[worst]
        text = f"{errors:,} of {bits:,} bits come wrong over {wire_name(link, worst)}: a noisy or loose wire"
        return WiresSaid(text, guilty=True)
    if wrong or not through:
        what = "are lost or come twice over" if wrong else "do not get over"
        text = f"{sound}, and yet bytes {what} link {link}: look for noise on its CLK and ACK, or a bad ground"
        return WiresSaid(text, guilty=True)
    text = f"{sound}, and link {link} carries bytes again: a contact or a disturbance that came and went"
    return WiresSaid(text, guilty=False)


def _trial(ring: Ring, link: LinkSpec) -> tuple[dict[int, tuple[int, int]], bool]:
    """Send bytes over the link both ways: by data wire its wrong bits and all bits, where any are wrong; whether all
    frames came. What came before a run broke off counts, too."""
    errors, bits, through = [0] * DATA_WIRES, 0, True
    for reverse in (False, True):
        way = one_way(link, reverse=reverse)
        try:
            ring.wait_jobs(start_run(ring, ways_requests([way], TRIAL, _patiently)), timeout_s=TRIAL_S)
        except LinkError:
            through = False
        except BoardError:
            return {}, False
        result = link_result(ring, *way.receiver)
        bits += result.bytes_checked
        errors = [a + b for a, b in zip(errors, result.wire_errors, strict=True)]
    return {wire: (count, bits) for wire, count in enumerate(errors) if count}, through


def _patiently(rank: int, run: LinkRun) -> LinkRun:
    """Many short tries: a frame comes through although its header must be whole."""
    return replace(run, attempts=TRIAL_ATTEMPTS, phase_limit_us=TRIAL_PHASE_US)


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
