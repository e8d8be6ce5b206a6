"""RoPE: the tables of cos and sin, computed from theta, and whether those of a checkpoint are such.

Ring and golden read the tables of the checkpoint, so a wrong one would make both tell the same nonsense. llama2.c
itself ignores them. Owns: the tolerance.
"""

from __future__ import annotations

import numpy as np

from golden.oracle import ROPE_BASE, rope_tables64
from golden.weights import Config, F32Array, Weights
from hil.model.checkpoint import CheckpointError

ROUNDINGS = 8
"""An export computes in float32: a power, its inverse, the angle, cos or sin; each off by an ulp or two of 2^-24."""


def rope_tables(config: Config) -> tuple[F32Array, F32Array]:
    """cos and sin of position * ROPE_BASE^(-2i/head_size); each (S, head_size / 2) float32."""
    cos, sin = rope_tables64(config)
    return cos.astype(np.float32), sin.astype(np.float32)


def check_tables(weights: Weights, where: str) -> None:
    """Raise CheckpointError beginning with `where` unless freq_cos and freq_sin are those of theta.

    An angle of a radians that is off by ROUNDINGS * 2^-24 of itself moves cos and sin by as much times a.
    """
    config = weights.config
    rates = ROPE_BASE ** (-np.arange(0, config.head_size, 2) / config.head_size)
    bound = ROUNDINGS * 2.0**-24 * (1 + np.outer(np.arange(config.seq_len), rates))
    names = ("freq_cos", "freq_sin")
    for name, found, right in zip(names, (weights.freq_cos, weights.freq_sin), rope_tables64(config), strict=True):
        off = np.abs(found.astype(np.float64) - right)
        wrong = np.argwhere(~(off <= bound))
        if len(wrong):
            position, pair = wrong[0]
            raise CheckpointError(
                f"{where}: {name} is no table of RoPE with theta {ROPE_BASE:g}: position {position}, pair {pair} has "
                f"{found[position, pair]:.9g} instead of {right[position, pair]:.9g}, {len(wrong):,} of {found.size:,} "
                "values are off; export the checkpoint again, or take it as it is with --tables any"
            )
