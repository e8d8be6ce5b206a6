"""Tap keys and digests."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from golden.taps import NO_LAYER, Op, TapKey, canonical_bits, digest


def test_key_packs_op_layer_position() -> None:
    key = TapKey(position=0x1234, layer=5, op=Op.SWIGLU)
    assert key.pack() == 0x1D051234
    assert TapKey.unpack(0x1D051234) == key


@pytest.mark.parametrize("op", Op)
def test_every_op_survives_packing(op: Op) -> None:
    key = TapKey(65535, NO_LAYER, op)
    assert TapKey.unpack(key.pack()) == key


def test_unknown_op_is_refused() -> None:
    with pytest.raises(ValueError, match="119"):
        TapKey.unpack(0x77000000)


def test_key_reads_as_words() -> None:
    assert str(TapKey(7, 2, Op.ATT_MIX)) == "ATT_MIX layer 2 position 7"
    assert str(TapKey(7, NO_LAYER, Op.LOGITS)) == "LOGITS position 7"


def test_digest_is_zlib_of_little_endian_words() -> None:
    assert digest(np.array([1.0, -2.5], np.float32)) == zlib.crc32(bytes.fromhex("0000803f000020c0"))


def test_digest_does_not_see_sign_of_zero_or_kind_of_nan() -> None:
    strange = np.array([0x80000000, 0xFFC12345, 0x7F800001], np.uint32).view(np.float32)
    plain = np.array([0.0, np.nan, np.nan], np.float32)
    assert canonical_bits(strange).tolist() == [0, 0x7FC00000, 0x7FC00000]
    assert digest(strange) == digest(plain)


@pytest.mark.parametrize("bit", [0, 1, 22, 23, 30, 31])
def test_digest_sees_every_bit(bit: int) -> None:
    x = np.array([1.5, 2.5], np.float32)
    y = x.copy()
    y.view(np.uint32)[1] ^= np.uint32(1 << bit)
    assert digest(x) != digest(y)


def test_digest_of_a_view_is_that_of_its_values() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert digest(x.T) == digest(np.ascontiguousarray(x.T))
    assert digest(x.T) != digest(x)
