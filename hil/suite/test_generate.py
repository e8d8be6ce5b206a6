"""Whole generations: tokens and every activation equal the golden's, bit for bit."""

import pytest

from hil import attach
from hil.checks.model.verify import GenerationRequest, verify_generation
from hil.data import data_path
from hil.model.bundle import Model
from hil.ring.ring import Ring

POSITIONS = 64
PROMPTS = ["", *data_path("fixtures/prompts.txt").read_text(encoding="utf-8").splitlines()]
SEEDS = (1, 2, 0x5EED)


def check_generation(
    ring: Ring, golden: Model, tokens: list[int], positions: int, temperature: float, rng_seed: int
) -> tuple[int, ...]:
    """Generate on the ring, compare everything; the tokens. A temperature above 0 samples with top-p 0.9."""
    request = GenerationRequest(tuple(tokens), positions, temperature, 0.9, rng_seed)
    with attach.step("generate on the ring and with the golden, and compare"):
        result, verification = verify_generation(ring, golden.weights, request)
        attach.text("story", golden.tokenizer.decode_all([tokens[0], *result.tokens]))
        attach.text("taps", verification.summary())
    assert verification.good, verification.describe()
    return result.tokens


@pytest.mark.ring
@pytest.mark.generate
@pytest.mark.layers
@pytest.mark.parametrize(
    ("prompt", "temperature", "rng_seed"),
    [("", 0.0, 1), ("Once upon a time", 0.8, 0x5EED)],
    ids=["greedy", "top-p"],
)
def test_generation_equals_golden(ring: Ring, golden: Model, prompt: str, temperature: float, rng_seed: int) -> None:
    check_generation(ring, golden, golden.encode_prompt(prompt, POSITIONS), POSITIONS, temperature, rng_seed)


@pytest.mark.generate
@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_every_prompt_goes_on_as_the_golden_does(ring: Ring, golden: Model, prompt: str) -> None:
    """Eight positions behind each prompt, greedy."""
    tokens = golden.tokenizer.encode(prompt)
    check_generation(ring, golden, tokens, len(tokens) + 8, 0.0, 1)


@pytest.mark.generate
def test_seeds_sample_stories_of_their_own(ring: Ring, golden: Model) -> None:
    tokens = golden.encode_prompt("Once upon a time", POSITIONS)
    stories = [check_generation(ring, golden, tokens, 24, 1.0, seed) for seed in SEEDS]
    assert len(set(stories)) == len(SEEDS)


@pytest.mark.generate
@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "rng_seed"), [(0.0, 1), (0.8, 3)], ids=["greedy", "top-p"])
def test_full_context_equals_golden(ring: Ring, golden: Model, temperature: float, rng_seed: int) -> None:
    """Every position of the model's context: stories of the corpus as the prompt of five sixths of it, then its own."""
    positions = golden.weights.config.seq_len
    corpus = " ".join(data_path("fixtures/corpus.txt").read_text(encoding="utf-8").splitlines())
    tokens = golden.tokenizer.encode(corpus)[: positions * 5 // 6 + 4]
    assert len(check_generation(ring, golden, tokens, positions, temperature, rng_seed)) == positions
