"""Charts of the page: sparklines, trends with their usual range, losses, boots. Pure SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from hil.nightly.page.inputs import FigureTrend, WireTrend
from hil.nightly.record import BoardFigures
from hil.pictures.svg import drawing, line, path, tag, ticks, words
from hil.text import finite, number
from hil.timeline.spans import Timeline, What

Point = tuple[float, float]
SPARK = (150.0, 26.0)
TREND = (420.0, 170.0)
LEFT, RIGHT, TOP, BOTTOM = 56.0, 12.0, 12.0, 24.0
SPAN_MIN = 0.02
"""A chart shows at least so much of a value, so that what is hardly a change does not look like one."""
RATES = (1e-10, 1e-3)
"""Error rates at the bottom and at the top of a sparkline."""


def wire_spark(trend: WireTrend) -> Markup:
    """Wrong bits per bit of each night on a logarithmic scale; a night without errors is a tick at the bottom."""
    width, height = SPARK
    step = (width - 8) / max(1, len(trend.points) - 1)
    parts: list[Markup] = [line(2, height - 3, width - 2, height - 3, "axis")]
    points: list[Point | None] = []
    for at, point in enumerate(trend.points):
        x = 4 + at * step
        if point.bits <= 0:
            points.append(None)
        elif point.errors == 0:
            points.append((x, height - 3))
        else:
            rate = math.log(point.errors / point.bits / RATES[0]) / math.log(RATES[1] / RATES[0])
            points.append((x, height - 3 - min(1.0, max(0.1, rate)) * (height - 6)))
    parts.append(path(points, "spark marked" if trend.mark else "spark"))
    newest = trend.newest
    told = f"{newest.name}: {newest.errors:,} wrong of {newest.bits:,} bits in the newest night"
    last = next((point for point in reversed(points) if point is not None), None)
    parts += [_dot(last, told, marked=bool(trend.mark))] if last is not None else []
    return drawing(width, height, told, *parts, class_="sparkline")


class Scale:
    """From values to places on a chart."""

    def __init__(self, values: Sequence[float], count: int, size: tuple[float, float]) -> None:
        low, high = min(values), max(values)
        gap = max((high - low) * 0.12, (abs(high) * SPAN_MIN - (high - low)) / 2) or 1.0
        self.low, self.high = low - gap, high + gap
        self.width, self.height = size
        self.step = (self.width - LEFT - RIGHT) / max(1, count - 1) if count > 1 else 0.0

    def x(self, at: float) -> float:
        """Of the at-th night or step, from 0."""
        return LEFT + at * self.step if self.step else (self.width + LEFT - RIGHT) / 2

    def y(self, value: float) -> float:
        """Of a value."""
        return TOP + (self.high - value) / (self.high - self.low) * (self.height - TOP - BOTTOM)

    def grid(self) -> list[Markup]:
        """Lines and figures of the left axis."""
        parts = []
        for value in ticks(self.low, self.high):
            parts.append(line(LEFT, self.y(value), self.width - RIGHT, self.y(value), "grid"))
            parts.append(words(LEFT - 6, self.y(value) + 4, number(round(value, 9), 4), "tick", "end"))
        return parts


def _dot(place: Point, told: str, *, marked: bool, size: float = 2.2) -> Markup:
    class_ = "dot marked" if marked else "dot"
    return tag("circle", tag("title", told), cx=place[0], cy=place[1], r=size + marked, class_=class_)


def figure_chart(trend: FigureTrend) -> Markup | None:
    """A figure over nights with the range that the nights before each one allow; None without data."""
    drawn = [point.value for point in trend.points if point.value is not None]
    if not drawn:
        return None
    drawn += [limit for point in trend.points if point.usual for limit in (point.usual.low, point.usual.high)]
    scale = Scale(drawn, len(trend.points), TREND)
    places = [
        (scale.x(at), scale.y(point.value)) if point.value is not None else None
        for at, point in enumerate(trend.points)
    ]
    parts: list[Markup] = [*scale.grid(), *_band(trend, scale), path(places, "trend")]
    for place, point in zip(places, trend.points, strict=True):
        if place is None:
            continue
        told = f"{point.night}: {number(point.value, 4)} {trend.unit}" + (f"; {point.mark}" if point.mark else "")
        if point.mark:
            flag = f"M{place[0] - 6:.1f} {place[1] - 11:.1f}h12l-6 9z"
            parts.append(tag("path", tag("title", told), d=flag, class_="flag"))
        parts.append(_dot(place, told, marked=bool(point.mark)))
    parts += _ends([point.night for point in trend.points], scale)
    return drawing(*TREND, f"{trend.name} in {trend.unit} over {len(trend.points)} nights", *parts)


def _ends(names: Sequence[str], scale: Scale) -> list[Markup]:
    y = scale.height - 6
    if len(names) < 2:
        return [words(scale.x(0), y, names[0][:24], "tick", "middle")]
    return [words(LEFT, y, names[0][:24], "tick"), words(scale.width - RIGHT, y, names[-1][:24], "tick", "end")]


def _band(trend: FigureTrend, scale: Scale) -> list[Markup]:
    """The usual range of each night as a band, its middle as a line."""
    parts = []
    half = max(2.0, scale.step / 2)
    middles: list[Point | None] = []
    for at, point in enumerate(trend.points):
        x = scale.x(at)
        if point.usual is None:
            middles.append(None)
            continue
        top, bottom = scale.y(point.usual.high), scale.y(point.usual.low)
        parts.append(tag("rect", x=x - half, y=top, width=2 * half, height=max(0.5, bottom - top), class_="band"))
        middles.append((x, scale.y(point.usual.middle)))
    parts.append(path(middles, "middle"))
    return parts


def loss_chart(losses: Sequence[float], golden: Sequence[float]) -> Markup | None:
    """The ring's loss as dots on the golden's as a broad line; None without data."""
    drawn = [value for value in (*losses, *golden) if finite(value)]
    if not drawn:
        return None
    scale = Scale(drawn, max(len(losses), len(golden)), TREND)
    parts = scale.grid()
    parts.append(path([(scale.x(at), scale.y(v)) if finite(v) else None for at, v in enumerate(golden)], "golden"))
    for at, value in enumerate(losses):
        if not finite(value):
            parts.append(words(scale.x(at), TOP + 10, str(value), "wrong", "middle"))
            continue
        wanted = golden[at] if at < len(golden) else None
        told = f"step {at + 1}: ring {value!r}" + (f", golden {wanted!r}" if wanted is not None else "")
        wrong = wanted is None or not same(value, wanted)
        parts.append(_dot((scale.x(at), scale.y(value)), told, marked=wrong, size=3))
    parts.append(words(LEFT, scale.height - 6, "step 1", "tick"))
    parts.append(words(scale.width - RIGHT, scale.height - 6, f"step {max(len(losses), len(golden))}", "tick", "end"))
    return drawing(*TREND, "loss of the ring and of the golden, step by step", *parts)


def same(one: float, other: float) -> bool:
    """Equal, or both no number."""
    return one == other or (math.isnan(one) and math.isnan(other))


def boot_chart(boards: Sequence[BoardFigures]) -> Markup | None:
    """A bar for each board's boot; None without data."""
    shown = [board for board in boards if finite(board.boot_s) and board.boot_s >= 0]
    if not shown:
        return None
    slowest = max(board.boot_s for board in shown) or 1.0
    width, row, left = TREND[0], 30.0, 74.0
    parts = []
    for at, board in enumerate(shown):
        y, length = 6 + at * row, board.boot_s / slowest * (width - left - 80)
        parts.append(words(left - 8, y + 16, f"board {board.rank}", "label", "end"))
        parts.append(tag("rect", x=left, y=y, width=max(1.0, length), height=row - 8, class_="bar"))
        parts.append(words(left + length + 6, y + 16, f"{board.boot_s:.3f} s", "label"))
    return drawing(width, 12 + row * len(shown), f"boot of {len(shown)} boards", *parts)


def shares(timeline: Timeline) -> list[tuple[int, dict[str, float]]]:
    """For each board the seconds of each kind; the table beside the drawing."""
    sums: dict[int, dict[str, float]] = {}
    for span in timeline.sound():
        of = sums.setdefault(span.rank, dict.fromkeys(What, 0.0))
        of[span.what] = of.get(span.what, 0.0) + span.end_s - span.start_s
    return sorted(sums.items())
