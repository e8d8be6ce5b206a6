"""Taps: the points in the computation whose tensors are digested and compared.

This is the only list of ops. The firmware's copy is generated from it (see
hil/protocol/cheader.py), so a board and the golden cannot disagree on a number or a name.
Owns: the op numbers, the tap key, the digest of a tensor.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

NO_LAYER = 0xFF
"""Layer number of a tap that belongs to no layer (embedding, head, hops)."""


class Op(IntEnum):
    """Forward ops in execution order. Shapes are for one position."""

    EMBED = 0x01  # (dim,)
    ATT_NORM = 0x10  # (dim,)
    Q = 0x11  # (dim,)
    K = 0x12  # (kv_dim,)
    V = 0x13  # (kv_dim,)
    Q_ROPE = 0x14  # (dim,)
    K_ROPE = 0x15  # (kv_dim,)
    ATT_PROB = 0x16  # (n_heads, position + 1), softmaxed
    ATT_MIX = 0x17  # (dim,) heads concatenated
    ATT_OUT = 0x18  # (dim,) after wo
    ATT_RES = 0x19  # (dim,) x + ATT_OUT
    FFN_NORM = 0x1A  # (dim,)
    GATE = 0x1B  # (hidden_dim,) w1
    UP = 0x1C  # (hidden_dim,) w3
    SWIGLU = 0x1D  # (hidden_dim,) silu(GATE) * UP
    FFN_OUT = 0x1E  # (dim,) w2
    FFN_RES = 0x1F  # (dim,) x + FFN_OUT
    FINAL_NORM = 0x30  # (dim,)
    LOGITS = 0x31  # (vocab_size,)
    PROBS = 0x32  # (vocab_size,) softmax(logits / temperature); only when temperature > 0
    HOP_SEND = 0x40  # (dim,) as handed to the link
    HOP_RECEIVE = 0x41  # (dim,) as taken from the link


@dataclass(frozen=True, slots=True, order=True)
class TapKey:
    """Names one tensor: op, layer (NO_LAYER where there is none), position in the sequence."""

    position: int
    layer: int
    op: Op

    def pack(self) -> int:
        """The 32-bit form that boards use: op in 31:24, layer in 23:16, position in 15:0."""
        return (int(self.op) << 24) | (self.layer << 16) | self.position

    @classmethod
    def unpack(cls, word: int) -> TapKey:
        """Inverse of pack. Raises ValueError on an op number that does not exist."""
        return cls(position=word & 0xFFFF, layer=(word >> 16) & 0xFF, op=Op(word >> 24))

    def __str__(self) -> str:
        layer = "" if self.layer == NO_LAYER else f" layer {self.layer}"
        return f"{self.op.name}{layer} position {self.position}"


def canonical_bits(x: np.ndarray) -> np.ndarray:
    """float32 tensor -> uint32 words with -0 as +0 and every NaN as 0x7FC00000 (flattened, C order)."""
    flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1)
    bits = flat.view(np.uint32).copy()
    bits[bits == 0x80000000] = 0
    bits[np.isnan(flat)] = 0x7FC00000
    return bits


def digest(x: np.ndarray) -> int:
    """CRC-32 (zlib) of the canonical little-endian words of a float32 tensor of any shape."""
    return zlib.crc32(canonical_bits(x).astype("<u4").tobytes())
