"""Link faults in words: who waits for whom, and whether it is a wire or a board.

Takes the reports that boards send when a link operation gives up (message LinkFault). Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil.checks.pins import ACK, CLK, WIRE_NAMES, gpio, wire_name
from hil.protocol.messages import Bank, LinkFault, Phase, Role
from hil.rig.config import LinkSpec

PHASE_TEXT = {
    Phase.WAIT_GRANT: "waiting for the receiver's grant (ACK high)",
    Phase.WAIT_CLAIM_TAKEN: "claim on D, waiting for ACK low",
    Phase.WAIT_ACK_HIGH: "CLK raised, waiting for ACK",
    Phase.WAIT_ACK_LOW: "CLK lowered, waiting for ACK low",
    Phase.WAIT_CLAIM: "ACK raised as grant, waiting for the claim 0xA5 on D",
    Phase.WAIT_CLK_HIGH: "waiting for CLK",
    Phase.WAIT_CLK_LOW: "ACK raised, waiting for CLK low",
    Phase.WAIT_QUIET: "waiting for idle lines",
}


@dataclass(frozen=True, slots=True)
class FaultReport:
    """A LinkFault and the rank and time it came from."""

    rank: int
    fault: LinkFault
    time_s: float


def link_of(report: FaultReport, links: Sequence[LinkSpec]) -> LinkSpec | None:
    """The link that a report is about, by the rank and bank it came from."""
    for link in links:
        near = link.source if report.fault.bank == Bank.DOWNSTREAM else link.target
        if near == report.rank:
            return link
    return None


def explain(reports: Sequence[FaultReport], links: Sequence[LinkSpec], logs: Sequence[str]) -> str:
    """The first fault in words, with both ends' views and what follows from them.

    Args:
        reports: in any order; the earliest link is explained, later ones follow from it.
        logs: path of each rank's log.
    """
    first = min(reports, key=lambda r: (r.time_s - r.fault.waited_us / 1e6, r.rank))
    link = link_of(first, links)
    if link is None:
        return f"board {first.rank} gave up on a bank that is not wired in this rig; add the link to the rig file"
    pair = _latest_pair([r for r in reports if link_of(r, links) == link])
    lines = [f"link {link}: byte {first.fault.byte_index} of {first.fault.burst_bytes} stopped after "
             f"{first.fault.waited_us / 1000:.1f} ms"]  # fmt: skip
    for report in pair:
        phase = PHASE_TEXT[Phase(report.fault.phase)]
        lines.append(f"  board {report.rank}: {phase:45}  GPLEV 0x{report.fault.gplev0:08x}")
    lines.append(f"  so:      {_conclusion(pair, link)}")
    ranks = sorted({link.source, link.target})
    lines.append(f"  logs:    {', '.join(logs[rank] for rank in ranks if rank < len(logs))}")
    return "\n".join(lines)


def _latest_pair(reports: Sequence[FaultReport]) -> list[FaultReport]:
    """The last report of each board and bank: both ends' view of the final attempt."""
    last = {(r.rank, r.fault.bank): r for r in sorted(reports, key=lambda r: r.time_s)}
    return sorted(last.values(), key=lambda r: (r.fault.role, r.rank))


def _conclusion(pair: Sequence[FaultReport], link: LinkSpec) -> str:
    if len(pair) < 2:
        only = pair[0]
        other = link.target if only.rank == link.source else link.source
        return f"board {other} said nothing; it is not on this link, has stopped, or most of its wires are off"
    for wire in (CLK, ACK, *range(8)):
        levels = {Bank(r.fault.bank): (r.fault.gplev0 >> gpio(Bank(r.fault.bank), wire)) & 1 for r in pair}
        if len(set(levels.values())) == 2:
            return f"the {WIRE_NAMES[wire]} wire does not carry its level: {wire_name(link, wire)}"
    sender = next((r for r in pair if r.fault.role == Role.SENDER), None)
    receiver = next((r for r in pair if r.fault.role == Role.RECEIVER), None)
    if sender is None:
        return "both boards wait as receivers; run the wiring scan, then restart the job"
    if receiver is None:
        return "both boards wait as senders; nobody granted; run the wiring scan, then restart the job"
    return (
        f"all ten wires agree at both ends; board {receiver.rank} and board {sender.rank} lost step, "
        "which points to noise on CLK or ACK or to a board that was held up"
    )
