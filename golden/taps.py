"""Taps: the points in the computation whose tensors are digested and compared.

This is the only list of ops. The firmware's copy is generated from it (see
hil/protocol/cheader.py), so a board and the golden cannot disagree on a number or a name.
Owns: the op numbers, the tap key, the digest of a tensor.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

_EXPONENT_BITS = 0x7F800000
NO_LAYER = 0xFF
"""Layer number of a tap that belongs to no layer (embedding, head, hops)."""


class Op(IntEnum):
    """Every op, those of the forward pass and those of the backward pass in execution order.

    Shapes are for one position. GRAD_ and PARAM_ taps are whole tensors (of one layer): their position is 0.
    """

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
    D_HOP_SEND = 0x42  # (dim,) a gradient as handed to the link, towards the rank before
    D_HOP_RECEIVE = 0x43  # (dim,) a gradient as taken from the link
    LOSS = 0x80  # (1,) cross-entropy of this position
    D_LOGITS = 0x81  # (vocab_size,)
    D_FINAL_NORM = 0x82  # (dim,) wcls transposed
    D_HEAD = 0x83  # (dim,) gradient of the head's input
    D_SWIGLU = 0x90  # (hidden_dim,) w2 transposed
    D_GATE = 0x91  # (hidden_dim,)
    D_UP = 0x92  # (hidden_dim,)
    D_FFN_NORM = 0x93  # (dim,) w1, then w3 transposed
    D_ATT_RES = 0x94  # (dim,) norm's gradient + the stream's
    D_ATT_MIX = 0x95  # (dim,) wo transposed
    D_ATT_PROB = 0x96  # (n_heads, position + 1)
    D_ATT_SCORE = 0x97  # (n_heads, position + 1) of the dot products, before they are scaled
    D_Q_ROPE = 0x98  # (dim,)
    D_K_ROPE = 0x99  # (kv_dim,)
    D_V = 0x9A  # (kv_dim,)
    D_Q = 0x9B  # (dim,) rotated back
    D_K = 0x9C  # (kv_dim,) rotated back
    D_ATT_NORM = 0x9D  # (dim,) wq, then wk, then wv transposed
    D_LAYER = 0x9E  # (dim,) gradient of the layer's input
    GRAD_TOK_EMB = 0xA0
    GRAD_RMS_ATT = 0xA1
    GRAD_WQ = 0xA2
    GRAD_WK = 0xA3
    GRAD_WV = 0xA4
    GRAD_WO = 0xA5
    GRAD_RMS_FFN = 0xA6
    GRAD_W1 = 0xA7
    GRAD_W2 = 0xA8
    GRAD_W3 = 0xA9
    GRAD_RMS_FINAL = 0xAA
    GRAD_WCLS = 0xAB
    GRAD_NORM = 0xAF  # (2,) norm of all gradients, and the factor that clipping gives
    PARAM_TOK_EMB = 0xB0
    PARAM_RMS_ATT = 0xB1
    PARAM_WQ = 0xB2
    PARAM_WK = 0xB3
    PARAM_WV = 0xB4
    PARAM_WO = 0xB5
    PARAM_RMS_FFN = 0xB6
    PARAM_W1 = 0xB7
    PARAM_W2 = 0xB8
    PARAM_W3 = 0xB9
    PARAM_RMS_FINAL = 0xBA
    PARAM_WCLS = 0xBB


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


TapDigest = tuple[TapKey, int]
"""A tap and the CRC-32 of its tensor."""


@dataclass(frozen=True, slots=True)
class RankTap:
    """A tap that a rank of a ring must record.

    stage: how far round the ring: 0 the embedding, then each rank forward, then each rank backward.
    microbatch: of a step of training, one beyond the last for gradients and parameters; None in a generation.
    """

    key: TapKey
    crc: int
    stage: int
    microbatch: int | None = None

    @property
    def order(self) -> tuple[int, int]:
        """Of two taps on different ranks the one with the lesser order is recorded first."""
        return self.key.position if self.microbatch is None else self.microbatch, self.stage


def canonical_bits(x: np.ndarray) -> np.ndarray:
    """float32 tensor -> uint32 words with -0 as +0 and every NaN as 0x7FC00000 (flattened, C order)."""
    flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1)
    with np.errstate(invalid="ignore"):
        canonical = flat + np.float32(0)  # -0 + 0 is +0; nothing else changes, but a NaN's payload
    bits = canonical.view(np.uint32)
    unknown = canonical != canonical
    if unknown.any():
        bits[unknown] = 0x7FC00000
    return bits


@dataclass(frozen=True, slots=True)
class Oddity:
    """A tensor that no healthy run has. count: values; nonfinite: infinities and NaNs among them, 0: all are zero."""

    count: int
    nonfinite: int


@dataclass(slots=True)
class Census:
    """Digests tensors and keeps what is odd about them, by their digest."""

    odd: dict[int, Oddity] = field(default_factory=dict)

    def digest(self, x: np.ndarray) -> int:
        """As `digest`."""
        bits = canonical_bits(x)
        crc = zlib.crc32(bits.astype("<u4", copy=False).data)
        magnitudes = bits & np.uint32(0x7FFFFFFF)
        largest = int(magnitudes.max(initial=0))
        if (largest == 0 and len(bits)) or largest >= _EXPONENT_BITS:
            self.odd[crc] = Oddity(len(bits), int(np.count_nonzero(magnitudes >= np.uint32(_EXPONENT_BITS))))
        return crc


def digest(x: np.ndarray) -> int:
    """CRC-32 (zlib) of the canonical little-endian words of a float32 tensor of any shape."""
    return zlib.crc32(canonical_bits(x).astype("<u4", copy=False).data)
