"""Checkpoint: llama2.c's version 0 file; weights in and out.

Format: docs/formats.md. A header is believed only after its numbers were checked and the file's size
equals what they ask for, so nothing is allocated by a damaged file. Shards: hil/model/shard.py.
Owns: CheckpointError, the header's 28 bytes, the order of tensors.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import struct
from pathlib import Path

import numpy as np

from golden.weights import Config, F32Array, Weights

HEADER = struct.Struct("<7i")
"""dim hidden_dim n_layers n_heads n_kv_heads vocab_size seq_len; vocab_size < 0: own classifier."""
FLOAT_BYTES = 4

LIMITS = {
    "dim": 8192,
    "hidden_dim": 32768,
    "n_layers": 128,
    "n_heads": 8192,
    "n_kv_heads": 8192,
    "vocab_size": 65536,  # tokens travel as uint16
    "seq_len": 32768,
}
"""Largest value of each header field that the project handles; the same as MODEL_*_MAX in firmware/model/model.h."""

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
    return HEADER.size + FLOAT_BYTES * sum(math.prod(shape) for shape in tensor_shapes(config).values())


def pack_header(config: Config) -> bytes:
    """The 28 bytes that open a checkpoint and every shard of it."""
    vocab_size = config.vocab_size if config.shared_classifier else -config.vocab_size
    fields = (config.dim, config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads)
    return HEADER.pack(*fields, vocab_size, config.seq_len)


def unpack_header(data: bytes, where: str) -> Config:
    """Inverse of pack_header, checked.

    Raises: CheckpointError beginning with `where` if the bytes are too few or the numbers cannot be a model.
    """
    if len(data) < HEADER.size:
        raise CheckpointError(
            f"{where}: {len(data)} bytes, shorter than the {HEADER.size}-byte header; copy the file again"
        )
    numbers = HEADER.unpack_from(data)
    if numbers[0] == _VERSION_1_MAGIC:
        raise CheckpointError(
            f"{where}: a llama2.c file of version {numbers[1]}, only version 0 is read; export it with --version 0"
        )
    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len = numbers
    shared = vocab_size > 0
    config = Config(dim, hidden_dim, n_layers, n_heads, n_kv_heads, abs(vocab_size), seq_len, shared)
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


def plain_size_bytes(path: Path) -> int:
    """Size of a file that can be read to its end. Raises OSError, also for pipes and devices, which may have none."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):  # opening a folder says that it is one
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    return found.st_size


def read_config(path: Path | str) -> Config:
    """Read and check the header and the file's size, without touching the weights. Raises CheckpointError."""
    path = Path(path)
    try:
        size_bytes = plain_size_bytes(path)
        with path.open("rb") as file:
            config = unpack_header(file.read(HEADER.size), str(path))
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
    flat = np.asarray(np.memmap(path, dtype="<f4", mode="r", offset=HEADER.size))
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
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(pack_header(weights.config))
            for name in shapes:
                np.ascontiguousarray(getattr(weights, name), dtype="<f4").tofile(file)
            file.flush()
            os.fsync(file.fileno())  # the name must not be there before the bytes are
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
