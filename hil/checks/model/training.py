"""Training: batches from a text, what the golden makes of them, and whether losses and parameters are the golden's.

Taps of a step, gradients and parameters among them, are compared by hil/checks/model/taps.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from golden.taps import canonical_bits
from golden.train import Step, Training, train
from golden.train_ring import ring_taps
from golden.weights import Weights
from hil.checks.model.taps import Expected
from hil.checks.model.values import same_bits
from hil.errors import ModelError
from hil.ring.ring import Ring
from hil.ring.training import Plan, RingStep


def windows(tokens: Sequence[int], plan: Plan, steps: int) -> list[list[list[int]]]:
    """Batches from one text: microbatch after microbatch goes on where the last ended, and begins anew at the end.

    Args:
        tokens: at least positions + 1.
    Returns: (steps, microbatches, positions + 1).
    Raises: ModelError if the text is too short, or there is no step.
    """
    if steps < 1:
        raise ModelError(f"a training of {steps} steps: give 1 or more")
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


def expected_step(step: Step, ring: Ring, n_layers: int, plan: Plan) -> Expected:
    """What the ranks of this ring must record in a step of the golden."""
    return ring_taps(step, n_layers, ring.world_size, plan.slots, one_board=len(ring.boards) == 1)


def same_losses(step: RingStep, golden: Step) -> bool:
    """Whether loss, losses of the microbatches and the norm of all gradients are equal bit for bit."""
    mine, theirs = (step.loss, *step.losses, step.norm), (golden.loss, *golden.losses, golden.gradient_norm)
    return len(mine) == len(theirs) and all(map(same_bits, mine, theirs))


def same_parameters(weights: Weights, golden: Weights) -> bool:
    """Whether every tensor is the golden's bit for bit; the sign of zero is not part of the contract."""
    names = (field.name for field in fields(Weights) if field.name != "config")
    tensors = ((getattr(weights, name), getattr(golden, name)) for name in names)
    return weights.config == golden.config and all(
        np.array_equal(canonical_bits(mine), canonical_bits(theirs)) for mine, theirs in tensors
    )
