"""WaveJSON drawn as SVG: the part of WaveDrom's language that handshakes need.

Levels 0 1 l h L H, pulses p P n N, x, z, u, d, data = and 2 to 9, `.` for more of the same, `|` for a gap; lanes
nested in groups; head, foot and hscale. What is not understood is drawn as x, so that any input gives a picture.
Format: wavedrom.com/tutorial.html. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from hil.pictures.svg import drawing, line, tag, words
from hil.text import first_line

LEFT, ROW, HIGH, STEP = 110.0, 34.0, 20.0, 36.0
LANES_MAX, SLOTS_MAX, DEPTH_MAX = 24, 400, 8
HIGHS, LOWS, DATA = set("1hHuU"), set("0lLdD"), set("=23456789")
TICK_LETTER = 6.6
"""Width of a letter below the lanes."""
CLOCKS = {"p": (1, 0), "P": (1, 0), "n": (0, 1), "N": (0, 1)}


def lanes(signals: Any, depth: int = 0) -> Iterator[tuple[str, str, list[str]]]:
    """(name, wave, data) of each lane; groups are flattened, their names put before."""
    if not isinstance(signals, list) or depth > DEPTH_MAX:
        return
    group = str(signals[0]) if depth and signals and isinstance(signals[0], str) else ""
    for entry in signals:
        if isinstance(entry, Mapping) and entry:
            data = entry.get("data", [])
            data = data.split() if isinstance(data, str) else data
            words_ = [str(item) for item in data] if isinstance(data, list) else []
            name = str(entry.get("name", ""))
            yield (f"{group} {name}".strip(), str(entry.get("wave", "")), words_)
        elif isinstance(entry, list):
            for name, wave, words_ in lanes(entry, depth + 1):
                yield (f"{group} {name}".strip(), wave, words_)


def waveform(wave: Mapping[str, Any], slots_max: int = SLOTS_MAX) -> Markup | None:
    """The picture, no longer than slots_max; None where there is no lane to draw."""
    drawn = [lane for lane in lanes(wave.get("signal")) if lane[1]][:LANES_MAX]
    if not drawn:
        return None
    slots = min(slots_max, max(len(lane[1]) for lane in drawn))
    config = wave.get("config")
    scale = config.get("hscale", 1) if isinstance(config, Mapping) else 1
    step = STEP * (scale if isinstance(scale, int) and 1 <= scale <= 8 else 1)
    title, foot = _caption(wave.get("head")), _caption(wave.get("foot"))
    marks = _ticks(wave.get("foot"), slots)
    longest = max(len(title) * 7.2, LEFT + len(foot) * 6.4)
    width, top = max(LEFT + slots * step, longest) + 14, 26.0
    parts: list[Markup] = [words(6, 16, title, "label")] if title else []
    bottom = top + ROW * len(drawn)
    parts += [line(LEFT + at * step, top - 4, LEFT + at * step, bottom, "grid") for at in range(slots + 1)]
    for row, (name, text, data) in enumerate(drawn):
        y = top + ROW * row
        parts.append(words(LEFT - 8, y + 17, first_line(name, 16), "label", "end"))
        parts.append(_lane(text[:slots], data, y, step))
    parts += _tick_row(marks, bottom + 11, step)
    below = 13.0 if marks else 0.0
    if foot:
        parts.append(words(LEFT, bottom + below + 13, foot, "tick"))
    told = f"waveform: {title or 'handshake'}; lanes {', '.join(lane[0] for lane in drawn)}"
    return drawing(width, bottom + below + (22 if foot else 8), told, *parts, class_="wave", fixed=True)


def _caption(part: Any) -> str:
    return first_line(str(part.get("text", "")), 160) if isinstance(part, Mapping) else ""


def _ticks(foot: Any, slots: int) -> list[str]:
    """What stands under the lines between slots: WaveDrom's tick, as a list or as words in a text."""
    tick = foot.get("tick") if isinstance(foot, Mapping) else None
    marks = tick.split() if isinstance(tick, str) else tick if isinstance(tick, list) else []
    return [str(mark)[:8] for mark in marks[: slots + 1]]


def _tick_row(marks: list[str], y: float, step: float) -> list[Markup]:
    """The marks that have room; one that would run into the one before is left out."""
    parts, free = [], 0.0
    for at, mark in enumerate(marks):
        x, half = LEFT + at * step, len(mark) * TICK_LETTER / 2
        if mark and x - half >= free:
            parts.append(words(x, y, mark, "tick", "middle"))
            free = x + half + 2
    return parts


def _lane(text: str, data: list[str], top: float, step: float) -> Markup:
    """One lane as bricks; runs of `.` make the brick before them longer."""
    parts: list[Markup] = []
    waiting = list(data)
    level: float | None = None
    at = 0
    while at < len(text):
        brick, end = text[at], at + 1
        while end < len(text) and text[end] in ".|":
            end += 1
        x1, x2 = LEFT + at * step, LEFT + end * step
        if brick in CLOCKS:
            parts.append(_clock(CLOCKS[brick], x1, step, end - at, top))
            level = top + HIGH * CLOCKS[brick][0]
        elif brick in HIGHS or brick in LOWS:
            y = top + (2 if brick in HIGHS else HIGH)
            if level is not None and level != y:
                parts.append(line(x1, level, x1, y, "signal"))
            parts.append(line(x1, y, x2, y, "signal"))
            level = y
        else:
            label = waiting.pop(0) if brick in DATA and waiting else ""
            parts.append(_box(brick, label, x1, x2, top))
            level = None
        parts += [_gap(LEFT + (at + k) * step + step / 2, top) for k in range(end - at) if text[at + k] == "|"]
        at = end
    return Markup("").join(parts)


def _clock(levels: tuple[int, int], start: float, step: float, count: int, top: float) -> Markup:
    first, second = (top + (2 if level else HIGH) for level in levels)
    turns = [f"M{start:.1f} {second:.1f}"]
    for at in range(count):
        x = start + at * step
        turns.append(f"V{first:.1f}H{x + step / 2:.1f}V{second:.1f}H{x + step:.1f}")
    return tag("path", d="".join(turns), class_="signal")


def _box(brick: str, label: str, x1: float, x2: float, top: float) -> Markup:
    middle = top + (HIGH + 2) / 2
    if brick == "z":
        return line(x1, middle, x2, middle, "signal floating")
    kind = "data" if brick in DATA else "unknown"
    half = f"{HIGH / 2 - 1:.1f}"
    shape = f"M{x1:.1f} {middle:.1f}l4 -{half}H{x2 - 4:.1f}l4 {half}l-4 {half}H{x1 + 4:.1f}z"
    said = label if kind == "data" else "x"
    drawn = tag("path", tag("title", said), d=shape, class_=f"brick {kind}")
    return drawn + words((x1 + x2) / 2, middle + 4, said[:10], "tick", "middle")


def _gap(x: float, top: float) -> Markup:
    return tag("path", d=f"M{x - 3:.1f} {top + HIGH + 4:.1f}l6 -{HIGH + 4:.1f}", class_="gap")
