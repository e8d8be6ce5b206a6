"""Whole generations: tokens and every activation equal the golden's, bit for bit."""

import pytest

from golden.generate import GenerationRequest
from hil import attach
from hil.checks.model import checks
from hil.data import data_path
from hil.model.bundle import Model
from hil.ring.ring import Ring
from hil.suite.conftest import Passes

POSITIONS = 64
PROMPTS = ["", *data_path("fixtures/prompts.txt").read_text(encoding="utf-8").splitlines()]
SEEDS = (1, 2, 0x5EED)


@pytest.mark.ring
@pytest.mark.generate
@pytest.mark.layers
@pytest.mark.parametrize(
    ("prompt", "temperature", "rng_seed"),
    [("", 0.0, 1), ("Once upon a time", 0.8, 0x5EED)],
    ids=["greedy", "top-p"],
)
def test_generation_equals_golden(
    ring: Ring, golden: Model, passes: Passes, prompt: str, temperature: float, rng_seed: int
) -> None:
    tokens = golden.encode_prompt(prompt, POSITIONS)
    request = GenerationRequest(tokens, POSITIONS, temperature, topp=0.9, rng_seed=rng_seed)
    result = passes(checks.layers, ring, request=request)
    attach.text("story", golden.tokenizer.decode_all([tokens[0], *result.report]))


@pytest.mark.generate
@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_every_prompt_goes_on_as_the_golden_does(ring: Ring, golden: Model, passes: Passes, prompt: str) -> None:
    """Eight positions behind each prompt, greedy."""
    tokens = golden.tokenizer.encode(prompt)
    passes(checks.layers, ring, request=GenerationRequest(tokens, len(tokens) + 8))


@pytest.mark.generate
def test_seeds_sample_stories_of_their_own(ring: Ring, golden: Model, passes: Passes) -> None:
    tokens = golden.encode_prompt("Once upon a time", POSITIONS)
    requests = [GenerationRequest(tokens, 24, temperature=1.0, rng_seed=seed) for seed in SEEDS]
    stories = [passes(checks.layers, ring, request=request).report for request in requests]
    assert len(set(stories)) == len(SEEDS)


@pytest.mark.generate
@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "rng_seed"), [(0.0, 1), (0.8, 3)], ids=["greedy", "top-p"])
def test_full_context_equals_golden(
    ring: Ring, golden: Model, passes: Passes, temperature: float, rng_seed: int
) -> None:
    """Every position of the model's context: stories of the corpus as the prompt of five sixths of it, then its own."""
    positions = golden.weights.config.seq_len
    corpus = " ".join(data_path("fixtures/corpus.txt").read_text(encoding="utf-8").splitlines())
    tokens = golden.tokenizer.encode(corpus)[: positions * 5 // 6 + 4]
    request = GenerationRequest(tokens, positions, temperature, rng_seed=rng_seed)
    assert len(passes(checks.layers, ring, request=request).report) == positions
