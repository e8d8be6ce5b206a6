"""Single functions of the C model on the host against the golden: sampler and exp over many inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_build import OpsLibrary

from golden import arithmetic
from golden.sampler import Sampler
from golden.taps import canonical_bits

DRAWS = 12


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> OpsLibrary:
    return OpsLibrary(tmp_path_factory.mktemp("ops"))


def golden_sample(logits: np.ndarray, temperature: float, topp: float, seed: int) -> list[int]:
    sampler = Sampler(temperature, topp, seed)
    return [sampler.next(logits) for _ in range(DRAWS)]


@pytest.mark.parametrize("topp", [0.0, 0.001, 0.3, 0.9, 0.999, 1.0, -1.0, 2.0])
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("vocab_size", [1, 2, 3, 512, 32000])
def test_sampler_equals_golden(library: OpsLibrary, vocab_size: int, temperature: float, topp: float) -> None:
    logits = np.random.default_rng(vocab_size).normal(0, 4, vocab_size).astype(np.float32)
    found = library.sample(logits, temperature, topp, 99, DRAWS)
    assert found == golden_sample(logits, temperature, topp, 99)


@pytest.mark.parametrize("topp", [0.05, 0.5, 0.95])
def test_sampler_with_many_ties_equals_golden(library: OpsLibrary, topp: float) -> None:
    logits = np.random.default_rng(1).integers(0, 4, 700).astype(np.float32)
    assert library.sample(logits, 1.0, topp, 5, DRAWS) == golden_sample(logits, 1.0, topp, 5)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 7])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampler_with_special_numbers_equals_golden(
    library: OpsLibrary, special: float, place: int, temperature: float
) -> None:
    logits = np.random.default_rng(2).normal(0, 1, 20).astype(np.float32)
    logits[place] = special
    for topp in (0.9, 1.0):
        assert library.sample(logits, temperature, topp, 5, DRAWS) == golden_sample(logits, temperature, topp, 5)


def test_sampler_seed_zero_counts_as_one(library: OpsLibrary) -> None:
    logits = np.zeros(100, np.float32)
    assert library.sample(logits, 1.0, 0.9, 0, DRAWS) == library.sample(logits, 1.0, 0.9, 1, DRAWS)
    assert library.sample(logits, 1.0, 0.9, 2, DRAWS) != library.sample(logits, 1.0, 0.9, 1, DRAWS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("s->state ^= s->state << 25;", "s->state ^= s->state << 26;"),
        ("bits_a > bits_b : a < b", "bits_a > bits_b : a > b"),
        ("!(total > topp)", "!(total >= topp - 0.2f)"),
    ],
)
def test_wrong_sampler_gives_other_tokens(tmp_path: Path, old: str, new: str) -> None:
    spoilt = OpsLibrary(tmp_path, {"sampler.c": (old, new)})
    logits = np.random.default_rng(1).integers(0, 4, 700).astype(np.float32)
    assert spoilt.sample(logits, 1.0, 0.5, 5, DRAWS) != golden_sample(logits, 1.0, 0.5, 5)


def test_exp_equals_golden_over_the_whole_range(library: OpsLibrary) -> None:
    bits = np.arange(0, 0x7F800000, 1511, dtype=np.uint32)
    for x in (bits.view(np.float32), -bits.view(np.float32)):
        with np.errstate(all="ignore"):
            expected = arithmetic.exp(arithmetic.flushed(x))
        assert np.array_equal(canonical_bits(library.call("exp", x)), canonical_bits(expected))
