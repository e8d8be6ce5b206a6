"""The forward check can fail: a wrong digest, a missing tap, a changed hop are each named."""

import struct

import pytest

from golden.taps import NO_LAYER, Op, RankTap, TapKey
from hil.checks.model.taps import compare_taps
from hil.protocol.messages import TapRecord
from hil.ring.ring import TapRows


def compute_rank(layer: int) -> list[TapKey]:
    hop_in, hop_out = TapKey(0, NO_LAYER, Op.HOP_RECEIVE), TapKey(0, NO_LAYER, Op.HOP_SEND)
    return [hop_in, TapKey(0, layer, Op.Q), TapKey(0, layer, Op.FFN_RES), hop_out]


HEAD_OPS = (Op.EMBED, Op.HOP_SEND, Op.HOP_RECEIVE, Op.LOGITS)
PLAN = [compute_rank(0), compute_rank(1), [TapKey(0, NO_LAYER, op) for op in HEAD_OPS]]


def record(key: TapKey, crc: int) -> TapRecord:
    return TapRecord(key.pack(), crc, 64, -1.0, 1.0, 0, 0)


class RingDouble:
    """What compare_taps needs of a Ring: three boards with the taps of PLAN. Refuses to read past the end."""

    world_size = 3

    def __init__(self) -> None:
        self.taps = [[record(key, 100 * rank + i) for i, key in enumerate(keys)] for rank, keys in enumerate(PLAN)]

    def tap_count(self, rank):
        return len(self.taps[rank])

    def tap_digests(self, rank, expected_keys, first=0):
        assert first == 0
        if [r.key for r in self.taps[rank]] != [k.pack() for k in expected_keys]:
            return None
        return TapRows([r.crc32 for r in self.taps[rank]])

    def tap_records(self, rank, first=0, count=None):
        end = len(self.taps[rank]) if count is None else first + count
        assert first <= end <= len(self.taps[rank])
        return self.taps[rank][first:end]


@pytest.fixture
def ring():
    return RingDouble()


@pytest.fixture
def golden():
    return [[RankTap(key, 100 * rank + i, stage(rank, i)) for i, key in enumerate(k)] for rank, k in enumerate(PLAN)]


def stage(rank, index):
    """The last rank opens with its first two ops."""
    return 0 if rank == 2 and index < 2 else rank + 1


def spoil(ring, rank, index):
    ring.taps[rank][index] = record(PLAN[rank][index], 0xBAD)


def test_equal_taps_are_all_counted(ring, golden):
    comparison = compare_taps(ring, golden)
    assert (comparison.compared, comparison.equal, comparison.first) == (12, 12, None)
    assert comparison.good
    assert comparison.line_bytes == 48


def test_nothing_compared_is_not_good(ring):
    ring.taps = []
    assert not compare_taps(ring, []).good


def test_wrong_op_is_named_with_layer_rank_and_position(ring, golden):
    spoil(ring, 1, 1)
    spoil(ring, 1, 2)
    comparison = compare_taps(ring, golden)
    assert not comparison.good
    assert comparison.equal == 10
    assert comparison.first.kind == "op"
    text = comparison.first.describe()
    assert text.startswith("first difference: Q of layer 1 on rank 1, position 0 (tap 1)")
    assert "golden: digest 00000065" in text
    assert "board:  digest 00000bad, 64 values in [-1, 1], 0 not finite" in text
    assert "Q itself is wrong on rank 1" in text


def test_first_difference_is_first_in_execution_not_by_rank(ring, golden):
    spoil(ring, 0, 1)
    spoil(ring, 2, 0)
    assert compare_taps(ring, golden).first.describe().startswith("first difference: EMBED on rank 2")


def test_changed_hop_blames_the_link(ring, golden):
    for index in range(4):
        spoil(ring, 1, index)
    first = compare_taps(ring, golden).first
    assert first.kind == "link"
    assert "rank 0 sent the right values; the link to rank 1 changed them" in first.describe()


def test_missing_tap_is_named(ring, golden):
    del ring.taps[0][2]
    first = compare_taps(ring, golden).first
    assert first.kind == "missing"
    assert "golden: FFN_RES layer 0 position 0" in first.describe()
    assert "board:  HOP_SEND position 0" in first.describe()


def test_tap_too_many_is_named(ring, golden):
    ring.taps[2].append(record(TapKey(1, NO_LAYER, Op.EMBED), struct.unpack("<I", b"abcd")[0]))
    comparison = compare_taps(ring, golden)
    assert not comparison.good
    assert "EMBED" in comparison.first.describe()


def test_boards_without_taps_are_a_failure(ring, golden):
    ring.taps = [[], [], []]
    comparison = compare_taps(ring, golden)
    assert comparison.equal == 0
    assert not comparison.good
    assert "board:  nothing" in comparison.first.describe()


def test_tap_of_an_op_that_there_is_not_is_a_sentence(ring, golden):
    """A flipped bit in a key, as a board may send it: in place of a tap, and behind the last."""
    strange = TapRecord(0x57 << 24, 1, 64, -1.0, 1.0, 0, 0)
    ring.taps[1][1] = strange
    text = compare_taps(ring, golden).first.describe()
    assert "golden: Q layer 1 position 0" in text
    assert "board:  a tap of op 0x57, which there is not (key 0x57000000)" in text
    ring.taps[1] = [record(key, 100 + i) for i, key in enumerate(PLAN[1])] + [strange]
    first = compare_taps(ring, golden).first
    assert first.key == PLAN[1][-1]
    assert "golden: nothing\n  board:  a tap of op 0x57" in first.describe()
