"""Frames of a link: what a burst holds, and what its answer says. Pure functions; no I/O, no clock.

Format: docs/protocol.md, section 3. C gets `link_frames.h` from it (hil/protocol/cheader.py).
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum

from hil.protocol.fields import U8, U16, U32, Floats, Message

CLAIM = 0xA5
"""The byte with which a sender takes the data wires after the grant."""
MAGIC = 0x4C52
PAYLOAD_BYTES_MAX = 1 << 20
"""No frame of ours is longer; a header that says so is damaged."""
GOOD, BAD = 0xAC, 0x15
"""Verdicts of an answer."""
_CRC = struct.Struct("<I")


class FrameType(IntEnum):
    """What the payload of a frame is."""

    PATTERN = 1
    ACTIVATION = 2
    END = 3
    GRADIENT = 4
    RAW = 5  # a damaged payload is counted and delivered: whoever takes it looks at the bits
    SQUARES = 6  # the sum of squares of all gradients so far


class LinkHeader(Message):
    """The first bytes of a frame's burst."""

    magic: U16  # MAGIC
    type: U8  # FrameType
    source: U8  # rank
    sequence: U32
    length: U32  # bytes of payload
    crc32: U32 = 0  # of the bytes before


class LinkAnswer(Message):
    """The burst that answers a frame."""

    verdict: U8  # GOOD or BAD
    type: U8
    sequence: U16  # the low 16 bits
    crc32: U32 = 0  # of the bytes before


class Hop(Message):
    """Payload of ACTIVATION and GRADIENT: one position of a generation, of a training as many whole ones as fit."""

    position: U32  # the first one; of a training with the microbatch in 31:16
    count: U32  # of floats
    x: Floats  # (positions, dim)


HEADER_BYTES, ANSWER_BYTES, CRC_BYTES = LinkHeader.fixed_size_bytes(), LinkAnswer.fixed_size_bytes(), _CRC.size


def pack_frame(type: int, source: int, sequence: int, payload: bytes) -> bytes:
    """A whole burst: header, and where there is a payload the payload and its CRC."""
    head = _seal(LinkHeader(MAGIC, type, source, sequence, len(payload)))
    return head + payload + _CRC.pack(zlib.crc32(payload)) if payload else head


def parse_header(data: bytes) -> LinkHeader | None:
    """The header of a burst, or None if it is damaged."""
    if len(data) < HEADER_BYTES:
        return None
    head = LinkHeader.unpack(data[:HEADER_BYTES])
    good = head.magic == MAGIC and data[:HEADER_BYTES] == _seal(head) and head.length <= PAYLOAD_BYTES_MAX
    return head if good else None


def rest_bytes(header: LinkHeader) -> int:
    """Bytes of the burst after its header."""
    return header.length + CRC_BYTES if header.length else 0


def payload_of(data: bytes) -> tuple[bytes, bool]:
    """The payload of a whole burst with a good header, and whether its CRC is right."""
    payload = data[HEADER_BYTES:-CRC_BYTES] if len(data) > HEADER_BYTES else b""
    good = not payload or zlib.crc32(payload) == _CRC.unpack(data[-CRC_BYTES:])[0]
    return payload, good


def pack_answer(verdict: int, header: LinkHeader | LinkAnswer) -> bytes:
    """The burst that answers a frame, or says something else than another answer to it."""
    return _seal(LinkAnswer(verdict, header.type, header.sequence & 0xFFFF))


def parse_answer(data: bytes, header: LinkHeader) -> int | None:
    """The verdict of an answer to a frame, or None if it is damaged or answers another frame."""
    return next((verdict for verdict in (GOOD, BAD) if data == pack_answer(verdict, header)), None)


def _seal(message: LinkHeader | LinkAnswer) -> bytes:
    """The bytes with the right CRC at their end, whatever the message says of it."""
    body = message.pack()[:-CRC_BYTES]
    return body + _CRC.pack(zlib.crc32(body))
