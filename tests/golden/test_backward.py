"""The golden's gradients against float64: PyTorch's autograd, and finite differences along random directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from model64 import loss64, parameters64

from golden import arithmetic, backward
from golden import backward_ops as ops
from golden.backward import Backward
from golden.forward import Forward
from golden.taps import TapKey, canonical_bits, digest
from golden.train import accumulate
from golden.weights import Config, F32Array, Weights
from hil.model.synth import random_weights

SEED = 11
SHAPES = {
    "tied_grouped": Config(64, 172, 3, 8, 4, 96, 40),
    "tied_plain": Config(32, 44, 2, 4, 4, 60, 40),
    "untied_grouped": Config(30, 37, 3, 3, 1, 41, 40, shared_classifier=False),
    "untied_plain": Config(32, 44, 2, 2, 2, 50, 40, shared_classifier=False),
}
LENGTHS = (1, 2, 32)
TOLERANCE = 2e-5
"""On |float32 - float64| / |float64| of a whole tensor. A dropped term makes it 0.01 or more."""


def tokens_of(config: Config, positions: int) -> list[int]:
    """Random tokens; the first two differ, or two positions would be one and attention would have no gradient."""
    tokens = [int(t) for t in np.random.default_rng(SEED).integers(0, config.vocab_size, positions + 1)]
    return [(tokens[1] + 1) % config.vocab_size, *tokens[1:]]


def golden_gradients(weights: Weights, tokens: list[int]) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradients by name, stacked over layers, in float64."""
    work = Backward(weights, record=False)
    losses, _ = accumulate(work, [tokens], digest)
    stacked: dict[str, list[F32Array]] = {}
    for (name, _), gradient in work.gradients.items():
        stacked.setdefault(name, []).append(gradient)
    shapes = {name: getattr(weights, name).shape for name in stacked}
    found = {name: np.stack(parts).reshape(shapes[name]).astype(np.float64) for name, parts in stacked.items()}
    return float(losses[0].astype(np.float64).mean()), found


def autograd(weights: Weights, tokens: list[int]) -> tuple[float, dict[str, np.ndarray]]:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; pip install 'pi-ring-hil[torch]'")
    p = {name: torch.tensor(value, requires_grad=True) for name, value in parameters64(weights).items()}
    tables = tuple(torch.tensor(t.astype(np.float64)) for t in (weights.freq_cos, weights.freq_sin))
    loss = loss64(torch, weights.config, p, tables, tokens)
    loss.backward()
    return float(loss.detach()), {name: value.grad.numpy() for name, value in p.items()}


def worst(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[float, str]:
    """Largest relative difference of a tensor, and its name."""
    assert found.keys() == expected.keys()

    def difference(name: str) -> float:
        scale = float(np.linalg.norm(expected[name]))
        gap = float(np.linalg.norm(found[name] - expected[name]))
        return gap / scale if scale > 1e-12 else gap

    return max((difference(name), name) for name in expected)


@pytest.mark.parametrize("positions", LENGTHS)
@pytest.mark.parametrize("name", SHAPES)
def test_gradients_equal_autograd(name: str, positions: int) -> None:
    weights = random_weights(SHAPES[name], seed=SEED)
    tokens = tokens_of(weights.config, positions)
    loss, found = golden_gradients(weights, tokens)
    loss64_, expected = autograd(weights, tokens)
    assert loss == pytest.approx(loss64_, rel=1e-6)
    assert worst(found, expected) < (TOLERANCE, "")


def slope(weights: Weights, tokens: list[int], direction: dict[str, np.ndarray]) -> float:
    """Central difference of the float64 loss along direction."""
    p, h = parameters64(weights), 1e-5
    tables = (weights.freq_cos.astype(np.float64), weights.freq_sin.astype(np.float64))

    def at(step: float) -> float:
        moved = {name: value + step * direction[name] for name, value in p.items()}
        return float(loss64(np, weights.config, moved, tables, tokens))

    return (at(h) - at(-h)) / (2 * h)


def worst_slope(weights: Weights, tokens: list[int]) -> tuple[float, str]:
    """Largest relative difference between gradient and slope, direction by direction, one tensor at a time."""
    _, found = golden_gradients(weights, tokens)
    rng = np.random.default_rng(SEED)
    gaps = []
    for name, gradient in found.items():
        # Half along the gradient, so that the slope is not small against the float32 error.
        along = gradient / max(float(np.linalg.norm(gradient)), 1e-30)
        noise = rng.normal(size=gradient.shape) / np.sqrt(gradient.size)
        direction = {other: np.zeros_like(g) for other, g in found.items()} | {name: along + noise}
        expected = slope(weights, tokens, direction)
        predicted = float((gradient * direction[name]).sum())
        gaps.append((abs(predicted - expected) / max(abs(expected), 1e-6), name))
    return max(gaps)


@pytest.mark.parametrize("positions", LENGTHS)
@pytest.mark.parametrize("name", SHAPES)
def test_gradients_equal_finite_differences(name: str, positions: int) -> None:
    weights = random_weights(SHAPES[name], seed=SEED)
    assert worst_slope(weights, tokens_of(weights.config, positions)) < (1e-4, "")


def _norm_without_mean(dy: F32Array, x: F32Array, weight: F32Array) -> tuple[F32Array, F32Array]:
    s = ops.norm_scales(x)
    return (dy * weight * s).astype(np.float32), (dy * x * s).astype(np.float32)


def _rope_wrong_way(dx: F32Array, cos: F32Array, sin: F32Array) -> F32Array:
    return _rope_backward(dx, cos, -sin)


def _softmax_without_mean(dp: F32Array, p: F32Array) -> F32Array:
    return (p * dp).astype(np.float32)


def _swiglu_without_slope(dh: F32Array, gate: F32Array, up: F32Array) -> tuple[F32Array, F32Array]:
    sigmoid = (1 / (1 + np.exp(-gate))).astype(np.float32)
    return (dh * up * sigmoid).astype(np.float32), (dh * gate * sigmoid).astype(np.float32)


def _no_embedding(self: Backward, tokens: list[int], dx: F32Array) -> None:
    del self, tokens, dx


_rope_backward = ops.rope_backward


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (ops, "rmsnorm_backward", _norm_without_mean),
        (ops, "rope_backward", _rope_wrong_way),
        (ops, "softmax_backward", _softmax_without_mean),
        (ops, "swiglu_backward", _swiglu_without_slope),
        (Backward, "embed_backward", _no_embedding),
    ],
    ids=["rmsnorm", "rope", "softmax", "swiglu", "embedding"],
)
@pytest.mark.parametrize("judge", ["autograd", "finite differences"])
def test_dropped_term_is_caught(
    monkeypatch: pytest.MonkeyPatch, judge: str, owner: object, name: str, wrong: Callable[..., object]
) -> None:
    weights = random_weights(SHAPES["tied_grouped"], seed=SEED)
    tokens = tokens_of(weights.config, 32)
    expected = autograd(weights, tokens)[1] if judge == "autograd" else None
    monkeypatch.setattr(owner, name, wrong)
    gap = worst_slope(weights, tokens) if expected is None else worst(golden_gradients(weights, tokens)[1], expected)
    assert gap > (1e-2, "")


@pytest.mark.parametrize("name", SHAPES)
def test_training_forward_has_the_bits_of_generation(name: str) -> None:
    weights = random_weights(SHAPES[name], seed=SEED)
    tokens = tokens_of(weights.config, 32)
    forward = Forward(weights)
    for position in range(32):
        forward.step(tokens[position], position)
    expected = {key: digest(x) for key, x in forward.take_taps()}
    _, taps = accumulate(Backward(weights), [tokens], digest)
    found = dict(taps[0])
    assert len(found) == len(taps[0])
    assert {key: found.get(key) for key in expected} == expected


def wide(rng: np.random.Generator, *shape: int) -> F32Array:
    """Floats whose products are often under the smallest normal number."""
    return (rng.uniform(1, 2, shape) * rng.choice([-1, 1], shape) * 2.0 ** rng.integers(-66, -56, shape)).astype(
        np.float32
    )


def one_by_one(a: F32Array, b: F32Array) -> F32Array:
    """outer_sum of (K, P) and (K, Q), one float at a time."""
    total = np.zeros((a.shape[1], b.shape[1]), np.float32)
    for p in range(a.shape[1]):
        for q in range(b.shape[1]):
            acc = np.zeros(1, np.float32)
            for k in range(len(a)):
                acc = arithmetic.add(acc, arithmetic.multiply(a[k, p : p + 1], b[k, q : q + 1]))
            total[p, q] = acc[0]
    return total


@pytest.mark.parametrize("size", [(5, 3, 4), (33, 1, 9), (20, 8, 1)])
def test_outer_sum_adds_in_order_and_flushes(size: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(SEED)
    terms, rows, columns = size
    a, b = wide(rng, terms, rows), wide(rng, terms, columns)
    found = ops.outer_sum(a, b)
    assert np.array_equal(canonical_bits(found), canonical_bits(one_by_one(a, b)))
    assert not np.array_equal(found, (a.T @ b)), "nothing was flushed: these inputs prove nothing"
    normal = rng.normal(size=(terms, rows)).astype(np.float32), rng.normal(size=(terms, columns)).astype(np.float32)
    assert np.array_equal(ops.outer_sum(*normal), one_by_one(*normal))


def test_log_is_within_an_ulp() -> None:
    x = np.concatenate([np.geomspace(1, 65536, 200001), 1 + np.arange(4000) * 2.0**-23]).astype(np.float32)
    exact = np.log(x.astype(np.float64))
    ulp = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert (np.abs(ops.log(x) - exact) / np.abs(ulp)).max() < 1.0
    assert ops.log(np.ones(1, np.float32))[0] == 0
    assert np.isnan(ops.log(np.array([np.nan], np.float32))[0])


def test_piece_key_names_tensor_and_layer() -> None:
    assert str(backward.piece_key("GRAD", ("w2", 3))) == "GRAD_W2 layer 3 position 0"
    assert backward.piece_key("PARAM", ("tok_emb", 255)) == TapKey.unpack(0xB0FF0000)
