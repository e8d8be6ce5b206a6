"""Faults: what is set on purpose, and the truth about each: op, layer, rank and kind that must be named.

The truth about wrong lines is written here by hand: the op whose own line is wrong. That of a weight comes from the
golden run with the wrong weight: the first tap that this changes. Owns: Fault, the list by seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from golden.backward import Piece
from golden.plan import RankPlan, shard_plan
from golden.taps import NO_LAYER, Op
from golden.tensors import rank_pieces, stored
from golden.weights import Config, Weights
from hil.bench.divergence.mutations import NUMBERS, PLAN_WORDS

POSITIONS, TRAIN_POSITIONS, MICROBATCHES = 6, 4, 2
_ACTIVATION, _GRADIENT = 2, 4  # types of link frames


class FaultKind(StrEnum):
    """What kind of thing goes wrong."""

    WEIGHT = "bit of a weight"
    CONSTANT = "changed constant"
    SKIPPED = "skipped op"
    ORDER = "wrong layer order"
    HOP = "bit of a hop's payload"
    CACHE = "off by one in the cache"
    STALE = "stale gradient"
    CACHE_BIT = "bit of the cache"


@dataclass(frozen=True, slots=True)
class Truth:
    """What must be named."""

    op: Op
    layer: int
    rank: int
    kind: str


@dataclass(frozen=True, slots=True)
class WeightBit:
    """A bit of a weight in one board's memory, or of a cached key or value while the run goes on."""

    rank: int
    piece: Piece
    index: int
    bit: int


@dataclass(frozen=True, slots=True)
class CacheBit:
    """A bit of a cached key or value, flipped when the token of `at` has been chosen."""

    rank: int
    layer: int
    row: int
    index: int
    bit: int
    values: bool
    at: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. plan: words of fault_plan. truth: None where the golden has to tell it. steps: of a training."""

    kind: FaultKind
    name: str
    truth: Truth | None
    training: bool = False
    steps: int = 1
    temperature: float = 0.0
    plan: tuple[int, ...] = ()
    bit: WeightBit | CacheBit | None = None


def all_faults(weights: Weights, seed: int) -> list[Fault]:
    """Every fault of the bench, in a seeded order."""
    rng = random.Random(seed)
    config = weights.config
    plans = shard_plan(config.n_layers, 4)
    found = [
        *_constants(config, plans), *_skipped(config, plans), *_order(config, plans), *_cache(config, plans, rng),
        *_stale(config, plans, rng), *_hops(config, plans, rng), *_weights(weights, plans, rng),
        *_bits(config, plans, rng),
    ]  # fmt: skip
    rng.shuffle(found)
    return found


def some_faults(faults: list[Fault], each: int) -> list[Fault]:
    """The first ones of every kind."""
    return [fault for kind in FaultKind for fault in [one for one in faults if one.kind is kind][:each]]


def _line(kind: FaultKind, name: str, truth: Truth, *words: int, training: bool = False, steps: int = 1,
          temperature: float = 0.0) -> Fault:  # fmt: skip
    plan = (NUMBERS[name], *words)
    where = " ".join(map(str, words))
    return Fault(
        kind, f"{name} {where}".strip(), truth, training, steps, temperature, plan + (0,) * (PLAN_WORDS - len(plan))
    )


def _rank_of(plans: list[RankPlan], layer: int) -> int:
    return next(plan.rank for plan in plans if plan.layer_start <= layer < plan.layer_end)


def _by_layer(
    kind: FaultKind, name: str, op: Op, plans: list[RankPlan], layers: range, *, training: bool = False
) -> Iterator[Fault]:
    for layer in layers:
        yield _line(kind, name, Truth(op, layer, _rank_of(plans, layer), "op"), layer, training=training)


def _constants(config: Config, plans: list[RankPlan]) -> Iterator[Fault]:
    kind, layers, last = FaultKind.CONSTANT, range(config.n_layers), len(plans) - 1
    forward = {
        "length of ATT_NORM": Op.ATT_NORM, "length of FFN_NORM": Op.FFN_NORM, "scale of ATT_PROB": Op.ATT_PROB,
        "offset of Q": Op.Q, "offset of GATE": Op.GATE, "offset of FFN_OUT": Op.FFN_OUT,
    }  # fmt: skip
    for name, op in forward.items():
        yield from _by_layer(kind, name, op, plans, layers)
    for name, op in {"scale of D_ATT_SCORE": Op.D_ATT_SCORE, "length of D_GATE": Op.D_GATE}.items():
        yield from _by_layer(kind, name, op, plans, layers, training=True)
    first = {
        "epsilon of norm": Op.ATT_NORM,
        "C2 of exp": Op.SWIGLU,
        "ln2 of exp": Op.SWIGLU,
        "one of sigmoid": Op.SWIGLU,
    }
    for name, op in first.items():
        yield _line(kind, name, Truth(op, 0, 0, "op"))
        yield _line(kind, name, Truth(op, 0, 0, "op"), training=True)
    for training in (False, True):
        yield _line(kind, "offset of LOGITS", Truth(Op.LOGITS, NO_LAYER, last, "op"), training=training)
    yield _line(kind, "temperature of PROBS", Truth(Op.PROBS, NO_LAYER, last, "op"), temperature=0.8)
    head = {"scale of D_LOGITS": Op.D_LOGITS, "C3 of log": Op.LOSS, "length of D_HEAD": Op.D_HEAD}
    for name, op in head.items():
        yield _line(kind, name, Truth(op, NO_LAYER, last, "op"), training=True)
    for plan in plans:
        layer = NO_LAYER if plan.has_head else plan.layer_start
        first_of = Op.PARAM_TOK_EMB if plan.has_head else Op.PARAM_RMS_ATT
        matrix = Op.PARAM_TOK_EMB if plan.has_head else Op.PARAM_WQ
        yield _line(kind, "bias of AdamW", Truth(first_of, layer, plan.rank, "op"), plan.rank, training=True)
        yield _line(kind, "decay of weights", Truth(matrix, layer, plan.rank, "op"), plan.rank, training=True)
        norm = Truth(Op.GRAD_NORM, NO_LAYER, plan.rank, "op")
        yield _line(kind, "factor of clipping", norm, plan.rank, training=True)


def _skipped(config: Config, plans: list[RankPlan]) -> Iterator[Fault]:
    kind, layers = FaultKind.SKIPPED, range(config.n_layers)
    for name in ("Q_ROPE", "K_ROPE", "SWIGLU", "UP", "ATT_RES"):
        yield from _by_layer(kind, f"skip {name}", Op[name], plans, layers)
    yield from _by_layer(kind, "no ATT_MIX", Op.ATT_MIX, plans, layers)
    for name in ("D_Q", "D_K", "D_FFN_NORM", "GRAD_W2", "GRAD_WQ"):
        yield from _by_layer(kind, f"skip {name}", Op[name], plans, layers[1:4], training=True)
    for plan in plans:
        op, layer = (Op.PARAM_TOK_EMB, NO_LAYER) if plan.has_head else (Op.PARAM_RMS_ATT, plan.layer_start)
        yield _line(kind, "skip update", Truth(op, layer, plan.rank, "op"), plan.rank, training=True)


def _order(config: Config, plans: list[RankPlan]) -> Iterator[Fault]:
    kind, layers = FaultKind.ORDER, range(config.n_layers)
    several = [plan for plan in plans if plan.layer_end - plan.layer_start > 1]
    for plan in several:
        first = Truth(Op.ATT_NORM, plan.layer_start, plan.rank, "op")
        yield _line(kind, "swap layers", first, plan.rank)
        yield _line(kind, "reverse layers", first, plan.rank)
        yield _line(kind, "train swap layers", first, plan.rank, training=True)
        last = Truth(Op.D_SWIGLU, plan.layer_end - 1, plan.rank, "op")
        yield _line(kind, "backward swap layers", last, plan.rank, training=True)
    yield from _by_layer(kind, "skip layer", Op.ATT_NORM, plans, layers)
    yield from _by_layer(kind, "train skip layer", Op.ATT_NORM, plans, layers[:3], training=True)
    yield from _by_layer(kind, "backward skip layer", Op.D_SWIGLU, plans, layers[2:], training=True)


def _cache(config: Config, plans: list[RankPlan], rng: random.Random) -> Iterator[Fault]:
    kind, layers = FaultKind.CACHE, range(config.n_layers)
    names = {
        "key one on": Op.ATT_PROB, "value one on": Op.ATT_MIX,
        "read keys one on": Op.ATT_PROB, "read values one on": Op.ATT_MIX,
    }  # fmt: skip
    for name, op in names.items():
        yield from _by_layer(kind, name, op, plans, layers)
    for layer in layers:
        truth = Truth(Op.ATT_PROB, layer, _rank_of(plans, layer), "op")
        yield _line(kind, "key one back", truth, layer, rng.randrange(1, POSITIONS))


def _stale(config: Config, plans: list[RankPlan], rng: random.Random) -> Iterator[Fault]:
    places = [
        (plan.rank, index, piece)
        for plan in plans
        for index, piece in enumerate(rank_pieces(config, plan))
        if not piece[0].startswith("freq")
    ]
    for rank, index, (name, layer) in rng.sample(places, 20):
        truth = Truth(Op[f"GRAD_{name.upper()}"], layer, rank, "input")
        yield _line(FaultKind.STALE, "stale gradient", truth, rank, index, training=True, steps=2)


def _hops(config: Config, plans: list[RankPlan], rng: random.Random) -> Iterator[Fault]:
    world = len(plans)

    def fault(sender: int, op: Op, frame: int, word: int) -> Fault:
        back = op is Op.D_HOP_RECEIVE
        receiver = (sender + (-1 if back else 1)) % world
        truth = Truth(op, NO_LAYER, receiver, "link")
        kind = _GRADIENT if back else _ACTIVATION
        training = word >= config.dim or frame > 0xFFFF or back
        return _line(FaultKind.HOP, "hop", truth, sender, kind, frame, word, 1 << rng.randrange(32), training=training)

    for i in range(24):
        yield fault(i % world, Op.HOP_RECEIVE, rng.randrange(POSITIONS), rng.randrange(config.dim))
    for i in range(16):
        frame = rng.randrange(MICROBATCHES) << 16
        word = rng.randrange(config.dim, config.dim * TRAIN_POSITIONS)
        yield fault(i % world, (Op.HOP_RECEIVE, Op.D_HOP_RECEIVE)[i // 8], frame, word)


def _weights(weights: Weights, plans: list[RankPlan], rng: random.Random) -> Iterator[Fault]:
    for i in range(40):
        plan = plans[i % len(plans)]
        pieces = [p for p in rank_pieces(weights.config, plan) if not p[0].startswith("freq")]
        piece = rng.choice(pieces)
        values = stored(weights, piece)
        bit = WeightBit(plan.rank, piece, rng.randrange(values.size), rng.randrange(32))
        training = i >= 24
        name = f"{piece[0]} {piece[1]} [{bit.index}] bit {bit.bit}{' in training' if training else ''}"
        yield Fault(FaultKind.WEIGHT, name, None, training, 1 + i % 2 if training else 1, bit=bit)


def _bits(config: Config, plans: list[RankPlan], rng: random.Random) -> Iterator[Fault]:
    """High bits of a mantissa, early rows: late enough to be written, early enough to be read again."""
    for i in range(8):
        layer, values = i % config.n_layers, i % 2 == 1
        plan = plans[_rank_of(plans, layer)]
        bit = CacheBit(plan.rank, layer, rng.randrange(3), rng.randrange(config.kv_dim), 22, values, 3)
        truth = Truth(Op.ATT_MIX if values else Op.ATT_PROB, layer, plan.rank, "input")
        yield Fault(FaultKind.CACHE_BIT, f"{'value' if values else 'key'} of layer {layer}", truth, bit=bit)


def with_bit(weights: Weights, bit: WeightBit) -> Weights:
    """The same weights with one bit flipped."""
    tensors = {name: getattr(weights, name) for name in Weights.__slots__ if name != "config"}
    name, layer = bit.piece
    changed = tensors[name].copy()
    flat = (changed if layer == NO_LAYER else changed[layer]).reshape(-1).view(np.uint32)
    flat[bit.index] ^= np.uint32(1 << bit.bit)
    if weights.config.shared_classifier and name == "tok_emb":
        tensors["wcls"] = changed
    return Weights(weights.config, **{**tensors, name: changed})
