"""Optimizer: clipping by the norm of all gradients, SGD and AdamW, bit for bit as the board computes them.

Contract: docs/arithmetic.md, section 9. C twin: firmware/model/optimizer.c. Owns the optimiser's state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from golden import arithmetic
from golden.arithmetic import add, divide, dot8, multiply, subtract
from golden.backward import Piece
from golden.weights import F32Array

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@dataclass(frozen=True, slots=True)
class Sgd:
    """Momentum 0 needs no state. Weight decay is decoupled, as in AdamW."""

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True)
class AdamW:
    """Bias-corrected, with decoupled weight decay."""

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0


Settings = Sgd | AdamW
State = tuple[dict[Piece, F32Array], dict[Piece, F32Array]]
"""Momentum or first moment, and second moment, of every parameter."""


def gradient_norm(gradients: Iterable[F32Array]) -> np.float32:
    """Root of the sum of squares: dot8 of every row with itself, added up row by row, tensor by tensor.

    Sums of squares only grow, so none can be subnormal; accumulate adds one after the other.
    Args: gradients: in the order of golden.backward.pieces; (n,) counts as one row.
    """
    with np.errstate(all="ignore"):
        return np.float32(np.sqrt(sum_of_squares(gradients)))


def sum_of_squares(gradients: Iterable[F32Array], total: np.float32 = _ZERO) -> np.float32:
    """What gradient_norm takes the root of, added to a total: a rank adds those of its own gradients."""
    with np.errstate(all="ignore"):
        for gradient in gradients:
            rows = gradient.reshape(-1, gradient.shape[-1]).T
            total = np.add.accumulate(np.concatenate([[total], dot8(rows, rows)]), dtype=np.float32)[-1]
    return total


def clip_factor(norm: np.float32, limit: float) -> np.float32:
    """Factor on every gradient: limit / norm where the norm is over the limit, else 1. A limit of 0: no clipping."""
    bound = np.float32(limit)
    return np.float32(divide(np.asarray(bound), np.asarray(norm))) if bound > 0 and norm > bound else _ONE


class Optimizer:
    """State of every parameter; `step` changes the parameters in place."""

    def __init__(self, settings: Settings, values: dict[Piece, F32Array]) -> None:
        self.settings = settings
        self._values = values
        self._first = {piece: np.zeros_like(value) for piece, value in values.items()}
        self._second = {piece: np.zeros_like(value) for piece, value in values.items()}
        self._power1 = self._power2 = _ONE  # beta1, beta2 to the number of steps done

    def state(self) -> State:
        """A copy of the state as it is now."""
        first, second = ({piece: x.copy() for piece, x in kept.items()} for kept in (self._first, self._second))
        return first, second

    def step(self, gradients: Mapping[Piece, F32Array], factor: np.float32) -> None:
        """One step with gradients times factor (of clip_factor)."""
        s = self.settings
        rate = np.float32(s.learning_rate)
        shrink = subtract(np.asarray(_ONE), multiply(np.asarray(rate), np.asarray(np.float32(s.weight_decay))))
        if isinstance(s, AdamW):
            self._power1 = np.float32(multiply(np.asarray(self._power1), np.asarray(np.float32(s.beta1))))
            self._power2 = np.float32(multiply(np.asarray(self._power2), np.asarray(np.float32(s.beta2))))
        with np.errstate(all="ignore"):
            for piece, value in self._values.items():
                gradient = multiply(gradients[piece], np.asarray(factor))
                kept = value if piece[0].startswith("rms") else multiply(value, shrink)
                change = self._adamw(s, piece, gradient) if isinstance(s, AdamW) else self._sgd(s, piece, gradient)
                value[...] = subtract(kept, change)

    def _sgd(self, s: Sgd, piece: Piece, gradient: F32Array) -> F32Array:
        if s.momentum != 0:
            gradient = add(multiply(self._first[piece], np.asarray(np.float32(s.momentum))), gradient)
            self._first[piece] = gradient
        return multiply(gradient, np.asarray(np.float32(s.learning_rate)))

    def _adamw(self, s: AdamW, piece: Piece, gradient: F32Array) -> F32Array:
        beta1, beta2 = np.asarray(np.float32(s.beta1)), np.asarray(np.float32(s.beta2))
        one = np.asarray(_ONE)
        rate = divide(np.asarray(np.float32(s.learning_rate)), subtract(one, np.asarray(self._power1)))
        grow = divide(one, subtract(one, np.asarray(self._power2)))
        first = add(multiply(self._first[piece], beta1), multiply(gradient, subtract(one, beta1)))
        squares = multiply(gradient, gradient)
        second = add(multiply(self._second[piece], beta2), multiply(squares, subtract(one, beta2)))
        self._first[piece], self._second[piece] = first, second
        root = arithmetic.flushed(np.sqrt(multiply(second, grow)))
        return divide(multiply(first, rate), add(root, np.asarray(np.float32(s.epsilon))))
