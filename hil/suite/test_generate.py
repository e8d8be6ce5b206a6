"""Whole generations: tokens and every activation equal the golden's, bit for bit."""

import pytest

from hil.checks.forward import compare_taps, golden_run
from hil.model.bundle import Model
from hil.report import attach
from hil.ring import Ring

pytestmark = [pytest.mark.ring, pytest.mark.generate, pytest.mark.layers]

POSITIONS = 64


@pytest.mark.parametrize(
    ("prompt", "temperature", "rng_seed"),
    [("", 0.0, 1), ("Once upon a time", 0.8, 0x5EED)],
    ids=["greedy", "top-p"],
)
def test_generation_equals_golden(ring: Ring, golden: Model, prompt: str, temperature: float, rng_seed: int) -> None:
    tokens = golden.encode_prompt(prompt, POSITIONS)
    with attach.step("generate on the ring"):
        result = ring.generate(tokens, POSITIONS, temperature=temperature, topp=0.9, rng_seed=rng_seed)
        attach.text("story", golden.tokenizer.decode_all([tokens[0], *result.tokens]))
    with attach.step("generate with the golden and compare"):
        expected = golden_run(golden.weights, tokens, POSITIONS, temperature, 0.9, rng_seed, ring.world_size)
        comparison = compare_taps(ring, expected)
        attach.text("taps", f"{comparison.compared} compared, {comparison.equal} equal")
    assert comparison.first is None, comparison.first.describe()
    assert comparison.good
    assert result.tokens == expected.tokens
