"""Backward: forward over whole sequences with kept activations, and the gradient of every parameter.

Contract: docs/arithmetic.md, section 8. C twins: firmware/model/train.c, firmware/model/backward.c. The forward
pass gives the bits of golden/forward.py. Owns the order of ops, of taps and of every sum into a gradient.
Shape letters: T positions, H heads, G key/value heads, R = H / G, D head size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden import arithmetic
from golden import backward_ops as ops
from golden.arithmetic import Matrix, add, dot8, flushed, multiply
from golden.taps import NO_LAYER, Op, TapKey
from golden.weights import Config, F32Array, Weights

LAYER_TENSORS = ("rms_att", "wq", "wk", "wv", "wo", "rms_ffn", "w1", "w2", "w3")
Piece = tuple[str, int]
"""A tensor's name and layer (NO_LAYER where there is none)."""
Taps = list[tuple[TapKey, F32Array]]


def pieces(config: Config) -> list[Piece]:
    """Every parameter in the contract's order: layer by layer, then tok_emb, rms_final, and wcls if untied."""
    found = [(name, layer) for layer in range(config.n_layers) for name in LAYER_TENSORS]
    ends = ("tok_emb", "rms_final") if config.shared_classifier else ("tok_emb", "rms_final", "wcls")
    return found + [(name, NO_LAYER) for name in ends]


def parameters(weights: Weights) -> dict[Piece, F32Array]:
    """A copy of every parameter, flushed, in the contract's order."""
    tensors = {piece: getattr(weights, piece[0]) for piece in pieces(weights.config)}
    return {
        piece: np.array(flushed(np.asarray(t if piece[1] == NO_LAYER else t[piece[1]], np.float32)))
        for piece, t in tensors.items()
    }


def piece_key(prefix: str, piece: Piece) -> TapKey:
    """Key of the tap GRAD_... or PARAM_... of a piece; prefix without the underscore."""
    return TapKey(0, piece[1], Op[f"{prefix}_{piece[0].upper()}"])


@dataclass(frozen=True, slots=True)
class Activations:
    """What one layer's backward pass needs of its forward pass."""

    x: F32Array  # (T, dim) what entered
    att_norm: F32Array  # (T, dim)
    q: F32Array  # (T, H, D) rotated
    k: F32Array  # (T, G, D) rotated
    v: F32Array  # (T, G, D)
    probs: F32Array  # (T, H, T), zero for positions to come
    mix: F32Array  # (T, dim)
    att_res: F32Array  # (T, dim)
    ffn_norm: F32Array  # (T, dim)
    gate: F32Array  # (T, hidden_dim)
    up: F32Array  # (T, hidden_dim)
    swiglu: F32Array  # (T, hidden_dim)


class Backward:
    """Parameters, their gradients so far, and the taps recorded since the last `take_taps`.

    Args:
        weights: only config and RoPE tables are used, and the parameters where `values` is not given.
        values: parameters by piece; kept, not copied.
        record: keep taps.
    Gradients start at +0 and only ever grow: make a new one for every step.
    """

    def __init__(self, weights: Weights, values: dict[Piece, F32Array] | None = None, *, record: bool = True) -> None:
        c = weights.config
        self.config: Config = c
        self.values = parameters(weights) if values is None else values
        self.gradients = {piece: np.zeros_like(value) for piece, value in self.values.items()}
        self.record = record
        self.taps: Taps = []
        self._cos = flushed(np.asarray(weights.freq_cos, np.float32))
        self._sin = flushed(np.asarray(weights.freq_sin, np.float32))
        self._score_scale = np.float32(1.0) / np.sqrt(np.float32(c.head_size))
        self._matrices: dict[Piece, Matrix] = {}

    def take_taps(self) -> Taps:
        """The taps recorded since the last call, in execution order."""
        taken, self.taps = self.taps, []
        return taken

    def embed(self, tokens: Sequence[int]) -> F32Array:
        """Embeddings (T, dim) of tokens."""
        x: F32Array = self.values["tok_emb", NO_LAYER][np.asarray(tokens)]
        self._record(NO_LAYER, {Op.EMBED: x})
        return x

    def layer(self, index: int, x: F32Array) -> tuple[F32Array, Activations]:
        """x (T, dim) after layer `index`, and what its backward pass needs."""
        with np.errstate(all="ignore"):
            kept, out = self._attention(index, x)
            ffn_norm = ops.rmsnorm_rows(kept["att_res"], self.values["rms_ffn", index])
            gate = self._matrix("w1", index).of_rows(ffn_norm)
            up = self._matrix("w3", index).of_rows(ffn_norm)
            swiglu = arithmetic.swiglu(gate, up)
            ffn_out = self._matrix("w2", index).of_rows(swiglu)
            result = add(kept["att_res"], ffn_out)
        act = Activations(**kept, ffn_norm=ffn_norm, gate=gate, up=up, swiglu=swiglu)
        self._record(index, out | _feed_forward_taps(act, ffn_out, result))
        return result, act

    def head(self, x: F32Array, targets: Sequence[int], scale: np.float32) -> tuple[F32Array, F32Array]:
        """Loss of every position (T,) and gradient (T, dim) of x (T, dim); adds to wcls and rms_final.

        Args:
            targets: the token that should follow each position.
            scale: factor on the gradient, 1 / (positions of all microbatches).
        """
        wcls: Piece = ("tok_emb" if self.config.shared_classifier else "wcls", NO_LAYER)
        gain: Piece = ("rms_final", NO_LAYER)
        with np.errstate(all="ignore"):
            norm = ops.rmsnorm_rows(x, self.values[gain])
            logits = self._matrix(*wcls).of_rows(norm)
            losses, d_logits = ops.cross_entropy(logits, np.asarray(targets, np.int64), scale)
            d_norm = ops.outer_sum(d_logits.T, self.values[wcls])
            self._add_outer(wcls, d_logits, norm)
            dx, d_gain = ops.rmsnorm_backward(d_norm, x, self.values[gain])
            self._add_rows(gain, d_gain)
        taps = {Op.FINAL_NORM: norm, Op.LOGITS: logits, Op.LOSS: losses[:, None], Op.D_LOGITS: d_logits}
        self._record(NO_LAYER, taps | {Op.D_FINAL_NORM: d_norm, Op.D_HEAD: dx})
        return losses, dx

    def layer_backward(self, index: int, act: Activations, dx: F32Array) -> F32Array:
        """Gradient (T, dim) of the layer's input from dx (T, dim), that of its output; adds to its parameters."""
        with np.errstate(all="ignore"):
            dx, taps = self._feed_forward_backward(index, act, dx)
            d_mix = ops.outer_sum(dx.T, self.values["wo", index])
            self._add_outer(("wo", index), dx, act.mix)
            taps[Op.D_ATT_MIX] = d_mix
            self._record(index, taps)
            (d_q, d_k, d_v), d_k_rope = self._attention_backward(index, act, d_mix)
            stacked = np.concatenate([d_q, d_k, d_v], axis=1)
            matrices = np.concatenate([self.values[name, index] for name in ("wq", "wk", "wv")])
            d_norm = ops.outer_sum(stacked.T, matrices)
            for name, dy in (("wq", d_q), ("wk", d_k), ("wv", d_v)):
                self._add_outer((name, index), dy, act.att_norm)
            d_input, d_gain = ops.rmsnorm_backward(d_norm, act.x, self.values["rms_att", index])
            self._add_rows(("rms_att", index), d_gain)
            result = add(dx, d_input)
        taps = {Op.D_K_ROPE: d_k_rope, Op.D_V: d_v, Op.D_Q: d_q, Op.D_K: d_k}
        self._record(index, taps | {Op.D_ATT_NORM: d_norm, Op.D_LAYER: result})
        return result

    def embed_backward(self, tokens: Sequence[int], dx: F32Array) -> None:
        """Adds dx (T, dim) to the rows of tok_emb's gradient, positions in ascending order."""
        gradient = self.gradients["tok_emb", NO_LAYER]
        for token, row in zip(tokens, dx, strict=True):
            gradient[token] = add(gradient[token], row)

    def _attention(self, index: int, x: F32Array) -> tuple[dict[str, F32Array], dict[Op, F32Array]]:
        c, count = self.config, len(x)
        norm = ops.rmsnorm_rows(x, self.values["rms_att", index])
        q, k, v = (self._matrix(name, index).of_rows(norm) for name in ("wq", "wk", "wv"))
        cos, sin = self._cos[:count], self._sin[:count]
        q_rope = _rope(q.reshape(count, c.n_heads, c.head_size), cos, sin)
        k_rope = _rope(k.reshape(count, c.n_kv_heads, c.head_size), cos, sin)
        values = v.reshape(count, c.n_kv_heads, c.head_size)
        grouped = q_rope.reshape(count, c.n_kv_heads, -1, c.head_size)
        keys = k_rope.transpose(2, 1, 0)[:, None, :, None, :]  # (D, 1, G, 1, T)
        dots = dot8(grouped.transpose(3, 0, 1, 2)[..., None], keys)  # (T, G, R, T)
        scores = multiply(dots, self._score_scale).reshape(count, c.n_heads, count)
        scores = np.where(_causal(count)[:, None, :], scores, np.float32(-np.inf))
        probs = arithmetic.softmax(scores.reshape(-1, count)).reshape(scores.shape)
        mix = self._mix(probs, values)
        out = self._matrix("wo", index).of_rows(mix)
        res = add(x, out)
        kept = {"x": x, "att_norm": norm, "q": q_rope, "k": k_rope, "v": values}
        taps = {Op.ATT_NORM: norm, Op.Q: q, Op.K: k, Op.V: v, Op.Q_ROPE: q_rope, Op.K_ROPE: k_rope}
        taps |= {Op.ATT_PROB: probs, Op.ATT_MIX: mix, Op.ATT_OUT: out, Op.ATT_RES: res}
        return kept | {"probs": probs, "mix": mix, "att_res": res}, taps

    def _mix(self, probs: F32Array, values: F32Array) -> F32Array:
        """(T, dim): values (T, G, D) weighted by probs (T, H, T), columns in ascending order."""
        c, count = self.config, len(values)
        columns = probs.reshape(count, c.n_kv_heads, -1, count).transpose(3, 1, 0, 2)  # (s, G, T, R)
        left = columns.reshape(count, c.n_kv_heads, -1)
        mixed = ops.outer_sum(left, values, valid=self._column_valid(left))  # (G, T R, D)
        return mixed.reshape(c.n_kv_heads, count, -1, c.head_size).transpose(1, 0, 2, 3).reshape(count, c.dim)

    def _column_valid(self, left: F32Array) -> NDArray[np.bool_]:
        """Which elements of (s, G, T R) stand for a position s that row T sees."""
        count, groups, width = left.shape
        seen = np.repeat(_causal(count).T, width // count, axis=1)  # (s, T R)
        return np.broadcast_to(seen[:, None, :], (count, groups, width))

    def _feed_forward_backward(self, index: int, act: Activations, dx: F32Array) -> tuple[F32Array, dict[Op, F32Array]]:
        d_swiglu = ops.outer_sum(dx.T, self.values["w2", index])
        d_gate, d_up = ops.swiglu_backward(d_swiglu, act.gate, act.up)
        matrices = np.concatenate([self.values["w1", index], self.values["w3", index]])
        d_norm = ops.outer_sum(np.concatenate([d_gate, d_up], axis=1).T, matrices)
        self._add_outer(("w2", index), dx, act.swiglu)
        self._add_outer(("w1", index), d_gate, act.ffn_norm)
        self._add_outer(("w3", index), d_up, act.ffn_norm)
        d_input, d_gain = ops.rmsnorm_backward(d_norm, act.att_res, self.values["rms_ffn", index])
        self._add_rows(("rms_ffn", index), d_gain)
        result = add(dx, d_input)
        taps = {Op.D_SWIGLU: d_swiglu, Op.D_GATE: d_gate, Op.D_UP: d_up}
        return result, taps | {Op.D_FFN_NORM: d_norm, Op.D_ATT_RES: result}

    def _attention_backward(
        self, index: int, act: Activations, d_mix: F32Array
    ) -> tuple[tuple[F32Array, F32Array, F32Array], F32Array]:
        """Gradients of q (T, dim), k, v (T, kv_dim) before RoPE, and of k after it.

        Heads of a group add in ascending order.
        """
        c, count = self.config, len(d_mix)
        shape = (count, c.n_kv_heads, -1, c.head_size)
        d_heads, queries = d_mix.reshape(shape), act.q.reshape(shape)  # (T, G, R, D)
        values = act.v.transpose(2, 1, 0)[:, None, :, None, :]  # (D, 1, G, 1, T)
        d_probs = dot8(d_heads.transpose(3, 0, 1, 2)[..., None], values).reshape(act.probs.shape)
        d_probs = np.where(_causal(count)[:, None, :], d_probs, np.float32(0))
        d_scores = multiply(ops.softmax_backward(d_probs, act.probs), self._score_scale)
        d_q = self._mix(d_scores, act.k)

        def to_columns(left: F32Array, right: F32Array) -> F32Array:
            """Sum over row t, then head of the group, of left[t, h, s] * right[t, h]: (T, G, D)."""
            grouped = left.reshape(count, c.n_kv_heads, -1, count).transpose(0, 2, 1, 3)  # (T, R, G, s)
            a = grouped.reshape(-1, c.n_kv_heads, count)
            b = right.transpose(0, 2, 1, 3).reshape(len(a), c.n_kv_heads, c.head_size)
            seen = np.repeat(_causal(count), len(a) // count, axis=0)[:, None, :]
            return ops.outer_sum(a, b, valid=np.broadcast_to(seen, a.shape)).transpose(1, 0, 2)

        d_k, d_v = to_columns(d_scores, queries), to_columns(act.probs, d_heads).reshape(count, -1)
        self._record(index, {Op.D_ATT_PROB: d_probs, Op.D_ATT_SCORE: d_scores, Op.D_Q_ROPE: d_q})
        cos, sin = self._cos[:count], self._sin[:count]
        turned_q = ops.rope_backward(d_q.reshape(act.q.shape), cos, sin).reshape(count, -1)
        turned_k = ops.rope_backward(d_k, cos, sin).reshape(count, -1)
        return (turned_q, turned_k, d_v), d_k

    def _matrix(self, name: str, layer: int) -> Matrix:
        piece = (name, layer)
        if piece not in self._matrices:
            self._matrices[piece] = Matrix(self.values[piece])
        return self._matrices[piece]

    def _add_outer(self, piece: Piece, dy: F32Array, x: F32Array) -> None:
        """Gradient of a matrix: adds dy[t, r] * x[t, i], positions in ascending order."""
        self.gradients[piece] = ops.outer_sum(dy, x, self.gradients[piece])

    def _add_rows(self, piece: Piece, rows: F32Array) -> None:
        """Gradient of a gain: adds rows (T, n) in ascending order."""
        for row in rows:
            self.gradients[piece] = add(self.gradients[piece], row)

    def _record(self, layer: int, tensors: Mapping[Op, F32Array]) -> None:
        """Taps of all positions: position by position, ops in the order given."""
        if not self.record:
            return
        count = len(next(iter(tensors.values())))
        for position in range(count):
            for op, tensor in tensors.items():
                x = tensor[position]
                seen = op in (Op.ATT_PROB, Op.D_ATT_PROB, Op.D_ATT_SCORE)
                self.taps.append((TapKey(position, layer, op), x[:, : position + 1] if seen else x))


def _feed_forward_taps(act: Activations, out: F32Array, result: F32Array) -> dict[Op, F32Array]:
    taps = {Op.FFN_NORM: act.ffn_norm, Op.GATE: act.gate, Op.UP: act.up, Op.SWIGLU: act.swiglu}
    return taps | {Op.FFN_OUT: out, Op.FFN_RES: result}


def _causal(count: int) -> NDArray[np.bool_]:
    """(T, T) bool: row t sees column s."""
    return np.tril(np.ones((count, count), np.bool_))


def _rope(x: F32Array, cos: F32Array, sin: F32Array) -> F32Array:
    """arithmetic.rope of every position of x (T, heads, D)."""
    return np.stack([arithmetic.rope(heads, cos[t], sin[t]) for t, heads in enumerate(x)])
