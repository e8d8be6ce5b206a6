"""Writes golden/digests/ anew from fixtures/tiny.bin: `python -m golden.make_digests`.

Reads the checkpoint with a few lines of its own, so that the kept digests do not rest on the harness's reader.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from golden.digests import FOLDER, RUNS, keep, write
from golden.weights import Config, F32Array, Weights

TINY = Path(__file__).resolve().parent.parent / "fixtures" / "tiny.bin"


def read_tiny(path: Path) -> Weights:
    """Weights of a llama2.c version 0 file. Raises ValueError when its size is not exactly right."""
    data = path.read_bytes()
    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len = np.frombuffer(data, "<i4", 7).tolist()
    c = Config(dim, hidden_dim, n_layers, n_heads, n_kv_heads, abs(vocab_size), seq_len, vocab_size > 0)
    layers, half = c.n_layers, c.head_size // 2
    shapes: dict[str, tuple[int, ...]] = {
        "tok_emb": (c.vocab_size, c.dim),
        "rms_att": (layers, c.dim),
        "wq": (layers, c.dim, c.dim),
        "wk": (layers, c.kv_dim, c.dim),
        "wv": (layers, c.kv_dim, c.dim),
        "wo": (layers, c.dim, c.dim),
        "rms_ffn": (layers, c.dim),
        "w1": (layers, c.hidden_dim, c.dim),
        "w2": (layers, c.dim, c.hidden_dim),
        "w3": (layers, c.hidden_dim, c.dim),
        "rms_final": (c.dim,),
        "freq_cos": (c.seq_len, half),
        "freq_sin": (c.seq_len, half),
    }
    if not c.shared_classifier:
        shapes["wcls"] = (c.vocab_size, c.dim)
    expected_bytes = 28 + 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    if len(data) != expected_bytes:
        raise ValueError(f"{path} has {len(data)} bytes, its header asks for {expected_bytes}")
    tensors: dict[str, F32Array] = {}
    offset = 28
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(data, "<f4", count, offset).reshape(shape)
        offset += 4 * count
    tensors.setdefault("wcls", tensors["tok_emb"])
    return Weights(config=c, **tensors)


def main() -> int:
    """Writes every file of RUNS and prints one line for each."""
    weights = read_tiny(TINY)
    sha256 = hashlib.sha256(TINY.read_bytes()).hexdigest()
    FOLDER.mkdir(exist_ok=True)
    for name, settings in RUNS.items():
        run = keep(weights, sha256, settings)
        write(run, FOLDER / f"{name}.json")
        print(f"{name}: {len(run.generation.tokens)} tokens, {len(run.generation.taps)} taps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
