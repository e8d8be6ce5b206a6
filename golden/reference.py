"""Reference: every op again in float64, with a proven bound on how far float32 may be from it.

Each op is computed from the golden's own inputs (the taps before it), found by the dataflow written down here
and not by golden/forward.py. So a wrong op, constant, wire or weight shows at its own tap, and errors of
earlier ops do not widen the bound of later ones.

Derivation of the bounds. u = 2^-24; one float32 operation gives x (1 + d), |d| <= u, or is flushed, which adds
at most `FLUSH` = 2^-126 of absolute error. k operations one after another: a factor within 1 +- gamma(k),
gamma(k) = k u / (1 - k u). In a sum every term passes its own chain, so the error of a sum is at most
gamma(longest chain) * sum |terms|:

    dot8 of n      ceil(n / 8) + 3: the product, ceil(n / 8) - 1 sums in its lane (the first is exact), 3 sums of lanes
    mix of T       T: the product and T - 1 sums
    rope           2: product and difference
    norm           mean of squares (no cancellation): relative rho = gamma(dot8 + 2) with / n and + eps; the root
                   halves it at first order, exactly (1 - rho)^-1/2; root, 1 / root and two products: 4 more
    softmax        scores with absolute error E: every exponent is off by at most 2 E + u |score - max|, exp by 1 ulp
                   (2 u), sum and quotient by gamma(sum8) + u; numerator and denominator both: twice the exponent's
    swiglu         exp 2 u, 1 + e: u, 1 / d: u, x * s: u, * up: u: 6
    residual       1

float64's own error (2^-53 per step) is covered by SLACK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.taps import NO_LAYER, Op, TapKey
from golden.weights import F32Array, Weights

F64Array = NDArray[np.float64]
Bounded = tuple[F64Array, F64Array]
"""Value in float64, and how far float32 may be from it; of one shape."""

U = 2.0**-24
FLUSH = 2.0**-126
SLACK = 1 + 2.0**-20
EPSILON = float(np.float32(1e-5))
EXP_ROUNDINGS = 2  # one ulp is at most 2 u


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far one tap is from float64: |difference| / bound at its worst element; over 1 is an error.

    room: for each element its bound as a share of its value; infinite where the value is 0.
    """

    key: TapKey
    worst: float
    index: int
    room: NDArray[np.float64]


def gamma(roundings: int) -> float:
    """Largest relative change by that many roundings in a row."""
    return roundings * U / (1 - roundings * U) * SLACK


def sum_roundings(n: int) -> int:
    """Longest chain of sums in eight lanes of n terms."""
    return -(-n // 8) - 1 + 3


def any_order(n: int) -> int:
    """Longest chain of sums of n terms, whatever their order."""
    return max(0, n - 1)


Chain = Callable[[int], int]
"""Longest chain of sums of n terms: sum_roundings for the contract's eight lanes, any_order for other firmware."""


def deviations(
    weights: Weights,
    taps: Mapping[TapKey, F32Array],
    tokens: Mapping[int, int],
    temperature: float = 0.0,
    chain: Chain = sum_roundings,
) -> Iterator[Deviation]:
    """Compares every tap with float64.

    Args:
        taps: all taps of positions 0..p, of golden.forward.Forward (PROBS of the sampler, too, if wanted).
        tokens: token at each position.
        temperature: that PROBS was made with.
        chain: how sums of so many terms are ordered.
    """
    reference = Reference(weights, taps, tokens, temperature, chain)
    for key, found in taps.items():
        yield deviation(key, found, reference.expected(key))


def deviation(key: TapKey, found: F32Array, expected: Bounded) -> Deviation:
    """How far a tensor is from float64, at its worst element; infinitely where it is no number."""
    value, bound = expected
    difference = np.abs(found.reshape(-1).astype(np.float64) - value.reshape(-1))
    ratio = np.where(difference == 0, 0.0, difference / np.maximum(bound.reshape(-1), 1e-300))
    index = int(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)))
    worst = float(ratio[index])
    size = np.abs(value.reshape(-1))
    room = np.divide(bound.reshape(-1), size, out=np.full(size.shape, np.inf), where=size > 0)
    return Deviation(key, np.inf if np.isnan(worst) else worst, index, room)


class Reference:
    """Value and bound of every tap of the forward pass, from the taps that feed it."""

    def __init__(
        self,
        weights: Weights,
        taps: Mapping[TapKey, F32Array],
        tokens: Mapping[int, int],
        temperature: float,
        chain: Chain = sum_roundings,
    ) -> None:
        self._chain = chain
        self._w = weights
        self._taps = taps
        self._tokens = tokens
        self._temperature = float(np.float32(temperature))

    def expected(self, key: TapKey) -> Bounded:
        """Value and bound of a tap from the taps that feed it."""
        w, layer, op = self._w, key.layer, key.op

        def tap(op: Op) -> F64Array:
            return self._tap(op, layer, key.position)

        if op is Op.EMBED:
            value = w.tok_emb[self._tokens[key.position]].astype(np.float64)
            return value, np.full(value.shape, FLUSH)
        if op in (Op.ATT_NORM, Op.FFN_NORM, Op.FINAL_NORM):
            gain = {Op.ATT_NORM: w.rms_att, Op.FFN_NORM: w.rms_ffn}.get(op, w.rms_final[None])
            x = tap(Op.ATT_RES) if op is Op.FFN_NORM else self._stream(layer, key.position)
            return _norm(x, gain[0 if op is Op.FINAL_NORM else layer], self._chain)
        if op in _PRODUCTS:
            name, source = _PRODUCTS[op]
            matrix = getattr(w, name)
            return _dots(matrix if op is Op.LOGITS else matrix[layer], tap(source), self._chain)
        if op in (Op.Q_ROPE, Op.K_ROPE):
            return self._rope(tap(Op.Q if op is Op.Q_ROPE else Op.K), key.position)
        if op in (Op.ATT_PROB, Op.ATT_MIX):
            return self._probabilities(key) if op is Op.ATT_PROB else self._mix(key)
        if op in (Op.ATT_RES, Op.FFN_RES):
            x, y = (
                (self._stream(layer, key.position), tap(Op.ATT_OUT))
                if op is Op.ATT_RES
                else (tap(Op.ATT_RES), tap(Op.FFN_OUT))
            )
            return x + y, np.abs(x + y) * gamma(1) + FLUSH
        if op is Op.SWIGLU:
            return _swiglu(tap(Op.GATE), tap(Op.UP))
        if op is Op.PROBS:
            scores = tap(Op.LOGITS)[None, :] / self._temperature
            value, bound = softmax(scores, np.abs(scores).max(axis=1, keepdims=True) * gamma(1), self._chain)
            return value[0], bound[0]
        raise KeyError(f"no reference for {key}")

    def _tap(self, op: Op, layer: int, position: int) -> F64Array:
        return self._taps[TapKey(position, layer, op)].reshape(-1).astype(np.float64)

    def _stream(self, layer: int, position: int) -> F64Array:
        """What enters a layer: the embedding, or what leaves the layer before; the head: the last layer's."""
        before = self._w.config.n_layers - 1 if layer == NO_LAYER else layer - 1
        if before < 0:
            return self._tap(Op.EMBED, NO_LAYER, position)
        return self._tap(Op.FFN_RES, before, position)

    def _rope(self, x: F64Array, position: int) -> Bounded:
        pairs = x.reshape(-1, self._w.config.head_size // 2, 2)
        cos, sin = (t[position].astype(np.float64) for t in (self._w.freq_cos, self._w.freq_sin))
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * (cos + 1j * sin)
        size = np.abs(pairs)
        terms = [size[..., 0] * abs(a) + size[..., 1] * abs(b) for a, b in ((cos, sin), (sin, cos))]
        value = np.stack([turned.real, turned.imag], axis=-1).reshape(-1)
        return value, np.stack(terms, axis=-1).reshape(-1) * gamma(2) + 3 * FLUSH

    def _history(self, op: Op, layer: int, position: int) -> F64Array:
        """Keys or values of positions 0..position for every head: (H, T, head_size)."""
        c = self._w.config
        rows = np.stack([self._tap(op, layer, p) for p in range(position + 1)])
        heads = rows.reshape(position + 1, c.n_kv_heads, c.head_size).transpose(1, 0, 2)
        return np.repeat(heads, c.n_heads // c.n_kv_heads, axis=0)

    def _probabilities(self, key: TapKey) -> Bounded:
        c = self._w.config
        queries = self._tap(Op.Q_ROPE, key.layer, key.position).reshape(c.n_heads, c.head_size)
        keys = self._history(Op.K_ROPE, key.layer, key.position)
        scale = 1 / np.sqrt(c.head_size)
        scores = np.einsum("hd,htd->ht", queries, keys) * scale
        sizes = np.einsum("hd,htd->ht", np.abs(queries), np.abs(keys)) * scale
        # The dot product, then the scale: its root, its quotient, the product with it.
        error = sizes * gamma(1 + self._chain(c.head_size) + 3) + 2 * c.head_size * FLUSH
        return softmax(scores, error.max(axis=1, keepdims=True), self._chain)

    def _mix(self, key: TapKey) -> Bounded:
        count = key.position + 1
        probs = self._tap(Op.ATT_PROB, key.layer, key.position).reshape(-1, count)
        values = self._history(Op.V, key.layer, key.position)
        mix = np.einsum("ht,htd->hd", probs, values).reshape(-1)
        terms = np.einsum("ht,htd->hd", probs, np.abs(values)).reshape(-1)
        return mix, terms * gamma(count) + 2 * count * FLUSH


_PRODUCTS: dict[Op, tuple[str, Op]] = {
    Op.Q: ("wq", Op.ATT_NORM),
    Op.K: ("wk", Op.ATT_NORM),
    Op.V: ("wv", Op.ATT_NORM),
    Op.ATT_OUT: ("wo", Op.ATT_MIX),
    Op.GATE: ("w1", Op.FFN_NORM),
    Op.UP: ("w3", Op.FFN_NORM),
    Op.FFN_OUT: ("w2", Op.SWIGLU),
    Op.LOGITS: ("wcls", Op.FINAL_NORM),
}
"""Matrix products: which tensor, and the tap that it multiplies."""


def _dots(matrix: F32Array, x: F64Array, chain: Chain) -> Bounded:
    wide = matrix.astype(np.float64)
    bound = (np.abs(wide) @ np.abs(x)) * gamma(1 + chain(len(x))) + 2 * len(x) * FLUSH
    return wide @ x, bound


def _norm(x: F64Array, gain: F32Array, chain: Chain) -> Bounded:
    value = x / np.sqrt(np.mean(x * x) + EPSILON) * gain.astype(np.float64)
    rho = gamma(1 + chain(len(x)) + 2)
    relative = (1 + gamma(4)) / np.sqrt(1 - rho) - 1
    return value, np.abs(value) * relative + 4 * FLUSH * (1 + np.abs(gain.astype(np.float64)))


def softmax(scores: F64Array, error: F64Array, chain: Chain = sum_roundings) -> Bounded:
    """Rows of (rows, n); error (rows, 1) bounds every score of a row."""
    below = scores - scores.max(axis=1, keepdims=True)
    powers = np.exp(below)
    value = powers / powers.sum(axis=1, keepdims=True)
    exponent = 2 * error + U * (np.abs(below).max(axis=1, keepdims=True) + 2 * error)
    steps = 2 * EXP_ROUNDINGS + chain(scores.shape[1]) + 1
    relative = np.exp(2 * exponent) * (1 + gamma(steps)) - 1
    return value, value * relative + 4 * FLUSH


def _swiglu(gate: F64Array, up: F64Array) -> Bounded:
    value = gate / (1 + np.exp(-gate)) * up
    return value, np.abs(value) * gamma(EXP_ROUNDINGS + 4) + FLUSH * (1 + np.abs(gate)) * (1 + np.abs(up))
