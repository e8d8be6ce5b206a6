"""Synth: seeded random checkpoints in the shapes that people run.

The values mean nothing; they keep activations near one, so a board computes with ordinary numbers.
Sizes: docs/formats.md. Owns: SHAPES, the scale of every tensor, the RoPE tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from golden.weights import Config, F32Array, Weights
from hil.files import atomically
from hil.model.checkpoint import check_dimensions, header_words, split_tensors, tensor_shapes
from hil.model.tokenizer import TokenizerError, base_pieces, write_tokenizer

SHAPES = {
    "260K": Config(64, 172, 5, 8, 4, 512, 512),
    "15M": Config(288, 768, 6, 6, 6, 32000, 256),
    "42M": Config(512, 1376, 8, 8, 8, 32000, 1024),
    "110M": Config(768, 2048, 12, 12, 12, 32000, 1024),
}
"""The shapes of the tinyllamas checkpoints by name."""

ROPE_BASE = 10000.0
CHUNK_ELEMENTS = 1 << 18


def rope_tables(config: Config) -> tuple[F32Array, F32Array]:
    """cos and sin of position * ROPE_BASE^(-2i/head_size); each (S, head_size / 2) float32."""
    rates = ROPE_BASE ** (-np.arange(0, config.head_size, 2) / config.head_size)
    angles = np.outer(np.arange(config.seq_len), rates)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def synthesize(shape: str | Config, path: Path | str, seed: int) -> Config:
    """Write a random checkpoint in pieces of 1 MiB; same values as random_weights(config, seed).

    Raises: KeyError naming the known shapes for an unknown name; CheckpointError for an impossible config.
    """
    config = shape if isinstance(shape, Config) else shape_config(shape)
    path = Path(path)
    check_dimensions(config, str(path))
    with atomically(path) as part, part.open("wb") as file:
        file.write(header_words(config).pack())
        for chunk in _chunks(config, seed):
            chunk.astype("<f4", copy=False).tofile(file)
    return config


def random_weights(config: Config, seed: int) -> Weights:
    """Random weights in memory; the same config and seed give the same values."""
    check_dimensions(config, "random_weights")
    tensors = split_tensors(np.concatenate(list(_chunks(config, seed))), tensor_shapes(config))
    tensors.setdefault("wcls", tensors["tok_emb"])
    return Weights(config=config, **tensors)


def synthesize_tokenizer(config: Config, path: Path | str) -> None:
    """Write a tokenizer for a random model: the bytes, then pieces that name themselves and join nothing.

    Raises: TokenizerError if the vocabulary is smaller than the specials and the bytes.
    """
    pieces = base_pieces()
    if config.vocab_size < len(pieces):
        raise TokenizerError(
            f"{path}: a vocabulary of {config.vocab_size}; specials and bytes need {len(pieces)}: choose a larger one"
        )
    pieces += [b"<%d>" % token for token in range(len(pieces), config.vocab_size)]
    write_tokenizer(path, pieces, [0.0] * len(pieces))


def shape_config(name: str) -> Config:
    """The config of a named shape. Raises KeyError with the names that exist."""
    if name not in SHAPES:
        raise KeyError(f"no shape is named {name!r}; choose one of {', '.join(SHAPES)}")
    return SHAPES[name]


def _chunks(config: Config, seed: int) -> Iterator[F32Array]:
    """All tensors in file order, flat, in pieces. Each tensor has a random stream of its own."""
    cos, sin = rope_tables(config)
    for index, (name, shape) in enumerate(tensor_shapes(config).items()):
        if name in ("freq_cos", "freq_sin"):
            yield (cos if name == "freq_cos" else sin).reshape(-1)
            continue
        mean, deviation = _scale(name, config)
        rng = np.random.default_rng([seed, index])
        count = math.prod(shape)
        for start in range(0, count, CHUNK_ELEMENTS):
            noise = rng.standard_normal(min(CHUNK_ELEMENTS, count - start), dtype=np.float32)
            yield noise * np.float32(deviation) + np.float32(mean)


def _scale(name: str, config: Config) -> tuple[float, float]:
    """Mean and standard deviation: a matrix keeps the size of its input, 2 L residual adds sum to about one."""
    if name.startswith("rms"):
        return 1.0, 0.1
    deviation = 1 / math.sqrt(config.hidden_dim if name == "w2" else config.dim)
    if name in ("wo", "w2"):
        deviation /= math.sqrt(2 * config.n_layers)
    return 0.0, deviation
