"""The firmware's serial frames against the host's: same bytes, and damage is refused."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from hil.protocol.frames import Frame, decode_piece, encode_frame
from hil.protocol.messages import PAYLOAD_BYTES_MAX, Command, Kind
from tests.firmware.host_build import build_host, run

SIZES = [0, 1, 3, 244, 245, 246, 247, 248, 249, 250, 251, 252, 499, 500, 501, 502, 1000, PAYLOAD_BYTES_MAX]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host(tmp_path_factory.mktemp("frames") / "x", "frames_host", ["ring/frame.c", "bsp/crc32.c"])


def convert(program: Path, verb: str, items: list[bytes]) -> list[bytes]:
    stdin = b"".join(struct.pack("<I", len(item)) + item for item in items)
    done = run(program, verb, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    found, at = [], 0
    while at < len(done.stdout):
        (size,) = struct.unpack_from("<I", done.stdout, at)
        found.append(done.stdout[at + 4 : at + 4 + size])
        at += 4 + size
    assert len(found) == len(items)
    return found


def frames() -> list[Frame]:
    source = random.Random(5)
    found = []
    for sequence, size in enumerate(SIZES * 3):
        payload = source.randbytes(size) if sequence < 2 * len(SIZES) else bytes([1]) * size
        if len(SIZES) <= sequence < 2 * len(SIZES):
            payload = bytes(byte if byte % 3 else 0 for byte in payload)
        found.append(Frame(Kind.COMMAND, Command.PING, sequence + 0x101, payload))
    return found


def body(frame: Frame) -> bytes:
    return struct.pack("<BBH", frame.kind, frame.code, frame.sequence) + frame.payload


def test_encoder_gives_the_bytes_of_the_host(program: Path) -> None:
    wanted = [encode_frame(frame) for frame in frames()]
    assert convert(program, "encode", [body(frame) for frame in frames()]) == wanted


def test_decoder_takes_what_the_host_sends(program: Path) -> None:
    pieces = [encode_frame(frame)[1:-1] for frame in frames()]
    assert convert(program, "decode", pieces) == [body(frame) for frame in frames()]


def test_host_decodes_what_the_firmware_encodes(program: Path) -> None:
    wires = convert(program, "encode", [body(frame) for frame in frames()])
    assert [decode_piece(wire[1:-1]) for wire in wires] == frames()


def test_damaged_pieces_are_refused(program: Path) -> None:
    source = random.Random(6)
    damaged = []
    for frame in frames():
        piece = bytearray(encode_frame(frame)[1:-1])
        piece[source.randrange(len(piece))] ^= 1 << source.randrange(8)
        damaged.append(bytes(piece))
        damaged.append(encode_frame(frame)[1:-2])
    damaged += [b"\x01", b"\xff", b"\x02", b"\x05abcd", bytes([1]) * 7, source.randbytes(5000)]
    assert convert(program, "decode", damaged) == [b""] * len(damaged)
