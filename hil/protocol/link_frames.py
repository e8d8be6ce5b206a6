"""Frames of a link: what a burst holds, and what its answer says. Pure functions; no I/O, no clock.

Format: docs/protocol.md, section 3. C twin: firmware/link/link.c, struct link_header and struct link_answer.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

MAGIC = 0x4C52
HEADER_BYTES, ANSWER_BYTES, CRC_BYTES = 16, 8, 4
PAYLOAD_BYTES_MAX = 1 << 20
"""No frame of ours is longer; a header that says so is damaged."""
GOOD, BAD = 0xAC, 0x15
_HEADER = struct.Struct("<HBBII")
_ANSWER = struct.Struct("<BBH")
_CRC = struct.Struct("<I")


class FrameType(IntEnum):
    """Twin: enum link_frame_type."""

    PATTERN = 1
    ACTIVATION = 2
    END = 3
    GRADIENT = 4
    RAW = 5
    SQUARES = 6


@dataclass(frozen=True, slots=True)
class Header:
    """A frame's header. length: bytes of payload."""

    type: int
    source: int
    sequence: int
    length: int


def pack_frame(type: int, source: int, sequence: int, payload: bytes) -> bytes:
    """A whole burst: header, and where there is a payload the payload and its CRC."""
    head = _HEADER.pack(MAGIC, type, source, sequence, len(payload))
    frame = head + _CRC.pack(zlib.crc32(head))
    return frame + payload + _CRC.pack(zlib.crc32(payload)) if payload else frame


def parse_header(data: bytes) -> Header | None:
    """The header of a burst, or None if it is damaged."""
    if len(data) < HEADER_BYTES:
        return None
    magic, type, source, sequence, length = _HEADER.unpack_from(data)
    crc = _CRC.unpack_from(data, _HEADER.size)[0]
    if magic != MAGIC or crc != zlib.crc32(data[: _HEADER.size]) or length > PAYLOAD_BYTES_MAX:
        return None
    return Header(type, source, sequence, length)


def rest_bytes(header: Header) -> int:
    """Bytes of the burst after its header."""
    return header.length + CRC_BYTES if header.length else 0


def payload_of(data: bytes) -> tuple[bytes, bool]:
    """The payload of a whole burst with a good header, and whether its CRC is right."""
    payload = data[HEADER_BYTES:-CRC_BYTES] if len(data) > HEADER_BYTES else b""
    good = not payload or zlib.crc32(payload) == _CRC.unpack(data[-CRC_BYTES:])[0]
    return payload, good


def pack_answer(verdict: int, header: Header) -> bytes:
    """The burst that answers a frame."""
    body = _ANSWER.pack(verdict, header.type, header.sequence & 0xFFFF)
    return body + _CRC.pack(zlib.crc32(body))


def parse_answer(data: bytes, header: Header) -> int | None:
    """The verdict of an answer to a frame, or None if it is damaged or answers another frame."""
    if len(data) != ANSWER_BYTES or _CRC.unpack_from(data, _ANSWER.size)[0] != zlib.crc32(data[: _ANSWER.size]):
        return None
    verdict, type, sequence = _ANSWER.unpack_from(data)
    same = (type, sequence) == (header.type, header.sequence & 0xFFFF)
    return int(verdict) if same and verdict in (GOOD, BAD) else None
