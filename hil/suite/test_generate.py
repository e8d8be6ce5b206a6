"""Whole generations: tokens and every activation equal the golden's, bit for bit."""

import pytest

from hil.checks.verify_runs import GenerationRequest, verify_generation
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
    request = GenerationRequest(tuple(tokens), POSITIONS, temperature, 0.9, rng_seed)
    with attach.step("generate on the ring and with the golden, and compare"):
        result, verification = verify_generation(ring, golden.weights, request)
        attach.text("story", golden.tokenizer.decode_all([tokens[0], *result.tokens]))
        attach.text("taps", verification.summary())
    assert verification.good, verification.describe()
