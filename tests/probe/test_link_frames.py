"""The probe's half of frames and patterns against the C that runs on boards, built for the host."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hil.probe.patterns import pattern_frames
from hil.protocol import link_frames as link
from hil.protocol.link_messages import Pattern
from tests.firmware.host_build import build_host, run

PIECE = 1000


@pytest.fixture(scope="module")
def patterns_in_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host(tmp_path_factory.mktemp("pattern") / "x", "pattern_host", ("link/pattern.c", "bsp/crc32.c"))


@pytest.fixture(scope="module")
def frames_in_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host(tmp_path_factory.mktemp("frame") / "x", "link_frames_host", ("bsp/crc32.c",))


@pytest.mark.parametrize("kind", Pattern, ids=lambda kind: kind.name)
def test_pattern_is_the_one_that_boards_make(patterns_in_c, kind):
    frames = 70 if kind is Pattern.DE_BRUIJN else 3
    seed = 0x5EED
    made = run(patterns_in_c, "fill", str(int(kind)), str(seed), str(frames * PIECE), str(PIECE))
    assert made.returncode == 0, made.stderr
    assert b"".join(pattern_frames(kind, seed, frames, PIECE)) == made.stdout


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 5], ids=len)
def test_frame_and_answer_are_those_that_boards_make(frames_in_c, payload):
    made = run(frames_in_c, "frame", "2", "3", "70000", stdin=payload)
    frame = link.pack_frame(2, 3, 70000, payload)
    assert made.stdout == frame
    header = link.parse_header(frame)
    assert header == link.LinkHeader(link.MAGIC, 2, 3, 70000, len(payload), header.crc32)
    assert len(frame) == link.HEADER_BYTES + link.rest_bytes(header)
    assert link.payload_of(frame) == (payload, True)
    for verdict in (link.GOOD, link.BAD):
        answer = run(frames_in_c, "answer", str(verdict), "2", "70000").stdout
        assert answer == link.pack_answer(verdict, header)
        assert link.parse_answer(answer, header) == verdict


def test_every_wrong_bit_of_a_header_is_seen():
    head = link.pack_frame(2, 3, 4, b"payload")[: link.HEADER_BYTES]
    for bit in range(8 * len(head)):
        wrong = bytearray(head)
        wrong[bit // 8] ^= 1 << bit % 8
        assert link.parse_header(bytes(wrong)) is None, f"bit {bit}"
    assert link.parse_header(head[:-1]) is None


def test_every_wrong_bit_of_an_answer_is_seen_and_so_is_another_frames():
    header = link.LinkHeader(link.MAGIC, 2, 3, 0x1FFFF, 7)
    answer = link.pack_answer(link.GOOD, header)
    for bit in range(8 * len(answer)):
        wrong = bytearray(answer)
        wrong[bit // 8] ^= 1 << bit % 8
        assert link.parse_answer(bytes(wrong), header) is None, f"bit {bit}"
    assert link.parse_answer(answer[:-1], header) is None
    assert link.parse_answer(answer, dataclasses.replace(header, sequence=0x1FFFE)) is None
    assert link.parse_answer(answer, dataclasses.replace(header, type=1)) is None
    assert link.parse_answer(link.pack_answer(0x55, header), header) is None


def test_wrong_payload_and_a_length_beyond_reason_are_seen():
    frame = bytearray(link.pack_frame(2, 3, 4, b"payload"))
    frame[link.HEADER_BYTES] ^= 1
    assert link.payload_of(bytes(frame)) == (b"qayload", False)
    assert link.parse_header(link.pack_frame(2, 3, 4, bytes(link.PAYLOAD_BYTES_MAX + 1))) is None
