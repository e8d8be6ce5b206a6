"""The patterns of link tests on the host: what they are, and that their checker counts every error, by wire."""

from __future__ import annotations

import itertools
import random
import zlib
from pathlib import Path

import pytest

from hil.protocol.link_messages import Pattern
from tests.firmware.host_build import build_host, run

SOURCES = ("link/pattern.c", "bsp/crc32.c")
POLYNOMIALS = {Pattern.PRBS15: (14, 15), Pattern.PRBS31: (28, 31)}
SEED = 0x5EED
PIECE = 1000
SLIP_ERRORS = 8
"""Of pattern.c: errors close together after which a stream counts as lost."""
prbs = pytest.mark.parametrize("kind", POLYNOMIALS, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host(tmp_path_factory.mktemp("pattern") / "x", "pattern_host", SOURCES)


def made(program: Path, kind: Pattern, size: int, *, seed: int = SEED, piece: int = PIECE) -> bytes:
    done = run(program, "fill", str(int(kind)), str(seed), str(size), str(piece))
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(program: Path, kind: Pattern, data: bytes, *, seed: int = SEED, piece: int = PIECE) -> tuple[list[int], int]:
    """(wrong bits by wire, slips)."""
    done = run(program, "check", str(int(kind)), str(seed), str(piece), stdin=data)
    assert done.returncode == 0, done.stdout + done.stderr
    *wires, slips, count = (int(word) for word in done.stdout.split())
    assert count == len(data)
    return wires, slips


def test_simple_patterns_are_what_their_names_say(program):
    assert made(program, Pattern.ZEROS_ONES, 6) == bytes.fromhex("00ff00ff00ff")
    assert made(program, Pattern.CHECKERS, 4) == bytes.fromhex("55aa55aa")
    assert made(program, Pattern.WALKING_ONES, 9) == bytes.fromhex("010204081020408001")
    assert made(program, Pattern.WALKING_ZEROS, 9) == bytes.fromhex("fefdfbf7efdfbf7ffe")
    assert made(program, Pattern.COUNT, 513) == bytes(range(256)) * 2 + b"\0"


def test_xorshift_begins_anew_in_every_frame(program):
    def word(state):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        return state ^ state << 5 & 0xFFFFFFFF

    first, second = word((SEED + 0) | 1), word((SEED + 1) | 1)
    expected = first.to_bytes(4, "little") + word(first).to_bytes(4, "little")[:3]
    expected += second.to_bytes(4, "little") + word(second).to_bytes(4, "little")[:3]
    assert made(program, Pattern.XORSHIFT, 14, piece=7) == expected


def test_de_bruijn_holds_every_pair_of_bytes_once(program):
    data = made(program, Pattern.DE_BRUIJN, 2 * 65536)
    assert data[:65536] == data[65536:]
    assert len(set(itertools.pairwise(data))) == 65536


@prbs
def test_each_wire_carries_a_bit_stream_of_the_polynomial(program, kind):
    tap, order = POLYNOMIALS[kind]
    data = made(program, kind, 5000)
    for wire in range(8):
        bits = [byte >> wire & 1 for byte in data]
        assert all(bits[n] == bits[n - tap] ^ bits[n - order] for n in range(order, len(bits))), f"wire {wire}"
        assert 0.4 < sum(bits) / len(bits) < 0.6


def test_prbs15_repeats_after_32767_bits_and_not_before(program):
    data = made(program, Pattern.PRBS15, 2 * 32767)
    assert data[:32767] == data[32767:]
    assert data[:15] not in (data[at : at + 15] for at in range(1, 32767))


def test_wires_carry_different_streams(program):
    data = made(program, Pattern.PRBS31, 4000)
    streams = {tuple(byte >> wire & 1 for byte in data) for wire in range(8)}
    assert len(streams) == 8


@pytest.mark.parametrize("kind", Pattern, ids=lambda kind: kind.name)
@pytest.mark.parametrize("piece", [1, 3, 64, 4096])
def test_right_bytes_have_no_errors(program, kind, piece):
    data = made(program, kind, 9000, piece=piece)
    assert found(program, kind, data, piece=piece) == ([0] * 8, 0)


@pytest.mark.parametrize("kind", Pattern, ids=lambda kind: kind.name)
@pytest.mark.parametrize("at", [0, 1, 14, 15, 31, 32, 999, 1000, 8999])
def test_one_wrong_bit_anywhere_counts_once(program, kind, at):
    data = bytearray(made(program, kind, 9000))
    data[at] ^= 1 << at % 8
    assert found(program, kind, bytes(data)) == ([int(wire == at % 8) for wire in range(8)], 0)


@pytest.mark.parametrize("kind", Pattern, ids=lambda kind: kind.name)
def test_scattered_errors_are_all_counted(program, kind):
    chosen = random.Random(SEED)
    data = bytearray(made(program, kind, 60000))
    expected = [0] * 8
    for at in range(100, 60000, 100):
        wire = chosen.randrange(8)
        data[at] ^= 1 << wire
        expected[wire] += 1
    assert found(program, kind, bytes(data)) == (expected, 0)


@prbs
def test_stream_that_lost_a_byte_is_found_again(program, kind):
    """Self-synchronising: after the slip there are some errors, and then none for ever."""
    data = made(program, kind, 20000)
    wires, slips = found(program, kind, data[:700] + data[701:])
    assert slips == 8
    assert all(SLIP_ERRORS <= errors < 200 for errors in wires), wires


@prbs
@pytest.mark.parametrize("stuck", [0, 1])
def test_wire_that_gets_stuck_never_passes_for_a_stream(program, kind, stuck):
    """Zeros obey every recurrence, so a plain checker would call a dead wire perfect."""
    data = made(program, kind, 10000)
    mask = 1 << 3
    dead = data[:500] + bytes(byte | mask if stuck else byte & ~mask for byte in data[500:])
    wires, _ = found(program, kind, dead)
    assert wires[3] > 9000
    assert sum(wires) == wires[3]


@prbs
def test_wire_that_comes_back_is_right_again(program, kind):
    data = made(program, kind, 10000)
    dead = data[:500] + bytes(byte & ~8 for byte in data[500:2000]) + data[2000:]
    wires, slips = found(program, kind, dead)
    assert 1000 < wires[3] < 1700
    assert slips >= 1
    assert sum(wires) == wires[3]


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 7, 8, 63, 4096, 4099])
def test_checksum_by_words_is_zlibs(program, size):
    data = random.Random(size).randbytes(size)
    crcs = [int(word, 16) for word in run(program, "crc", stdin=data).stdout.split()]
    assert crcs == [zlib.crc32(data[at:]) for at in range(min(4, size) + 1)]
