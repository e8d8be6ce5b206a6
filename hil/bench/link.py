"""`hil bench link`: what a byte costs on a link, in time, register accesses and instructions.

The protocol's floor, when nobody waits, is 3 writes and 2 reads for the sender, 2 writes and 3 reads for the receiver.
Counts are per payload byte of whole frames: header, checksums, answer, the pattern and its check are all in them.
A long run less a short one, so that starting and asking are not. Instructions include those spent waiting for the peer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass, replace

from hil.bench.report import host_cpu
from hil.checks.link.runs import RunPlan, run_links
from hil.commands.options import add_shared, on_rig
from hil.protocol.link_messages import Pattern
from hil.rig.specs import LinkSpec
from hil.ring.ring import Ring
from hil.session import Session

RUNS = 5
FRAMES = (4, 12)
"""Of the short run and of the long one."""
FRAME_BYTES = 16_384
FLOOR = {"sender": {"writes": 3, "reads": 2}, "receiver": {"writes": 2, "reads": 3}}
COUNTED = {"writes": "gpio_writes", "reads": "gpio_reads", "other_mmio": "other_mmio", "instructions": "instructions"}


@dataclass(frozen=True, slots=True)
class LinkBench:
    """A long run less a short one. Payload in kB (1000 bytes) per second; counts by side, per payload byte."""

    wall_kb_s: float
    clock_kb_s: float
    sides: dict[str, dict[str, float]]


def measure(ring: Ring, link: LinkSpec, *, seed: int) -> LinkBench:
    """Measure over a link. On real boards there are no counts, and clock_kb_s is by the boards' clocks."""
    plan = RunPlan(Pattern.XORSHIFT, 1, FRAME_BYTES, seed, raw=False)
    (short_s, _, short), (long_s, clock_kb_s, long) = (
        _run(ring, link, replace(plan, frames=frames)) for frames in FRAMES
    )
    total = (FRAMES[1] - FRAMES[0]) * FRAME_BYTES
    sides = {
        side: {name: (value - short[side][name]) / total for name, value in counts.items()}
        for side, counts in long.items()
    }
    return LinkBench(total / (long_s - short_s) / 1000, clock_kb_s, sides)


def _run(ring: Ring, link: LinkSpec, plan: RunPlan) -> tuple[float, float, dict[str, dict[str, int]]]:
    """Wall seconds, kB/s by the boards' clocks, counts by side."""
    ends = {"sender": link.source, "receiver": link.target}
    before = {side: _counts(ring, rank) for side, rank in ends.items()}
    started = time.perf_counter()
    (result,) = run_links(ring, [link], plan)
    wall_s = time.perf_counter() - started
    sides = {
        side: {name: value - before[side][name] for name, value in _counts(ring, rank).items()}
        for side, rank in ends.items()
    }
    return wall_s, result.throughput_kb_s, sides


def _counts(ring: Ring, rank: int) -> dict[str, int]:
    if ring.desk.simulation is None:
        return {}
    counters = ring.desk.simulation.counters(rank)
    return {name: getattr(counters, attribute) for name, attribute in COUNTED.items()}


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil bench link`."""
    add_shared(parser, "json")
    on_rig(parser, bench_link)


def bench_link(session: Session, options: argparse.Namespace) -> int:
    """Measure the first link of the rig; print a table, or JSON on the last line."""
    ring = session.open_ring()
    with ring.desk:
        session.boot(ring)
        link = ring.desk.config.links[0]
        runs = [measure(ring, link, seed=session.settings.seed) for _ in range(RUNS)]
    wall_kb_s = statistics.median(run.wall_kb_s for run in runs)
    clock_kb_s = statistics.median(run.clock_kb_s for run in runs)
    clock = "virtual" if session.config.sim is not None else "on the boards"
    print(f"link {link}, frames of {FRAME_BYTES} bytes, median of {RUNS} runs")
    print(f"  payload    {wall_kb_s:8.1f} kB/s of wall time, {clock_kb_s:.1f} kB/s {clock}, answers included")
    sides = runs[-1].sides if session.config.sim is not None else {}
    for side, counts in sides.items():
        floor = FLOOR[side]
        print(
            f"  {side:9}  {counts['writes']:6.2f} writes (floor {floor['writes']}), {counts['reads']:.2f} reads "
            f"(floor {floor['reads']}), {counts['other_mmio']:.2f} others, {counts['instructions']:.1f} instructions "
            "per byte"
        )
    figures = {
        "wall_kb_s": round(wall_kb_s, 1),
        "clock_kb_s": round(clock_kb_s, 1),
        "per_byte": {side: {name: round(value, 3) for name, value in counts.items()} for side, counts in sides.items()},
        "floor": FLOOR,
        "runs": RUNS,
        "cpu": host_cpu(),
    }
    if options.json:
        print(json.dumps(figures))
    return 0
