"""Train: whole training runs with the digest of every tap.

Contract: docs/arithmetic.md, sections 8 and 9. Owns the order of microbatches within a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from golden.backward import Backward, Piece, parameters, piece_key
from golden.backward_ops import mean_of
from golden.optimizer import Optimizer, Settings, State, clip_factor, gradient_norm
from golden.plan import RankPlan, shard_plan
from golden.taps import NO_LAYER, Census, Oddity, Op, TapDigest, TapKey
from golden.weights import Config, F32Array, Weights

_T = TypeVar("_T")
Sequences = Sequence[Sequence[int]]
"""The microbatches of one step; each T + 1 tokens, so T positions with the token after each as its target."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a training run.

    loss: the mean of losses, which are those of the microbatches.
    taps: of every microbatch in turn, in the execution order of a single board.
    parameter_taps: GRAD_ of every tensor before clipping, GRAD_NORM, PARAM_ of every tensor after the step.
    factor: on all gradients, by clipping. odd: tensors that are not finite or all zero, by CRC-32.
    """

    loss: float
    losses: list[float]
    gradient_norm: float
    taps: list[list[TapDigest]]
    parameter_taps: list[TapDigest]
    factor: float
    odd: Mapping[int, Oddity] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Training:
    """The steps of a run, the weights after it, and the optimiser's state, of which SGD uses none or the first."""

    steps: list[Step]
    weights: Weights
    state: State


def train(
    weights: Weights, batches: Sequence[Sequences], settings: Settings, clip: float = 0.0, *, record: bool = True
) -> Training:
    """Runs one step per batch.

    Args:
        weights: to begin with; not changed.
        batches: per step its microbatches, all of one length: 2 to seq_len + 1 tokens.
        clip: largest norm of all gradients; 0 for none.
        record: digest taps.
    Raises: ValueError when a microbatch cannot be used.
    """
    values = parameters(weights)
    optimizer = Optimizer(settings, values)
    steps = []
    for number, batch in enumerate(batches):
        check_batch(weights.config, batch, f"step {number}")
        steps.append(_step(weights, values, optimizer, batch, clip, record))
    return Training(steps, with_parameters(weights, values), optimizer.state())


def check_batch(config: Config, batch: Sequences, where: str) -> None:
    """Raises ValueError beginning with `where` unless the microbatches are of one usable length with known tokens."""
    lengths = {len(tokens) for tokens in batch}
    if len(lengths) != 1:
        raise ValueError(f"{where}: microbatches of {sorted(lengths)} tokens; give one or more, all of one length")
    length = lengths.pop()
    if not 2 <= length <= config.seq_len + 1:
        raise ValueError(f"{where}: a microbatch has {length} tokens; this model takes 2 to {config.seq_len + 1}")
    for token in (token for tokens in batch for token in tokens):
        if not 0 <= token < config.vocab_size:
            raise ValueError(f"{where}: token {token} is outside the vocabulary of {config.vocab_size}")


def accumulate(
    backward: Backward, batch: Sequences, measure: Callable[[F32Array], _T]
) -> tuple[list[F32Array], list[list[tuple[TapKey, _T]]]]:
    """Gradients of all microbatches into `backward`; the losses (T,) and the taps of each microbatch.

    measure: what is kept of a tap's tensor.
    The embedding's share comes last, microbatch by microbatch, so the order of a pipeline does not matter.
    """
    scale = np.float32(1.0) / np.float32(sum(len(tokens) - 1 for tokens in batch))
    losses, taps, entering = [], [], []
    for tokens in batch:
        x = backward.embed(tokens[:-1])
        kept = []
        for index in range(backward.config.n_layers):
            x, activations = backward.layer(index, x)
            kept.append(activations)
        loss, dx = backward.head(x, tokens[1:], scale)
        for index in reversed(range(backward.config.n_layers)):
            dx = backward.layer_backward(index, kept[index], dx)
        losses.append(loss)
        entering.append(dx)
        taps.append([(key, measure(x)) for key, x in backward.take_taps()])
    for tokens, dx in zip(batch, entering, strict=True):
        backward.embed_backward(tokens[:-1], dx)
    return losses, taps


def training_taps(step: Step, n_layers: int, world_size: int) -> list[list[TapDigest]]:
    """What each rank records in a step, in its order when microbatches follow one another; without hops."""
    plans = shard_plan(n_layers, world_size)
    everything = [tap for taps in (*step.taps, step.parameter_taps) for tap in taps]

    def holds(plan: RankPlan, key: TapKey) -> bool:
        if key.layer == NO_LAYER:
            return plan.has_head or key.op is Op.GRAD_NORM
        return plan.layer_start <= key.layer < plan.layer_end

    return [[tap for tap in everything if holds(plan, tap[0])] for plan in plans]


def with_parameters(weights: Weights, values: dict[Piece, F32Array]) -> Weights:
    """weights with every parameter replaced by a copy of values."""
    tensors: dict[str, F32Array] = {}
    for name in dict.fromkeys(name for name, _ in values):
        layers = [value for (other, layer), value in values.items() if other == name and layer != NO_LAYER]
        tensors[name] = np.stack(layers) if layers else values[name, NO_LAYER].copy()
    if weights.config.shared_classifier:
        tensors["wcls"] = tensors["tok_emb"]
    return Weights(weights.config, freq_cos=weights.freq_cos, freq_sin=weights.freq_sin, **tensors)


def _step(
    weights: Weights,
    values: dict[Piece, F32Array],
    optimizer: Optimizer,
    batch: Sequences,
    clip: float,
    record: bool,
) -> Step:
    backward, census = Backward(weights, values, record=record), Census()
    digest = census.digest
    losses, taps = accumulate(backward, batch, digest)
    norm = gradient_norm(backward.gradients.values())
    factor = clip_factor(norm, clip)
    parameter_taps: list[TapDigest] = []
    if record:
        parameter_taps += [(piece_key("GRAD", p), digest(g)) for p, g in backward.gradients.items()]
        parameter_taps.append((TapKey(0, NO_LAYER, Op.GRAD_NORM), digest(np.array([norm, factor]))))
    optimizer.step(backward.gradients, factor)
    if record:
        parameter_taps += [(piece_key("PARAM", p), digest(value)) for p, value in values.items()]
    each = np.array([mean_of(loss) for loss in losses], np.float32)
    return Step(float(mean_of(each)), each.tolist(), float(norm), taps, parameter_taps, float(factor), census.odd)
