"""The golden's sampler against the plain definition of every step."""

from __future__ import annotations

import numpy as np
import pytest

from golden.sampler import Sampler, argmax, sample_all, sample_topp
from golden.weights import F32Array


def f32(*values: float) -> F32Array:
    return np.array(values, np.float32)


def test_argmax_takes_the_first_maximum() -> None:
    assert argmax(f32(1, 3, 2, 3)) == 1


def test_argmax_never_prefers_nan() -> None:
    assert argmax(f32(1, np.nan, 2)) == 2
    assert argmax(f32(np.nan, 5)) == 0


def test_greedy_draws_nothing_and_keeps_no_distribution() -> None:
    sampler = Sampler(0.0, 0.9, 1)
    assert sampler.next(f32(0, 1)) == 1
    assert sampler.probs is None


def test_coins_are_those_of_xorshift64_star() -> None:
    """First words of xorshift64* from state 1, by its definition (12, 25, 27; 0x2545F4914F6CDD1D)."""
    state, words = 1, []
    for _ in range(3):
        state ^= state >> 12
        state = (state ^ state << 25) % 2**64
        state ^= state >> 27
        words.append(state * 0x2545F4914F6CDD1D % 2**64 >> 40)
    sampler = Sampler(1.0, 0.9, 1)
    assert [float(sampler._draw_coin()) * 2**24 for _ in range(3)] == words


def test_seed_zero_counts_as_one() -> None:
    assert Sampler(1.0, 0.9, 0)._draw_coin() == Sampler(1.0, 0.9, 1)._draw_coin()
    assert Sampler(1.0, 0.9, 2)._draw_coin() != Sampler(1.0, 0.9, 1)._draw_coin()


@pytest.mark.parametrize(("coin", "token"), [(0.0, 0), (0.24, 0), (0.25, 1), (0.74, 1), (0.75, 2), (0.9999, 2)])
def test_sample_all_cuts_at_running_sums(coin: float, token: int) -> None:
    assert sample_all(f32(0.25, 0.5, 0.25), np.float32(coin)) == token


def test_sample_all_past_the_end_is_the_last_token() -> None:
    assert sample_all(f32(0.25, 0.25, 0.25), np.float32(0.9)) == 2


@pytest.mark.parametrize(("coin", "token"), [(0.0, 1), (0.66, 1), (0.67, 0), (0.99, 0)])
def test_topp_keeps_the_smallest_set_over_p(coin: float, token: int) -> None:
    probs = f32(0.25, 0.5, 0.125, 0.125)
    assert sample_topp(probs, np.float32(0.7), np.float32(coin)) == token


def test_topp_breaks_ties_by_lower_index() -> None:
    probs = f32(0.25, 0.25, 0.25, 0.25)
    picks = [sample_topp(probs, np.float32(0.6), np.float32(coin)) for coin in (0.1, 0.5, 0.9)]
    assert picks == [0, 1, 2]


def test_topp_below_every_candidate_takes_the_first_maximum() -> None:
    assert sample_topp(f32(0.5, 0.5), np.float32(0.01), np.float32(0.9)) == 0


def test_topp_of_one_token() -> None:
    with np.errstate(divide="ignore"):
        assert sample_topp(f32(1.0), np.float32(0.9), np.float32(0.5)) == 0


@pytest.mark.parametrize("topp", [0.0, 1.0])
def test_topp_outside_of_its_range_samples_from_all(topp: float) -> None:
    logits = np.random.default_rng(0).normal(0, 1, 50).astype(np.float32)
    sampler = Sampler(1.0, topp, 9)
    coins = Sampler(1.0, topp, 9)
    for _ in range(20):
        token = sampler.next(logits)
        assert sampler.probs is not None
        assert token == sample_all(sampler.probs, coins._draw_coin())
