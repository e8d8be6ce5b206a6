"""Scope: what a verified run compared and what it did not, and values that no healthy model has.

A run that is equal to the golden bit for bit may still mean nothing: where both are NaN, or zero throughout. Digests
tell that both have the same; what the golden has says what that is. Plain words: docs/verify.md. Owns: Verdict, Scope,
Health, Trouble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from golden.plan import shard_plan
from golden.taps import NO_LAYER, Oddity, Op, RankTap
from golden.tensors import rank_pieces, stored
from golden.weights import Weights
from hil.checks.model.taps import TapComparison

MAY_BE_ZERO = frozenset({Op.LOSS, Op.D_ATT_SCORE, Op.D_Q_ROPE, Op.D_K_ROPE, Op.D_Q, Op.D_K})
"""Zero where attention has no choice, as at position 0, or where the right token is certain."""
ZERO_AT_ONE_POSITION = frozenset({Op.GRAD_WQ, Op.GRAD_WK})


class Verdict(StrEnum):
    """What a verified run is."""

    EQUAL = "equal"
    DEGENERATE = "equal, but not finite or zero throughout"
    DIFFERENT = "different"


class Told(StrEnum):
    """Parts of a run beside its taps: what boards say of it, and what stands in their memories at rest."""

    SAMPLER = "sampler"
    PROMPT = "prompt"
    STORY = "story"
    TOKEN_LOG = "token log"
    TOKEN_EVENT = "token event"
    LOSS = "loss"
    MICROBATCH_LOSS = "loss of a microbatch"
    NORM = "norm of the gradients"
    FACTOR = "factor of clipping"
    SQUARES = "sum of squares"
    STEPS = "count of steps"
    TAP_FIGURES = "figures of taps"
    PARAMETER = "parameter at rest"
    MOMENT = "moment at rest"
    SHARD = "shard"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something beside the taps that is not the golden's. rank: whose. text: one sentence, with both values."""

    part: Told
    rank: int
    text: str


@dataclass(frozen=True, slots=True)
class Scope:
    """What was compared, and what was not and why; each in a few words."""

    compared: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For a person."""
        found = [f"  compared: {', '.join(self.compared) or 'nothing'}"]
        return found + ([f"  not compared: {', '.join(self.left)}"] if self.left else [])


@dataclass(frozen=True, slots=True)
class Health:
    """Odd tensors of a run in the golden, which are the boards' too where digests are equal.

    nonfinite, zero: taps. flushed: taps of which a board says that something was flushed to zero. first: of the odd
    ones. model: what is odd about the model's own parameters, in words.
    """

    nonfinite: int = 0
    zero: int = 0
    flushed: int = 0
    first: str = ""
    model: str = ""

    @property
    def sound(self) -> bool:
        """Nothing is odd."""
        return not (self.nonfinite or self.zero or self.model)

    def figures(self) -> str:
        """Counts."""
        return (
            f"{self.nonfinite:,} taps not finite, {self.zero:,} zero throughout, {self.flushed:,} with flushed values"
        )

    def sentence(self) -> str:
        """What is odd, and where it comes from. Empty where nothing is."""
        if self.sound:
            return ""
        parts = [f"{self.nonfinite:,} taps are not finite"] if self.nonfinite else []
        parts += [f"{self.zero:,} taps are zero throughout"] if self.zero else []
        head = f"{' and '.join(parts)}, and so are the golden's: " if parts else "no tap shows it, and yet "
        if self.model:
            return f"{head}the model or its card is damaged: {self.model}"
        return f"{head}the numbers ran away, first in {self.first}; every parameter that the run began with is sound"


def tap_name(tap: RankTap, rank: int) -> str:
    """`Q of layer 3 on rank 1, position 0`."""
    key = tap.key
    layer = "" if key.layer == NO_LAYER else f" of layer {key.layer}"
    whole = key.op >= Op.GRAD_TOK_EMB
    return f"{key.op.name}{layer} on rank {rank}" + ("" if whole else f", position {key.position}")


def health_of(
    parts: Sequence[TapComparison], odd: Mapping[int, Oddity], model: str, positions: int
) -> tuple[Health, list[Trouble]]:
    """What is odd about a run, and boards whose own figures of their equal taps say something else.

    Args:
        odd: of the golden, by digest.
        model: what is odd about the parameters that the run began with (`odd_parameter`).
        positions: of a generation or microbatch.
    """
    allowed = MAY_BE_ZERO | (ZERO_AT_ONE_POSITION if positions == 1 else frozenset())
    nonfinite = zero = flushed = 0
    firsts: list[tuple[tuple[int, int], str]] = []
    troubles = []
    for part in parts:
        for rank, (taps, row, cells) in enumerate(zip(part.expected, part.rows, part.cells, strict=True)):
            strange = [(tap, odd[tap.crc]) for tap in taps if tap.crc in odd] if odd else []
            wild = sum(one.nonfinite > 0 for _, one in strange)
            blank = [tap for tap, one in strange if not one.nonfinite]
            counted = [tap for tap in blank if tap.key.op not in allowed]
            nonfinite, zero, flushed = nonfinite + wild, zero + len(counted), flushed + (row.flushed if row else 0)
            firsts += [(tap.order, tap_name(tap, rank)) for tap, one in strange if one.nonfinite or tap in counted]
            told = (row.nonfinite, row.zero) if row is not None else None
            if told is not None and "x" not in cells and told != (wild, len(blank)):
                troubles.append(Trouble(Told.TAP_FIGURES, rank, (
                    f"rank {rank} says that {told[0]} of its taps are not finite and {told[1]} zero throughout; "
                    f"by their digests {wild} and {len(blank)} are"
                )))  # fmt: skip
    first = min(firsts, default=((0, 0), ""))[1]
    return Health(nonfinite, zero, flushed, first, model), troubles


def odd_parameter(weights: Weights) -> str:
    """The first parameter that is not finite or is zero throughout, in words with its value; empty where none is."""
    for piece in rank_pieces(weights.config, shard_plan(weights.config.n_layers, 1)[0]):
        values = stored(weights, piece).reshape(-1)
        name = piece[0] if piece[1] == NO_LAYER else f"{piece[0]} of layer {piece[1]}"
        wild = np.flatnonzero(~np.isfinite(values))
        if len(wild):
            return f"{name}, value [{wild[0]}] is {values[wild[0]]}"
        if not values.any() and not (piece[0] == "freq_sin" and weights.config.seq_len == 1):
            return f"{name} is zero throughout"
    return ""
