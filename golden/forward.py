"""Forward: the transformer, one position at a time, with every tap.

Contract: docs/arithmetic.md. C twin: firmware/model/forward.c. Owns the order of ops and the KV cache.
Shape letters: T positions so far, H heads, G key/value heads, R = H / G, D head size, S sequence length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from golden import arithmetic
from golden.arithmetic import Matrix
from golden.taps import NO_LAYER, Op, TapKey
from golden.weights import Config, F32Array, Weights


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's tensors made ready; q, k, v and gate, up are stacked, which changes no result."""

    rms_att: F32Array
    qkv: Matrix
    wo: Matrix
    rms_ffn: F32Array
    gate_up: Matrix
    w2: Matrix

    @classmethod
    def of(cls, w: Weights, index: int) -> _Layer:
        return cls(
            rms_att=arithmetic.flushed(w.rms_att[index]),
            qkv=Matrix(w.wq[index], w.wk[index], w.wv[index]),
            wo=Matrix(w.wo[index]),
            rms_ffn=arithmetic.flushed(w.rms_ffn[index]),
            gate_up=Matrix(w.w1[index], w.w3[index]),
            w2=Matrix(w.w2[index]),
        )


class Forward:
    """A model in work: weights, KV cache and the taps recorded since the last `take_taps`.

    Layers are made ready when first used, so a few layers of a large model cost only themselves.
    With record=False no taps are kept.
    """

    def __init__(self, weights: Weights, *, record: bool = True) -> None:
        c = weights.config
        self.config: Config = c
        self.record = record
        self.taps: list[tuple[TapKey, F32Array]] = []
        self._weights = weights
        self._layers: dict[int, _Layer] = {}
        self._classifier: Matrix | None = None
        self._cos = arithmetic.flushed(np.asarray(weights.freq_cos, np.float32))
        self._sin = arithmetic.flushed(np.asarray(weights.freq_sin, np.float32))
        self._score_scale = np.float32(1.0) / np.sqrt(np.float32(c.head_size))
        self._cached: dict[int, int] = {}  # layer -> positions in its cache
        self._keys: dict[int, F32Array] = {}  # layer -> (D, G, 1, S)
        self._values: dict[int, F32Array] = {}  # layer -> (S, G, 1, D)

    def step(self, token: int, position: int) -> F32Array:
        """Logits (vocab_size,) after `token` at `position`; positions come in order from 0."""
        x = self.embed(token, position)
        for index in range(self.config.n_layers):
            x = self.layer(index, x, position)
        return self.head(x, position)

    def take_taps(self) -> list[tuple[TapKey, F32Array]]:
        """The taps recorded since the last call, in execution order."""
        taken, self.taps = self.taps, []
        return taken

    def embed(self, token: int, position: int) -> F32Array:
        """Embedding (dim,) of token. Raises ValueError when token is no token of this model."""
        if not 0 <= token < self.config.vocab_size:
            raise ValueError(f"token {token} is outside the vocabulary of {self.config.vocab_size}")
        x = arithmetic.flushed(np.array(self._weights.tok_emb[token], np.float32))
        return self._tap(Op.EMBED, NO_LAYER, position, x)

    def layer(self, index: int, x: F32Array, position: int) -> F32Array:
        """x (dim,) after layer `index`.

        Raises: ValueError when the context is full or a position before this one is not in the cache.
        """
        if not 0 <= position < self.config.seq_len:
            raise ValueError(f"position {position} is outside the context of {self.config.seq_len} positions")
        cached = self._cached.get(index, 0)
        if position > cached:
            raise ValueError(f"layer {index} has cached positions below {cached}: position {position} is too early")
        with np.errstate(all="ignore"):
            x = self._feed_forward(index, self._attention(index, x, position), position)
        self._cached[index] = position + 1
        return x

    def head(self, x: F32Array, position: int) -> F32Array:
        """Logits (vocab_size,) of x (dim,)."""
        if self._classifier is None:
            self._classifier = Matrix(self._weights.wcls)
        with np.errstate(all="ignore"):
            norm = arithmetic.rmsnorm(x, arithmetic.flushed(np.asarray(self._weights.rms_final)))
            self._tap(Op.FINAL_NORM, NO_LAYER, position, norm)
            return self._tap(Op.LOGITS, NO_LAYER, position, self._classifier @ norm)

    def _attention(self, index: int, x: F32Array, position: int) -> F32Array:
        c, layer = self.config, self._layer(index)
        norm = self._tap(Op.ATT_NORM, index, position, arithmetic.rmsnorm(x, layer.rms_att))
        qkv = layer.qkv @ norm
        self._tap(Op.Q, index, position, qkv[: c.dim])
        self._tap(Op.K, index, position, qkv[c.dim : c.dim + c.kv_dim])
        value = self._tap(Op.V, index, position, qkv[c.dim + c.kv_dim :])
        heads = qkv[: c.dim + c.kv_dim].reshape(c.n_heads + c.n_kv_heads, c.head_size)
        turned = arithmetic.rope(heads, self._cos[position], self._sin[position])
        query = self._tap(Op.Q_ROPE, index, position, turned[: c.n_heads])
        key = self._tap(Op.K_ROPE, index, position, turned[c.n_heads :])
        self._keys[index][:, :, 0, position] = key.T
        self._values[index][position, :, 0, :] = value.reshape(c.n_kv_heads, c.head_size)
        mix = self._attend(index, query, position)
        out = self._tap(Op.ATT_OUT, index, position, layer.wo @ mix)
        return self._tap(Op.ATT_RES, index, position, arithmetic.add(x, out))

    def _attend(self, index: int, query: F32Array, position: int) -> F32Array:
        """Values mixed by the attention of query (H, D) to positions 0..position. Returns (dim,)."""
        c, count = self.config, position + 1
        grouped = query.reshape(c.n_kv_heads, -1, c.head_size)  # (G, R, D)
        keys = self._keys[index][..., :count]  # (D, G, 1, T)
        dots = arithmetic.dot8(keys, grouped.transpose(2, 0, 1)[..., None])  # (G, R, T)
        scores = arithmetic.multiply(dots, self._score_scale).reshape(c.n_heads, count)
        probs = self._tap(Op.ATT_PROB, index, position, arithmetic.softmax(scores))
        weights = probs.T.reshape(count, c.n_kv_heads, -1, 1)  # (T, G, R, 1)
        products = arithmetic.multiply(weights, self._values[index][:count])  # (T, G, R, D)
        mix = arithmetic.accumulate(products.reshape(count, c.dim))
        return self._tap(Op.ATT_MIX, index, position, mix)

    def _feed_forward(self, index: int, x: F32Array, position: int) -> F32Array:
        layer, hidden = self._layer(index), self.config.hidden_dim
        norm = self._tap(Op.FFN_NORM, index, position, arithmetic.rmsnorm(x, layer.rms_ffn))
        gate_up = layer.gate_up @ norm
        gate = self._tap(Op.GATE, index, position, gate_up[:hidden])
        up = self._tap(Op.UP, index, position, gate_up[hidden:])
        mixed = self._tap(Op.SWIGLU, index, position, arithmetic.swiglu(gate, up))
        out = self._tap(Op.FFN_OUT, index, position, layer.w2 @ mixed)
        return self._tap(Op.FFN_RES, index, position, arithmetic.add(x, out))

    def _layer(self, index: int) -> _Layer:
        if index not in self._layers:
            c = self.config
            self._layers[index] = _Layer.of(self._weights, index)
            self._keys[index] = np.zeros((c.head_size, c.n_kv_heads, 1, c.seq_len), np.float32)
            self._values[index] = np.zeros((c.seq_len, c.n_kv_heads, 1, c.head_size), np.float32)
        return self._layers[index]

    def _tap(self, op: Op, layer: int, position: int, x: F32Array) -> F32Array:
        if self.record:
            self.taps.append((TapKey(position, layer, op), x))
        return x
