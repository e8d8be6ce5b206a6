"""Stalls: one board does nothing at one edge of one byte's handshake. Do both give up, and does the link come back?

Short of the phase limit the data must arrive; beyond it both boards must give up with all pins inputs, and the
link must carry frames again without a reboot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hil.checks.link.runs import RunPlan, one_way, run_links, start_run, ways_requests
from hil.protocol.link_frames import CRC_BYTES, HEADER_BYTES
from hil.protocol.link_messages import PHASE_LIMIT_US, RING_PINS, Edge, LinkRun, Pattern, PinLevels
from hil.protocol.messages import Command, Empty, JobResult
from hil.rig.specs import LinkSpec
from hil.ring.link_faults import FaultReport, explain
from hil.ring.ring import Ring

SHORT_STALL_US = PHASE_LIMIT_US // 2
LONG_STALL_US = 5 * PHASE_LIMIT_US // 2
PAYLOAD_BYTES = 64
SENDER_EDGES = (Edge.CLK_RAISE, Edge.CLK_LOWER)
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Stall:
    """Where: the edge says which side. byte counts from the frame's first, header included; times: how often."""

    edge: Edge
    byte: int
    stall_us: int
    times: int = 1
    attempts: int = 1

    @property
    def by_sender(self) -> bool:
        """Whether the sender stalls, or the receiver."""
        return self.edge in SENDER_EDGES


@dataclass(frozen=True, slots=True)
class StallResult:
    """What a stall did.

    delivered: every frame came with the right content. outputs: pins of the ring that a board drives afterwards,
    by rank. sentence: the fault in words, empty without one. recovered: the link carried frames again, no reboot.
    """

    delivered: bool
    results: tuple[JobResult, ...]
    reports: tuple[FaultReport, ...]
    outputs: dict[int, int]
    sentence: str
    stalled_rank: int
    recovered: bool


def burst_bytes(payload_bytes: int = PAYLOAD_BYTES) -> int:
    """Bytes of a frame's burst."""
    return HEADER_BYTES + payload_bytes + CRC_BYTES


def places(payload_bytes: int = PAYLOAD_BYTES) -> tuple[int, int, int]:
    """First, middle and last byte of a frame's burst."""
    return 0, burst_bytes(payload_bytes) // 2, burst_bytes(payload_bytes) - 1


def stall_link(ring: Ring, link: LinkSpec, stall: Stall, *, seed: int, reverse: bool = False) -> StallResult:
    """Send two frames over a link, one end of which stalls; then, whatever came of it, two more that must arrive.

    Raises: BoardError when a board does not answer; LinkError when the link does not come back.
    """
    way = one_way(link, reverse=reverse)
    rank, bank = way.sender if stall.by_sender else way.receiver
    plan = RunPlan(Pattern.PRBS15, 2, PAYLOAD_BYTES, seed, raw=False)

    def adjust(board: int, request: LinkRun) -> LinkRun:
        changed = replace(request, attempts=stall.attempts, timeout_ms=1000)
        if board != rank:
            return changed
        return replace(
            changed,
            stall_bank=bank,
            stall_edge=stall.edge,
            stalls=stall.times,
            stall_byte=stall.byte,
            stall_us=stall.stall_us,
        )

    ring.fault_reports()
    jobs = start_run(ring, ways_requests([way], plan, adjust))
    states = ring.end_jobs(jobs, timeout_s=TIMEOUT_S)
    outputs = {board.rank: board.command(Command.PIN_READ, Empty(), PinLevels).outputs & RING_PINS for board, _ in jobs}
    reports = ring.fault_reports()
    logs = [str(board.log.path) for board in ring.boards]
    results = tuple(JobResult(state.result) for state in states)
    well = all(result is JobResult.DONE for result in results)
    if not well:
        ring.quiet()
    again = run_links(ring, [link], replace(plan, raw=True), reverse=reverse)
    return StallResult(
        delivered=well and all(state.progress == plan.frames and state.detail == 0 for state in states),
        results=results,
        reports=tuple(reports),
        outputs=outputs,
        sentence=explain(reports, [link], logs) if reports else "",
        stalled_rank=rank,
        recovered=all(result.good for result in again),
    )


def problems(stall: Stall, result: StallResult, ends: Sequence[int]) -> list[str]:
    """What is not as it must be; empty when all is well.

    Args:
        ends: ranks of the link's two ends, twice the same with jumpers.
    """
    found = []
    if not result.recovered:
        found.append("the link did not carry frames again")
    if any(result.outputs.values()):
        found.append(f"pins still driven: { {rank: hex(pins) for rank, pins in result.outputs.items()} }")
    if stall.stall_us < PHASE_LIMIT_US or stall.attempts > stall.times:
        if not result.delivered:
            found.append(f"the data did not arrive intact: {[r.name for r in result.results]}; {result.sentence}")
        return found
    if any(r is not JobResult.LINK_FAILED for r in result.results):
        found.append(f"not every board gave up: {[r.name for r in result.results]}")
    if sorted(report.rank for report in result.reports) != sorted(ends):
        found.append(f"reports came from boards {[report.rank for report in result.reports]}, not from both ends")
    told = f"waited for board {result.stalled_rank}, which did nothing for "
    if told not in result.sentence or "no wire is to blame" not in result.sentence:
        found.append(f"the sentence does not name board {result.stalled_rank} as held up: {result.sentence}")
    return found
