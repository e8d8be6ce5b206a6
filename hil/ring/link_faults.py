"""Link faults in words: who waits for whom, and whether it is a wire or a board.

Takes the reports that boards send when a link operation gives up (message LinkFault). Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hil.protocol.fields import name_of
from hil.protocol.link_messages import Bank, LinkFault, Phase, Role
from hil.rig.pins import ACK, CLK, WIRE_NAMES, gpio, wire_name
from hil.rig.specs import LinkSpec

PHASE_TEXT: dict[int, str] = {
    Phase.WAIT_GRANT: "waiting for the receiver's grant (ACK high)",
    Phase.WAIT_CLAIM_TAKEN: "claim on D, waiting for ACK low",
    Phase.WAIT_ACK_HIGH: "CLK raised, waiting for ACK",
    Phase.WAIT_ACK_LOW: "CLK lowered, waiting for ACK low",
    Phase.WAIT_CLAIM: "ACK raised as grant, waiting for the claim 0xA5 on D",
    Phase.WAIT_CLK_HIGH: "waiting for CLK",
    Phase.WAIT_CLK_LOW: "ACK raised, waiting for CLK low",
    Phase.WAIT_QUIET: "waiting for idle lines",
    Phase.DAMAGED: "every byte moved, but not as it was sent",
    Phase.CONTESTED: "drives ACK high as grant, reads it low",
    Phase.HELD_UP: "did nothing: its own program was away",
}
NO_ANSWER = "no answer to"
"""Part of what a channel says of a board that is silent; others have said what happened to them."""
HELD_UP_TEXT = "the board was held up, no wire is to blame"
"""Ends the conclusion about a board whose own program was away."""


@dataclass(frozen=True, slots=True)
class WiresSaid:
    """What the wires say when they are measured: a sentence, and whether it names something that is wrong now."""

    text: str
    guilty: bool


@dataclass(frozen=True, slots=True)
class FaultReport:
    """A LinkFault and the rank and time it came from.

    still: the board has not given up but stands there, and nothing moves: the levels of two such reports are of the
        same state, whenever they were read. Levels of others are of different instants and are not compared.
    """

    rank: int
    fault: LinkFault
    time_s: float
    still: bool = False


def link_of(report: FaultReport, links: Sequence[LinkSpec]) -> LinkSpec | None:
    """The link that a report is about, by the rank and bank it came from."""
    for link in links:
        near = link.source if report.fault.bank == Bank.DOWNSTREAM else link.target
        if near == report.rank:
            return link
    return None


def strange(report: FaultReport) -> str:
    """What a report says that cannot be, in a sentence; empty for one that can be believed."""
    for kind, value in ((Phase, report.fault.phase), (Role, report.fault.role), (Bank, report.fault.bank)):
        if value not in list(kind):
            return (
                f"board {report.rank} reports a link fault of {kind.__name__.lower()} {name_of(kind, value)}, so its "
                "report cannot be believed; look at its log and its image"
            )
    return ""


def explain(
    reports: Sequence[FaultReport],
    links: Sequence[LinkSpec],
    logs: Sequence[str],
    *,
    silent: Mapping[int, str] | None = None,
    ask_wires: Callable[[LinkSpec], WiresSaid | None] = lambda link: None,
) -> str:
    """The first fault in words, with both ends' views and what follows from them.

    Args:
        reports: in any order; the earliest link is explained, later ones follow from it.
        logs: path of each rank's log.
        silent: for ranks of boards that do not answer their UART, what is known about it.
        ask_wires: what the wires say when they are measured; asked only where every board can answer.
    """
    nonsense = [sentence for report in reports if (sentence := strange(report))]
    reports = [report for report in reports if not strange(report)]
    if not reports:
        return "\n".join(nonsense)
    silent = silent or {}
    first = _first(reports, links, silent)
    link = link_of(first, links)
    if link is None:
        return f"board {first.rank} gave up on a bank that is not wired in this rig; add the link to the rig file"
    pair = _latest_pair([r for r in reports if link_of(r, links) == link])
    lines = [f"link {link}: {_headline(first)}"]
    for report in pair:
        phase = PHASE_TEXT[Phase(report.fault.phase)]
        lines.append(f"  board {report.rank}: {phase:45}  GPLEV 0x{report.fault.gplev0:08x}")
    said = None if silent else ask_wires(link)
    held_up = any(r.fault.phase == Phase.HELD_UP for r in pair)
    if said is not None and (said.guilty or not held_up):
        lines.append(f"  so:      {said.text}")
    else:
        lines.append(f"  so:      {_conclusion(pair, link, silent)}")
    ranks = sorted({link.source, link.target})
    lines.append(f"  logs:    {', '.join(logs[rank] for rank in ranks if rank < len(logs))}")
    return "\n".join(lines + nonsense)


def _headline(first: FaultReport) -> str:
    fault = first.fault
    place = f"byte {fault.byte_index} of {fault.burst_bytes}"
    if first.still:
        return f"nothing moves at {place}, for {fault.waited_us / 1e6:.1f} s"
    if fault.phase == Phase.DAMAGED:
        return f"a burst of {fault.burst_bytes} bytes came damaged, again and again"
    if not fault.waited_us:
        return f"{place} could not begin"
    return f"{place} stopped after {fault.waited_us / 1000:.1f} ms"


def _first(reports: Sequence[FaultReport], links: Sequence[LinkSpec], silent: Collection[int]) -> FaultReport:
    """The report to explain: at a silent board, of the link that failed first, or where two boards wait in vain."""
    for rank in silent:
        for report in reports:
            link = link_of(report, links)
            if link is not None and rank in (link.source, link.target):
                return report
    failed = [r for r in reports if not r.still]
    if failed:
        return min(failed, key=lambda r: (r.time_s - r.fault.waited_us / 1e6, r.rank))

    def lonely(report: FaultReport) -> tuple[bool, bool, int]:
        ends = [r for r in reports if link_of(r, links) == link_of(report, links)]
        opposed = {r.fault.role for r in ends} == set(Role)
        return not opposed, report.fault.role != Role.SENDER, report.rank

    return min(reports, key=lonely)


def _latest_pair(reports: Sequence[FaultReport]) -> list[FaultReport]:
    """The last report of each board and bank: both ends' view of the final attempt."""
    last: dict[tuple[int, int], FaultReport] = {}
    for report in sorted(reports, key=lambda r: (not r.still, r.time_s)):  # what gave up says more than what stands
        last[report.rank, report.fault.bank] = report
    return sorted(last.values(), key=lambda r: (r.fault.role, r.rank))


def _conclusion(pair: Sequence[FaultReport], link: LinkSpec, silent: Mapping[int, str]) -> str:
    for rank in sorted({link.source, link.target} & set(silent)):
        if NO_ANSWER in silent[rank]:
            return f"board {rank} does not answer its UART either: it has no power, or its program has stopped"
        return f"no wire is to blame: {silent[rank]}"
    away = next((r for r in pair if r.fault.phase == Phase.HELD_UP), None)
    if away is not None:
        return _held_up(away, link)
    fights = next((r for r in pair if r.fault.phase == Phase.CONTESTED), None)
    if fights is not None:
        far = link.target if fights.rank == link.source else link.source
        return (
            f"board {fights.rank} drives ACK high and reads it low: a short to ground, "
            f"or board {far} holds it: {wire_name(link, ACK)}"
        )
    if len(pair) < 2:
        only = pair[0]
        other = link.target if only.rank == link.source else link.source
        return f"board {other} has reported nothing about this link; `hil wiring` measures its wires"
    damaged = [r for r in pair if r.fault.phase == Phase.DAMAGED]
    if all(r.still for r in pair):
        for wire in (CLK, ACK, *range(8)):
            levels = {Bank(r.fault.bank): (r.fault.gplev0 >> gpio(Bank(r.fault.bank), wire)) & 1 for r in pair}
            if len(set(levels.values())) == 2:
                return f"the {WIRE_NAMES[wire]} wire does not carry its level: {wire_name(link, wire)}"
    if damaged:
        return (
            "the handshake works and the bytes are wrong, again and again: a broken or noisy wire among D0..D7 of link "
            f"{link}, or a bad ground; `hil wiring` finds a broken one, `pytest -m link` counts the errors of each"
        )
    return _lost_step(pair, link)


def _lost_step(pair: Sequence[FaultReport], link: LinkSpec) -> str:
    """What follows from two reports when all wires carry their levels."""
    sender = next((r for r in pair if r.fault.role == Role.SENDER), None)
    receiver = next((r for r in pair if r.fault.role == Role.RECEIVER), None)
    if sender is None:
        return "both boards wait as receivers; run the wiring scan, then restart the job"
    if receiver is None:
        return "both boards wait as senders; nobody granted; run the wiring scan, then restart the job"
    if receiver.fault.phase == Phase.WAIT_QUIET:
        return _not_quiet(receiver, link)
    if (sender.fault.phase, receiver.fault.phase) == (Phase.WAIT_ACK_HIGH, Phase.WAIT_CLK_HIGH) and (
        receiver.fault.byte_index == sender.fault.byte_index + 1
    ):
        return (
            f"board {receiver.rank} has acknowledged byte {sender.fault.byte_index}, "
            f"board {sender.rank} has not seen it: look at {wire_name(link, ACK)}"
        )
    return (
        f"board {receiver.rank} and board {sender.rank} lost step: noise on CLK or ACK, a wire that does not carry its "
        f"level, or a board that was held up; `hil wiring` measures the wires of link {link}"
    )


def _held_up(away: FaultReport, link: LinkSpec) -> str:
    peer = link.target if away.rank == link.source else link.source
    waiter = f"the other bank of board {peer}" if peer == away.rank else f"board {peer}"
    place = f"{Bank(away.fault.bank).name.lower()} bank, as {Role(away.fault.role).name.lower()}"
    return (
        f"{waiter} waited for board {away.rank}, which did nothing for {away.fault.waited_us / 1000:.1f} ms "
        f"in byte {away.fault.byte_index} ({place}) by its own clock: {HELD_UP_TEXT}"
    )


def _not_quiet(receiver: FaultReport, link: LinkSpec) -> str:
    bank = Bank(receiver.fault.bank)
    high = [wire for wire in range(10) if receiver.fault.gplev0 >> gpio(bank, wire) & 1]
    if not high:
        return f"board {receiver.rank} found a line that was not idle, and now it is: restart the job"
    names = ", ".join(WIRE_NAMES[wire] for wire in high)
    return f"{names} high where board {receiver.rank} needs idle lines: look at {wire_name(link, high[0])}"
