"""Serial frames: what travels between host and board after boot.

Format: docs/protocol.md, section 2. C twin: firmware/ring/frame.c. Pure functions and one
incremental decoder; no I/O, no clock.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from cobs import cobs

from hil.protocol.messages import PAYLOAD_BYTES_MAX, FrameHead, Kind

DELIMITER = b"\x00"
_HEAD = FrameHead.codec()
_CRC = struct.Struct("<I")
FRAME_BYTES_MAX = (_HEAD.size + PAYLOAD_BYTES_MAX + _CRC.size) * 255 // 254 + 2
"""Longest piece between two delimiters that can be a frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: kind, code (Command, Event or Level by kind), sequence (16 bit) and payload."""

    kind: Kind
    code: int
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Junk:
    """Bytes that are no frame, exactly as they came (delimiters not included), and why."""

    data: bytes
    reason: str


class FrameError(ValueError):
    """Bytes between two delimiters that are no frame."""


def encode_frame(frame: Frame) -> bytes:
    """The bytes on the wire, with a delimiter on both ends.

    Raises FrameError if the payload is longer than PAYLOAD_BYTES_MAX.
    """
    if len(frame.payload) > PAYLOAD_BYTES_MAX:
        raise FrameError(f"payload of {len(frame.payload)} bytes; a frame takes at most {PAYLOAD_BYTES_MAX}")
    body = _HEAD.pack(frame.kind, frame.code, frame.sequence) + frame.payload
    encoded: bytes = cobs.encode(body + _CRC.pack(zlib.crc32(body)))
    return DELIMITER + encoded + DELIMITER


def decode_piece(piece: bytes) -> Frame:
    """The frame in the bytes between two delimiters. Raises FrameError saying what is wrong."""
    try:
        body = cobs.decode(piece)
    except cobs.DecodeError:
        raise FrameError("not COBS") from None
    if len(body) < _HEAD.size + _CRC.size:
        raise FrameError(f"{len(body)} bytes, shorter than a frame")
    (crc,) = _CRC.unpack_from(body, len(body) - _CRC.size)
    if crc != zlib.crc32(body[: -_CRC.size]):
        raise FrameError("CRC-32 is wrong")
    kind, code, sequence = _HEAD.unpack_from(body)
    try:
        return Frame(Kind(kind), code, sequence, body[_HEAD.size : -_CRC.size])
    except ValueError:
        raise FrameError(f"kind {kind} does not exist") from None


class FrameDecoder:
    """Turns a byte stream into frames and junk; holds back only an unfinished piece."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame | Junk]:
        """Yield what became complete with `data`, in order. Nothing received is ever dropped silently."""
        self._rest += data
        *pieces, rest = self._rest.split(DELIMITER)
        self._rest = rest
        for piece in pieces:
            if not piece:
                continue
            try:
                yield decode_piece(bytes(piece))
            except FrameError as error:
                yield Junk(bytes(piece), str(error))
        if len(self._rest) > FRAME_BYTES_MAX:
            junk, self._rest = bytes(self._rest), bytearray()
            yield Junk(junk, "no delimiter within the length of the longest frame")

    def pending(self) -> bytes:
        """The unfinished piece."""
        return bytes(self._rest)
