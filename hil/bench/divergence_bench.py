"""`hil bench divergence`: seeded faults in ops, memory and hops, and how many of them are detected and named."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hil.bench.divergence.faults import FaultKind, all_faults, some_faults
from hil.bench.divergence.judge import Court, Judged, truth_in_words
from hil.bench.divergence.mutations import MutationError, mutated_image
from hil.bench.report import host_cpu, share, tell
from hil.commands.options import add_shared, at_least_one, on_rig
from hil.session import Session

NAMED_MIN = 0.98
SHOWN = 20


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil bench divergence`."""
    parser.add_argument("--each", type=at_least_one, metavar="N", help="faults of each kind (default: all)")
    add_shared(parser, "json")
    on_rig(parser, bench_divergence)


def bench_divergence(session: Session, options: argparse.Namespace) -> int:
    """Run it; 1 if a fault went undetected or too few were named."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(session.settings, logs=Path(folder) / "logs", work=Path(folder) / "work")
        session = Session(settings)
        judged = judge_all(session, Path(folder), options.each, show=True)
    figures: dict[str, Any] = figures_of(judged)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures |= {"seed": settings.seed, "wall_s": round(time.perf_counter() - started, 1)}
    figures |= {"cpu_s": round(usage.ru_utime + usage.ru_stime, 1), "cpu": host_cpu()}
    for one in [one for one in judged if not (one.detected and one.named)][:SHOWN]:
        print(f"not named: {one.fault.kind.value}, {one.fault.name}: is {truth_in_words(one.truth)}; found {one.found}")
    tell(figures, options)
    return 0 if figures["detected"] == 1 and figures["named"] >= NAMED_MIN else 1


def judge_all(session: Session, folder: Path, each: int | None, *, show: bool = False) -> list[Judged]:
    """Judge the faults of the session's seed on a ring of its own.

    Raises: MutationError when the image differs from the golden with every mutation asleep.
    """
    image = mutated_image(folder)
    faults = all_faults(session.model.weights, session.settings.seed)
    if each is not None:
        faults = some_faults(faults, each)
    ring = session.open_ring()
    with ring.desk:
        court = Court(session, ring, image, session.settings.seed)
        for verification in court.clean():
            if not verification.good:
                raise MutationError(f"with every mutation asleep the image is wrong: {verification.describe()}")
        judged = []
        for number, fault in enumerate(faults):
            judged.append(court.judge(fault))
            if show and number % 20 == 19:
                print(f"{number + 1} of {len(faults)} faults, {sum(one.named for one in judged)} named", flush=True)
        return judged


def figures_of(judged: Sequence[Judged]) -> dict[str, Any]:
    """Counts and shares, in all and by kind. exact: of faults in memory, those whose very value was named."""
    figures: dict[str, Any] = {"faults": len(judged)}
    figures["detected"] = share(sum(one.detected for one in judged), len(judged))
    figures["named"] = share(sum(one.named for one in judged), len(judged))
    memory = [one for one in judged if one.fault.bit is not None]
    figures["values_named"] = share(sum(one.exact for one in memory), len(memory))
    for training, name in ((False, "generation"), (True, "training")):
        some = [one for one in judged if one.fault.training is training]
        figures[name] = {"faults": len(some), "named": sum(one.named for one in some)}
    for kind in FaultKind:
        some = [one for one in judged if one.fault.kind is kind]
        figures[kind.value] = {
            "faults": len(some),
            "detected": sum(one.detected for one in some),
            "named": sum(one.named for one in some),
        }
    return figures
