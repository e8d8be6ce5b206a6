"""Values: how far two tensors of the same shape are from each other, value by value.

Pure functions. As in the contract (docs/arithmetic.md), the sign of zero and the payload of a NaN do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.taps import canonical_bits
from golden.weights import F32Array


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """What differs in a tensor.

    index: of the first value that differs, counted row by row. board, golden: its bits. ulps: floats between them,
    None where one is no number. compared: values looked at, of `total`; differing, nonfinite (board's) among them.
    worst_index, worst_ulps: where the most floats are between.
    """

    index: int
    board: int
    golden: int
    ulps: int | None
    compared: int
    total: int
    differing: int
    nonfinite: int
    worst_index: int
    worst_ulps: int

    @property
    def absolute(self) -> float:
        """Size of the first difference."""
        return abs(as_float(self.board) - as_float(self.golden))

    @property
    def relative(self) -> float:
        """The first difference over the golden's size; infinite where that is zero."""
        size = abs(as_float(self.golden))
        return self.absolute / size if size else float("inf")

    def describe(self) -> list[str]:
        """Two lines: the first value, and how many differ."""
        ulps = "not comparable" if self.ulps is None else f"{self.ulps:,} ULP"
        seen = f"{self.compared:,} of {self.total:,} values looked at" if self.compared < self.total else "values"
        of = f"{self.differing:,} of {self.compared:,} {seen} differ"
        return [
            f"value [{self.index}]: board {shown(self.board)}, golden {shown(self.golden)}; "
            f"off by {self.absolute:.3g}, relative {self.relative:.3g}, {ulps}",
            f"{of}, most at [{self.worst_index}]: {self.worst_ulps:,} ULP; {self.nonfinite} not finite",
        ]


def as_float(bits: int) -> float:
    """The float with these bits."""
    return float(np.uint32(bits).view(np.float32))


def same_bits(mine: float, golden: float) -> bool:
    """Whether two float32 values are one in the contract: any NaN is, and so are the zeros."""
    ours, theirs = canonical_bits(np.array([mine, golden], np.float32))
    return bool(ours == theirs)


def shown(bits: int) -> str:
    """A float with its bits: `0x3f800000 (1)`."""
    return f"{bits:#010x} ({as_float(bits):.9g})"


def compare_values(golden: F32Array, board: F32Array, *, unseen: int = 0) -> ValueDifference | None:
    """The difference of two tensors of one shape, None where there is none.

    Args:
        unseen: how many values of board were not looked at and are filled with the golden's.
    """
    ours, theirs = canonical_bits(golden), canonical_bits(board)
    places = np.flatnonzero(ours != theirs)
    if not len(places):
        return None
    at = int(places[0])
    distances = ulp_distances(ours, theirs)
    numbers = np.isfinite(golden.reshape(-1)) & np.isfinite(board.reshape(-1))
    worst = int(np.argmax(np.where(numbers, distances, 0)))
    return ValueDifference(
        index=at,
        board=int(board.reshape(-1).view(np.uint32)[at]),
        golden=int(golden.reshape(-1).view(np.uint32)[at]),
        ulps=int(distances[at]) if numbers[at] else None,
        compared=len(ours) - unseen,
        total=len(ours),
        differing=len(places),
        nonfinite=int(np.count_nonzero(~np.isfinite(board))),
        worst_index=worst,
        worst_ulps=int(distances[worst]) if numbers[worst] else 0,
    )


def ulp_distances(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Floats between the floats of two arrays of bits, +0 and -0 being one."""

    def ordered(bits: NDArray[np.uint32]) -> NDArray[np.int64]:
        magnitude = (bits & np.uint32(0x7FFFFFFF)).astype(np.int64)
        return np.where(bits >> np.uint32(31), -magnitude, magnitude)

    distances: NDArray[np.int64] = np.abs(ordered(a) - ordered(b))
    return distances
