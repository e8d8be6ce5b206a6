"""Sampler: from logits to a token, drawing the same random numbers as the board.

Contract: docs/arithmetic.md. C twin: firmware/model/sampler.c.
"""

from __future__ import annotations

import numpy as np

from golden import arithmetic
from golden.weights import F32Array

_MASK64 = (1 << 64) - 1
_MULTIPLIER = 0x2545F4914F6CDD1D
_ONE = np.float32(1.0)


class Sampler:
    """temperature 0: argmax. topp outside (0, 1): sample from all. Seed 0 counts as 1.

    `probs` is the last distribution (vocab_size,) that was sampled from, None after an argmax.
    """

    def __init__(self, temperature: float, topp: float, rng_seed: int) -> None:
        self.temperature = np.float32(temperature if temperature > 0 else 0.0)
        self.topp = np.float32(topp)
        self.probs: F32Array | None = None
        self._state = (rng_seed & _MASK64) or 1

    def next(self, logits: F32Array) -> int:
        """The token chosen from logits (vocab_size,); draws one random number when temperature > 0."""
        self.probs = None
        if self.temperature == 0:
            return argmax(logits)
        with np.errstate(all="ignore"):
            self.probs = arithmetic.softmax(arithmetic.divide(logits, np.asarray(self.temperature))[None, :])[0]
            coin = self._draw_coin()
            if 0 < self.topp < 1:
                return sample_topp(self.probs, self.topp, coin)
            return sample_all(self.probs, coin)

    def _draw_coin(self) -> np.float32:
        """xorshift64*: a float in [0, 1) from the upper 24 bits of the upper word."""
        state = self._state
        state ^= state >> 12
        state ^= (state << 25) & _MASK64
        state ^= state >> 27
        self._state = state
        high = ((state * _MULTIPLIER) & _MASK64) >> 32
        return np.float32(high >> 8) / np.float32(1 << 24)


def argmax(x: F32Array) -> int:
    """Index of the first maximum of x (n,). A NaN is never greater: it wins only from place 0."""
    if np.isnan(x[0]):
        return 0
    return int(np.argmax(np.where(np.isnan(x), np.float32(-np.inf), x)))


def sample_all(probs: F32Array, coin: np.float32) -> int:
    """First index of probs (n,) where the running sum exceeds coin; the last one when none does."""
    above = np.flatnonzero(coin < np.add.accumulate(probs))
    return int(above[0]) if len(above) else len(probs) - 1


def sample_topp(probs: F32Array, topp: np.float32, coin: np.float32) -> int:
    """Samples from the most probable tokens whose sum first exceeds topp; ties by lower index."""
    cutoff = (_ONE - topp) / np.float32(len(probs) - 1)
    candidates = np.flatnonzero(probs >= cutoff)
    if len(candidates) == 0:
        return argmax(probs)
    order = candidates[np.argsort(-probs[candidates], kind="stable")]
    sums = np.add.accumulate(probs[order])
    over = np.flatnonzero(sums > topp)
    last = int(over[0]) if len(over) else len(order) - 1
    hit = np.flatnonzero(coin * sums[last] < sums[: last + 1])
    return int(order[hit[0]]) if len(hit) else int(order[last])
