"""`hil bench sim`: how fast the simulated ring is.

Figures are medians of several runs in one process; the machine is named beside them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from hil.bench.report import host_cpu, tell
from hil.commands.options import add_shared, on_rig
from hil.protocol.link_messages import Bank, LinkRun, Pattern
from hil.protocol.messages import Bench, BenchResult, Command, JobStarted
from hil.ring.ring import Ring
from hil.session import Session

RUNS = 5
DOT_LENGTH = 512
DOT_ROUNDS = 20_000
LINK_FRAMES = 16
LINK_FRAME_BYTES = 16_384
POSITIONS = 64


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil bench sim`."""
    add_shared(parser, "json")
    on_rig(parser, bench_sim)


def bench_sim(session: Session, options: argparse.Namespace) -> int:
    """Speed of the simulated ring, in wall time of this machine."""
    boot_times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        ring = session.open_ring()
        session.boot(ring)
        boot_times.append(time.perf_counter() - started)
        if len(boot_times) < RUNS:
            ring.desk.close()
    with ring.desk:
        medians = {
            "mflops": _median(lambda: _mflops(ring)),
            "ring_kb_s": _median(lambda: _ring_kb_s(ring, together=False)),
            "two_links_kb_s": _median(lambda: _ring_kb_s(ring, together=True)),
            "boot_s": statistics.median(boot_times),
            "tokens_s": _median(lambda: _tokens_s(session, ring)),
        }
    figures: dict[str, object] = {name: round(value, 3) for name, value in medians.items()}
    figures |= {"runs": RUNS, "boards": session.config.world_size, "cpu": host_cpu()}
    notes = {
        "mflops": "VFP multiply-adds of one board, two operations each, in millions per second",
        "ring_kb_s": "payload round the ring, one link after the other, frames with CRC, 1000 bytes per second",
        "two_links_kb_s": "the same with two links at a time",
        "boot_s": "open, boot and identify all boards",
        "tokens_s": "tiny model over the whole ring, all taps on",
    }
    tell(figures, options, notes)
    return 0


def _median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(RUNS))


def _mflops(ring: Ring) -> float:
    started = time.perf_counter()
    request = Bench(rounds=DOT_ROUNDS, length=DOT_LENGTH)
    result = ring.head.command(Command.BENCH, request, BenchResult, timeout_s=120.0)
    return 2 * result.multiply_adds / (time.perf_counter() - started) / 1e6


def _ring_kb_s(ring: Ring, *, together: bool) -> float:
    """Payload over every link once: one link after the other, as a frame goes round, or two at a time."""
    links = ring.desk.config.links
    groups = (links[0::2], links[1::2]) if together else tuple((link,) for link in links)
    started = time.perf_counter()
    for group in groups:
        jobs = []
        for link in group:
            ends = ((ring.boards[link.target], 0, 1 << Bank.UPSTREAM),
                    (ring.boards[link.source], 1 << Bank.DOWNSTREAM, 0))  # fmt: skip
            for board, send_banks, receive_banks in ends:
                request = LinkRun(
                    send_banks, receive_banks, Pattern.XORSHIFT, 0, LINK_FRAMES, LINK_FRAME_BYTES, 1, 60_000
                )
                jobs.append((board, board.command(Command.LINK_RUN, request, JobStarted).job))
        ring.wait_jobs(jobs, timeout_s=120)
    payload_bytes = len(links) * LINK_FRAMES * LINK_FRAME_BYTES
    return payload_bytes / (time.perf_counter() - started) / 1000


def _tokens_s(session: Session, ring: Ring) -> float:
    prompt = session.model.encode_prompt("", POSITIONS)
    result = ring.generate(prompt, POSITIONS)
    return len(result.tokens) / result.wall_s
