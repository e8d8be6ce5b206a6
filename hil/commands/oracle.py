"""The oracle's second opinion on a generation, in lines: float64 with tables computed from theta, beside the golden."""

from __future__ import annotations

from golden.generate import GenerationRequest, generate
from golden.oracle import SOUND_DB, drifts
from golden.tensors import generation_tensors
from golden.weights import Weights


def oracle_lines(weights: Weights, request: GenerationRequest) -> list[str]:
    """A line for each layer and the logits, and what follows from them."""
    tokens = generate(weights, request, record=False).tokens
    entering = (request.prompt[0], *tokens)[: len(tokens)]
    rows = drifts(weights, entering, generation_tensors(weights, entering, 0.0))
    lines = [f"oracle: float64 with tables of theta beside the golden, {len(entering)} positions"]
    lines += [f"  {row.where:10} SQNR {row.sqnr_db:6.1f} dB, at most {row.ulps:,.1f} ulp" for row in rows]
    wrong = next((row for row in rows if not row.sound), None)
    if wrong is None:
        return [*lines, f"  so: no more than rounding (at least {SOUND_DB:g} dB)"]
    return [*lines, (
        f"  so: {wrong.where} is nearer than {SOUND_DB:g} dB to noise, which rounding does not do: the golden computes "
        "another function than float64 does; look at the RoPE tables and at values that are not finite"
    )]  # fmt: skip
