"""Backward ops: the float32 operations of training in NumPy, bit for bit as the board computes them.

Contract: docs/arithmetic.md, sections 8 to 10. C twin: firmware/model/backward_ops.c. Pure functions over all
positions of a sequence at once; arrays are float32. Flushing as in golden/arithmetic.py.
Shape letters: T positions, H heads, G key/value heads, R = H / G, D head size, K terms of a sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden import arithmetic
from golden.arithmetic import add, divide, dot8, multiply, subtract
from golden.weights import F32Array

_ONE = np.float32(1.0)
_HALF = np.float32(0.5)
_LN2_HIGH = np.float32(float.fromhex("0x1.62e4p-1"))
_LN2_LOW = np.float32(float.fromhex("0x1.7f7d1cp-20"))
_ROOT_HALF_BITS = np.int32(0x3F3504F3)
_LOG_POLYNOMIAL = tuple(np.float32(2.0 / n) for n in (9, 7, 5, 3))  # highest power first


def outer_sum(
    a: F32Array, b: F32Array, start: F32Array | None = None, *, valid: NDArray[np.bool_] | None = None
) -> F32Array:
    """Sum over k, ascending, of a[k, ..., p] * b[k, ..., q], one accumulator per element.

    Args:
        a: (K, ..., P).
        b: (K, ..., Q).
        start: (..., P, Q) to begin with; None is +0.
        valid: where a is no filling of zeros; shape of a. Needed only for numbers that are not finite.
    Returns: (..., P, Q) float32, new.
    """
    shape = (*a.shape[1:], b.shape[-1])
    total = np.zeros(shape, np.float32) if start is None else start.copy()
    least = arithmetic.smallest_nonzero(a) * arithmetic.smallest_nonzero(b)
    if min(least, arithmetic.smallest_nonzero(total)) >= arithmetic.SAFE_PRODUCT and np.isfinite(b).all():
        products = np.empty(shape, np.float32)
        for left, right in zip(a, b, strict=True):
            np.multiply(left[..., :, None], right[..., None, :], out=products)
            np.add(total, products, out=total)
        return total
    for k, (left, right) in enumerate(zip(a, b, strict=True)):
        products = multiply(left[..., :, None], right[..., None, :])
        if valid is not None:
            products = np.where(valid[k][..., :, None], products, np.float32(0))
        total = add(total, products)
    return total


def log(x: F32Array) -> F32Array:
    """Natural logarithm of every element of x, which is 1 or more; the board's bits. NaN stays NaN."""
    bits = np.ascontiguousarray(x).view(np.int32)
    exponent = (bits - _ROOT_HALF_BITS) >> np.int32(23)
    whole = exponent.astype(np.float32)
    r = (bits - (exponent << np.int32(23))).view(np.float32) - _ONE
    s = r / (r + np.float32(2.0))
    z = s * s
    q = _LOG_POLYNOMIAL[0] * z
    for coefficient in _LOG_POLYNOMIAL[1:]:
        q = (q + coefficient) * z
    h = _HALF * (r * r)
    value = whole * _LN2_HIGH - ((h - (s * (h + q) + whole * _LN2_LOW)) - r)
    return np.where(np.isnan(x), x, value).astype(np.float32)


def norm_scales(x: F32Array) -> F32Array:
    """1 / sqrt(mean of squares + eps) of every row of x (T, n), as rmsnorm has it. Returns (T, 1)."""
    mean = divide(dot8(x.T, x.T), np.asarray(x.shape[1], np.float32))
    return divide(np.asarray(_ONE), np.sqrt(add(mean, np.asarray(arithmetic.NORM_EPSILON))))[:, None]


def rmsnorm_rows(x: F32Array, weight: F32Array) -> F32Array:
    """arithmetic.rmsnorm of every row of x (T, n). Returns (T, n)."""
    return multiply(multiply(x, norm_scales(x)), weight)


def rmsnorm_backward(dy: F32Array, x: F32Array, weight: F32Array) -> tuple[F32Array, F32Array]:
    """Gradients of rmsnorm's input (T, n) and, position by position, of its gain (T, n), from dy (T, n)."""
    s = norm_scales(x)
    through = multiply(dy, weight)
    mean = divide(dot8(through.T, x.T), np.asarray(x.shape[1], np.float32))[:, None]
    k = multiply(mean, multiply(multiply(s, s), s))
    return subtract(multiply(through, s), multiply(x, k)), multiply(dy, multiply(x, s))


def rope_backward(dx: F32Array, cos: F32Array, sin: F32Array) -> F32Array:
    """Rotates pairs of dx (T, heads, D) back by the angles of cos, sin (T, D / 2)."""
    even, odd = dx[..., 0::2], dx[..., 1::2]
    c, s = cos[:, None, :], sin[:, None, :]
    turned = np.empty_like(dx)
    turned[..., 0::2] = add(multiply(even, c), multiply(odd, s))
    turned[..., 1::2] = subtract(multiply(odd, c), multiply(even, s))
    return turned


def swiglu_backward(dh: F32Array, gate: F32Array, up: F32Array) -> tuple[F32Array, F32Array]:
    """Gradients of gate and of up from that of silu(gate) * up; all of one shape."""
    sigmoid = divide(np.asarray(_ONE), add(np.asarray(_ONE), arithmetic.exp(-gate)))
    d_up = multiply(dh, multiply(gate, sigmoid))
    slope = add(np.asarray(_ONE), multiply(gate, subtract(np.asarray(_ONE), sigmoid)))
    return multiply(multiply(dh, up), multiply(sigmoid, slope)), d_up


def softmax_backward(dp: F32Array, p: F32Array) -> F32Array:
    """Gradient of the scores from dp, that of the probabilities p; softmax over the last axis."""
    flat_p, flat_dp = (a.reshape(-1, a.shape[-1]).T for a in (p, dp))
    mean = dot8(flat_p, flat_dp).reshape(*p.shape[:-1], 1)
    return multiply(p, subtract(dp, mean))


def cross_entropy(logits: F32Array, targets: NDArray[np.int64], scale: np.float32) -> tuple[F32Array, F32Array]:
    """Loss of every position (T,), and the gradient of logits (T, V) times scale."""
    rows = np.arange(len(logits))
    most = logits.max(axis=1)
    powers = arithmetic.exp(subtract(logits, most[:, None]))
    total = arithmetic.sum8(powers.T)
    losses = subtract(log(total), subtract(logits[rows, targets], most))
    probs = divide(powers, total[:, None])
    probs[rows, targets] = subtract(probs[rows, targets], np.asarray(_ONE))
    return losses, multiply(probs, np.asarray(scale))


def mean_of(values: F32Array) -> np.float32:
    """Sum in ascending order over the number of values (n,)."""
    total = np.zeros(1, np.float32)
    for value in values:
        total = add(total, np.asarray([value], np.float32))
    return np.float32(divide(total, np.asarray(len(values), np.float32))[0])
