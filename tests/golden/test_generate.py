"""Generations of the golden: tokens, taps, and which rank records what."""

from __future__ import annotations

import numpy as np
import pytest

from golden.forward import Forward
from golden.generate import BOS, GenerationRequest, expected_taps, generate
from golden.taps import NO_LAYER, Op, TapKey, digest
from golden.weights import Config, Weights
from hil.model.synth import random_weights

CONFIG = Config(32, 44, 5, 4, 2, 50, 16)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(CONFIG, seed=11)


def digests(taps):
    """Expected taps of a rank as (key, crc)."""
    return [(tap.key, tap.crc) for tap in taps]


def ops_of(taps: list[tuple[TapKey, int]], position: int) -> list[str]:
    return [key.op.name for key, _ in taps if key.position == position]


def test_prompt_is_forced_and_counts_as_tokens(weights: Weights) -> None:
    run = generate(weights, GenerationRequest([1, 7, 9], 5))
    assert run.tokens[:2] == [7, 9]
    assert len(run.tokens) == 5
    forward = Forward(weights)
    logits = [forward.step(token, position) for position, token in enumerate([1, 7, 9])]
    assert run.tokens[2] == int(np.argmax(logits[2]))


def test_prompt_may_fill_all_positions(weights: Weights) -> None:
    assert generate(weights, GenerationRequest([1, 2, 3, 4, 5], 3, 1.0, 0.9, 1)).tokens == [2, 3, 4]


def test_generation_is_the_same_with_the_same_seed_only(weights: Weights) -> None:
    first = generate(weights, GenerationRequest([1], 16, 1.0, 0.9, 5))
    assert generate(weights, GenerationRequest([1], 16, 1.0, 0.9, 5)) == first
    assert generate(weights, GenerationRequest([1], 16, 1.0, 0.9, 6)).tokens != first.tokens


def test_sampled_bos_ends_the_generation_and_a_forced_one_does_not() -> None:
    three_tokens = random_weights(Config(32, 44, 2, 4, 2, 3, 64), seed=11)
    run = generate(three_tokens, GenerationRequest([2, BOS, 2], 64, 100.0, 0.0, 1))
    assert run.tokens[:2] == [BOS, 2]
    assert 2 < len(run.tokens) < 64
    assert run.tokens.index(BOS, 2) == len(run.tokens) - 1


def test_taps_of_a_position_in_order(weights: Weights) -> None:
    taps = generate(weights, GenerationRequest([1, 2], 3, 1.0, 0.9, 1)).taps
    layer = [op.name for op in Op if Op.ATT_NORM <= op <= Op.FFN_RES]
    assert ops_of(taps, 0) == ["EMBED", *layer * 5, "FINAL_NORM", "LOGITS"]
    assert ops_of(taps, 1) == ["EMBED", *layer * 5, "FINAL_NORM", "LOGITS", "PROBS"]


def test_greedy_run_has_no_distribution(weights: Weights) -> None:
    assert "PROBS" not in ops_of(generate(weights, GenerationRequest([1], 2)).taps, 1)


def test_without_recording_the_tokens_stay(weights: Weights) -> None:
    bare = generate(weights, GenerationRequest([1], 8, 1.0, 0.9, 5), record=False)
    assert bare.taps == []
    assert bare.tokens == generate(weights, GenerationRequest([1], 8, 1.0, 0.9, 5)).tokens


def test_ranks_of_a_ring_share_the_taps_and_add_hops(weights: Weights) -> None:
    run = generate(weights, GenerationRequest([1], 2, 1.0, 0.9, 1))
    ranks = [digests(taps) for taps in expected_taps(run.taps, 5, 4)]
    assert ops_of(ranks[3], 1) == ["EMBED", "HOP_SEND", "HOP_RECEIVE", "FINAL_NORM", "LOGITS", "PROBS"]
    assert ops_of(ranks[2], 1) == ["HOP_RECEIVE", *ops_of(run.taps, 1)[1:17], "HOP_SEND"]
    assert {key.layer for key, _ in ranks[0]} == {NO_LAYER, 0, 1}
    without_hops = [tap for rank in ranks for tap in rank if tap[0].op not in (Op.HOP_SEND, Op.HOP_RECEIVE)]
    assert sorted(without_hops) == sorted(run.taps)


def test_hops_carry_what_the_sender_computed(weights: Weights) -> None:
    run = generate(weights, GenerationRequest([1], 1))
    crcs = dict(run.taps)
    ranks = [dict(digests(taps)) for taps in expected_taps(run.taps, 5, 4)]
    for rank, crc in enumerate(
        [crcs[TapKey(0, NO_LAYER, Op.EMBED)], *(crcs[TapKey(0, layer, Op.FFN_RES)] for layer in (1, 3, 4))]
    ):
        sender, receiver = ranks[(rank + 3) % 4], ranks[rank]
        assert sender[TapKey(0, NO_LAYER, Op.HOP_SEND)] == receiver[TapKey(0, NO_LAYER, Op.HOP_RECEIVE)] == crc


def test_ring_of_one_has_no_hops(weights: Weights) -> None:
    run = generate(weights, GenerationRequest([1], 2, 1.0, 0.9, 1))
    (taps,) = expected_taps(run.taps, 5, 1)
    assert digests(taps) == run.taps


def test_taps_of_all_ranks_have_an_order_round_the_ring(weights: Weights) -> None:
    """The head opens a position and ends it; a ring of one has a single stage."""
    ranks = expected_taps(generate(weights, GenerationRequest([1], 2)).taps, 5, 4)
    orders = [list(dict.fromkeys(tap.order for tap in taps)) for taps in ranks]
    assert orders == [[(0, 1), (1, 1)], [(0, 2), (1, 2)], [(0, 3), (1, 3)], [(0, 0), (0, 4), (1, 0), (1, 4)]]
    assert {tap.microbatch for taps in ranks for tap in taps} == {None}


def test_layers_alone_equal_the_whole(weights: Weights) -> None:
    whole, parts = Forward(weights), Forward(weights, record=False)
    logits = whole.step(3, 0)
    x = parts.embed(3, 0)
    for index in range(5):
        x = parts.layer(index, x, 0)
    assert digest(parts.head(x, 0)) == digest(logits)
    assert parts.taps == []


@pytest.mark.parametrize(
    ("prompt", "positions", "message"),
    [
        ([], 4, "the prompt is empty: give at least one token, BOS .1. as a rule"),
        ([1], 17, "17 positions do not fit: this model's context allows 1 to 16"),
        ([1], 0, "0 positions do not fit"),
        ([50], 4, "token 50 is outside the vocabulary of 50"),
        ([1, -1], 4, "token -1 is outside the vocabulary of 50"),
    ],
)
def test_bad_arguments_are_refused(weights: Weights, prompt: list[int], positions: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(weights, GenerationRequest(prompt, positions))


def test_layer_beyond_the_context_is_refused(weights: Weights) -> None:
    with pytest.raises(ValueError, match="position 16 is outside the context of 16 positions"):
        Forward(weights).layer(0, np.zeros(32, np.float32), 16)


def test_skipped_position_is_refused(weights: Weights) -> None:
    forward = Forward(weights)
    x = forward.embed(1, 0)
    forward.layer(0, x, 0)
    forward.layer(0, x, 0)
    forward.layer(0, x, 1)
    with pytest.raises(ValueError, match="layer 0 has cached positions below 2: position 3 is too early"):
        forward.layer(0, x, 3)
