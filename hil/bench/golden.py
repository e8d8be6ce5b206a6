"""`hil bench golden`: is the exact golden slower than the boards it judges? NumPy's time against the simulator's.

The same work is done by both and its digests are compared, so that neither leaves anything out: a generation and a step
of training of the tiny model, and one layer of the 110M shape, forward and a whole step of 8 positions. Processor time
of this process, because other programs may run beside it; the simulator and NumPy both use one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from golden.generate import GenerationRequest
from golden.optimizer import AdamW, Sgd
from golden.weights import Config
from hil.bench.report import host_cpu
from hil.checks.model.taps import compare_taps, golden_run
from hil.checks.model.training import expected_step, golden_training, windows
from hil.commands.options import add_shared, on_rig
from hil.errors import BoardError
from hil.model.synth import SHAPES, synthesize, synthesize_tokenizer
from hil.ring.ring import Ring
from hil.ring.training import Plan, RingTraining
from hil.session import Session

RUNS = 3
POSITIONS = 64
LAYER_POSITIONS = 8
VOCABULARY = 259
"""Of the model of one layer: the smallest that a tokenizer allows, so that the layer is what takes time."""


@dataclass(frozen=True, slots=True)
class Duel:
    """Medians, in seconds of processor time, and of the boards' own clock."""

    golden_s: float
    board_s: float
    virtual_s: float

    @property
    def ratio(self) -> float:
        """Golden over simulator; above 1 the golden is the bottleneck."""
        return self.golden_s / self.board_s


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil bench golden`."""
    add_shared(parser, "json")
    on_rig(parser, bench_golden)


def bench_golden(session: Session, options: argparse.Namespace) -> int:
    """Measure and print; returns 1 if the golden is slower somewhere."""
    duels = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, tokenizer = _one_layer(Path(folder), session.settings.seed)
        settings = replace(session.settings, rig="sim", faults=())
        layer = Session(replace(settings, world_size=2, model=str(checkpoint), tokenizer=str(tokenizer)))
        tiny = Session(replace(settings, model="tiny", tokenizer=None))
        for name, one, positions, plan in (
            ("tiny", tiny, POSITIONS, Plan(AdamW(1e-3), 16)),
            ("layer_110m", layer, LAYER_POSITIONS, Plan(Sgd(1e-3), LAYER_POSITIONS)),
        ):
            ring = one.open_ring()
            with ring.desk:
                one.boot(ring)
                duels[f"{name}_forward"] = _forward(one, ring, positions)
                duels[f"{name}_step"] = _step(one, ring, plan)
    print(f"{'':20} {'golden':>9} {'simulator':>9} {'ratio':>6} {'virtual':>9}")
    for name, duel in duels.items():
        print(f"{name:20} {duel.golden_s:8.3f}s {duel.board_s:8.3f}s {duel.ratio:6.2f} {duel.virtual_s:8.3f}s")
    figures = {
        name: {"golden_s": round(d.golden_s, 4), "board_s": round(d.board_s, 4), "virtual_s": round(d.virtual_s, 4),
               "ratio": round(d.ratio, 3)}
        for name, d in duels.items()
    }  # fmt: skip
    if options.json:
        print(json.dumps({**figures, "runs": RUNS, "cpu": host_cpu()}))
    return 0 if all(duel.ratio <= 1 for duel in duels.values()) else 1


def _one_layer(folder: Path, seed: int) -> tuple[Path, Path]:
    """Checkpoint and tokenizer of a random model of one layer of the 110M shape."""
    full = SHAPES["110M"]
    config = Config(full.dim, full.hidden_dim, 1, full.n_heads, full.n_kv_heads, VOCABULARY, full.seq_len)
    checkpoint, tokenizer = folder / "layer.bin", folder / "tokenizer.bin"
    synthesize(config, checkpoint, seed)
    synthesize_tokenizer(config, tokenizer)
    return checkpoint, tokenizer


def _forward(session: Session, ring: Ring, positions: int) -> Duel:
    """A generation whose tokens are all given, so that it does not end early."""
    tokens = [1] + [3 + position % 256 for position in range(positions - 1)]
    weights = session.model.weights
    request = GenerationRequest(tokens, positions)
    golden_s = _median(lambda: golden_run(weights, request, ring.world_size))
    expected = golden_run(weights, request, ring.world_size).by_rank
    virtual_s: list[float] = []
    board_s = _median(lambda: virtual_s.append(ring.run_generation(request).rig_s))
    if not compare_taps(ring, expected).good:
        raise BoardError("the boards' taps are not the golden's; this bench compares nothing then")
    return Duel(golden_s, board_s, statistics.median(virtual_s))


def _step(session: Session, ring: Ring, plan: Plan) -> Duel:
    weights, config = session.model.weights, session.model.weights.config
    batches = windows([1] + [3 + position % 250 for position in range(RUNS * plan.positions)], plan, RUNS)
    golden_s = _median(lambda: golden_training(weights, batches[:1], plan))
    steps = golden_training(weights, batches, plan).steps
    training = RingTraining(ring, config, plan)
    board_s, virtual_s = [], []
    for batch, step in zip(batches, steps, strict=True):
        started_s = time.process_time()
        virtual_s.append(training.step(batch).rig_s)
        board_s.append(time.process_time() - started_s)
        if not compare_taps(ring, expected_step(step, ring, config.n_layers, plan)).good:
            raise BoardError("the boards' taps are not the golden's; this bench compares nothing then")
    return Duel(golden_s, statistics.median(board_s), statistics.median(virtual_s))


def _median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        started_s = time.process_time()
        work()
        times.append(time.process_time() - started_s)
    return statistics.median(times)
