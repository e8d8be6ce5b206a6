"""The head of a shard: where a shard lies in a board's memory, and what its first 56 bytes say.

Format: docs/formats.md, section 3. C gets `shard_header.h` from it (hil/protocol/cheader.py).
Files of checkpoints and shards: hil/model/checkpoint.py, hil/model/shard.py.
"""

from __future__ import annotations

from hil.protocol.fields import I32, Message

SHARD_ADDRESS = 0x0200_0000
"""The GPU loads the shard there, and the ring image reads it there."""
SHARD_MAGIC = 0x53485244
WORLD_SIZE_MAX = 16
LIMITS = {
    "dim": 8192,
    "hidden_dim": 32768,
    "n_layers": 128,  # a tap key holds 8 bits of layer, and 0xFF means none
    "n_heads": 8192,
    "n_kv_heads": 8192,
    "vocab_size": 65536,  # tokens travel as uint16
    "seq_len": 32768,
}
"""Largest value of each field of a checkpoint's header that the project handles."""


class CheckpointWords(Message):
    """The header of a checkpoint, which opens every shard unchanged. vocab_size < 0: own classifier."""

    dim: I32
    hidden_dim: I32
    n_layers: I32
    n_heads: I32
    n_kv_heads: I32
    vocab_size: I32
    seq_len: I32


class ShardWords(CheckpointWords):
    """Both headers of a shard; the second one says what of the model it holds."""

    magic: I32  # SHARD_MAGIC
    rank: I32
    world_size: I32
    layer_start: I32
    layer_end: I32
    has_embed: I32
    has_head: I32
