"""Training check: are a step's taps, gradients and parameters on the boards the golden's, digest by digest?

4 bytes per tensor cross the UART while all is well. The first difference in execution order is named with op, layer,
rank, microbatch and position; whether the op or the link is to blame follows from the hop before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from golden.taps import canonical_bits
from golden.train import Step, Training, train
from golden.train_ring import RankTap, ring_taps
from golden.weights import Weights
from hil.checks.model.taps import TapComparison, TapDifference, aligned
from hil.errors import ModelError
from hil.protocol.messages import TapRecord
from hil.ring.ring import DIGEST_BYTES, Ring
from hil.ring.training import Plan, RingStep

Place = tuple[int, int, int]
"""Execution order over the ring: microbatch, stage, and place in the rank's own order."""


@dataclass(frozen=True, slots=True)
class StepTaps:
    """What each rank must record in one step."""

    by_rank: tuple[tuple[RankTap, ...], ...]


def windows(tokens: Sequence[int], plan: Plan, steps: int) -> list[list[list[int]]]:
    """Batches from one text: microbatch after microbatch goes on where the last ended, and begins anew at the end.

    Args:
        tokens: at least positions + 1.
    Returns: (steps, microbatches, positions + 1).
    Raises: ModelError if the text is too short.
    """
    if len(tokens) <= plan.positions:
        raise ModelError(
            f"a text of {len(tokens)} tokens is too short for {plan.positions} positions, which take one more; "
            "give a longer text or fewer positions"
        )
    starts = range(0, len(tokens) - plan.positions, plan.positions)
    rows = [list(tokens[start : start + plan.positions + 1]) for start in starts]
    microbatches = range(plan.microbatches)
    return [[rows[(step * plan.microbatches + i) % len(rows)] for i in microbatches] for step in range(steps)]


def golden_training(weights: Weights, batches: Sequence[Sequence[Sequence[int]]], plan: Plan) -> Training:
    """Do the same training in NumPy: one step per batch."""
    return train(weights, batches, plan.optimizer, plan.clip)


def expected_step(step: Step, ring: Ring, n_layers: int, plan: Plan) -> StepTaps:
    """What the ranks of this ring must record in a step of the golden."""
    by_rank = ring_taps(step, n_layers, ring.world_size, plan.slots, one_board=len(ring.boards) == 1)
    return StepTaps(tuple(tuple(taps) for taps in by_rank))


def same_losses(step: RingStep, golden: Step) -> bool:
    """Whether loss, losses of the microbatches and the norm of all gradients are equal bit for bit."""
    return (step.loss, *step.losses, step.norm) == (golden.loss, *golden.losses, golden.gradient_norm)


def same_parameters(weights: Weights, golden: Weights) -> bool:
    """Whether every tensor is the golden's bit for bit; the sign of zero is not part of the contract."""
    names = (field.name for field in fields(Weights) if field.name != "config")
    tensors = ((getattr(weights, name), getattr(golden, name)) for name in names)
    return weights.config == golden.config and all(
        np.array_equal(canonical_bits(mine), canonical_bits(theirs)) for mine, theirs in tensors
    )


def compare_step(ring: Ring, expected: StepTaps, *, since: StepTaps | None = None) -> TapComparison:
    """Read the digests of every rank's last step and compare them with the golden's.

    Args:
        since: taps that stand before the expected ones in the boards' logs and have been compared already.
    """
    line_bytes = 0
    cells: list[str] = []
    found: list[tuple[Place, TapDifference]] = []
    for rank, taps in enumerate(expected.by_rank):
        skip = len(since.by_rank[rank]) if since is not None else 0
        count = ring.tap_count(rank)
        digests = ring.tap_digests(rank, [tap.key for tap in taps], skip) if count == skip + len(taps) else None
        if digests is None:
            records = ring.tap_records(rank, skip)
            cells.append(aligned([(tap.key, tap.crc) for tap in taps], records))
            found.append(_missing(ring, rank, taps, records, skip))
            continue
        line_bytes += DIGEST_BYTES * len(digests)
        cells.append("".join("=" if digests[i] == tap.crc else "x" for i, tap in enumerate(taps)))
        if "x" in cells[-1]:
            wrong = [i for i, cell in enumerate(cells[-1]) if cell == "x"]
            first = min(wrong, key=lambda i: _place(taps, i))
            found.append((_place(taps, first), _difference(ring, rank, taps, first, skip)))
    first_of_all = min(found, key=lambda pair: pair[0])[1] if found else None
    equal = sum(row.count("=") for row in cells)
    return TapComparison(sum(map(len, expected.by_rank)), equal, line_bytes, first_of_all, tuple(cells))


def _place(taps: Sequence[RankTap], index: int) -> Place:
    tap = taps[index]
    return tap.microbatch, tap.stage, index


def _difference(ring: Ring, rank: int, taps: Sequence[RankTap], at: int, skip: int) -> TapDifference:
    return _made(ring, rank, taps[at], skip + at, ring.tap_records(rank, skip + at, 1)[0])


def _made(ring: Ring, rank: int, tap: RankTap, index: int, record: TapRecord) -> TapDifference:
    step = 1 if tap.key.op.name.startswith("D_") else -1
    source = (rank + step) % ring.world_size
    return TapDifference(rank, index, (tap.key, tap.crc), record, source, tap.microbatch)


def _missing(
    ring: Ring, rank: int, taps: Sequence[RankTap], records: Sequence[TapRecord], skip: int
) -> tuple[Place, TapDifference]:
    """The first place where the rank's taps are not the golden's, by key or by digest."""
    for at, (tap, record) in enumerate(zip(taps, records, strict=False)):
        if record.key != tap.key.pack() or record.crc32 != tap.crc:
            return _place(taps, at), _made(ring, rank, tap, skip + at, record)
    at = min(len(taps), len(records))
    if at < len(taps):
        missing = TapDifference(rank, skip + at, (taps[at].key, taps[at].crc), None, None, taps[at].microbatch)
        return _place(taps, at), missing
    last = taps[-1].microbatch if taps else 0
    return (last, 1 << 30, at), TapDifference(rank, skip + at, None, records[at], None, last)
