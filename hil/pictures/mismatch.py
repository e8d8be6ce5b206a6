"""The mismatch map as a picture: a row for each op, a square for each position, what differs in red.

Self-contained SVG. Pure: a MismatchMap in, text out.
"""

from __future__ import annotations

from html import escape

from hil.checks.model.mismatch import MismatchMap

CELL, ROW, LEFT, TOP = 9, 11, 190, 64
COLOURS = {"=": "#cfe6dc", "x": "#d1242f", "?": "#bf8700"}
INK, SOFT, PAPER = "#1f2328", "#6e7781", "#ffffff"
WIDTH_MIN = 480


def mismatch_svg(mismatches: MismatchMap, title: str) -> str:
    """The picture; stretches of one colour in a row are one rectangle."""
    width = max(WIDTH_MIN, LEFT + CELL * len(mismatches.columns) + 20)
    height = TOP + ROW * len(mismatches.rows) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, DejaVu Sans, Arial, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        _text(10, 22, title, size=14),
    ]
    for i, (microbatch, position) in enumerate(mismatches.columns):
        if position % 8 == 0:
            name = f"{position}" if position or not microbatch else f"m{microbatch}"
            parts.append(_text(LEFT + CELL * i, TOP - 6, name, size=8, colour=SOFT))
    for at, (cell, words) in enumerate((("=", "equal"), ("x", "different"), ("?", "missing"))):
        parts.append(_box(10 + 90 * at, 32, 1, COLOURS[cell]))
        parts.append(_text(24 + 90 * at, 40, words, size=10))
    for number, row in enumerate(mismatches.rows):
        y = TOP + ROW * number
        bad = "x" in row.cells or "?" in row.cells
        parts.append(_text(LEFT - 8, y + 8, row.label, size=9, colour=INK if bad else SOFT, anchor="end"))
        parts += [_box(LEFT + CELL * first, y, count, COLOURS[cell]) for first, count, cell in _stretches(row.cells)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _stretches(cells: str) -> list[tuple[int, int, str]]:
    """(first, count, cell) of every stretch of equal cells that has a colour."""
    found: list[tuple[int, int, str]] = []
    for i, cell in enumerate(cells):
        if cell not in COLOURS:
            continue
        if found and found[-1][2] == cell and sum(found[-1][:2]) == i:
            found[-1] = (found[-1][0], found[-1][1] + 1, cell)
        else:
            found.append((i, 1, cell))
    return found


def _box(x: int, y: int, cells: int, colour: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{CELL * cells - 1}" height="{ROW - 2}" fill="{colour}"/>'


def _text(x: int, y: int, words: str, *, size: int, colour: str = INK, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'
