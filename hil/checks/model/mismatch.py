"""The mismatch map: a row for each op of each layer, a column for each position, and what was found there.

Cells: `=` equal, `x` different, `?` missing, ` ` no such tap. Pictures of it: hil/pictures/mismatch.py; the nightly
page draws its own from the same rows. Owns: order and labels of rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from golden.taps import NO_LAYER, Op
from hil.checks.model.taps import TapComparison


@dataclass(frozen=True, slots=True)
class MapRow:
    """A row of a mismatch map: one op of one layer, one cell for each position. cells: `=`, `x`, `?` (missing)."""

    label: str
    cells: str


Column = tuple[int, int]
"""Microbatch and position."""
ROWS_SHOWN = 30
"""Of a map in text."""
_SIDE = 2
"""Equal rows that the text shows on each side of those with a difference."""
_WHOLE_STAGE = 1000
"""Added for gradients and parameters, which come behind every pass round the ring."""


@dataclass(frozen=True, slots=True)
class MismatchMap:
    """Rows in execution order over the ring; columns by microbatch and position."""

    rows: tuple[MapRow, ...]
    columns: tuple[Column, ...]

    @property
    def wrong(self) -> int:
        """Cells that are different or missing."""
        return sum(row.cells.count("x") + row.cells.count("?") for row in self.rows)

    def text(self, rows_max: int = ROWS_SHOWN) -> str:
        """The rows around every difference; stretches of equal rows, and what is beyond rows_max, as one line."""
        if not self.rows:
            return "(nothing was compared)"
        bad = [i for i, row in enumerate(self.rows) if set(row.cells) & {"x", "?"}]
        near = sorted({i + d for i in bad for d in range(-_SIDE, _SIDE + 1)} & set(range(len(self.rows))))
        width = max(len(row.label) for row in self.rows)
        lines = [f"{'':{width}}  {line}" for line in self._ruler()]
        following = 0
        for i in near[:rows_max]:
            lines += self._between(following, i, width)
            lines.append(f"{self.rows[i].label:{width}}  {self.rows[i].cells}".rstrip())
            following = i + 1
        return "\n".join(lines + self._between(following, len(self.rows), width))

    def _between(self, first: int, end: int, width: int) -> list[str]:
        """One line for rows that are not shown."""
        bad = sum(bool(set(row.cells) & {"x", "?"}) for row in self.rows[first:end])
        what = f"{bad} of them different" if bad else "equal"
        return [f"{'...':{width}}  {end - first} row{'' if end - first == 1 else 's'}, {what}"] if end > first else []

    def _ruler(self) -> list[str]:
        """Positions every ten columns; microbatches above them where there are several."""
        marks = [""] * len(self.columns)
        for i, (_, position) in enumerate(self.columns):
            marks[i] = str(position) if position % 10 == 0 else ""
        lines = [_ruled(marks)]
        if len({microbatch for microbatch, _ in self.columns}) > 1:
            first = {microbatch: i for i, (microbatch, _) in reversed(list(enumerate(self.columns)))}
            over = [f"m{c[0]}" if first[c[0]] == i else "" for i, c in enumerate(self.columns)]
            lines.insert(0, _ruled(over))
        return lines


def mismatch_map(comparisons: Sequence[TapComparison]) -> MismatchMap:
    """The map of a generation, or of a step of training, which may have been compared in parts."""
    cells: dict[tuple[int, int, str], dict[Column, str]] = {}
    columns: set[Column] = set()
    for comparison in comparisons:
        for rank, (taps, row) in enumerate(zip(comparison.expected, comparison.cells, strict=True)):
            for tap, cell in zip(taps, row, strict=True):
                key, whole = tap.key, tap.key.op > Op.D_LAYER
                column = (0, 0) if whole else (tap.microbatch or 0, key.position)
                stage = tap.stage + (_WHOLE_STAGE if whole else 0)
                layer = "" if key.layer == NO_LAYER else f" L{key.layer}"
                cells.setdefault((stage, rank, f"R{rank}{layer} {key.op.name}"), {})[column] = cell
                columns.add(column)
    order = sorted(columns)
    rows = sorted(cells.items(), key=lambda item: item[0][:2])  # stable: within a rank as it goes
    return MismatchMap(
        tuple(MapRow(label, "".join(found.get(column, " ") for column in order)) for (_, _, label), found in rows),
        tuple(order),
    )


def _ruled(marks: Sequence[str]) -> str:
    line = ""
    for i, mark in enumerate(marks):
        if mark and len(line) <= i:
            line = line.ljust(i) + mark
    return line
