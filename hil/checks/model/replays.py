"""Replays: what the golden has for every tap of a run, and how a board does one op again on the golden's inputs.

Used by hil/checks/model/explain.py. Board's side: firmware/ring/replay_jobs.c. Owns: which inputs a rank's ops take.
Shape letters: T positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from golden.backward import Piece
from golden.optimizer import sum_of_squares
from golden.plan import RankPlan, shard_plan
from golden.taps import NO_LAYER, Op, TapKey, digest
from golden.tensors import (
    HOPS,
    StepTensors,
    generation_tensors,
    hop_source,
    piece_of,
    rank_pieces,
    step_tensors,
    stored,
)
from golden.train import Sequences
from golden.weights import F32Array, Weights
from hil.protocol.tensor_messages import Part, Source
from hil.protocol.training_messages import TrainResult
from hil.ring.tensors import BLOCK, RankTensors
from hil.ring.training import Plan, RingTraining

LAYER_OPS = tuple(op for op in Op if Op.ATT_NORM <= op <= Op.FFN_RES)
HEAD_OPS = (Op.FINAL_NORM, Op.LOGITS, Op.PROBS)
TRAIN_HEAD_OPS = (Op.FINAL_NORM, Op.LOGITS, Op.LOSS, Op.D_LOGITS, Op.D_FINAL_NORM, Op.D_HEAD)
BACKWARD_GROUPS = (
    (Op.D_SWIGLU, Op.D_GATE, Op.D_UP, Op.D_FFN_NORM, Op.D_ATT_RES, Op.D_ATT_MIX),
    (Op.D_ATT_PROB, Op.D_ATT_SCORE, Op.D_Q_ROPE),
    (Op.D_K_ROPE, Op.D_V, Op.D_Q, Op.D_K, Op.D_ATT_NORM, Op.D_LAYER),
)


class GoldenSource(Protocol):
    """The golden's side of a run that is looked into."""

    def tensor(self, rank: int, key: TapKey, microbatch: int | None) -> F32Array:
        """What the tap should have been, flat."""

    def parameter(self, piece: Piece) -> F32Array:
        """A parameter as it should stand on its board, or a table of cos or sin, flat."""

    def pieces(self, rank: int) -> list[Piece]:
        """The parameters of a rank in the board's order, then the tables."""

    def cache(self, rank: int, key: TapKey) -> list[tuple[Source, int, F32Array]]:
        """Rows of the cache before this position that the op reads: source, owned layer, (position, kv_dim)."""

    def replay(self, tensors: RankTensors, key: TapKey, microbatch: int | None) -> bool | None:
        """Do the op again on the golden's inputs: whether it is right now; None where that cannot be done."""


class GenerationSource:
    """A generation in the golden.

    Args:
        tokens: that enter at each position.
        temperature: of the sampler.
    """

    def __init__(self, weights: Weights, tokens: Sequence[int], temperature: float, world_size: int) -> None:
        self.weights, self.tokens, self.temperature = weights, tuple(tokens), temperature
        self.plans = shard_plan(weights.config.n_layers, world_size)

    @cached_property
    def taps(self) -> Mapping[TapKey, F32Array]:
        """Every tensor of the run."""
        return generation_tensors(self.weights, self.tokens, self.temperature)

    def tensor(self, rank: int, key: TapKey, microbatch: int | None = None) -> F32Array:
        """See GoldenSource."""
        if key.op in HOPS:
            key = hop_source(key.op, self.plans[rank], self.weights.config.n_layers, key.position)
        return self.taps[key].reshape(-1)

    def parameter(self, piece: Piece) -> F32Array:
        """See GoldenSource."""
        return stored(self.weights, piece).reshape(-1)

    def pieces(self, rank: int) -> list[Piece]:
        """See GoldenSource."""
        return rank_pieces(self.weights.config, self.plans[rank])

    def cache(self, rank: int, key: TapKey) -> list[tuple[Source, int, F32Array]]:
        """See GoldenSource."""
        reads = {Op.ATT_PROB: (Source.KEYS, Op.K_ROPE), Op.ATT_MIX: (Source.VALUES, Op.V)}
        if key.op not in reads or key.position == 0:
            return []
        source, op = reads[key.op]
        rows = [self.taps[TapKey(p, key.layer, op)].reshape(-1) for p in range(key.position)]
        return [(source, key.layer - self.plans[rank].layer_start, np.stack(rows))]

    def replay(self, tensors: RankTensors, key: TapKey, microbatch: int | None = None) -> bool | None:
        """See GoldenSource."""
        position, plan = key.position, self.plans[tensors.rank]
        what: dict[str, float] = {"position": position}
        if key.op is Op.EMBED:
            parts, keys = int(Part.EMBED), [key]
            what["token"] = self.tokens[position]
        elif key.op in HEAD_OPS:
            x = hop_source(Op.HOP_RECEIVE, _head(self.plans), self.weights.config.n_layers, position)
            tensors.write(Source.INPUT, 0, self.taps[x])
            parts = Part.HEAD | (Part.SAMPLE if key.op is Op.PROBS else 0)
            keys = [TapKey(position, NO_LAYER, op) for op in HEAD_OPS]
            what["temperature"] = self.temperature
        elif key.op in LAYER_OPS:
            x = hop_source(Op.HOP_RECEIVE, _layers(plan), self.weights.config.n_layers, position)
            tensors.write(Source.INPUT, 0, self.taps[x])
            parts = int(Part.LAYERS)
            keys = [TapKey(position, n, op) for n in range(plan.layer_start, plan.layer_end) for op in LAYER_OPS]
        else:
            return None
        tensors.replay(parts, **what)
        return _is_right(tensors, keys, key, digest(self.tensor(tensors.rank, key)))


class StepSource:
    """A step of training in the golden; what stands on the boards is looked into while the step is held.

    Args:
        batches: of the steps so far and of this one.
    """

    def __init__(
        self, weights: Weights, batches: Sequence[Sequences], plan: Plan, world_size: int, training: RingTraining
    ) -> None:
        self.weights, self.batches, self.plan = weights, tuple(batches), plan
        self.plans = shard_plan(weights.config.n_layers, world_size)
        self._training = training

    @cached_property
    def step(self) -> StepTensors:
        """Every tensor of the step."""
        return step_tensors(self.weights, self.batches, self.plan.optimizer, self.plan.clip)

    @cached_property
    def squares(self) -> list[float]:
        """The sum of squares of the gradients as each rank passes it on."""
        found, total = list[float](), np.float32(0)
        for rank in range(len(self.plans)):
            own = [self.step.gradients[piece] for piece in self.pieces(rank) if piece in self.step.gradients]
            total = sum_of_squares(own, total)
            found.append(float(total))
        return found

    def told(self) -> list[TrainResult]:
        """What every board says of the step."""
        return self._training.told()

    def tensor(self, rank: int, key: TapKey, microbatch: int | None) -> F32Array:
        """See GoldenSource."""
        if key.op is Op.GRAD_NORM:
            return self.step.norm_and_factor
        if key.op > Op.D_LAYER:
            kind, piece = piece_of(key)
            return (self.step.gradients if kind == "GRAD" else self.step.after)[piece].reshape(-1)
        if key.op in HOPS:
            key = hop_source(key.op, self.plans[rank], self.weights.config.n_layers, key.position)
        return self.step.microbatches[microbatch or 0][key].reshape(-1)

    def parameter(self, piece: Piece) -> F32Array:
        """See GoldenSource. Before the first step a board holds what is on its card."""
        first = len(self.batches) == 1 or piece not in self.step.before
        return stored(self.weights, piece).reshape(-1) if first else self.step.before[piece].reshape(-1)

    def pieces(self, rank: int) -> list[Piece]:
        """See GoldenSource."""
        return rank_pieces(self.weights.config, self.plans[rank])

    def cache(self, rank: int, key: TapKey) -> list[tuple[Source, int, F32Array]]:
        """See GoldenSource. Training keeps no cache."""
        return []

    def replay(self, tensors: RankTensors, key: TapKey, microbatch: int | None) -> bool | None:
        """See GoldenSource."""
        if key.op > Op.D_LAYER:
            return self._replay_whole(tensors, key)
        if key.op in HOPS:
            return None
        number = microbatch or 0
        keys = self._replay_pass(tensors, key.op, number)
        return _is_right(tensors, keys, key, digest(self.tensor(tensors.rank, key, number)))

    def _replay_pass(self, tensors: RankTensors, op: Op, number: int, begin: int = 0) -> list[TapKey]:
        """One microbatch through a rank up to an op; the taps that this records."""
        positions, plan = range(self.plan.positions), self.plans[tensors.rank]
        if op is Op.EMBED:
            self._training.send_tokens(self.batches[-1])
            tensors.replay(Part.TRAIN_EMBED | begin, microbatch=number)
            return [TapKey(p, NO_LAYER, Op.EMBED) for p in positions]
        if op in TRAIN_HEAD_OPS:
            self._training.send_tokens(self.batches[-1])
            tensors.write(Source.INPUT, 0, self._rows(Op.HOP_RECEIVE, _head(self.plans), number))
            tensors.replay(Part.TRAIN_HEAD | begin, microbatch=number)
            return [TapKey(p, NO_LAYER, op) for p in positions for op in TRAIN_HEAD_OPS]
        tensors.write(Source.INPUT, 0, self._rows(Op.HOP_RECEIVE, _layers(plan), number))
        layers = range(plan.layer_start, plan.layer_end)
        keys = [TapKey(p, n, op) for n in layers for p in positions for op in LAYER_OPS]
        parts = Part.TRAIN_FORWARD | begin
        if op > Op.LOSS:
            tensors.write(Source.INPUT, 1, self._rows(Op.D_HOP_RECEIVE, _layers(plan), number))
            parts |= Part.TRAIN_BACKWARD
            keys += [
                TapKey(p, n, op)
                for n in reversed(layers)
                for group in BACKWARD_GROUPS
                for p in positions
                for op in group
            ]
        tensors.replay(parts, microbatch=number)
        return keys

    def _rows(self, op: Op, plan: RankPlan, number: int) -> F32Array:
        """What a hop brings for all positions (T, dim)."""
        taps, layers = self.step.microbatches[number], self.weights.config.n_layers
        return np.stack([taps[hop_source(op, plan, layers, p)].reshape(-1) for p in range(self.plan.positions)])

    def _replay_whole(self, tensors: RankTensors, key: TapKey) -> bool | None:
        if key.op is Op.GRAD_NORM:
            return None
        kind, piece = piece_of(key)
        index = self.pieces(tensors.rank).index(piece)
        if kind == "PARAM":
            return self._replay_update(tensors, piece, index)
        microbatches = range(self.plan.microbatches)
        for number in microbatches:
            op = Op.D_LAYER if piece[1] != NO_LAYER else Op.D_HEAD
            self._replay_pass(tensors, op, number, Part.TRAIN_BEGIN if number == 0 else 0)
        for number in microbatches if piece[0] == "tok_emb" else ():
            tensors.write(Source.INPUT, 1, self._rows(Op.D_HOP_RECEIVE, _head(self.plans), number))
            tensors.replay(Part.TRAIN_EMBED_BACKWARD, microbatch=number)
        return not tensors.wrong_blocks(Source.GRADIENT, index, self.step.gradients[piece])

    def _replay_update(self, tensors: RankTensors, piece: Piece, index: int) -> bool:
        """The optimiser on the first wrong block."""
        wrong = tensors.wrong_blocks(Source.VALUE, index, self.step.after[piece])
        part = slice((wrong or [0])[0] * BLOCK, ((wrong or [0])[0] + 1) * BLOCK)
        first, second = self.step.state
        inputs = (self.step.before[piece], self.step.gradients[piece], first[piece], second[piece])
        for number, tensor in enumerate(inputs):
            tensors.write(Source.INPUT, number, tensor.reshape(-1)[part])
        expected = self.step.after[piece].reshape(-1)[part]
        tensors.replay(Part.UPDATE, index=index, count=len(expected))
        return digest(tensors.read(Source.INPUT, 0, 0, len(expected))) == digest(expected)


def _head(plans: Sequence[RankPlan]) -> RankPlan:
    """The head as if it stood alone."""
    last = plans[-1]
    return RankPlan(last.rank, last.layer_end, last.layer_end, has_embed=True, has_head=True)


def _layers(plan: RankPlan) -> RankPlan:
    """The layers of a rank as if it had nothing else."""
    return RankPlan(plan.rank, plan.layer_start, plan.layer_end, has_embed=False, has_head=False)


def _is_right(tensors: RankTensors, keys: Sequence[TapKey], key: TapKey, crc: int) -> bool:
    """Whether the tap of a replay, which recorded these, has the digest; a tap that is not there is not right."""
    at = keys.index(key)
    records = tensors.ring.tap_records(tensors.rank, at, 1)
    return bool(records) and (records[0].key, records[0].crc32) == (key.pack(), crc)
