"""Messages about a board's memory: MEMORY_MAP (the same bytes before a run: hil/model/plan.py) and MEMORY_CRC.

Their codes and the table of all commands: hil/protocol/messages.py. Meaning: docs/plan.md.
"""

from __future__ import annotations

from hil.protocol.fields import U32, Message


class MemoryMap(Message):
    """What lies in a board's memory, in bytes, as the board has laid it out; all shards of a board together.

    The training's fields are 0 where none is set up.
    """

    arm_memory_bytes: U32
    image_bytes: U32  # code, data and bss, from 0x8000 on
    stack_bytes: U32  # behind them
    shard_bytes: U32  # from SHARD_ADDRESS on
    arena_address: U32
    arena_bytes: U32  # KV cache, buffers and log of taps
    kv_cache_bytes: U32
    taps_bytes: U32
    training_bytes: U32  # everything behind the arenas
    gradients_bytes: U32
    optimizer_bytes: U32
    activations_bytes: U32  # kept from forward to backward
    training_taps_bytes: U32


class MemoryRange(Message):
    """Asks for the CRC-32 of a range of RAM."""

    address: U32
    size_bytes: U32


class MemoryCrc(Message):
    """CRC-32 (zlib's) of the range as it is now."""

    crc32: U32
