"""The model in float64, written from its definition and not from the golden: the loss in NumPy, for finite
differences, and in PyTorch, for autograd. Parameters are arrays by name, stacked over layers as in a checkpoint.
Shape letters: T positions, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from golden.weights import Config, Weights

EPSILON = float(np.float32(1e-5))
PARAMETERS = ("tok_emb", "rms_att", "wq", "wk", "wv", "wo", "rms_ffn", "w1", "w2", "w3", "rms_final")


def parameters64(weights: Weights) -> dict[str, np.ndarray]:
    """Every parameter as float64; wcls only if it is no other name of tok_emb."""
    names = PARAMETERS if weights.config.shared_classifier else (*PARAMETERS, "wcls")
    return {name: getattr(weights, name).astype(np.float64) for name in names}


def loss64(lib: Any, config: Config, p: Mapping[str, Any], tables: tuple[Any, Any], tokens: Sequence[int]) -> Any:
    """Mean cross-entropy of tokens[1:] after tokens[:-1]; lib is numpy or torch, and p and tables are of it."""
    count = len(tokens) - 1
    x = p["tok_emb"][list(tokens[:-1])]
    cos, sin = (table[:count, None, :] for table in tables)
    future = np.triu(np.ones((count, count)), 1) * -1e30
    mask = future if lib is np else lib.tensor(future)
    for layer in range(config.n_layers):
        h = _norm(lib, x, p["rms_att"][layer])
        q = _rotate(lib, (h @ p["wq"][layer].T).reshape(count, config.n_heads, -1), cos, sin)
        k = _rotate(lib, (h @ p["wk"][layer].T).reshape(count, config.n_kv_heads, -1), cos, sin)
        v = (h @ p["wv"][layer].T).reshape(count, config.n_kv_heads, -1)
        group = config.n_heads // config.n_kv_heads
        mixed = []
        for head in range(config.n_heads):
            scores = q[:, head] @ k[:, head // group].T / np.sqrt(config.head_size) + mask
            mixed.append(lib.exp(_log_softmax(lib, scores)) @ v[:, head // group])
        x = x + lib.concatenate(mixed, 1) @ p["wo"][layer].T
        h = _norm(lib, x, p["rms_ffn"][layer])
        gate = h @ p["w1"][layer].T
        x = x + (gate / (1 + lib.exp(-gate)) * (h @ p["w3"][layer].T)) @ p["w2"][layer].T
    logits = _norm(lib, x, p["rms_final"]) @ p.get("wcls", p["tok_emb"]).T
    return -_log_softmax(lib, logits)[list(range(count)), list(tokens[1:])].mean()


def _norm(lib: Any, x: Any, gain: Any) -> Any:
    return x / lib.sqrt((x * x).mean(-1)[:, None] + EPSILON) * gain


def _rotate(lib: Any, x: Any, cos: Any, sin: Any) -> Any:
    even, odd = x[..., 0::2], x[..., 1::2]
    return lib.stack((even * cos - odd * sin, even * sin + odd * cos), -1).reshape(x.shape)


def _log_softmax(lib: Any, x: Any) -> Any:
    shift = x.max(-1)
    shift = (shift if lib is np else shift.values)[:, None]
    return x - shift - lib.log(lib.exp(x - shift).sum(-1))[:, None]
