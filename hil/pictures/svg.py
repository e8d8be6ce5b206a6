"""Pieces of SVG: elements whose attributes and text are always escaped, and charts made of them.

Colours are classes: page.css gives them in a page, the style of `sheet` in a file of its own. No scripts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from hil.text import visible


def tag(name: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """An element. `class_` is `class`; `stroke_width` is `stroke-width`; None is left out; text is escaped."""
    parts = [
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _value(value))
        for key, value in attributes.items()
        if value is not None
    ]
    inner = Markup("").join(child if isinstance(child, Markup) else escape(visible(child)) for child in children)
    return Markup("<{}{}>{}</{}>").format(Markup(name), Markup("").join(parts), inner, Markup(name))


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return visible(value)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def drawing(
    width: float, height: float, label: str, *children: str | Markup, class_: str = "chart", fixed: bool = False
) -> Markup:
    """An <svg> that scales with its box, or keeps its size. label: what a reader who cannot see it is told."""
    return tag(
        "svg", tag("title", label), *children, viewBox=f"0 0 {width:g} {height:g}", class_=class_, role="img",
        aria_label=label, preserveAspectRatio="xMinYMid meet", width=width if fixed else None,
        height=height if fixed else None,
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def words(
    x: float, y: float, said: str, class_: str = "", anchor: str | None = None, transform: str | None = None
) -> Markup:
    """A text."""
    return tag("text", said, x=x, y=y, class_=class_ or None, text_anchor=anchor, transform=transform)


def path(points: Sequence[tuple[float, float] | None], class_: str) -> Markup:
    """A line through points; None breaks it."""
    parts, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        parts.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
        pen = "L"
    return tag("path", d="".join(parts), class_=class_)


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers from low to high, about as many as wanted."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]


WAVE_STYLE = """
svg { background: #fff; font-family: system-ui, "DejaVu Sans", sans-serif } text { fill: #1f2328; font-size: 12px }
.tick { fill: #57606a; font-size: 11.5px } .label { font-size: 13px } .grid { stroke: #d0d7de }
.signal { fill: none; stroke: #1f2328; stroke-width: 1.6 } .floating { stroke-dasharray: 3 3; stroke: #7a4a00 }
.brick { stroke: #1f2328 } .data { fill: #dbe7f5 } .unknown { fill: #ffe9e8 } .gap { stroke: #b3121d; stroke-width: 2 }
"""


def standalone(picture: Markup, style: str = WAVE_STYLE) -> str:
    """A drawing as an SVG file of its own; by default one of a waveform. style: CSS."""
    head, _, rest = str(picture).partition(">")
    font = 'font-family="system-ui, DejaVu Sans, Arial, sans-serif"'
    return f'{head} xmlns="http://www.w3.org/2000/svg" {font}><style>{style}</style>{rest}\n'


def sheet(width: float, height: float, title: str, style: str, *parts: Markup) -> str:
    """An SVG file of its own: parts on paper. style: CSS, which colours `.paper` too."""
    paper = tag("rect", class_="paper", width=width, height=height)
    return standalone(drawing(width, height, title, paper, *parts, class_="sheet", fixed=True), style)
