"""A reader of llama2.c checkpoints and a float64 transformer, written from docs/formats.md alone.

It shares no code with the project, so that a saved file is proved to be what others read.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

NAMES = ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context")


def read(path: Path) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Header by name, tensors by name. Asserts that the file ends where they end."""
    data = path.read_bytes()
    h = dict(zip(NAMES, struct.unpack("<7i", data[:28]), strict=True))
    own, h["vocab"] = h["vocab"] < 0, abs(h["vocab"])
    size = h["dim"] // h["heads"]
    n, d, f, kv, v, s = h["layers"], h["dim"], h["hidden"], size * h["kv_heads"], h["vocab"], h["context"]
    shapes = {
        "emb": (v, d), "n1": (n, d), "q": (n, d, d), "k": (n, kv, d), "v": (n, kv, d), "o": (n, d, d), "n2": (n, d),
        "w1": (n, f, d), "w2": (n, d, f), "w3": (n, f, d), "n3": (d,), "cos": (s, size // 2), "sin": (s, size // 2),
    }  # fmt: skip
    if own:
        shapes["out"] = (v, d)
    tensors, at = {}, 28
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(data, "<f4", count, at).reshape(shape)
        at += 4 * count
    assert at == len(data), f"{len(data)} bytes, the header asks for {at}"
    tensors.setdefault("out", tensors["emb"])
    return h, tensors


def greedy(path: Path, positions: int) -> list[int]:
    """Tokens after BOS (1), the most probable one each time, until BOS comes again."""
    h, t = read(path)
    w = {name: tensor.astype(np.float64) for name, tensor in t.items()}
    keys: list[list[np.ndarray]] = [[] for _ in range(h["layers"])]
    values: list[list[np.ndarray]] = [[] for _ in range(h["layers"])]
    tokens = [1]
    for position in range(positions):
        x = w["emb"][tokens[-1]]
        for layer in range(h["layers"]):
            x = x + _attention(w, h, layer, _norm(x, w["n1"][layer]), position, keys[layer], values[layer])
            y = _norm(x, w["n2"][layer])
            gate = w["w1"][layer] @ y
            x = x + w["w2"][layer] @ (gate / (1 + np.exp(-gate)) * (w["w3"][layer] @ y))
        tokens.append(int(np.argmax(w["out"] @ _norm(x, w["n3"]))))
        if tokens[-1] == 1:
            break
    return tokens[1:]


def _attention(w, h, layer, y, position, keys, values):
    size, group = h["dim"] // h["heads"], h["heads"] // h["kv_heads"]
    cos, sin = w["cos"][position], w["sin"][position]
    query, key = (_turn((w[name][layer] @ y).reshape(-1, size), cos, sin) for name in ("q", "k"))
    keys.append(key)
    values.append((w["v"][layer] @ y).reshape(-1, size))
    mixed = []
    for head in range(h["heads"]):
        scores = np.array([key[head // group] @ query[head] for key in keys]) / np.sqrt(size)
        chances = np.exp(scores - scores.max())
        mixed.append(chances / chances.sum() @ np.array([value[head // group] for value in values]))
    return w["o"][layer] @ np.concatenate(mixed)


def _turn(x, cos, sin):
    turned = np.empty_like(x)
    turned[:, 0::2] = x[:, 0::2] * cos - x[:, 1::2] * sin
    turned[:, 1::2] = x[:, 0::2] * sin + x[:, 1::2] * cos
    return turned


def _norm(x, gain):
    return x / np.sqrt(np.mean(x * x) + 1e-5) * gain
