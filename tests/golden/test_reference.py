"""The golden against float64: every tap within its derived bound, and a wrong op outside of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from golden import arithmetic
from golden.forward import Forward
from golden.make_digests import TINY, read_tiny
from golden.reference import Deviation, deviations
from golden.sampler import Sampler
from golden.taps import NO_LAYER, Op, TapKey
from golden.weights import Config, F32Array, Weights
from hil.model.synth import random_weights

POSITIONS = 10
SHAPES = [
    Config(64, 172, 5, 8, 4, 96, 32),
    Config(32, 44, 3, 2, 2, 50, 16, shared_classifier=False),
    Config(256, 688, 2, 4, 4, 300, 16),
]


def run(weights: Weights, *, used: Weights | None = None) -> list[Deviation]:
    """Deviations of a run of the golden over `used` from the reference over `weights`, in execution order."""
    forward = Forward(used or weights)
    sampler = Sampler(0.8, 0.9, 5)
    taps: dict[TapKey, F32Array] = {}
    tokens: dict[int, int] = {}
    token = 1
    for position in range(POSITIONS):
        tokens[position] = token
        token = sampler.next(forward.step(token, position))
        taps.update(forward.take_taps())
        assert sampler.probs is not None
        taps[TapKey(position, NO_LAYER, Op.PROBS)] = sampler.probs
    return list(deviations(weights, taps, tokens, temperature=0.8))


def first_wrong(found: list[Deviation]) -> str:
    return next((str(deviation.key) for deviation in found if deviation.worst > 1), "")


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_every_tap_is_within_its_bound(config: Config) -> None:
    found = run(random_weights(config, seed=4))
    assert first_wrong(found) == ""
    assert len(found) == POSITIONS * (4 + 16 * config.n_layers)


def test_tiny_model_is_within_its_bounds() -> None:
    assert first_wrong(run(read_tiny(TINY))) == ""


def test_bounds_are_tight_enough_to_mean_something() -> None:
    worst: dict[Op, float] = {}
    for deviation in run(random_weights(SHAPES[0], seed=4)):
        worst[deviation.key.op] = max(deviation.worst, worst.get(deviation.key.op, 0.0))
    del worst[Op.EMBED]
    assert min(worst.values()) > 0.01, worst


def _swapped_sign(x: F32Array, cos: F32Array, sin: F32Array) -> F32Array:
    return _rope(x, cos, -sin)


def _missing_term(products: F32Array) -> F32Array:
    return _accumulate(products[:-1]) if len(products) > 1 else _accumulate(products)


def _no_maximum(x: F32Array) -> F32Array:
    powers = arithmetic.exp(x)
    return (powers / (powers.sum(axis=1, keepdims=True) * np.float32(1 + 1e-5))).astype(np.float32)


_rope, _accumulate = arithmetic.rope, arithmetic.accumulate


@pytest.mark.parametrize(
    ("name", "wrong", "first"),
    [
        ("rope", _swapped_sign, "Q_ROPE layer 0 position 1"),
        ("NORM_EPSILON", np.float32(1e-6), "ATT_NORM layer 0 position 0"),
        ("accumulate", _missing_term, "ATT_NORM layer 0 position 0"),
        ("softmax", _no_maximum, "ATT_PROB layer 0 position 0"),
        ("_LN2_LOW", np.float32(0), "SWIGLU layer 0 position 0"),
    ],
)
def test_wrong_op_is_outside_its_bound(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable[..., F32Array], first: str
) -> None:
    monkeypatch.setattr(arithmetic, name, wrong)
    assert first_wrong(run(random_weights(SHAPES[0], seed=4))) == first


@pytest.mark.parametrize(
    ("tensor", "place", "first"),
    [
        ("wq", (0, 5, 7), "Q layer 0 position 0"),
        ("w2", (3, 0, 171), "FFN_OUT layer 3 position 0"),
        ("rms_ffn", (2, 9), "FFN_NORM layer 2 position 0"),
        ("freq_sin", (4, 1), "Q_ROPE layer 0 position 4"),
    ],
)
def test_one_changed_weight_is_outside_the_bound(tensor: str, place: tuple[int, ...], first: str) -> None:
    weights = random_weights(SHAPES[0], seed=4)
    changed = getattr(weights, tensor).copy()
    changed[place] += np.float32(0.01)
    assert first_wrong(run(weights, used=replace(weights, **{tensor: changed}))) == first
