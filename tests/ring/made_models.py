"""Models of other shapes than the tiny one, made for a test: random weights, and a tokenizer that fits them."""

from __future__ import annotations

from pathlib import Path

from golden.weights import Config
from hil.model.synth import shape_config, synthesize, synthesize_tokenizer


def make_model(folder: Path, shape: str | Config, seed: int = 1) -> dict[str, str]:
    """Settings of a session with a random model (vocabulary of 259 or more)."""
    config = shape if isinstance(shape, Config) else shape_config(shape)
    checkpoint, tokenizer = folder / "model.bin", folder / "tokenizer.bin"
    synthesize(config, checkpoint, seed)
    synthesize_tokenizer(config, tokenizer)
    return {"model": str(checkpoint), "tokenizer": str(tokenizer)}
