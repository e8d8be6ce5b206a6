"""Stories as a picture: one lane per board, who computes, sends, receives and waits, on a common time axis.

Self-contained SVG, light or dark as its reader's screen. Pure. Text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from hil.protocol.trace_messages import TraceKind
from hil.timeline.spans import Activity, Story, What

WIDTH, LEFT, RIGHT = 1240, 92, 224
LANE, LANE_GAP, HEAD, AXIS, PANEL_GAP = 40, 12, 44, 40, 22
_INNER = WIDTH - LEFT - RIGHT
_NUMBER_PX = 13
"""The number of the microbatch, or position, is written into stretches of computing that are at least so wide."""
_CLASSES = {
    TraceKind.FORWARD: "forward",
    TraceKind.BACKWARD: "backward",
    TraceKind.HEAD: "head",
    TraceKind.EMBED: "embed",
    TraceKind.EMBED_BACKWARD: "embed",
    TraceKind.CLEAR: "optimizer",
    TraceKind.OPTIMIZER: "optimizer",
}
_LEGEND = (
    ("forward", "forward"), ("backward", "backward"), ("head", "head"), ("embed", "embedding"),
    ("optimizer", "optimizer"), ("send", "send"), ("receive", "receive"), ("host", "host"), ("wait", "wait"),
)  # fmt: skip
_STYLE = """
.paper{fill:#ffffff}.ink{fill:#1f2328}.soft{fill:#59636e}.lane{fill:#f3f5f7}.grid{stroke:#d7dce1}.hop{stroke:#57606a}
.forward{fill:#0072b2}.backward{fill:#d55e00}.head{fill:#009e73}.embed{fill:#56b4e9}.optimizer{fill:#e69f00}
.send{fill:#b0528f}.receive{fill:#d9a0c6}.host{fill:#f0e442}.wait{fill:#aab4be}.number{fill:#ffffff}
@media (prefers-color-scheme: dark){
.paper{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9da7b1}.lane{fill:#1a2029}.grid{stroke:#30363d}.hop{stroke:#8b949e}
.forward{fill:#3f9bd8}.backward{fill:#e8743b}.head{fill:#2bbf95}.embed{fill:#7cc5f0}.optimizer{fill:#eab03b}
.send{fill:#cf77b0}.receive{fill:#8f5c80}.host{fill:#d8cd3c}.wait{fill:#4b545e}.number{fill:#0d1117}}
"""


def timeline_svg(stories: Sequence[Story], title: str) -> str:
    """The picture, 1240 px wide: one panel for each story, all of the same width whatever they last."""
    parts = [_text(20, 32, title, size=20, weight=600), *_legend(20, 58, stories)]
    top = 78.0
    for story in stories:
        panel, height = _panel(story, top)
        parts += panel
        top += height + PANEL_GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top:.0f}" viewBox="0 0 {WIDTH} {top:.0f}" '
        f'font-family="system-ui, DejaVu Sans, Arial, sans-serif" role="img"><title>{escape(title)}</title>'
    )
    paper = f'<rect class="paper" width="{WIDTH}" height="{top:.0f}"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", paper, *parts, "</svg>"]) + "\n"


def _panel(story: Story, top: float) -> tuple[list[str], float]:
    ms = story.seconds * 1e3
    parts = [
        _text(20, top + 18, story.title, size=15, weight=600),
        _text(20, top + 36, f"{ms:.2f} ms, bubble {story.bubble:.1%}, {bound_text(story)}", css="soft", size=12),
    ]
    lanes = {rank: top + HEAD + place * (LANE + LANE_GAP) for place, rank in enumerate(story.ranks)}
    bottom = top + HEAD + len(lanes) * (LANE + LANE_GAP) - LANE_GAP
    for y in lanes.values():
        parts.append(f'<rect class="lane" x="{LEFT}" y="{y:.1f}" width="{_INNER}" height="{LANE}" rx="3"/>')
    parts += _axis(story.seconds, top + HEAD - 4, bottom)
    for rank, y in lanes.items():
        parts += _lane(story, rank, y)
    parts += _hops(story, lanes)
    return parts, bottom - top + AXIS


def bound_text(story: Story) -> str:
    """How exact the common clock is, in words."""
    if len(story.ranks) < 2:
        return "one clock"
    text = f"clocks aligned to ±{story.alignment.error_us:.1f} µs"
    return text if story.alignment.good else f"{text}, BUT: {'; '.join(story.alignment.problems)}"


def _lane(story: Story, rank: int, y: float) -> list[str]:
    share = story.shares[rank]
    parts = [_text(LEFT - 10, y + LANE / 2 + 5, f"board {rank}", size=13, weight=600, anchor="end")]
    right = LEFT + _INNER + 12
    busy = f"compute {share.compute:.0%}  transfer {share.transfer:.0%}"
    parts.append(_text(right, y + 16, f"bubble {share.bubble:.1%}", size=13, weight=600))
    parts.append(_text(right, y + 33, busy, css="soft", size=11))
    trains = any(a.event.kind is TraceKind.BACKWARD for a in story.activities)
    activities = [a for a in story.of(rank) if a.end_s > story.start_s and a.start_s < story.end_s]
    for css, height, group in _layers(activities):
        for start, end, activity in _merged(group, story):
            parts.append(_block(css, start, end, y + (LANE - height) / 2, height, activity))
            if css in ("forward", "backward", "head") and end - start >= _NUMBER_PX:
                number = str(activity.event.microbatch if trains else activity.event.position)
                parts.append(_text((start + end) / 2, y + LANE / 2 + 4, number, css="number", size=11, anchor="middle"))
    return parts


def _layers(activities: Sequence[Activity]) -> Iterable[tuple[str, float, list[Activity]]]:
    """What is drawn over what: waits as a thin bar, transfers higher, computing over the whole lane, then the host."""
    for css, height in (("wait", 5.0), ("send", 26.0), ("receive", 26.0)):
        yield css, height, [a for a in activities if a.what == css]
    for css in dict.fromkeys(_CLASSES.values()):
        yield css, LANE, [a for a in activities if a.what is What.COMPUTE and _CLASSES[a.event.kind] == css]
    yield "host", 12.0, [a for a in activities if a.what is What.HOST]


def _merged(group: Sequence[Activity], story: Story) -> list[tuple[float, float, Activity]]:
    """Blocks in pixels; those of one microbatch and kind that touch are drawn as one."""
    scale = _INNER / max(story.seconds, 1e-9)
    blocks: list[tuple[float, float, Activity]] = []
    for activity in group:
        start = LEFT + max(0.0, activity.start_s - story.start_s) * scale
        end = LEFT + min(story.seconds, activity.end_s - story.start_s) * scale
        last = blocks[-1] if blocks else None
        near = last is not None and start - last[1] < 0.35
        if last is not None and near and last[2].event.microbatch == activity.event.microbatch:
            blocks[-1] = (last[0], max(end, last[1]), last[2])
        else:
            blocks.append((start, end, activity))
    return blocks


def _block(css: str, start: float, end: float, y: float, height: float, activity: Activity) -> str:
    gap = 0.6 if end - start > 3 else 0.0  # so that neighbours of one colour can be told apart
    words = escape(f"board {activity.rank}: {activity.label if css != 'wait' else 'wait: ' + activity.label}")
    return (
        f'<rect class="{css}" x="{start:.2f}" y="{y:.1f}" width="{max(end - start - gap, 0.4):.2f}" '
        f'height="{height:.0f}"><title>{words}</title></rect>'
    )


def _hops(story: Story, lanes: dict[int, float]) -> list[str]:
    """A line from lane to lane where a frame crossed."""
    scale = _INNER / max(story.seconds, 1e-9)
    parts = []
    for hop in story.hops:
        middle = (hop.got_s[0] + hop.got_s[1]) / 2
        if not story.start_s <= middle <= story.end_s:
            continue
        x = LEFT + (middle - story.start_s) * scale
        a, b = lanes[hop.sender] + LANE / 2, lanes[hop.receiver] + LANE / 2
        ends = (a + 13, b - 13) if a < b else (a - 13, b + 13)
        adjacent = abs(hop.sender - hop.receiver) == 1
        opacity = 0.85 if adjacent else 0.25
        parts.append(
            f'<line class="hop" x1="{x:.2f}" y1="{ends[0]:.1f}" x2="{x:.2f}" y2="{ends[1]:.1f}" stroke-width="0.8" '
            f'stroke-opacity="{opacity}"/>'
        )
    return parts


def _axis(seconds: float, top: float, bottom: float) -> list[str]:
    seconds = max(seconds, 1e-6)
    step_ms = _nice(seconds * 1e3 / 10)
    digits = max(0, -math.floor(math.log10(step_ms)))
    parts = []
    for count in range(int(seconds * 1e3 / step_ms + 1e-9) + 1):
        x = LEFT + count * step_ms / 1e3 / seconds * _INNER
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom + 5:.1f}"/>')
        parts.append(_text(x, bottom + 20, f"{count * step_ms:.{digits}f}", css="soft", size=11, anchor="middle"))
    parts.append(_text(LEFT + _INNER + 12, bottom + 20, "ms", css="soft", size=11))
    return parts


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, ... that is not smaller."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value * (1 - 1e-9))


def _legend(left: float, top: float, stories: Sequence[Story]) -> list[str]:
    """Of what there is in these stories."""
    activities = [activity for story in stories for activity in story.activities]
    there = {_CLASSES.get(a.event.kind, str(a.what)) if a.what is What.COMPUTE else str(a.what) for a in activities}
    parts = []
    x = left
    for css, words in _LEGEND:
        if css not in there:
            continue
        height = {"wait": 5, "send": 9, "receive": 9}.get(css, 13)
        parts.append(f'<rect class="{css}" x="{x:.0f}" y="{top - 5 - height / 2:.1f}" width="22" height="{height}"/>')
        parts.append(_text(x + 28, top, words, css="soft", size=12))
        x += 48 + 7.2 * len(words)
    if any(story.hops for story in stories):
        parts.append(f'<line class="hop" x1="{x + 10:.0f}" y1="{top - 12}" x2="{x + 10:.0f}" y2="{top + 2}"/>')
        parts.append(_text(x + 18, top, "a frame goes from board to board", css="soft", size=12))
        x += 250
    number = "microbatch" if any(a.event.kind is TraceKind.BACKWARD for a in activities) else "position"
    parts.append(_text(x + 18, top, f"numbers: {number}", css="soft", size=12))
    return parts


def _text(
    x: float, y: float, words: str, *, css: str = "ink", size: int = 12, anchor: str = "start", weight: int = 400
) -> str:
    return (
        f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )
