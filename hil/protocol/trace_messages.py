"""Messages of tracing: TRACE_START, TRACE_STOP, TRACE_CLEAR, TRACE_READ, and the event that a board records.

Their codes and the table of all commands: hil/protocol/messages.py. Meaning: docs/timeline.md.
"""

from __future__ import annotations

from enum import IntEnum

from hil.protocol.fields import U8, U16, U32, U64, Message, Tail

BURST_FAILED = 0x80
"""Bit of a traced burst's attempt: it broke off."""


class TraceKind(IntEnum):
    """What a board did in a traced event."""

    JOB = 1  # all of a job; detail is its command
    CLEAR = 2  # set the gradients to zero
    EMBED = 3
    FORWARD = 4  # one layer; detail is its number
    HEAD = 5  # classifier, and loss or sampling
    BACKWARD = 6  # one layer; detail is its number
    EMBED_BACKWARD = 7
    OPTIMIZER = 8  # norm of the gradients, change of the parameters
    FRAME_OUT = 16  # the four bursts of docs/protocol.md, section 3; detail is the frame's type
    ANSWER_IN = 17
    FRAME_IN = 18
    ANSWER_OUT = 19
    HOST = 24  # a command served, or an event sent, while a job ran; detail is the command's code, 0 for an event


class TraceEvent(Message):
    """One event; times are the low 32 bits of the board's system timer, in microseconds.

    A burst waits from begin to open and transfers from open to end. attempt has BURST_FAILED set if it broke off;
    sequence is 0 where the header never came. Of other events only begin and end count.
    """

    begin_us: U32
    open_us: U32  # sender: the grant was seen, nothing is driven yet; receiver: the claim was seen, ACK is still high
    header_us: U32  # sender: the header is acknowledged; receiver: the header is here and not acknowledged yet
    end_us: U32
    bytes: U32  # of the burst
    sequence: U32  # of the frame
    position: U16
    microbatch: U16
    kind: U8  # TraceKind
    bank: U8
    detail: U8
    attempt: U8


class TraceState(Message):
    """The board's record of events. now_us: its system timer, 64 bits."""

    now_us: U64
    kept: U32
    dropped: U32  # older ones that had to make room
    capacity: U32
    on: U8


class TraceRead(Message):
    """Events [first, first + count) of those kept, the oldest first; as many as fit a frame."""

    first: U32
    count: U32


class TracePart(Message):
    """Part of the events."""

    kept: U32
    first: U32
    dropped: U32
    data: Tail  # TraceEvent, 32 bytes each
