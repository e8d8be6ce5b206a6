"""Oracle: a whole run in float64, from the weights and theta alone, beside the golden; and how far they drift apart.

A second opinion: it shares no line with golden/forward.py, reads no table of the checkpoint, and its errors add up from
layer to layer as the golden's do. golden/reference.py bounds each op by itself. Shape letters: T positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.taps import NO_LAYER, Op, TapKey
from golden.weights import Config, F32Array, Weights

F64Array = NDArray[np.float64]
ROPE_BASE = 10000.0
EPSILON = float(np.float32(1e-5))
SOUND_DB = 60.0
"""Rounding leaves more than this between a float32 run and a float64 one, tables of an export too; a wrong op less."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a tensor of the golden, over all positions, is from float64.

    where: `layer 3`, `logits`. sqnr_db: signal to difference, in dB. ulps: largest difference in units of the last
    place of the tensor's largest value.
    """

    where: str
    sqnr_db: float
    ulps: float

    @property
    def sound(self) -> bool:
        """No more than rounding."""
        return self.sqnr_db >= SOUND_DB


def rope_tables64(config: Config) -> tuple[F64Array, F64Array]:
    """cos and sin of position * ROPE_BASE^(-2i/head_size); each (S, head_size / 2)."""
    rates = ROPE_BASE ** (-np.arange(0, config.head_size, 2) / config.head_size)
    angles = np.outer(np.arange(config.seq_len), rates)
    return np.cos(angles), np.sin(angles)


def oracle_run(weights: Weights, tokens: Sequence[int]) -> dict[TapKey, F64Array]:
    """FFN_RES of every layer and LOGITS, at every position, in float64.

    Args:
        tokens: that enter at each position.
    """
    config, count = weights.config, len(tokens)
    cos, sin = (table[:count, None, :] for table in rope_tables64(config))
    x = weights.tok_emb[list(tokens)].astype(np.float64)
    found: dict[TapKey, F64Array] = {}
    for layer in range(config.n_layers):
        x = x + _attention(weights, layer, x, cos, sin)
        h = _norm(x, weights.rms_ffn[layer])
        gate, up = (h @ w[layer].astype(np.float64).T for w in (weights.w1, weights.w3))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights.w2[layer].astype(np.float64).T
        found.update({TapKey(p, layer, Op.FFN_RES): x[p] for p in range(count)})
    logits = _norm(x, weights.rms_final) @ weights.wcls.astype(np.float64).T
    found.update({TapKey(p, NO_LAYER, Op.LOGITS): logits[p] for p in range(count)})
    return found


def drifts(weights: Weights, tokens: Sequence[int], taps: Mapping[TapKey, F32Array]) -> list[Drift]:
    """The golden's taps of a run beside the oracle's: one row for each layer, and the logits.

    Args:
        taps: of golden.tensors.generation_tensors.
    """
    with np.errstate(all="ignore"):
        oracle = oracle_run(weights, tokens)
    rows: dict[tuple[Op, int], list[tuple[F64Array, F32Array]]] = {}
    for key, exact in oracle.items():
        rows.setdefault((key.op, key.layer), []).append((exact, taps[key].reshape(-1)))
    found = []
    for (op, layer), pairs in rows.items():
        exact = np.concatenate([one for one, _ in pairs])
        off = np.concatenate([mine.astype(np.float64) for _, mine in pairs]) - exact
        where = "logits" if op is Op.LOGITS else f"layer {layer}"
        found.append(_drift(where, exact, off))
    return found


def _drift(where: str, exact: F64Array, off: F64Array) -> Drift:
    with np.errstate(all="ignore"):
        ratio = float(np.sum(exact * exact) / np.sum(off * off))
        largest = np.float32(np.abs(exact).max())
        ulps = float(np.abs(off).max() / np.spacing(largest))
        sqnr = 10 * np.log10(ratio) if ratio == ratio else -np.inf
    return Drift(where, float(sqnr), ulps)


def _norm(x: F64Array, gain: F32Array) -> F64Array:
    normed: F64Array = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + EPSILON) * gain.astype(np.float64)
    return normed


def _attention(weights: Weights, layer: int, x: F64Array, cos: F64Array, sin: F64Array) -> F64Array:
    """What a layer's attention adds to x (T, dim)."""
    config, count = weights.config, len(x)
    h = _norm(x, weights.rms_att[layer])
    q, k, v = (
        (h @ w[layer].astype(np.float64).T).reshape(count, heads, config.head_size)
        for w, heads in (
            (weights.wq, config.n_heads), (weights.wk, config.n_kv_heads), (weights.wv, config.n_kv_heads),
        )
    )  # fmt: skip
    group = config.n_heads // config.n_kv_heads
    k, v = (np.repeat(one, group, axis=1) for one in (_turned(k, cos, sin), v))
    scores = np.einsum("thd,shd->hts", _turned(q, cos, sin), k) / np.sqrt(config.head_size)
    scores += np.triu(np.full((count, count), -np.inf), 1)
    powers = np.exp(scores - scores.max(axis=2, keepdims=True))
    probs = powers / powers.sum(axis=2, keepdims=True)
    mixed = np.einsum("hts,shd->thd", probs, v).reshape(count, config.dim)
    added: F64Array = mixed @ weights.wo[layer].astype(np.float64).T
    return added


def _turned(x: F64Array, cos: F64Array, sin: F64Array) -> F64Array:
    """Adjacent pairs of x (T, heads, head_size) turned by the angle of their position."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned: F64Array = np.stack((even * cos - odd * sin, even * sin + odd * cos), axis=-1).reshape(x.shape)
    return turned
