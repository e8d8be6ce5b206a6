"""RAM: where weights and cached keys stand in the memory of a simulated board, for faults behind its back.

Layout: docs/formats.md (shard), firmware/model/shard.c (arena). Addresses are the board's.
"""

from __future__ import annotations

import math

from golden.backward import Piece
from golden.plan import RankPlan
from golden.taps import NO_LAYER
from golden.weights import Config
from hil.model.shard import HEADERS_BYTES, shard_shapes
from hil.protocol.memory_messages import MemoryMap
from hil.protocol.messages import Command, Empty
from hil.protocol.shard_header import SHARD_ADDRESS
from hil.ring.ring import Ring
from hil.sim import Simulation


def weight_address(config: Config, plan: RankPlan, piece: Piece, index: int) -> int:
    """Of value `index` of a parameter of one layer."""
    name, layer = piece
    words = 0
    for other, shape in shard_shapes(config, plan).items():
        if other == name:
            each = math.prod(shape) if layer == NO_LAYER else math.prod(shape[1:])
            words += index + (0 if layer == NO_LAYER else (layer - plan.layer_start) * each)
            break
        words += math.prod(shape)
    return SHARD_ADDRESS + HEADERS_BYTES + 4 * words


def cache_address(
    config: Config, plan: RankPlan, arena_address: int, layer: int, row: int, index: int, *, values: bool
) -> int:
    """Of element `index` of the key (or value) of position `row` in the cache of a layer."""
    before = 4 * config.dim + 2 * config.hidden_dim + config.n_heads * config.seq_len
    layers = plan.layer_end - plan.layer_start
    local = layer - plan.layer_start + (layers if values else 0)
    return arena_address + 4 * (before + (local * config.seq_len + row) * config.kv_dim + index)


def arena_address(ring: Ring, rank: int) -> int:
    """Where a board's arena begins. Raises BoardError."""
    return ring.boards[rank].command(Command.MEMORY_MAP, Empty(), MemoryMap).arena_address


def flip_bit(simulation: Simulation, board: int, address: int, bit: int) -> None:
    """Invert one bit of a word."""
    data = bytearray(simulation.read_ram(board, address, 4))
    data[bit // 8] ^= 1 << bit % 8
    simulation.write_ram(board, address, bytes(data))
