"""Tensors: the values behind the digests of a run, for when a digest differs.

A generation or a step of training is done again and everything is kept. Owns: which rank's hop carries which tensor,
the state before and after a step. Digests: golden/generate.py, golden/train.py.
Shape letters: T positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from golden.backward import LAYER_TENSORS, Backward, Piece, parameters, piece_key
from golden.forward import Forward
from golden.optimizer import Optimizer, Settings, State, clip_factor, gradient_norm
from golden.plan import RankPlan
from golden.sampler import Sampler
from golden.taps import NO_LAYER, Op, TapKey, digest
from golden.train import Sequences, accumulate
from golden.weights import Config, F32Array, Weights

Tensors = Mapping[TapKey, F32Array]
HOPS = (Op.HOP_SEND, Op.HOP_RECEIVE, Op.D_HOP_SEND, Op.D_HOP_RECEIVE)
TABLES = ("freq_cos", "freq_sin")


@dataclass(frozen=True, slots=True)
class StepTensors:
    """One step of training with everything.

    microbatches: taps of each. gradients: before clipping. before, after: parameters. state, state_after: the
    optimiser's. stale: gradients as they would be had they not been set to zero before the step.
    """

    microbatches: tuple[Tensors, ...]
    gradients: Mapping[Piece, F32Array]
    stale: Mapping[Piece, F32Array]
    norm_and_factor: F32Array
    before: Mapping[Piece, F32Array]
    after: Mapping[Piece, F32Array]
    state: State
    state_after: State


def generation_tensors(weights: Weights, tokens: Sequence[int], temperature: float) -> dict[TapKey, F32Array]:
    """Every tap of positions 0 .. len(tokens) - 1.

    Args:
        tokens: that enter at each position.
        temperature: 0: without PROBS.
    """
    forward, sampler = Forward(weights), Sampler(temperature, 0.0, 1)
    found: dict[TapKey, F32Array] = {}
    for position, token in enumerate(tokens):
        logits = forward.step(token, position)
        found.update(forward.take_taps())
        sampler.next(logits)
        if sampler.probs is not None:
            found[TapKey(position, NO_LAYER, Op.PROBS)] = sampler.probs
    return found


def step_tensors(weights: Weights, batches: Sequence[Sequences], settings: Settings, clip: float) -> StepTensors:
    """The last of the steps that golden.train.train would do with these batches; the others are done without taps."""
    values = parameters(weights)
    optimizer = Optimizer(settings, values)
    gradients: Mapping[Piece, F32Array] = {piece: np.zeros_like(value) for piece, value in values.items()}
    for batch in batches[:-1]:
        backward = Backward(weights, values, record=False)
        accumulate(backward, batch, digest)
        gradients = backward.gradients
        optimizer.step(gradients, clip_factor(gradient_norm(gradients.values()), clip))
    before, state = _copy(values), optimizer.state()
    backward = Backward(weights, values)
    _, taps = accumulate(backward, batches[-1], lambda x: x)
    left = Backward(weights, values, record=False)
    left.gradients = _copy(gradients)
    accumulate(left, batches[-1], digest)
    norm = gradient_norm(backward.gradients.values())
    factor = clip_factor(norm, clip)
    optimizer.step(backward.gradients, factor)
    return StepTensors(
        microbatches=tuple(dict(one) for one in taps),
        gradients=backward.gradients,
        stale=left.gradients,
        norm_and_factor=np.array([norm, factor], np.float32),
        before=before,
        after=_copy(values),
        state=state,
        state_after=optimizer.state(),
    )


def hop_source(op: Op, plan: RankPlan, n_layers: int, position: int) -> TapKey:
    """The tap whose tensor crosses in a hop of a rank."""
    opens = plan.has_head
    if op in (Op.D_HOP_SEND, Op.D_HOP_RECEIVE):
        first, last = (n_layers, 0) if opens else (plan.layer_start, plan.layer_end)
        boundary = first if op is Op.D_HOP_SEND else last
        if boundary == n_layers:
            return TapKey(position, NO_LAYER, Op.D_HEAD)
        return TapKey(position, boundary, Op.D_LAYER)
    first, last = (n_layers, 0) if opens else (plan.layer_start, plan.layer_end)
    boundary = first if op is Op.HOP_RECEIVE else last
    if boundary == 0:
        return TapKey(position, NO_LAYER, Op.EMBED)
    return TapKey(position, boundary - 1, Op.FFN_RES)


def rank_pieces(config: Config, plan: RankPlan) -> list[Piece]:
    """The parameters of a rank in the board's order, then the tables of cos and sin."""
    found = [(name, layer) for layer in range(plan.layer_start, plan.layer_end) for name in LAYER_TENSORS]
    found += [("tok_emb", NO_LAYER)] if plan.has_embed else []
    if plan.has_head:
        found += [("rms_final", NO_LAYER)]
        found += [] if config.shared_classifier else [("wcls", NO_LAYER)]
    return found + [(name, NO_LAYER) for name in TABLES]


def stored(weights: Weights, piece: Piece) -> F32Array:
    """A parameter or table as it is on the card, of one layer where it has layers."""
    tensor: F32Array = getattr(weights, piece[0])
    return tensor if piece[1] == NO_LAYER else tensor[piece[1]]


def piece_of(key: TapKey) -> tuple[str, Piece]:
    """GRAD or PARAM, and the parameter, of a tap of a whole tensor. Raises ValueError for other taps."""
    prefix, _, name = key.op.name.partition("_")
    piece = (name.lower(), key.layer)
    if prefix not in ("GRAD", "PARAM") or key.op is Op.GRAD_NORM or piece_key(prefix, piece) != key:
        raise ValueError(f"{key} is the tap of no parameter")
    return prefix, piece


def _copy(tensors: Mapping[Piece, F32Array]) -> dict[Piece, F32Array]:
    return {piece: tensor.copy() for piece, tensor in tensors.items()}
