"""The mismatch map as a picture: a row for each op, a square for each position, what differs in red.

Each square carries its letter too, so colour is not the only sign. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from markupsafe import Markup

from hil.checks.model.mismatch import Column, MapRow, MismatchMap
from hil.pictures.svg import drawing, sheet, tag, words

CELL, ROW, LEFT, HEAD = 9, 11, 190, 64
CLASSES = {"=": "same", "x": "differs", "?": "missing"}
MEANINGS = {"=": "equal", "x": "different", "?": "missing"}
WIDTH_MIN = 480
STYLE = """
.paper { fill: #ffffff } text { fill: #1f2328; font-size: 9px } .title { font-size: 14px } .legend { font-size: 10px }
.soft { fill: #57606a } .same { fill: #cfe6dc } path.differs { fill: #ff8f87 } .missing { fill: #e8b44c }
.cells { font-family: ui-monospace, "DejaVu Sans Mono", monospace }
"""


def mismatch_svg(mismatches: MismatchMap, title: str) -> str:
    """The picture of a whole map as a file of its own."""
    width = max(WIDTH_MIN, LEFT + CELL * len(mismatches.columns) + 20)
    parts = [words(10, 22, title, "title"), *_legend(), *_ruler(mismatches.columns), *_rows(mismatches.rows, HEAD)]
    return sheet(width, HEAD + ROW * len(mismatches.rows) + 16, title, STYLE, *parts)


def mismatch_picture(rows: Sequence[MapRow]) -> Markup | None:
    """Rows of a map, to be put into a page; None without rows."""
    if not rows:
        return None
    width = LEFT + CELL * max(len(row.cells) for row in rows) + 8
    return drawing(width, ROW * len(rows) + 4, "mismatch map", *_rows(rows, 2), class_="map", fixed=True)


def _legend() -> list[Markup]:
    parts = []
    for at, (cell, meaning) in enumerate(MEANINGS.items()):
        parts += [_boxes(cell, [(0, 1)], 10 + 90 * at, 32), words(24 + 90 * at, 40, f"{cell} {meaning}", "legend")]
    return parts


def _ruler(columns: Sequence[Column]) -> list[Markup]:
    """Every eighth position; at the first of a further microbatch its number."""
    parts = []
    for at, (microbatch, position) in enumerate(columns):
        if position % 8 == 0:
            name = f"{position}" if position or not microbatch else f"m{microbatch}"
            parts.append(words(LEFT + CELL * at, HEAD - 6, name, "soft"))
    return parts


def _rows(rows: Sequence[MapRow], top: float) -> list[Markup]:
    parts = []
    for number, row in enumerate(rows):
        y = top + ROW * number
        stretches: dict[str, list[tuple[int, int]]] = {}
        at = 0
        for cell, group in itertools.groupby(row.cells):
            length = len(list(group))
            stretches.setdefault(cell, []).append((at, length))
            at += length
        wrong = "x" in stretches or "?" in stretches
        parts.append(words(LEFT - 8, y + 8, row.label, "" if wrong else "soft", "end"))
        parts += [_boxes(cell, found, LEFT, y) for cell, found in stretches.items() if cell in CLASSES]
        if wrong:
            shown = row.cells.replace(" ", "\N{NO-BREAK SPACE}")
            letters = tag("text", shown, x=LEFT, y=y + 8, textLength=CELL * len(row.cells) - 1, class_="cells")
            parts.append(letters)
    return parts


def _boxes(cell: str, stretches: Sequence[tuple[int, int]], left: float, y: float) -> Markup:
    """Stretches of one cell, (first, length) each, as one shape."""
    shape = "".join(
        f"M{left + CELL * at:g} {y:g}h{CELL * many - 1}v{ROW - 2}h{1 - CELL * many}z" for at, many in stretches
    )
    return tag("path", d=shape, class_=f"cell {CLASSES[cell]}")
