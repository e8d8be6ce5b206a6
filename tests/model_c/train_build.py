"""Builds and runs the training of firmware/model on the host; says where a run leaves the golden."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from model_build import FLAGS, Tap, compile_with, copy_sources, host_compiler, parse_tap

from golden.optimizer import AdamW, Settings
from golden.train import Training, train, training_taps
from golden.weights import Weights


@dataclass(frozen=True)
class TrainRun:
    """What a ring did: bits of each microbatch's loss, step by step; taps by rank; or the line of an error."""

    losses: list[int]
    taps: dict[int, list[Tap]]
    error: str = ""
    service_calls: int = 0


@dataclass(frozen=True)
class Task:
    """A training: tokens (steps, microbatches, positions + 1), settings of the optimiser, clipping."""

    tokens: np.ndarray
    settings: Settings
    clip: float = 0.0

    def golden(self, weights: Weights) -> Training:
        """The golden's run."""
        return train(weights, self.tokens.tolist(), self.settings, self.clip)

    def setting_words(self) -> tuple[int, list[float]]:
        """The optimiser's number, and the floats of struct train_settings as float32."""
        s = self.settings
        if isinstance(s, AdamW):
            values = [s.learning_rate, 0.0, s.beta1, s.beta2, s.epsilon, s.weight_decay, self.clip]
        else:
            values = [s.learning_rate, s.momentum, 0.0, 0.0, 0.0, s.weight_decay, self.clip]
        return int(isinstance(s, AdamW)), [float(np.float32(value)) for value in values]


def random_task(
    weights: Weights, settings: Settings, *, steps: int, microbatches: int, positions: int, clip: float = 0.0
) -> Task:
    """Random tokens, seed 3."""
    shape = (steps, microbatches, positions + 1)
    tokens = np.random.default_rng(3).integers(0, weights.config.vocab_size, shape)
    return Task(tokens, settings, clip)


def build_train(
    folder: Path,
    flags: Sequence[str] = ("-O2",),
    *,
    edits: Mapping[str, tuple[str, str]] | None = None,
    compiler: Sequence[str] | None = None,
) -> Path:
    """The host program of main_train_host.c."""
    sources = [
        *copy_sources(folder, edits),
        folder / "train_ring.c",
        folder / "host_io.c",
        folder / "main_train_host.c",
    ]
    program = folder / "train"
    command = [*(compiler or host_compiler()), *FLAGS, *flags, f"-I{folder}", *map(str, sources), "-o", str(program)]
    compile_with(command, folder)
    return program


def run_train(
    program: Path,
    shards: Sequence[Path],
    task: Task,
    *,
    pipelined: bool = False,
    slots: int | None = None,
    tap_capacity: int = 100000,
    arena_bytes: int = 16 << 20,
    train_arena_bytes: int = 16 << 20,
) -> TrainRun:
    """Runs the host program over shards, one per rank; the files stay as they are."""
    steps, microbatches, length = task.tokens.shape
    tokens = shards[0].parent / "tokens.bin"
    task.tokens.astype("<u2").tofile(tokens)
    optimizer, values = task.setting_words()
    slots = slots if slots is not None else (microbatches if pipelined else 1)
    sizes = [tap_capacity, arena_bytes, train_arena_bytes, steps, microbatches, length - 1, int(pipelined), slots]
    arguments = [*sizes, optimizer, *(value.hex() for value in values), tokens, *shards]
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr}"
    losses: list[int] = []
    taps: dict[int, list[Tap]] = {}
    error, service_calls = "", 0
    for line in done.stdout.splitlines():
        words = line.split()
        if words[0] == "loss":
            losses.append(int(words[1], 16))
        elif words[0] == "tap":
            taps.setdefault(int(words[1]), []).append(parse_tap(words[2:]))
        elif words[0] == "service":
            service_calls = int(words[1])
        elif words[0] == "dropped":
            assert words[2] == "0", line
        else:
            error = line
    return TrainRun(losses, taps, error, service_calls)


def train_difference(run: TrainRun, training: Training, n_layers: int, world_size: int, *, ordered: bool = True) -> str:
    """Rank and key of the first tap in which a run differs from the golden, else a loss; empty when none does.

    ordered=False: the taps may come in another order, as in a pipeline.
    """
    if run.error:
        return run.error
    steps = [training_taps(step, n_layers, world_size) for step in training.steps]
    for rank in range(world_size):
        taps = [tap for step in steps for tap in step[rank]]
        found = [(tap.key, tap.crc32) for tap in run.taps.get(rank, [])]
        if ordered:
            for mine, theirs in zip(taps, found, strict=False):
                if mine != theirs:
                    return f"rank {rank}: {mine[0]}, found {theirs[0]}"
        elif missing := Counter(taps) - Counter(found):
            return f"rank {rank}: {min(missing)[0]} and {len(missing) - 1} more"
        if len(found) != len(taps):
            return f"rank {rank}: {len(found)} taps, expected {len(taps)}"
    expected = [int(np.float32(loss).view(np.uint32)) for step in training.steps for loss in step.losses]
    return "" if run.losses == expected else f"losses {run.losses}, expected {expected}"
