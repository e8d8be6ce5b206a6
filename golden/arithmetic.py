"""Arithmetic: the float32 operations of the model in NumPy, bit for bit as the board computes them.

Contract: docs/arithmetic.md. C twin: firmware/model/ops.c. Pure functions; arrays are float32.

Flushing: the board turns subnormal results into zero, NumPy does not. Every function here returns what the
board returns, but takes the cheap path where no subnormal can occur: sums of products that are zero or at
least 2^-102 are multiples of 2^-125, so no partial sum can be smaller (`SAFE_PRODUCT`). Otherwise the exact
path flushes after every step. Inputs hold no subnormals: results never do and weights pass `flushed` once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.weights import F32Array

LANES = 8
NORM_EPSILON = np.float32(1e-5)
SMALLEST_NORMAL = 2.0**-126
SAFE_PRODUCT = 2.0**-102
_SMALLEST_NORMAL_BITS = 0x00800000
_SMALLEST_NORMAL_DOUBLED = 2 * _SMALLEST_NORMAL_BITS - 2
_INFINITY_DOUBLED = 2 * 0x7F800000 - 2
_TWO = np.uint32(2)
_BLOCK_ELEMENTS = 1 << 16  # products held at once: stays in the CPU's L2 cache

_EXP_HIGH = np.float32(89.0)
_EXP_LOW = np.float32(-88.0)
_LOG2_E = np.float32(float.fromhex("0x1.715476p+0"))
_LN2_HIGH = np.float32(float.fromhex("0x1.62e4p-1"))
_LN2_LOW = np.float32(float.fromhex("0x1.7f7d1cp-20"))
_ROUND_MAGIC = np.float32(float.fromhex("0x1.8p+23"))
_ROUND_MAGIC_BITS = np.int32(0x4B400000)
_EXP_POLYNOMIAL = tuple(
    np.float32(float.fromhex(c))
    for c in ("0x1.6a23dp-10", "0x1.123a2p-7", "0x1.5558f2p-5", "0x1.555492p-3", "0x1.fffffcp-2")
)  # highest power first
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)


def smallest_nonzero(x: F32Array) -> float:
    """Smallest magnitude of x (any shape, not empty) that is not zero; infinity when there is none."""
    least = _least_doubled(np.ascontiguousarray(x))
    return float("inf") if least >= _INFINITY_DOUBLED else float(np.uint32((least + 2) >> 1).view(np.float32))


def flushed(x: F32Array) -> F32Array:
    """x of any shape with subnormals as zero; x itself when there are none."""
    subnormal = _magnitude_bits(x) < np.uint32(_SMALLEST_NORMAL_BITS)
    subnormal &= x != _ZERO
    return np.where(subnormal, _ZERO, x) if subnormal.any() else x


def multiply(a: F32Array, b: F32Array) -> F32Array:
    """a * b element by element, flushed when the exact product is below 2^-126 (tininess before rounding)."""
    product = np.multiply(a, b)
    if _has_tiny(product):
        exact = np.multiply(a, b, dtype=np.float64)
        product = np.where(np.abs(exact) < SMALLEST_NORMAL, _ZERO, product)
    return product


def add(a: F32Array, b: F32Array) -> F32Array:
    """a + b element by element, flushed. A subnormal sum is always exact, so its rounded value decides."""
    return _flush_sum(np.add(a, b))


def subtract(a: F32Array, b: F32Array) -> F32Array:
    """a - b element by element, flushed like add."""
    return _flush_sum(np.subtract(a, b))


def divide(a: F32Array, b: F32Array) -> F32Array:
    """a / b element by element, correctly rounded, flushed when the exact quotient is below 2^-126.

    The float64 quotient is on the same side of 2^-126 as the exact one: two 24-bit significands
    whose quotient is not 1 differ from it by 2^-24 at least.
    """
    quotient: F32Array = np.divide(a, b)
    if _has_tiny(quotient):
        exact = np.divide(a, b, dtype=np.float64)
        quotient = np.where(np.abs(exact) < SMALLEST_NORMAL, _ZERO, quotient)
    return quotient


def accumulate(products: F32Array) -> F32Array:
    """Sum of products (n, m) over the first axis in ascending order, one accumulator per column.

    Returns: (m,) float32; m is 8 or more, or NumPy would be free to sum in another order.
    """
    if smallest_nonzero(products) >= SAFE_PRODUCT:
        return _sum_rows(products)
    total = np.zeros(products.shape[1], np.float32)
    for row in products:
        total = _flush_sum(total + row)
    return total


def reduce_lanes(lanes: F32Array) -> F32Array:
    """((0+1)+(2+3))+((4+5)+(6+7)) over the first axis of (8, ...)."""
    if smallest_nonzero(lanes) >= SAFE_PRODUCT:
        return _reduce_lanes_safely(lanes)
    pairs = add(lanes[0::2], lanes[1::2])
    halves = add(pairs[0::2], pairs[1::2])
    return add(halves[0], halves[1])


def _reduce_lanes_safely(lanes: F32Array) -> F32Array:
    """The same where lanes are multiples of 2^-125: so are their sums, and none can be subnormal."""
    pairs = lanes[0::2] + lanes[1::2]
    halves = pairs[0::2] + pairs[1::2]
    total: F32Array = halves[0] + halves[1]
    return total


def dot8(a: F32Array, b: F32Array) -> F32Array:
    """Dot product of a and b (n, ...) over the first axis in eight lanes. Returns (...) float32."""
    products = multiply(a, b)
    return sum8(products)


def sum8(x: F32Array) -> F32Array:
    """Sum of x (n, ...) over the first axis in eight lanes. Returns (...) float32."""
    rest = x.shape[1:]
    whole = _pad_lanes(x)
    lanes = accumulate(whole.reshape(len(whole) // LANES, -1))
    return reduce_lanes(lanes.reshape(LANES, *rest))


class Matrix:
    """A weight matrix made ready for matvec: flushed, transposed, padded to whole lanes.

    Args: w: (rows, n) float32; several are stacked by rows into one.
    """

    def __init__(self, *parts: F32Array) -> None:
        columns = [flushed(np.asarray(part, np.float32)).T for part in parts]
        self.transposed = np.ascontiguousarray(_pad_lanes(np.concatenate(columns, axis=1)))  # (n up, rows)
        self.rows = self.transposed.shape[1]
        self.smallest = smallest_nonzero(self.transposed)

    def __matmul__(self, x: F32Array) -> F32Array:
        """dot8 of every row with x (n,). Returns (rows,) float32."""
        padded = _pad_lanes(x)
        if self.smallest * smallest_nonzero(padded) >= SAFE_PRODUCT:
            return _reduce_lanes_safely(self._lane_sums(padded).reshape(LANES, self.rows))
        return dot8(self.transposed, padded[:, None])

    def of_rows(self, x: F32Array) -> F32Array:
        """The product with every row of x (T, n). Returns (T, rows) float32, the bits of T single products."""
        if self.smallest * smallest_nonzero(x) < SAFE_PRODUCT:
            return np.stack([self @ row for row in x])
        columns = _pad_lanes(x.T)
        out = np.empty((len(x), self.rows), np.float32)
        step = max(1, _BLOCK_ELEMENTS // (LANES * self.rows))
        for first in range(0, len(x), step):
            part = columns[:, first : first + step]
            lanes = np.zeros((LANES, part.shape[1], self.rows), np.float32)
            for i in range(0, len(part), LANES):
                lanes += self.transposed[i : i + LANES, None, :] * part[i : i + LANES, :, None]
            out[first : first + step] = _reduce_lanes_safely(lanes)
        return out

    def _lane_sums(self, x: F32Array) -> F32Array:
        """Sums of every lane (8 * rows,), block by block; only where no subnormal can occur."""
        step = LANES * max(1, _BLOCK_ELEMENTS // (LANES * self.rows))
        sums: F32Array | None = None
        for first in range(0, len(x), step):
            block = self.transposed[first : first + step] * x[first : first + step, None]
            steps = block.reshape(len(block) // LANES, LANES * self.rows)
            if sums is not None:
                steps[0] += sums
            sums = _sum_rows(steps)
        assert sums is not None
        return sums


def exp(x: F32Array) -> F32Array:
    """e to the x for every element, by our own polynomial: below 1 ulp off, the board's bits."""
    inside = np.clip(x, _EXP_LOW, _EXP_HIGH)
    shifted = inside * _LOG2_E + _ROUND_MAGIC
    whole = shifted - _ROUND_MAGIC
    n = shifted.view(np.int32) - _ROUND_MAGIC_BITS
    r = (inside - whole * _LN2_HIGH) - whole * _LN2_LOW
    q = _EXP_POLYNOMIAL[0] * r
    for coefficient in _EXP_POLYNOMIAL[1:-1]:
        q = (q + coefficient) * r
    p = ((r * r) * (q + _EXP_POLYNOMIAL[-1]) + r) + _ONE
    half = (n + (n < 0)) >> 1  # rounds towards zero, as C's division does
    scaled = multiply(p * _power_of_two(half), _power_of_two(n - half))
    return np.where(x < _EXP_LOW, _ZERO, np.where(x > _EXP_HIGH, np.float32(np.inf), scaled))


def rmsnorm(x: F32Array, weight: F32Array) -> F32Array:
    """x (n,) scaled by the inverse of its root mean square, then by weight (n,). Returns (n,)."""
    mean = divide(dot8(x, x), np.asarray(len(x), np.float32))
    scale = divide(np.asarray(_ONE), np.sqrt(add(mean, np.asarray(NORM_EPSILON))))
    return multiply(multiply(x, scale), weight)


def rope(x: F32Array, cos: F32Array, sin: F32Array) -> F32Array:
    """Rotates adjacent pairs of x (heads, head_size) by the angles of cos, sin (head_size / 2,)."""
    even, odd = x[:, 0::2], x[:, 1::2]
    turned = np.empty_like(x)
    turned[:, 0::2] = subtract(multiply(even, cos), multiply(odd, sin))
    turned[:, 1::2] = add(multiply(even, sin), multiply(odd, cos))
    return turned


def softmax(x: F32Array) -> F32Array:
    """exp(x - max) over its sum, per row of x (rows, n). Returns (rows, n)."""
    powers = exp(subtract(x, x.max(axis=1, keepdims=True)))
    return divide(powers, sum8(powers.T)[:, None])


def swiglu(gate: F32Array, up: F32Array) -> F32Array:
    """silu(gate) * up for (n,) each, silu(x) = x * (1 / (1 + exp(-x)))."""
    sigmoid = divide(np.asarray(_ONE), add(np.asarray(_ONE), exp(-gate)))
    return multiply(multiply(gate, sigmoid), up)


def _magnitude_bits(x: F32Array) -> NDArray[np.uint32]:
    return np.ascontiguousarray(x).view(np.uint32) & np.uint32(0x7FFFFFFF)


def _has_tiny(x: F32Array) -> bool:
    """Is any element subnormal or 2^-126 itself, which a tiny value may have been rounded to?"""
    if x.ndim == 0:
        return 0.0 < abs(float(x)) <= SMALLEST_NORMAL
    return x.size > 0 and _least_doubled(x) <= _SMALLEST_NORMAL_DOUBLED


def _least_doubled(x: F32Array) -> int:
    """The least of twice the bits, less two: doubling drops the sign, and zero wraps round to the largest word."""
    bits = x.view(np.uint32)
    doubled = bits + bits
    doubled -= _TWO
    return int(np.minimum.reduce(doubled, axis=None))


def _flush_sum(total: F32Array) -> F32Array:
    return flushed(total) if _has_tiny(total) else total


def _sum_rows(rows: F32Array) -> F32Array:
    """Over the first axis, which has the largest stride: NumPy walks it in order."""
    total: F32Array = np.add.reduce(rows, axis=0)
    return total


def _pad_lanes(x: F32Array) -> F32Array:
    """Zeros after the end of the first axis up to a multiple of eight: they change no sum."""
    missing = -len(x) % LANES
    if missing == 0:
        return x
    return np.concatenate([x, np.zeros((missing, *x.shape[1:]), np.float32)])


def _power_of_two(n: NDArray[np.int32]) -> F32Array:
    """2.0 ** n for whole n in -126..127."""
    return ((n + np.int32(127)) << np.int32(23)).view(np.float32)
