"""The golden's arithmetic against one float at a time, where every rounding and every flush is written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from golden import arithmetic
from golden.arithmetic import Matrix
from golden.taps import canonical_bits
from golden.weights import F32Array

NORMAL_MIN = 2.0**-126


def rounded(exact: float) -> float:
    """A result as the board leaves it. `exact` is a product or sum of two float32, or nearer than float32 sees."""
    return 0.0 if abs(exact) < NORMAL_MIN else float(np.float32(exact))


def slow_dot8(a: F32Array, b: F32Array) -> float:
    """dot8 as docs/arithmetic.md says it, one operation after another."""
    lanes = [0.0] * 8
    for i in range(len(a)):
        product = rounded(float(a[i]) * float(b[i]))
        lanes[i % 8] = rounded(lanes[i % 8] + product)
    s = lanes
    low = rounded(rounded(s[0] + s[1]) + rounded(s[2] + s[3]))
    high = rounded(rounded(s[4] + s[5]) + rounded(s[6] + s[7]))
    return rounded(low + high)


def wild(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> F32Array:
    """Random normal floats of both signs, exponents spread evenly over low..high - 1."""
    mantissa = rng.uniform(1, 2, shape) * rng.choice([-1, 1], shape)
    return np.asarray(mantissa * 2.0 ** rng.integers(low, high, shape), np.float32)


def same_bits(a: F32Array, b: F32Array) -> bool:
    return bool((canonical_bits(a) == canonical_bits(b)).all())


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 15, 16, 64, 172, 1000])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_matvec_equals_one_by_one(rows: int, n: int) -> None:
    rng = np.random.default_rng(n * 100 + rows)
    w, x = wild(rng, (rows, n), -12, 12), wild(rng, (n,), -12, 12)
    expected = np.array([slow_dot8(row, x) for row in w], np.float32)
    assert same_bits(Matrix(w) @ x, expected)
    assert same_bits(arithmetic.dot8(w.T, x[:, None]), expected)


def test_matvec_over_several_blocks_equals_one_by_one() -> None:
    rng = np.random.default_rng(3)
    w, x = wild(rng, (2048, 200), -12, 12), wild(rng, (200,), -12, 12)
    found = Matrix(w) @ x
    assert w.size > 4 * arithmetic._BLOCK_ELEMENTS
    assert same_bits(found[::97], np.array([slow_dot8(row, x) for row in w[::97]], np.float32))


def test_another_order_of_the_sum_gives_other_bits() -> None:
    rng = np.random.default_rng(4)
    w, x = wild(rng, (64, 64), -4, 4), wild(rng, (64,), -4, 4)
    assert not same_bits(Matrix(w) @ x, Matrix(w[:, ::-1]) @ x[::-1])
    assert not same_bits(Matrix(w) @ x, w @ x)


@pytest.mark.parametrize("n", [8, 20, 64])
def test_exact_path_equals_one_by_one_and_is_needed(n: int) -> None:
    rng = np.random.default_rng(n)
    w, x = wild(rng, (300, n), -70, -58), wild(rng, (n,), -70, -58)
    expected = np.array([slow_dot8(row, x) for row in w], np.float32)
    matrix = Matrix(w)
    assert same_bits(matrix @ x, expected)
    matrix.smallest = 1.0  # claims that no product can be small: takes the fast path
    assert not same_bits(matrix @ x, expected)


def test_sums_flush_where_products_do_not() -> None:
    a, b = np.float32(2.0**-126 * 1.5), np.float32(-(2.0**-126))
    terms = np.zeros((9, 8), np.float32)
    terms[0, 0], terms[8, 0] = a, b
    assert float(a + b) != 0
    assert arithmetic.accumulate(terms)[0] == 0


def test_smallest_safe_product_is_safe() -> None:
    """Partial sums of multiples of 2^-125 are multiples of 2^-125: the bound of the fast path."""
    rng = np.random.default_rng(8)
    terms = wild(rng, (200, 64), -102, -100)
    terms *= np.where(rng.uniform(size=terms.shape) < 0.5, np.float32(1), np.float32(-1))
    assert arithmetic.smallest_nonzero(terms) >= arithmetic.SAFE_PRODUCT
    total = np.zeros(64, np.float32)
    for row in terms:
        total = total + row
        assert np.all((total == 0) | (np.abs(total) >= NORMAL_MIN))
        assert np.all(total.astype(np.float64) % 2.0**-125 == 0)


def test_multiply_decides_before_rounding() -> None:
    a = np.array([2.0**-63 * (1 - 2.0**-24), 2.0**-63, 2.0**-64], np.float32)
    b = np.array([2.0**-63, 2.0**-63, 2.0**-63], np.float32)
    b[0] = np.float32(2.0**-63 * (1 + 2.0**-23))
    a[0] = np.float32(2.0**-63 * (1 - 2.0**-23))
    assert float(a[0]) * float(b[0]) < NORMAL_MIN
    assert np.multiply(a, b)[0] == np.float32(NORMAL_MIN)
    assert arithmetic.multiply(a, b).tolist() == [0.0, NORMAL_MIN, 0.0]


def test_divide_flushes_and_rounds() -> None:
    rng = np.random.default_rng(5)
    a, b = wild(rng, (4000,), -70, -60), wild(rng, (4000,), 58, 64)
    expected = np.array([rounded(float(p) / float(q)) for p, q in zip(a, b, strict=True)], np.float32)
    assert same_bits(arithmetic.divide(a, b), expected)
    assert not same_bits(a / b, expected)


def test_flushed_keeps_all_but_subnormals() -> None:
    x = np.array([0.0, -0.0, 1e-40, -1e-45, NORMAL_MIN, np.inf, np.nan, 1.0], np.float32)
    assert same_bits(arithmetic.flushed(x), np.array([0, 0, 0, 0, NORMAL_MIN, np.inf, np.nan, 1], np.float32))
    normal = x[4:]
    assert arithmetic.flushed(normal) is normal


def test_smallest_nonzero_of_nothing_is_infinite() -> None:
    assert arithmetic.smallest_nonzero(np.zeros(3, np.float32)) == math.inf
    assert arithmetic.smallest_nonzero(np.array([0, -1e-30, 2], np.float32)) == pytest.approx(1e-30)


def exp_error_ulp(x: F32Array) -> F32Array:
    """|exp - e^x| in units of the last place of a float32 result."""
    exact = np.exp(x.astype(np.float64))
    ulp = 2.0 ** (np.floor(np.log2(exact)) - 23)
    return np.asarray(np.abs(arithmetic.exp(x).astype(np.float64) - exact) / ulp)


def test_exp_is_within_one_ulp() -> None:
    bits = np.arange(0x00800000, 0x42AE0000, 997, dtype=np.uint32)  # every 997th float up to 87
    magnitudes = bits.view(np.float32)
    for x in (magnitudes, -magnitudes):
        assert exp_error_ulp(x).max() < 0.98


def test_exp_with_a_worse_polynomial_is_not_within_one_ulp(monkeypatch: pytest.MonkeyPatch) -> None:
    taylor = tuple(np.float32(1 / math.factorial(k)) for k in (6, 5, 4, 3, 2))
    monkeypatch.setattr(arithmetic, "_EXP_POLYNOMIAL", taylor)
    assert exp_error_ulp(np.linspace(-80, 80, 100001, dtype=np.float32)).max() > 1.2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_exp_at_its_edges() -> None:
    x = np.array([0.0, -0.0, 1e-38, 88.72284, 90.0, np.inf, -87.34, -88.5, -np.inf, np.nan], np.float32)
    inf = np.inf
    assert same_bits(arithmetic.exp(x), np.array([1, 1, 1, inf, inf, inf, 0, 0, 0, np.nan], np.float32))
    assert arithmetic.exp(np.array([88.72283], np.float32))[0] < inf
    assert arithmetic.exp(np.array([-87.33654], np.float32))[0] >= NORMAL_MIN


def test_softmax_rows_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(0, 3, (5, 37)).astype(np.float32)
    together = arithmetic.softmax(x)
    for row in range(5):
        assert same_bits(together[row], arithmetic.softmax(x[row : row + 1])[0])
    assert np.allclose(together.sum(axis=1), 1, atol=1e-6)


def test_process_of_the_golden_does_not_flush() -> None:
    """The exact path looks at subnormals: a process with flush-to-zero on would hide them."""
    tiny = np.full(64, 2.0**-126, np.float32)
    assert np.all(tiny * np.float32(0.5) > 0)
