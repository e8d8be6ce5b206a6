"""Messages about single tensors: digests by block, values, writing, and running ops again on given inputs.

Their codes and the table of all commands: hil/protocol/messages.py. Meaning: docs/verify.md. C twin: generated.
"""

from __future__ import annotations

from enum import IntEnum

from hil.protocol.fields import F32, U8, U16, U32, Message, Tail


class Source(IntEnum):
    """Where a tensor stands on a board; `index` of a message says which of them."""

    TAP = 0  # the copy of a tap's tensor; index in the log, which a REPLAY begins anew
    VALUE = 1  # a parameter, in the contract's order; then freq_cos, freq_sin
    GRADIENT = 2  # of a parameter; of a training
    FIRST = 3  # momentum or first moment of a parameter
    SECOND = 4  # second moment of a parameter
    KEYS = 5  # (seq_len, kv_dim) of an owned layer, counted from 0
    VALUES = 6
    INPUT = 7  # what was uploaded for a REPLAY: 0 .. 3


class Part(IntEnum):
    """What a REPLAY does, in this order; one bit each. x is INPUT 0, dx is INPUT 1; both are worked on in place."""

    EMBED = 0x001  # x = embedding of the token
    LAYERS = 0x002  # x through the layers of the shard, at one position
    HEAD = 0x004  # logits of x, at one position
    SAMPLE = 0x008  # probabilities of the logits
    TRAIN_BEGIN = 0x010  # gradients are set to zero
    TRAIN_EMBED = 0x020  # x = embeddings of the microbatch
    TRAIN_FORWARD = 0x040  # x of all positions through the layers
    TRAIN_HEAD = 0x080  # x becomes its gradient
    TRAIN_BACKWARD = 0x100  # dx of all positions back through the layers
    TRAIN_EMBED_BACKWARD = 0x200  # dx into the gradients of the tokens' embeddings
    UPDATE = 0x400  # the optimiser on INPUT 0 value, 1 gradient, 2 and 3 states, `count` floats of parameter `index`


class TensorKeep(Message):
    """From which tap on the next runs keep copies of tensors, as long as memory lasts; 0 after boot."""

    first: U32
    shard: U8


class TensorKept(Message):
    """Taps [first, first + count) of the last run have copies; there is memory for so many bytes."""

    first: U32
    count: U32
    used_bytes: U32
    there_bytes: U32


class _TensorPlace(Message):
    """A place in a tensor."""

    source: U8  # Source; only VALUE, KEYS, VALUES and INPUT can be written
    shard: U8
    index: U32
    first: U32


class TensorDigests(_TensorPlace):
    """Asks for the digests of blocks [first, first + count) of `block` floats each; the last may be shorter."""

    count: U16
    block: U32


class TensorBlocks(Message):
    """CRC-32 (uint32 each) of as many blocks as fit; the tensor has `count` floats."""

    count: U32
    data: Tail


class TensorRead(_TensorPlace):
    """Asks for floats [first, first + count) of a tensor; the response is a Blob."""

    count: U16


class TensorWrite(_TensorPlace):
    """Writes floats into a tensor, from `first` on."""

    values: Tail


class ParametersRead(Message):
    """Asks for the digests of whole parameters (VALUE) or their gradients or states, from tensor `first` on."""

    source: U8  # Source
    shard: U8
    first: U16


class ParametersPart(Message):
    """CRC-32 (uint32 each) of as many tensors as fit; `total` in all."""

    total: U16
    first: U16
    data: Tail


class Replay(Message):
    """A job: runs ops of a shard again on what was uploaded. Its taps replace those of the run before."""

    shard: U8
    parts: U16  # Part
    token: U16  # of EMBED
    position: U16  # of EMBED .. SAMPLE
    microbatch: U16  # of the TRAIN_ parts: whose tokens
    temperature: F32  # of SAMPLE
    index: U32  # of UPDATE
    count: U32  # of UPDATE
