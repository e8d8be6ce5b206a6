"""Serial frames: every byte accounted for, nothing damaged delivered."""

import random

import pytest

from hil.protocol.frames import FRAME_BYTES_MAX, Frame, FrameDecoder, FrameError, Junk, encode_frame
from hil.protocol.messages import PAYLOAD_BYTES_MAX, Kind


def frame(size: int = 20, seed: int = 1) -> Frame:
    return Frame(Kind.EVENT, 4, 0x1234, random.Random(seed).randbytes(size))


@pytest.mark.parametrize("size", [0, 1, 253, 254, 255, 508, PAYLOAD_BYTES_MAX])
def test_frame_of_any_size_comes_back(size):
    encoded = encode_frame(frame(size))
    assert len(encoded) <= FRAME_BYTES_MAX + 2
    assert list(FrameDecoder().feed(encoded)) == [frame(size)]


def test_frames_come_back_whatever_the_chunks():
    stream = b"".join(encode_frame(frame(n, n)) for n in range(40))
    decoder, rng, at, got = FrameDecoder(), random.Random(7), 0, []
    while at < len(stream):
        step = rng.randint(1, 9)
        got += list(decoder.feed(stream[at : at + step]))
        at += step
    assert got == [frame(n, n) for n in range(40)]


def test_every_single_bit_error_is_rejected_or_splits_into_junk():
    encoded = encode_frame(frame(12))
    for bit in range(8, 8 * (len(encoded) - 1)):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << (bit % 8)
        items = list(FrameDecoder().feed(bytes(damaged)))
        assert items, f"bit {bit}: nothing came out"
        assert all(isinstance(item, Junk) for item in items), f"bit {bit}: delivered {items}"


def test_junk_before_a_frame_is_kept_exactly():
    items = list(FrameDecoder().feed(b"raspberry pi\r\n" + encode_frame(frame())))
    assert items == [Junk(b"raspberry pi\r\n", "not COBS"), frame()]


def test_endless_junk_does_not_grow_the_decoder():
    decoder = FrameDecoder()
    items = list(decoder.feed(b"\xff" * (FRAME_BYTES_MAX + 1)))
    assert [type(i) for i in items] == [Junk]
    assert decoder.pending() == b""


def test_payload_too_long_is_refused():
    with pytest.raises(FrameError, match="4097 bytes; a frame takes at most 4096"):
        encode_frame(frame(PAYLOAD_BYTES_MAX + 1))
