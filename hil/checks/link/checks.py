"""Checks of links: patterns, lengths, turnarounds, stalls, and soaks to a bit error rate.

Through loopback jumpers they are those of a ring: the one link has the same board at both ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hil.checks.boards import health
from hil.checks.check import Left, LinkFigures, Result, Setup, Sign, WireFigures, check
from hil.checks.link.runs import Flip, LinkRunResult, RunPlan, ber_limit, histogram_text, run_each, run_links
from hil.checks.link.stalls import SHORT_STALL_US, Stall, problems, stall_link
from hil.protocol.link_messages import Bank, Edge, Pattern
from hil.rig.needs import Need
from hil.rig.pins import WIRE_NAMES, wire_name
from hil.rig.specs import LinkSpec
from hil.ring.ring import Ring

PATTERN_BYTES = {Pattern.DE_BRUIJN: 65536, Pattern.PRBS15: 32768, Pattern.PRBS31: 16384}
"""Length of a test's frame; 4096 for the others. B(256, 2) is complete after 64 KiB, PRBS15 after 32767 bits."""
TURNAROUNDS = 1000
FLIP = Flip(wire=5, at=777)
SOAK_FRAME_BYTES = 16384
SOAK_LIMIT = 4
"""A soak gives up when it has sent so many times the bits that a link without an error needs."""
SOAK_TIMEOUT_S = 600.0
TOGETHER_FRAMES, TOGETHER_BYTES = 4, 4096
TIMING_BYTES = 1024
PERCENTILES = (0.5, 0.9, 0.99)


def _found(results: Sequence[LinkRunResult]) -> Result:
    """Every run must be good."""
    bad = [result.describe() for result in results if not result.good]
    return Result("\n".join(bad), Sign.LINK, "\n".join(result.describe() for result in results), report=results)


def _each(setup: Setup, plan: RunPlan, *, reverse: bool) -> list[LinkRunResult]:
    return run_each(setup.ring, setup.ring.desk.config.links, plan, reverse=reverse)


# --- one thing at a time -------------------------------------------------------------------------


@check("frames", "link", Need.RING)
def frames(setup: Setup, seed: int, *, length_bytes: int = 4096, reverse: bool = False) -> Result:
    """Frames over every link come with the right content, and no byte more crosses."""
    ring, count, wrong = setup.ring, 4, []
    for link in ring.desk.config.links:
        before = ring.link_counters(link.source, Bank.DOWNSTREAM)
        sent, received = ring.link_frames(link, frames=count, length_bytes=length_bytes, seed=seed, reverse=reverse)
        after = ring.link_counters(link.source, Bank.DOWNSTREAM)
        moved = after.bytes_received - before.bytes_received if reverse else after.bytes_sent - before.bytes_sent
        if (sent.progress, received.progress, received.detail, moved) != (count, count, 0, count * length_bytes):
            wrong.append(
                f"link {link}: {sent.progress} of {count} frames went out, {received.progress} came, "
                f"{received.detail} of them with wrong content, {moved} bytes in all"
            )
    return Result("\n".join(wrong), Sign.LINK)


@check("pattern", "link", Need.WIRED_RANKS)
def pattern(setup: Setup, seed: int, *, pattern: Pattern = Pattern.PRBS31, reverse: bool = False) -> Result:
    """A pattern over each link alone."""
    return _found(_each(setup, RunPlan(pattern, 2, PATTERN_BYTES.get(pattern, 4096), seed), reverse=reverse))


@check("length", "link", Need.WIRED_RANKS)
def length(setup: Setup, seed: int, *, length_bytes: int = 65536, reverse: bool = False) -> Result:
    """A frame of any length over each link alone."""
    return _found(_each(setup, RunPlan(Pattern.PRBS31, 1, length_bytes, seed), reverse=reverse))


@check("links together", "link", Need.RING)
def together(setup: Setup, seed: int, *, pattern: Pattern = Pattern.PRBS31, reverse: bool = False) -> Result:
    """A pattern over all links at the same time, every bit right."""
    plan = RunPlan(pattern, TOGETHER_FRAMES, TOGETHER_BYTES, seed)
    return _found(run_links(setup.ring, setup.ring.desk.config.links, plan, reverse=reverse))


@check("turnarounds", "link", Need.WIRED_RANKS)
def turnarounds(setup: Setup, seed: int, *, reverse: bool = False) -> Result:
    """A thousand turnarounds of each link: every frame and its answer turn it round twice."""
    results = _each(setup, RunPlan(Pattern.COUNT, TURNAROUNDS // 2 + 1, 1, seed), reverse=reverse)
    found = _found(results)
    few = [f"link {r.link}: {r.turnarounds} turnarounds, not {TURNAROUNDS}" for r in results
           if r.turnarounds < TURNAROUNDS]  # fmt: skip
    found.sentence = found.sentence or "\n".join(few)
    return found


@check("alternating", "link", Need.RING)
def alternating(setup: Setup, seed: int) -> Result:
    """Frames in alternating directions over each link."""
    return _found(_each(setup, RunPlan(Pattern.PRBS15, 64, 64, seed, alternate=True), reverse=False))


@check("one wrong bit", "link", Need.WIRED_RANKS)
def one_wrong_bit(setup: Setup, seed: int, *, pattern: Pattern = Pattern.PRBS15, reverse: bool = False) -> Result:
    """The negative twin of a pattern: the sender spoils one bit, and exactly that one is found on its wire."""
    wrong = []
    for result in _each(setup, RunPlan(pattern, 2, 512, seed, flip=FLIP), reverse=reverse):
        named = f"1 of 1,024 bits wrong on link {result.link} {WIRE_NAMES[FLIP.wire]}: board " in result.describe()
        errors = [wire.errors for wire in result.wires]
        alone = errors == [int(wire == FLIP.wire) for wire in range(8)] and result.frames_wrong == 1
        if result.good or not alone or not named:
            wrong.append(f"one bit of {WIRE_NAMES[FLIP.wire]} was spoiled, {errors} were found: {result.describe()}")
    return Result("\n".join(wrong), Sign.LINK)


@check("phases timed", "link", Need.WIRED_RANKS)
def phases_timed(setup: Setup, seed: int) -> Result:
    """Every phase of every byte's handshake is timed on both sides."""
    results = _each(setup, RunPlan(Pattern.PRBS15, 1, TIMING_BYTES, seed, timing=True), reverse=False)
    found = _found(results)
    waits = [(r, {**r.sender_waits, **r.receiver_waits}) for r in results]
    found.detail = "\n".join(f"phases {r.link}\n{histogram_text(counts, r.unit)}" for r, counts in waits)
    few = [f"link {r.link}: {sum(counts)} waits for {phase} were timed, not {TIMING_BYTES}"
           for r, phases in waits for phase, counts in phases.items() if sum(counts) < TIMING_BYTES]  # fmt: skip
    found.sentence = found.sentence or "\n".join(few)
    return found


@check("nothing to mend", "link", Need.RING)
def nothing_to_mend(setup: Setup, seed: int) -> Result:
    """Since boot no frame was damaged, sent again or timed out, on any link."""
    ring, wrong = setup.ring, []
    _each(setup, RunPlan(Pattern.PRBS31, 1, 4096, seed), reverse=False)
    for link in ring.desk.config.links:
        for rank, bank in ((link.source, Bank.DOWNSTREAM), (link.target, Bank.UPSTREAM)):
            counters = dataclasses.asdict(ring.link_counters(rank, bank))
            names = ("resends", "bad_headers", "bad_payloads", "timeouts")
            troubles = {name: counters[name] for name in names if counters[name]}
            wrong += [f"link {link}, board {rank}: {troubles}"] if troubles else []
    return Result("\n".join(wrong), Sign.LINK)


@check("stall", "link", Need.WIRED_RANKS)
def stall(
    setup: Setup,
    seed: int,
    *,
    stalled: Stall = Stall(Edge.CLK_RAISE, 0, SHORT_STALL_US),  # noqa: B008 (frozen)
    reverse: bool = False,
) -> Result:
    """A board stalls at an edge of the handshake: data arrives, or both ends give up and the link comes back."""
    link = setup.ring.desk.config.links[0]  # every link has the same two programs at its ends
    result = stall_link(setup.ring, link, stalled, seed=seed, reverse=reverse)
    found = problems(stalled, result, [link.source, link.target])
    return Result("\n".join(found), Sign.LINK, result.sentence, report=result)


# --- of a night ----------------------------------------------------------------------------------


@check("link", "link", Need.LINK, night=True, each_link=True)
def soak(setup: Setup, seed: int, *, link: LinkSpec) -> Result:
    """Random bits over a link in both directions until its worst wire is good enough, or has failed, or time is up.

    It has failed when what came suffices to miss the target after SOAK_LIMIT times the bits that do without an error.
    """
    target, results = setup.size.ber, list[LinkRunResult]()
    most = SOAK_LIMIT * 3 / target
    while True:
        for reverse in (False, True):
            number = (seed + len(results)) & 0xFFFFFFFF
            plan = RunPlan(Pattern.PRBS31, setup.size.soak_frames, SOAK_FRAME_BYTES, number, linger=True)
            results += run_links(setup.ring, [link], plan, reverse=reverse, timeout_s=SOAK_TIMEOUT_S)
        wires = _wires(results)
        worst = max(wires, key=lambda wire: wire.errors)
        limit = ber_limit(worst.bits, worst.errors)
        setup.progress(min(1.0, worst.bits * target / 3))
        hopeless = ber_limit(max(worst.bits, int(most)), worst.errors) >= target
        if limit < target or hopeless or setup.time_up():
            break
    timing = RunPlan(Pattern.PRBS15, 1, TIMING_BYTES, seed, timing=True, linger=True)
    timed = run_links(setup.ring, [link], timing)[0]
    figures = _link_figures(results, timed, _cycle_us(setup.ring, link))
    found = Result(figures={"ber_limit": limit, "kb_s": figures.throughput_kb_s}, wires=wires, links=[figures])
    if worst.errors and limit >= target:
        found.sign, found.detail = Sign.LINK, "\n".join(_errors_text(link, wire) for wire in wires if wire.errors)
        found.sentence = f"{_errors_text(link, worst)}: BER < {limit:.2g} at 95 %, wanted {target:.2g}"
    return found


def _errors_text(link: LinkSpec, wire: WireFigures) -> str:
    return f"{wire.errors:,} of {wire.bits:,} bits wrong on {wire_name(link, WIRE_NAMES.index(wire.wire))}"


@check("all links at once", "link", Need.LINKS, night=True, all_boards=False)
def all_links(setup: Setup, seed: int) -> Result:
    """Frames over all links of boards that live, at the same time, in both directions; damaged ones are sent again."""
    alive = {board.rank for board in setup.ring.boards if board.booted and board.dead is None}
    links = [link for link in setup.ring.desk.config.links if {link.source, link.target} <= alive]
    if not links:
        raise Left("no link has two boards that answer")
    found = Result()
    for reverse in (False, True):
        plan = RunPlan(Pattern.XORSHIFT, TOGETHER_FRAMES, TOGETHER_BYTES, seed, raw=False, linger=True)
        results = run_links(setup.ring, links, plan, reverse=reverse)
        found.links += [_link_figures([result], None, 1.0) for result in results]
        wrong = [result for result in results if result.errors or result.frames_wrong]
        if wrong and not found.sentence:
            found.sign, found.sentence = Sign.LINK, wrong[0].describe()
    found.figures["kb_s"] = sum(link.throughput_kb_s for link in found.links) / len(found.links)
    return found


def _wires(results: Sequence[LinkRunResult]) -> list[WireFigures]:
    """Bits and errors of each data wire over runs of one link."""
    wires = zip(*(result.wires for result in results), strict=True)
    return [
        WireFigures(str(results[0].link), wire[0].name, sum(w.bits for w in wire), sum(w.errors for w in wire))
        for wire in wires
    ]


def _link_figures(results: Sequence[LinkRunResult], timed: LinkRunResult | None, unit_us: float) -> LinkFigures:
    waits = {**timed.sender_waits, **timed.receiver_waits} if timed is not None else {}
    scale = unit_us if timed is not None and timed.unit == "cycles" else 1.0
    return LinkFigures(
        str(results[0].link),
        sum(result.frames * result.plan.length_bytes for result in results),
        sum(result.frames for result in results),
        sum(result.resends for result in results),
        sum(result.timeouts for result in results),
        sum(result.throughput_kb_s for result in results) / len(results),
        {phase: [percentile(counts, p) * scale for p in PERCENTILES] for phase, counts in waits.items() if sum(counts)},
    )


def _cycle_us(ring: Ring, link: LinkSpec) -> float:
    """Microseconds of one processor cycle of the link's source."""
    return 1e6 / max(1, health(ring, link.source).arm_clock_hz)


def percentile(counts: Sequence[int], share: float) -> float:
    """The wait below which a share of all waits lies, in units: within its bucket, waits count as spread evenly.

    Bucket k holds waits of [2^(k-1), 2^k), bucket 0 those of 0.
    """
    wanted, seen = share * sum(counts), 0
    for bucket, count in enumerate(counts):
        if count and seen + count >= wanted:
            low, high = (0.0, 0.0) if bucket == 0 else (2.0 ** (bucket - 1), 2.0**bucket)
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return 0.0
