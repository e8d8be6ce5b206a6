"""`hil bench faults`: how many wiring faults the scan detects and names, over all single faults and many double ones.

Faults are set on running boards, so every process boots once. What the words mean: hil/bench/coverage.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hil.bench.coverage import JudgedScan, double_faults, judge
from hil.bench.report import host_cpu, share, tell
from hil.commands.options import add_shared, at_least_one, count, on_rig
from hil.rig.faults import parse_fault, single_faults
from hil.rig.specs import RigConfig, SimSpec
from hil.session import Session
from hil.settings import Settings

CLEAN_SCANS_PER_BOOT = 20
FAULTS_PER_BOOT = 250
"""So that the logs of the boards, which are thrown away, stay small."""
DRIFT_PPM, SKEW_MS = 100.0, 50.0
SHOWN = 12
"""Faults that were not named, printed at most."""


@dataclass(frozen=True, slots=True)
class _Share:
    """The part of one process: fault texts to set one after the other, and seeds of clean rings."""

    settings: Settings
    name: str
    faults: tuple[tuple[str, ...], ...]
    clean: tuple[tuple[int, int], ...]


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil bench faults`."""
    for name, number, what in (("singles", None, "single faults"), ("doubles", 1000, "double faults"),
                               ("clean", 200, "scans of a ring without faults")):  # fmt: skip
        text = f"{what} (default: {'all' if number is None else number})"
        parser.add_argument(f"--{name}", type=count, default=number, metavar="N", help=text)
    parser.add_argument("--jobs", type=at_least_one, default=2, metavar="N", help="processes (default: %(default)s)")
    add_shared(parser, "json")
    on_rig(parser, bench_faults)


def bench_faults(session: Session, options: argparse.Namespace) -> int:
    """Run it; 1 if a fault went undetected, a clean ring was called faulty, or outputs met."""
    started = time.perf_counter()
    session.image("kernel"), session.image("ring")
    work = _shares(session, options)
    if options.jobs == 1:
        results = [_work(one) for one in work]
    else:
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            results = pool.map(_work, work)
    judged = [one for faults, _ in results for one in faults]
    clean = [one for _, scans in results for one in scans]
    figures = _figures(judged, clean)
    figures |= {"seed": session.settings.seed, "wall_s": round(time.perf_counter() - started, 1), "jobs": options.jobs}
    figures |= {"cpu_s": round(_cpu_s(), 1), "cpu": host_cpu()}
    _show_troubles(judged, clean)
    tell(figures, options)
    good = all(one.detected for one in judged) and not figures["false_alarms"] and not figures["contentions"]
    return 0 if good else 1


def _shares(session: Session, options: argparse.Namespace) -> list[_Share]:
    """Faults dealt out in turn, so that every process gets some of each kind."""
    config, seed = session.config, session.settings.seed
    singles = single_faults(config)
    if options.singles is not None and options.singles < len(singles):
        singles = random.Random(seed).sample(singles, options.singles)
    sets: list[tuple[str, ...]] = [(str(fault),) for fault in singles]
    sets += [(str(one), str(other)) for one, other in double_faults(config, options.doubles, seed)]
    starts = range(0, options.clean, CLEAN_SCANS_PER_BOOT)
    boots = [(seed + at, min(CLEAN_SCANS_PER_BOOT, options.clean - at)) for at in starts]
    jobs = range(options.jobs)
    return [
        _Share(session.settings, f"faults{job}", tuple(sets[job :: options.jobs]), tuple(boots[job :: options.jobs]))
        for job in jobs
    ]


def _work(part: _Share) -> tuple[list[JudgedScan], list[JudgedScan]]:
    """One process: all its faults on one booted ring, its clean scans on rings with drift of their own."""
    config = replace(Session(part.settings).config, name=part.name)
    judged: list[JudgedScan] = []
    for first in range(0, len(part.faults), FAULTS_PER_BOOT):
        judged += _judge_all(part.settings, config, part.faults[first : first + FAULTS_PER_BOOT])
    clean: list[JudgedScan] = []
    for seed, scans in part.clean:
        rng = random.Random(seed)
        drift = tuple(rng.uniform(-DRIFT_PPM, DRIFT_PPM) for _ in config.boards)
        skew = tuple(rng.uniform(0, SKEW_MS) for _ in config.boards)
        drifting = replace(config, sim=SimSpec(drift_ppm=drift, start_delay_ms=skew))
        clean += _judge_all(replace(part.settings, seed=seed), drifting, ((),) * scans)
    return judged, clean


def _judge_all(settings: Settings, config: RigConfig, sets: Sequence[tuple[str, ...]]) -> list[JudgedScan]:
    """Boot a ring, then set and scan each set of faults; cards and logs are thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(replace(settings, logs=Path(folder) / "logs", work=Path(folder) / "work"))
        ring = session.open_ring(config, shards=False)
        with ring.desk:
            session.boot(ring)
            return [judge(ring, [parse_fault(text, config) for text in texts]) for texts in sets]


def _figures(judged: Sequence[JudgedScan], clean: Sequence[JudgedScan]) -> dict[str, object]:
    figures: dict[str, object] = {}
    for name, size in (("singles", 1), ("doubles", 2)):
        some = [one for one in judged if len(one.faults) == size]
        figures[name] = len(some)
        figures[f"{name}_detected"] = sum(one.detected for one in some)
        figures[f"{name}_named"] = sum(one.named for one in some)
        figures[f"{name}_named_exactly"] = sum(one.exact for one in some)
        figures[f"{name}_hidden"] = sum(one.hidden for one in some)
    everything = [*judged, *clean]
    figures["detected"] = share(sum(one.detected for one in judged), len(judged))
    figures["named"] = share(sum(one.named for one in judged), len(judged))
    figures["clean"] = len(clean)
    figures["false_alarms"] = sum(one.detected for one in clean)
    figures["contentions"] = sum(one.contentions for one in everything)
    figures["scan_virtual_s_max"] = round(max((one.virtual_s for one in everything), default=0.0), 3)
    return figures


def _cpu_s() -> float:
    """Processor time of this process and its children: what the sweep costs when the machine is shared."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _show_troubles(judged: Sequence[JudgedScan], clean: Sequence[JudgedScan]) -> None:
    troubles = [one for one in judged if not (one.named and one.detected) or one.contentions]
    troubles += [one for one in clean if one.detected or one.contentions]
    for one in troubles[:SHOWN]:
        was, found = ", ".join(one.faults) or "nothing", ", ".join(one.found) or "nothing"
        print(f"not as it should be: set {was}; found {found}; {one.contentions} contention(s)")
