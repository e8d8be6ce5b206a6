"""Weights: the shape of a model and its tensors, independent of any file format.

Files are read and written by hil/model/checkpoint.py. Owns: Config, Weights.
Shape letters: L layers, V vocabulary, S sequence length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Config:
    """The seven numbers of a llama2.c header; shared_classifier is the sign of its vocab_size."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    shared_classifier: bool = True

    @property
    def head_size(self) -> int:
        """Elements of one attention head."""
        return self.dim // self.n_heads

    @property
    def kv_dim(self) -> int:
        """Elements of one key or value vector over all key/value heads."""
        return self.head_size * self.n_kv_heads


@dataclass(frozen=True, slots=True)
class Weights:
    """All tensors of a model, float32, C order."""

    config: Config
    tok_emb: F32Array  # (V, dim)
    rms_att: F32Array  # (L, dim)
    wq: F32Array  # (L, dim, dim)
    wk: F32Array  # (L, kv_dim, dim)
    wv: F32Array  # (L, kv_dim, dim)
    wo: F32Array  # (L, dim, dim)
    rms_ffn: F32Array  # (L, dim)
    w1: F32Array  # (L, hidden_dim, dim)
    w2: F32Array  # (L, dim, hidden_dim)
    w3: F32Array  # (L, hidden_dim, dim)
    rms_final: F32Array  # (dim,)
    freq_cos: F32Array  # (S, head_size / 2)
    freq_sin: F32Array  # (S, head_size / 2)
    wcls: F32Array  # (V, dim); the same array as tok_emb when the classifier is shared
