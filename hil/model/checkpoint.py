"""Checkpoint: llama2.c's version 0 file; weights in and out.

Format: docs/formats.md. A header is believed only after its numbers were checked and the file's size
equals what they ask for, so nothing is allocated by a damaged file. Shards: hil/model/shard.py.
Owns: CheckpointError, the order of tensors. The header's 28 bytes: hil/protocol/shard_header.py.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from golden.weights import Config, F32Array, Weights
from hil.files import atomically
from hil.protocol.shard_header import LIMITS, CheckpointWords

HEADER_BYTES = CheckpointWords.fixed_size_bytes()
FLOAT_BYTES = 4

_VERSION_1_MAGIC = 0x616B3432


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says where, what was found, the limit, and what to do."""


def tensor_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in the file, in its order; wcls only if the classifier is its own."""
    layers, dim, hidden, kv_dim = config.n_layers, config.dim, config.hidden_dim, config.kv_dim
    table = (config.seq_len, config.head_size // 2)
    shapes: dict[str, tuple[int, ...]] = {
        "tok_emb": (config.vocab_size, dim),
        "rms_att": (layers, dim),
        "wq": (layers, dim, dim),
        "wk": (layers, kv_dim, dim),
        "wv": (layers, kv_dim, dim),
        "wo": (layers, dim, dim),
        "rms_ffn": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "rms_final": (dim,),
        "freq_cos": table,
        "freq_sin": table,
    }
    if not config.shared_classifier:
        shapes["wcls"] = (config.vocab_size, dim)
    return shapes


def checkpoint_size_bytes(config: Config) -> int:
    """Exact size of the checkpoint file of a model."""
    return HEADER_BYTES + FLOAT_BYTES * sum(math.prod(shape) for shape in tensor_shapes(config).values())


def header_words(config: Config) -> CheckpointWords:
    """What opens a checkpoint and every shard of it."""
    vocab_size = config.vocab_size if config.shared_classifier else -config.vocab_size
    fields = (config.dim, config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads)
    return CheckpointWords(*fields, vocab_size, config.seq_len)


def unpack_header(data: bytes, where: str) -> Config:
    """The config of a packed header, checked.

    Raises: CheckpointError beginning with `where` if the bytes are too few or the numbers cannot be a model.
    """
    if len(data) < HEADER_BYTES:
        raise CheckpointError(
            f"{where}: {len(data)} bytes, shorter than the {HEADER_BYTES}-byte header; copy the file again"
        )
    words = CheckpointWords.unpack(data[:HEADER_BYTES])
    if words.dim == _VERSION_1_MAGIC:
        raise CheckpointError(
            f"{where}: a llama2.c file of version {words.hidden_dim}, only version 0 is read; "
            "export it with --version 0"
        )
    shape = (words.dim, words.hidden_dim, words.n_layers, words.n_heads, words.n_kv_heads)
    config = Config(*shape, abs(words.vocab_size), words.seq_len, words.vocab_size > 0)
    check_dimensions(config, where)
    return config


def check_dimensions(config: Config, where: str) -> None:
    """Raise CheckpointError beginning with `where` unless the numbers can be a model within LIMITS."""
    for name, limit in LIMITS.items():
        value = getattr(config, name)
        if not 0 < value <= limit:
            raise CheckpointError(
                f"{where}: header says {name} = {value}, it must be 1 to {limit}; this is not a llama2.c checkpoint"
            )
    if config.dim % config.n_heads:
        raise CheckpointError(
            f"{where}: header says dim = {config.dim} and n_heads = {config.n_heads}, dim must be a multiple of "
            "n_heads; this is not a llama2.c checkpoint"
        )
    if config.head_size % 2:
        raise CheckpointError(
            f"{where}: header says head size {config.head_size} (dim / n_heads), it must be even for RoPE; "
            "this is not a llama2.c checkpoint"
        )
    if config.n_heads % config.n_kv_heads:
        raise CheckpointError(
            f"{where}: header says n_heads = {config.n_heads} and n_kv_heads = {config.n_kv_heads}, n_heads must be "
            "a multiple of n_kv_heads; this is not a llama2.c checkpoint"
        )


def read_config(path: Path | str) -> Config:
    """Read and check the header and the file's size, without touching the weights. Raises CheckpointError."""
    path = Path(path)
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            config = unpack_header(file.read(HEADER_BYTES), str(path))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {error.strerror}; check the path") from error
    check_size(path, size_bytes, checkpoint_size_bytes(config))
    return config


def check_size(path: Path | str, found_bytes: int, expected_bytes: int) -> None:
    """Raise CheckpointError unless a file has exactly the size that its header asks for."""
    if found_bytes != expected_bytes:
        difference = expected_bytes - found_bytes
        what = f"{difference} bytes are missing" if difference > 0 else f"{-difference} bytes are too many"
        raise CheckpointError(
            f"{path}: the header asks for {expected_bytes} bytes but the file has {found_bytes}: {what}; "
            "copy or export the file again"
        )


def read_checkpoint(path: Path | str) -> Weights:
    """Map a checkpoint into memory; the arrays are read-only and loaded page by page as they are used.

    Raises: CheckpointError if the file is missing, damaged or not of exactly the right size.
    """
    config = read_config(path)
    flat = np.asarray(np.memmap(path, dtype="<f4", mode="r", offset=HEADER_BYTES))
    tensors = split_tensors(flat, tensor_shapes(config))
    tensors.setdefault("wcls", tensors["tok_emb"])
    return Weights(config=config, **tensors)


def split_tensors(flat: F32Array, shapes: dict[str, tuple[int, ...]]) -> dict[str, F32Array]:
    """Cut a flat array into views, in order; `flat` has exactly the elements that the shapes ask for."""
    tensors = {}
    start = 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        tensors[name] = flat[start : start + count].reshape(shape)
        start += count
    return tensors


def write_checkpoint(weights: Weights, path: Path | str) -> None:
    """Write a checkpoint; it appears under its name only when complete.

    Raises: CheckpointError if a tensor's shape is not what the config asks for.
    """
    path = Path(path)
    check_dimensions(weights.config, str(path))
    shapes = tensor_shapes(weights.config)
    for name, shape in shapes.items():
        found = getattr(weights, name).shape
        if found != shape:
            raise CheckpointError(f"{path}: {name} has shape {found}, the config asks for {shape}; nothing was written")
    with atomically(path) as part, part.open("wb") as file:
        file.write(header_words(weights.config).pack())
        for name in shapes:
            np.ascontiguousarray(getattr(weights, name), dtype="<f4").tofile(file)
