"""Reference of the backward pass: every gradient again in float64, with a bound on how far float32 may be from it.

As golden/reference.py: each op from the tensors that feed it as they were found, so errors do not add up over ops, and
a wrong op shows at its own tap. gamma(k) bounds k roundings in a row; the k of every op follows from its longest sum:

    D_FINAL_NORM   V: product and V - 1 sums             D_SWIGLU, D_ATT_MIX   dim
    D_FFN_NORM     2 hidden_dim                          D_ATT_NORM            dim + 2 kv_dim
    D_ATT_PROB     dot8 of head_size                     D_Q_ROPE              position + 1
    D_K_ROPE, D_V  T * query heads of a group            D_Q, D_K              2: product and sum
    LOSS           sum8 of V, exp 2, log 2               D_LOGITS              softmax of V, then 3
    D_ATT_SCORE    dot8 of position + 1, then 5          D_GATE, D_UP          sigmoid 4, then 4 and 2
    D_HEAD, D_ATT_RES, D_LAYER (norm')   dot8 of n twice: in the scale, and in the sum over the row
    GRAD_ of a matrix or gain            T * M; of tok_emb as many again, each token's row

Second-order terms are covered by SECOND.
Shape letters: T positions, M microbatches, V vocabulary, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from golden.backward import Piece, pieces
from golden.reference import (
    EPSILON,
    EXP_ROUNDINGS,
    FLUSH,
    Bounded,
    Chain,
    Deviation,
    F64Array,
    U,
    deviation,
    gamma,
    softmax,
    sum_roundings,
)
from golden.taps import NO_LAYER, Op, TapKey
from golden.tensors import stored
from golden.weights import F32Array, Weights

SECOND = 1.01
_SIGMOID = EXP_ROUNDINGS + 2
Taps = Mapping[TapKey, F32Array]


def backward_deviations(
    weights: Weights, microbatches: Sequence[Taps], tokens: Sequence[Sequence[int]], chain: Chain = sum_roundings
) -> Iterator[tuple[int, Deviation]]:
    """Compares every tap of the backward pass with float64: (microbatch, deviation).

    Args:
        microbatches: forward and backward taps of each.
        tokens: of each, one more than it has positions.
    """
    for number, taps in enumerate(microbatches):
        reference = BackwardReference(weights, taps, tokens[number], len(microbatches), chain)
        for key, found in taps.items():
            if key.op >= Op.LOSS:
                yield number, deviation(key, found, reference.expected(key))


def gradient_deviations(
    weights: Weights,
    microbatches: Sequence[Taps],
    tokens: Sequence[Sequence[int]],
    gradients: Mapping[Piece, F32Array],
    chain: Chain = sum_roundings,
) -> Iterator[Deviation]:
    """Compares the gradient of every parameter, summed over the microbatches, with float64."""
    parts = [
        BackwardReference(weights, taps, tokens[i], len(microbatches), chain) for i, taps in enumerate(microbatches)
    ]
    for piece in pieces(weights.config):
        if piece in gradients:
            key = TapKey(0, piece[1], Op[f"GRAD_{piece[0].upper()}"])
            yield deviation(key, gradients[piece], _gradient(parts, piece))


class BackwardReference:
    """One microbatch."""

    def __init__(
        self, weights: Weights, taps: Taps, tokens: Sequence[int], microbatches: int, chain: Chain = sum_roundings
    ) -> None:
        self.chain = chain
        self.w, self.c, self.taps, self.tokens = weights, weights.config, taps, tokens
        self.count = len(tokens) - 1
        self.scale = 1.0 / (self.count * microbatches)

    def expected(self, key: TapKey) -> Bounded:
        """Value and bound of a tap from the taps that feed it. Raises KeyError where one of them is missing."""
        op, layer, p = key.op, key.layer, key.position
        if op in (Op.LOSS, Op.D_LOGITS):
            return self._loss(p) if op is Op.LOSS else self._d_logits(p)
        if op in _CHAINS:
            return self._chain(op, layer, p)
        if op in _NORMS:
            return self._norm(op, layer, p)
        if op in (Op.D_GATE, Op.D_UP):
            return self._swiglu(op, layer, p)
        if op in (Op.D_Q, Op.D_K):
            return self._rope(op, layer, p)
        return self._attention(op, layer, p)

    def tap(self, op: Op, layer: int, position: int) -> F64Array:
        """A reported tensor, flat."""
        return self.taps[TapKey(position, layer, op)].reshape(-1).astype(np.float64)

    def parameter(self, name: str, layer: int) -> F64Array:
        """A parameter of one layer."""
        return stored(self.w, (name, layer)).astype(np.float64)

    def stream(self, layer: int, position: int) -> F64Array:
        """What enters a layer; NO_LAYER: the head."""
        before = self.c.n_layers - 1 if layer == NO_LAYER else layer - 1
        return self.tap(Op.EMBED, NO_LAYER, position) if before < 0 else self.tap(Op.FFN_RES, before, position)

    def d_stream(self, layer: int, position: int) -> F64Array:
        """Gradient of what leaves a layer."""
        if layer == self.c.n_layers - 1:
            return self.tap(Op.D_HEAD, NO_LAYER, position)
        return self.tap(Op.D_LAYER, layer + 1, position)

    # --- head ----------------------------------------------------------------------------------

    def _loss(self, p: int) -> Bounded:
        logits = self.tap(Op.LOGITS, NO_LAYER, p)
        below = logits - logits.max()
        total = np.log(np.exp(below).sum())
        wanted = below[self.tokens[p + 1]]
        relative = gamma(EXP_ROUNDINGS + self.chain(len(logits))) + U * np.abs(below).max()
        bound = SECOND * (relative + 2 * U * abs(total) + U * abs(wanted) + U * (abs(total) + abs(wanted)))
        return np.array([total - wanted]), np.array([bound + FLUSH])

    def _d_logits(self, p: int) -> Bounded:
        probs, error = softmax(self.tap(Op.LOGITS, NO_LAYER, p)[None, :], np.zeros((1, 1)), self.chain)
        value = probs[0].copy()
        value[self.tokens[p + 1]] -= 1
        return value * self.scale, SECOND * (error[0] + np.abs(value) * gamma(3)) * self.scale + FLUSH

    # --- sums ----------------------------------------------------------------------------------

    def _chain(self, op: Op, layer: int, p: int) -> Bounded:
        """A new sum over the rows of one or more matrices."""
        value, terms, count = np.zeros(1), np.zeros(1), 0
        for name, source in _CHAINS[op]:
            dy = self.d_stream(layer, p) if source is None else self.tap(source, layer, p)
            if name == "classifier":
                matrix = self.w.wcls.astype(np.float64)
            else:
                matrix = self.parameter(name, layer)
            value, terms, count = value + dy @ matrix, terms + np.abs(dy) @ np.abs(matrix), count + len(dy)
        return value, terms * gamma(count) + 2 * count * FLUSH

    def _norm(self, op: Op, layer: int, p: int) -> Bounded:
        """norm' and, in a layer, the stream's gradient added."""
        gain, source = _NORMS[op]
        dy = self.tap(source, layer, p)
        x = self.tap(Op.ATT_RES, layer, p) if op is Op.D_ATT_RES else self.stream(layer, p)
        value, bound = norm_backward(dy, x, self.parameter(gain, layer), self.chain)
        if op is Op.D_HEAD:
            return value, bound
        d = self.d_stream(layer, p) if op is Op.D_ATT_RES else self.tap(Op.D_ATT_RES, layer, p)
        return value + d, bound + SECOND * np.abs(value + d) * gamma(1)

    def _swiglu(self, op: Op, layer: int, p: int) -> Bounded:
        g, u, d = self.tap(Op.GATE, layer, p), self.tap(Op.UP, layer, p), self.tap(Op.D_SWIGLU, layer, p)
        s = 1 / (1 + np.exp(-g))
        if op is Op.D_UP:
            value = d * g * s
            return value, np.abs(value) * gamma(_SIGMOID + 2) + 3 * FLUSH * (1 + np.abs(d)) * (1 + np.abs(g))
        slope = 1 + g * (1 - s)
        slope_error = np.abs(g) * (s * gamma(_SIGMOID) + 2 * U * (1 - s)) + U * np.abs(slope)
        value = d * u * s * slope
        bound = np.abs(d * u * s) * slope_error + np.abs(value) * gamma(_SIGMOID + 3)
        return value, SECOND * bound + 4 * FLUSH * (1 + np.abs(d * u)) * (1 + np.abs(g))

    # --- attention -----------------------------------------------------------------------------

    def _rows(self, op: Op, layer: int, count: int) -> F64Array:
        """Keys, values or their kind of positions below count, for every query head: (H, count, D)."""
        c = self.c
        rows = np.stack([self.tap(op, layer, t) for t in range(count)]).reshape(count, c.n_kv_heads, c.head_size)
        return np.repeat(rows.transpose(1, 0, 2), c.n_heads // c.n_kv_heads, axis=0)

    def _heads(self, op: Op, layer: int, p: int) -> F64Array:
        return self.tap(op, layer, p).reshape(self.c.n_heads, -1)

    def _attention(self, op: Op, layer: int, p: int) -> Bounded:
        c, count = self.c, p + 1
        if op is Op.D_ATT_PROB:
            mix, values = self._heads(Op.D_ATT_MIX, layer, p), self._rows(Op.V, layer, count)
            terms = np.einsum("hd,htd->ht", np.abs(mix), np.abs(values))
            bound = terms * gamma(1 + self.chain(c.head_size)) + 2 * c.head_size * FLUSH
            return np.einsum("hd,htd->ht", mix, values), bound
        if op is Op.D_ATT_SCORE:
            return self._d_score(layer, p)
        if op is Op.D_Q_ROPE:
            score, keys = self._heads(op=Op.D_ATT_SCORE, layer=layer, p=p), self._rows(Op.K_ROPE, layer, count)
            terms = np.einsum("ht,htd->hd", np.abs(score), np.abs(keys))
            return np.einsum("ht,htd->hd", score, keys), terms * gamma(count) + 2 * count * FLUSH
        return self._to_column(op, layer, p)

    def _d_score(self, layer: int, p: int) -> Bounded:
        prob, d = self._heads(Op.ATT_PROB, layer, p), self._heads(Op.D_ATT_PROB, layer, p)
        scale = 1 / np.sqrt(self.c.head_size)
        mean = (prob * d).sum(axis=1, keepdims=True)
        terms = np.abs(prob * d).sum(axis=1, keepdims=True)
        error = terms * gamma(1 + self.chain(p + 1)) + U * np.abs(d - mean) + 2 * (p + 1) * FLUSH
        value = prob * (d - mean) * scale
        return value, SECOND * (prob * scale * error + np.abs(value) * gamma(4)) + 3 * FLUSH

    def _to_column(self, op: Op, layer: int, p: int) -> Bounded:
        """D_K_ROPE or D_V of position p: from every row at or behind it, and every query head of the group."""
        c = self.c
        left, right = (Op.D_ATT_SCORE, Op.Q_ROPE) if op is Op.D_K_ROPE else (Op.ATT_PROB, Op.D_ATT_MIX)
        value, terms = np.zeros((2, c.n_heads, c.head_size))
        for t in range(p, self.count):
            a, b = self._heads(left, layer, t)[:, p, None], self._heads(right, layer, t)
            value, terms = value + a * b, terms + np.abs(a * b)
        groups = (c.n_kv_heads, c.n_heads // c.n_kv_heads, c.head_size)
        count = (self.count - p) * groups[1]
        bound = terms.reshape(groups).sum(axis=1) * gamma(count) + 2 * count * FLUSH
        return value.reshape(groups).sum(axis=1), bound

    def _rope(self, op: Op, layer: int, p: int) -> Bounded:
        x = self.tap(Op.D_Q_ROPE if op is Op.D_Q else Op.D_K_ROPE, layer, p)
        pairs = x.reshape(-1, self.c.head_size // 2, 2)
        cos, sin = (t[p].astype(np.float64) for t in (self.w.freq_cos, self.w.freq_sin))
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * (cos - 1j * sin)
        size = np.abs(pairs)
        terms = [size[..., 0] * abs(a) + size[..., 1] * abs(b) for a, b in ((cos, sin), (sin, cos))]
        value = np.stack([turned.real, turned.imag], axis=-1).reshape(-1)
        return value, np.stack(terms, axis=-1).reshape(-1) * gamma(2) + 3 * FLUSH


_CHAINS: dict[Op, tuple[tuple[str, Op | None], ...]] = {
    Op.D_FINAL_NORM: (("classifier", Op.D_LOGITS),),
    Op.D_SWIGLU: (("w2", None),),
    Op.D_FFN_NORM: (("w1", Op.D_GATE), ("w3", Op.D_UP)),
    Op.D_ATT_MIX: (("wo", Op.D_ATT_RES),),
    Op.D_ATT_NORM: (("wq", Op.D_Q), ("wk", Op.D_K), ("wv", Op.D_V)),
}
"""Matrices and what multiplies their rows; None: the gradient of the layer's output."""
_NORMS = {
    Op.D_HEAD: ("rms_final", Op.D_FINAL_NORM),
    Op.D_ATT_RES: ("rms_ffn", Op.D_FFN_NORM),
    Op.D_LAYER: ("rms_att", Op.D_ATT_NORM),
}


def norm_scale(x: F64Array, chain: Chain) -> tuple[float, float]:
    """1 / root of the mean square of x (n,) and how far off it may be, relative to it."""
    rho = gamma(1 + chain(len(x)) + 2)
    return float(1 / np.sqrt(np.mean(x * x) + EPSILON)), float((1 + gamma(2)) / np.sqrt(1 - rho) - 1)


def norm_backward(dy: F64Array, x: F64Array, gain: F64Array, chain: Chain) -> Bounded:
    """Gradient of the norm's input."""
    s, off = norm_scale(x, chain)
    g = dy * gain
    n = len(x)
    k = g @ x / n * s**3
    k_error = np.abs(g * x).sum() * gamma(2 + chain(n)) / n * s**3 + abs(k) * (3 * off + gamma(4))
    value = g * s - x * k
    bound = np.abs(g * s) * (off + gamma(2)) + np.abs(x) * k_error + np.abs(x * k) * gamma(1) + np.abs(value) * gamma(1)
    return value, SECOND * bound + 4 * n * FLUSH * (1 + np.abs(x))


# --- gradients of parameters -------------------------------------------------------------------

_OUTER = {
    "wq": (Op.D_Q, Op.ATT_NORM), "wk": (Op.D_K, Op.ATT_NORM), "wv": (Op.D_V, Op.ATT_NORM),
    "wo": (Op.D_ATT_RES, Op.ATT_MIX), "w1": (Op.D_GATE, Op.FFN_NORM), "w3": (Op.D_UP, Op.FFN_NORM),
}  # fmt: skip


def _gradient(parts: Sequence[BackwardReference], piece: Piece) -> Bounded:
    name, layer = piece
    if name.startswith("rms"):
        return _gain_gradient(parts, name, layer)
    shape = stored(parts[0].w, piece).shape
    value, terms, count = np.zeros(shape), np.zeros(shape), 0
    shared = parts[0].c.shared_classifier
    for part in parts:
        for p in range(part.count if name != "tok_emb" or shared else 0):
            if name in ("tok_emb", "wcls"):
                dy, x = part.tap(Op.D_LOGITS, NO_LAYER, p), part.tap(Op.FINAL_NORM, NO_LAYER, p)
            elif name == "w2":
                dy, x = part.d_stream(layer, p), part.tap(Op.SWIGLU, layer, p)
            else:
                left, right = _OUTER[name]
                dy, x = part.tap(left, layer, p), part.tap(right, layer, p)
            value, terms, count = value + np.outer(dy, x), terms + np.abs(np.outer(dy, x)), count + 1
    for part in parts if name == "tok_emb" else ():
        for p in range(part.count):
            row, dx = part.tokens[p], part.tap(Op.D_LAYER, 0, p)
            value[row] += dx
            terms[row] += np.abs(dx)
            count += 1
    return value, terms * gamma(max(1, count)) + 2 * count * FLUSH


def _gain_gradient(parts: Sequence[BackwardReference], name: str, layer: int) -> Bounded:
    op = {"rms_att": Op.D_ATT_NORM, "rms_ffn": Op.D_FFN_NORM, "rms_final": Op.D_FINAL_NORM}[name]
    value, terms, count, off = np.zeros(parts[0].c.dim), np.zeros(parts[0].c.dim), 0, 0.0
    for part in parts:
        for p in range(part.count):
            x = part.tap(Op.ATT_RES, layer, p) if name == "rms_ffn" else part.stream(layer, p)
            s, here = norm_scale(x, part.chain)
            term = part.tap(op, layer, p) * x * s
            value, terms, count, off = value + term, terms + np.abs(term), count + 1, max(off, here)
    return value, SECOND * terms * (off + gamma(count + 1)) + 3 * count * FLUSH
