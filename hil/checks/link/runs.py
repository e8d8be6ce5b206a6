"""Link suite: patterns over links, errors counted per wire, bit error rates with their confidence.

A run sends frames of a pattern over one link, or over all at once, and asks the receiving boards what they found.
Raw runs deliver damaged payloads to the checker instead of sending them again, so that wire errors are seen.
Source of the bound: exact upper limit for a Poisson count (Garwood 1936); with no error the rule of three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from statistics import NormalDist

from hil.board.board import Board
from hil.errors import LinkError
from hil.protocol.link_messages import (
    DATA_WIRES,
    NO_FLIP,
    TIMING_BUCKETS,
    Bank,
    LinkBank,
    LinkCounters,
    LinkResult,
    LinkRun,
    Pattern,
    RunFlag,
)
from hil.protocol.messages import Command, JobStarted
from hil.rig.pins import WIRE_NAMES, wire_name
from hil.rig.specs import LinkSpec
from hil.ring.ring import Ring

CONFIDENCE = 0.95
EXACT_ERRORS_MAX = 400
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Flip:
    """An error made on purpose: bit `wire` of payload byte `at`, counted over the whole run."""

    wire: int
    at: int


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What to send. length_bytes is per frame, at most WORK_BYTES."""

    pattern: Pattern
    frames: int
    length_bytes: int
    seed: int
    raw: bool = True
    timing: bool = False
    alternate: bool = False
    linger: bool = False
    flip: Flip | None = None

    @property
    def flags(self) -> int:
        """RunFlag bits."""
        chosen = (
            (self.raw, RunFlag.RAW),
            (self.timing, RunFlag.TIMING),
            (self.alternate, RunFlag.ALTERNATE),
            (self.linger, RunFlag.LINGER),
        )
        return sum(flag for wanted, flag in chosen if wanted)

    def request(self, *, sends: Sequence[Bank] = (), receives: Sequence[Bank] = ()) -> LinkRun:
        """The message for one board. The flip is made by whoever sends."""
        flip = self.flip if sends or self.alternate else None
        return LinkRun(
            sum(1 << bank for bank in sends),
            sum(1 << bank for bank in receives),
            self.pattern,
            self.flags,
            self.frames,
            self.length_bytes,
            self.seed & 0xFFFFFFFF,
            int(TIMEOUT_S * 1000),
            flip_bit=flip.wire if flip else NO_FLIP,
            flip_at=flip.at if flip else 0,
        )


@dataclass(frozen=True, slots=True)
class WireResult:
    """One data wire of a link, in one direction."""

    name: str
    bits: int
    errors: int

    @property
    def ber_limit(self) -> float:
        """The bit error rate is below this with CONFIDENCE. Never 0; 1 when nothing was sent."""
        return ber_limit(self.bits, self.errors)

    def describe(self) -> str:
        """`D3: 1,048,576 bits, 0 errors, BER < 2.9e-06 at 95 %`."""
        return (
            f"{self.name}: {self.bits:,} bits, {self.errors:,} errors, BER < {self.ber_limit:.2g} "
            f"at {CONFIDENCE * 100:.0f} %"
        )


@dataclass(frozen=True, slots=True)
class LinkRunResult:
    """What a run found on one link in one direction.

    sender_waits, receiver_waits: histograms by phase; bucket k counts waits of [2^(k-1), 2^k) `unit`s, bucket 0 of 0.
    throughput_kb_s: payload, in 1000 bytes per second of the receiving board's clock, answers included.
    """

    link: LinkSpec
    reverse: bool
    plan: RunPlan
    frames: int
    frames_wrong: int
    slips: int
    wires: tuple[WireResult, ...]
    throughput_kb_s: float
    resends: int
    bad_payloads: int
    bad_headers: int
    timeouts: int
    turnarounds: int
    unit: str
    sender_waits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    receiver_waits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Wrong bits on all wires."""
        return sum(wire.errors for wire in self.wires)

    @property
    def good(self) -> bool:
        """Every frame came, every bit right, nothing sent again, and there was something to check."""
        moved = self.frames == self.plan.frames and all(wire.bits > 0 for wire in self.wires)
        return moved and not (self.errors or self.frames_wrong or self.resends or self.bad_payloads)

    def describe(self) -> str:
        """The run in a line, then a line for each wire with errors, physically named."""
        direction = f"{self.link.target}->{self.link.source} (upstream)" if self.reverse else str(self.link)
        worst = max((wire.ber_limit for wire in self.wires), default=1.0)
        bits = sum(wire.bits for wire in self.wires)
        head = (
            f"link {direction}: {self.plan.pattern.name} {self.frames} x {self.plan.length_bytes} B, {bits:,} bits, "
            f"{self.errors:,} errors, BER < {worst:.2g} at {CONFIDENCE * 100:.0f} % on the worst wire, "
            f"{self.throughput_kb_s:.0f} kB/s, {self.resends} resends"
        )
        bad = [
            f"  {wire.errors:,} of {wire.bits:,} bits wrong on {wire_name(self.link, index)}"
            for index, wire in enumerate(self.wires)
            if wire.errors
        ]
        return "\n".join([head, *bad])


@lru_cache(maxsize=65536)
def ber_limit(bits: int, errors: int, confidence: float = CONFIDENCE) -> float:
    """Upper confidence limit of a bit error rate after `errors` in `bits`; with 0 errors about 3 / bits.

    Solves P(at most `errors` | expected count m) = 1 - confidence for m by bisection, and divides by bits. Beyond
    EXACT_ERRORS_MAX by Wilson and Hilferty's approximation (1931), which is right to 5 digits there.
    """
    if bits <= 0:
        return 1.0
    if errors > EXACT_ERRORS_MAX:
        count, sigma = errors + 1, NormalDist().inv_cdf(confidence)
        return min(1.0, count * (1 - 1 / (9 * count) + sigma / (3 * math.sqrt(count))) ** 3 / bits)
    low, high = 0.0, 3.0 * errors + 20.0
    for _ in range(200):
        middle = (low + high) / 2
        if _poisson_at_most(errors, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return min(1.0, high / bits)


def _poisson_at_most(count: int, mean: float) -> float:
    if mean <= 0:
        return 1.0
    log_mean = math.log(mean)
    return math.fsum(math.exp(k * log_mean - mean - math.lgamma(k + 1)) for k in range(count + 1))


@dataclass(frozen=True, slots=True)
class _Way:
    """A link in one direction: who sends on which bank, who receives on which."""

    link: LinkSpec
    reverse: bool

    @property
    def sender(self) -> tuple[int, Bank]:
        return (self.link.target, Bank.UPSTREAM) if self.reverse else (self.link.source, Bank.DOWNSTREAM)

    @property
    def receiver(self) -> tuple[int, Bank]:
        return (self.link.source, Bank.DOWNSTREAM) if self.reverse else (self.link.target, Bank.UPSTREAM)


def disjoint_groups(links: Sequence[LinkSpec]) -> list[list[LinkSpec]]:
    """The links in groups that share no board, so that the links of a group can run side by side."""
    groups: list[list[LinkSpec]] = []
    for link in links:
        for group in groups:
            if not {link.source, link.target} & {end for other in group for end in (other.source, other.target)}:
                group.append(link)
                break
        else:
            groups.append([link])
    return groups


def run_links(
    ring: Ring,
    links: Sequence[LinkSpec],
    plan: RunPlan,
    *,
    reverse: bool = False,
    adjust: Callable[[int, LinkRun], LinkRun] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> list[LinkRunResult]:
    """Run a plan over links at the same time; boards on two of them send and receive interleaved.

    Args:
        links: each at most once. With jumpers the one link has the same board at both ends.
        reverse: against the direction of inference.
        adjust: changes the message for a board (rank, message), such as to add a stall.
        timeout_s: on the rig's clock.
    Raises: LinkError when a board gave up, with the fault in words.
    """
    __tracebackhide__ = True
    ways = [_Way(link, reverse) for link in links]
    before = {end: ring.link_counters(*end) for way in ways for end in (way.sender, way.receiver)}
    jobs = start_run(ring, ways_requests(ways, plan, adjust))
    ring.wait_jobs(jobs, timeout_s=timeout_s)
    return [_result(ring, way, plan, before) for way in ways]


def run_each(ring: Ring, links: Sequence[LinkSpec], plan: RunPlan, *, reverse: bool = False) -> list[LinkRunResult]:
    """Run a plan over each link alone: no board has two links at work; links that share no board run side by side."""
    results = [r for group in disjoint_groups(links) for r in run_links(ring, group, plan, reverse=reverse)]
    return sorted(results, key=lambda result: links.index(result.link))


def ways_requests(
    ways: Sequence[_Way], plan: RunPlan, adjust: Callable[[int, LinkRun], LinkRun] | None = None
) -> dict[int, LinkRun]:
    """The message for each board that takes part."""
    sends: dict[int, list[Bank]] = {}
    receives: dict[int, list[Bank]] = {}
    for way in ways:
        sends.setdefault(way.sender[0], []).append(way.sender[1])
        receives.setdefault(way.receiver[0], []).append(way.receiver[1])
    requests = {
        rank: plan.request(sends=sends.get(rank, ()), receives=receives.get(rank, ()))
        for rank in sorted(sends.keys() | receives.keys())
    }
    return {rank: adjust(rank, request) for rank, request in requests.items()} if adjust else requests


def one_way(link: LinkSpec, *, reverse: bool) -> _Way:
    """A link in one direction."""
    return _Way(link, reverse)


def start_run(ring: Ring, requests: Mapping[int, LinkRun]) -> list[tuple[Board, int]]:
    """Start the boards' jobs, receivers first; jobs for Ring.wait_jobs."""
    order = sorted(requests, key=lambda rank: (requests[rank].receive_banks == 0, rank))
    jobs = []
    for rank in order:
        board = ring.boards[rank]
        jobs.append((board, board.command(Command.LINK_RUN, requests[rank], JobStarted).job))
    return jobs


def link_result(ring: Ring, rank: int, bank: Bank) -> LinkResult:
    """What a board found on a bank in its last run."""
    return ring.boards[rank].command(Command.LINK_RESULT, LinkBank(bank), LinkResult)


def _result(ring: Ring, way: _Way, plan: RunPlan, before: Mapping[tuple[int, Bank], LinkCounters]) -> LinkRunResult:
    sent, got = link_result(ring, *way.sender), link_result(ring, *way.receiver)
    if got.frames != plan.frames or sent.frames != plan.frames:
        raise LinkError(
            f"link {way.link}: {sent.frames} frames went out and {got.frames} came in of {plan.frames}; "
            "the boards ended the run early, see their logs"
        )
    sender = _difference(before[way.sender], ring.link_counters(*way.sender))
    receiver = _difference(before[way.receiver], ring.link_counters(*way.receiver))
    errors = tuple(a + b for a, b in zip(sent.wire_errors, got.wire_errors, strict=True))
    bits = sent.bytes_checked + got.bytes_checked  # both check when the direction alternates
    unit = "cycles" if got.cycles else "us"
    return LinkRunResult(
        link=way.link,
        reverse=way.reverse,
        plan=plan,
        frames=got.frames,
        frames_wrong=got.frames_wrong + sent.frames_wrong,
        slips=got.slips + sent.slips,
        wires=tuple(WireResult(WIRE_NAMES[wire], bits, errors[wire]) for wire in range(DATA_WIRES)),
        throughput_kb_s=1000 * got.payload_bytes / got.payload_us if got.payload_us else 0.0,
        resends=sender.resends + receiver.resends,
        bad_payloads=sender.bad_payloads + receiver.bad_payloads,
        bad_headers=sender.bad_headers + receiver.bad_headers,
        timeouts=sender.timeouts + receiver.timeouts,
        turnarounds=sender.turnarounds,
        unit=unit,
        sender_waits=_waits(sent, "ACK high", "ACK low"),
        receiver_waits=_waits(got, "CLK high", "CLK low"),
    )


def _waits(result: LinkResult, rising: str, falling: str) -> dict[str, tuple[int, ...]]:
    return {rising: result.timing[:TIMING_BUCKETS], falling: result.timing[TIMING_BUCKETS:]}


def _difference(before: LinkCounters, after: LinkCounters) -> LinkCounters:
    names = [entry.name for entry in fields(before)]
    return replace(after, **{name: getattr(after, name) - getattr(before, name) for name in names})


def histogram_text(waits: Mapping[str, Sequence[int]], unit: str) -> str:
    """Histograms as lines: `ACK high  [1, 2) us  4096`; empty buckets are left out."""
    lines = []
    for phase, counts in waits.items():
        for bucket, count in enumerate(counts):
            if count:
                span = f"0 {unit}" if bucket == 0 else f"[{1 << (bucket - 1)}, {1 << bucket}) {unit}"
                lines.append(f"  {phase:9} {span:20} {count:>10,}")
    return "\n".join(lines)
