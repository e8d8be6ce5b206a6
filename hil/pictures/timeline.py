"""What boards did over time as a picture: a lane for each board, who computes, sends, receives and waits.

A Story of `hil trace` becomes a file of its own, light or dark as its reader's screen; the Timeline of a night becomes
a picture in its page. Heights and letters tell kinds apart as well as colours do. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hil.pictures.svg import drawing, line, sheet, tag, ticks, words
from hil.protocol.trace_messages import TraceKind
from hil.text import finite, number
from hil.timeline.spans import Activity, Span, Story, Timeline, What

WIDTH, LEFT, RIGHT = 1240, 92, 224
LANE, LANE_GAP, HEAD, AXIS, PANEL_GAP = 40, 12, 44, 40, 22
LABEL_PX = 13
"""A label is written into blocks that are at least so wide."""
NEAR_PX = 0.35
"""Blocks of one kind that are nearer than this are drawn as one."""
BLOCKS_MAX = 1500
"""Of a night's picture: the shortest beyond it are left out."""
HEIGHTS = {"wait": 10.0, "send": 26.0, "receive": 26.0, "other": 18.0, "host": 12.0}
"""Of blocks, where it is not that of the lane. Waits are drawn first, the host last."""
LETTERS = {What.COMPUTE: "C", What.SEND: "S", What.RECEIVE: "R", What.WAIT: "w", What.HOST: "H"}
_CLASSES = {
    TraceKind.FORWARD: "forward",
    TraceKind.BACKWARD: "backward",
    TraceKind.HEAD: "head",
    TraceKind.EMBED: "embed",
    TraceKind.EMBED_BACKWARD: "embed",
    TraceKind.CLEAR: "optimizer",
    TraceKind.OPTIMIZER: "optimizer",
}
_ORDER = ("wait", "other", "send", "receive", "compute", *dict.fromkeys(_CLASSES.values()), "host")
_LEGEND = ("forward", "backward", "head", "embed", "optimizer", "send", "receive", "host", "wait")
STYLE = """
text{fill:#1f2328;font-size:12px}.paper{fill:#ffffff}text.soft,.tick{fill:#59636e}.lane{fill:#f3f5f7}
.grid{stroke:#d7dce1}.hop{stroke:#57606a;stroke-width:.8;stroke-opacity:.85}.hop.far{stroke-opacity:.25}
.title{font-size:20px;font-weight:600}.panel{font-size:15px;font-weight:600}.label{font-size:13px;font-weight:600}
.forward{fill:#0072b2}.backward{fill:#d55e00}.head{fill:#009e73}.embed{fill:#56b4e9}.optimizer{fill:#e69f00}
.send{fill:#b0528f}.receive{fill:#d9a0c6}.host{fill:#f0e442}.wait{fill:#aab4be}text.on{fill:#ffffff;font-size:11px}
@media (prefers-color-scheme: dark){
text{fill:#e6edf3}.paper{fill:#0d1117}text.soft,.tick{fill:#9da7b1}.lane{fill:#1a2029}
.grid{stroke:#30363d}.hop{stroke:#8b949e}
.forward{fill:#3f9bd8}.backward{fill:#e8743b}.head{fill:#2bbf95}.embed{fill:#7cc5f0}.optimizer{fill:#eab03b}
.send{fill:#cf77b0}.receive{fill:#8f5c80}.host{fill:#d8cd3c}.wait{fill:#4b545e}text.on{fill:#0d1117}}
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a lane. Times are seconds from the lane's beginning. Only blocks of one key are drawn as one."""

    rank: int
    class_: str
    start_s: float
    end_s: float
    told: str
    label: str = ""
    key: int = 0


class Lanes:
    """Lanes of boards over one axis of time, from `top` downwards."""

    def __init__(self, ranks: Sequence[int], seconds: float, top: float, right: float) -> None:
        self.seconds, self.top = max(seconds, 1e-9), top
        self.width = WIDTH - LEFT - right
        self.y = {rank: top + (LANE + LANE_GAP) * place for place, rank in enumerate(ranks)}
        self.bottom = top + (LANE + LANE_GAP) * len(ranks) - LANE_GAP

    def x(self, seconds: float) -> float:
        """The place of a time, kept within the lanes."""
        return LEFT + min(max(seconds, 0.0), self.seconds) / self.seconds * self.width

    def frame(self) -> list[Markup]:
        """The empty lanes with their boards' names, and the axis."""
        parts = []
        for rank, y in self.y.items():
            parts.append(tag("rect", class_="lane", x=LEFT, y=y, width=self.width, height=LANE, rx=3))
            parts.append(words(LEFT - 10, y + LANE / 2 + 5, f"board {rank}", "label", "end"))
        for value in ticks(0, self.seconds * 1e3, 10):
            x = self.x(value / 1e3)
            parts.append(line(x, self.top - 4, x, self.bottom + 5, "grid"))
            parts.append(words(x, self.bottom + 20, f"{number(round(value, 6))} ms", "tick", "middle"))
        return parts

    def draw(self, blocks: Iterable[Block]) -> list[Markup]:
        """The blocks, in the order in which one may cover another."""
        ordered = sorted(blocks, key=lambda block: (_ORDER.index(block.class_), block.rank, block.start_s))
        return [self._block(block) for block in self._joined(ordered)]

    def _joined(self, blocks: Iterable[Block]) -> list[Block]:
        found: list[Block] = []
        for block in blocks:
            last = found[-1] if found else None
            alike = last and (last.rank, last.class_, last.key) == (block.rank, block.class_, block.key)
            if last and alike and self.x(block.start_s) - self.x(last.end_s) < NEAR_PX:
                end_s = max(last.end_s, block.end_s)
                found[-1] = Block(last.rank, last.class_, last.start_s, end_s, last.told, last.label, last.key)
            else:
                found.append(block)
        return found

    def _block(self, block: Block) -> Markup:
        start, end, height = self.x(block.start_s), self.x(block.end_s), HEIGHTS.get(block.class_, LANE)
        gap = 0.6 if end - start > 3 else 0.0  # so that neighbours of one colour can be told apart
        middle = self.y[block.rank] + LANE / 2
        box = tag(
            "rect", tag("title", block.told), class_=f"span {block.class_}", x=start, y=middle - height / 2,
            width=max(end - start - gap, 0.4), height=height,
        )  # fmt: skip
        if not block.label or end - start < LABEL_PX:
            return box
        return box + words((start + end) / 2, middle + 4, block.label, f"on {block.class_}", "middle")


# --- a night's timeline ----------------------------------------------------------------------------


def timeline_picture(timeline: Timeline, world_size: int) -> Markup | None:
    """A lane for each board of a ring, to be put into a page; None without spans."""
    spans = sorted(timeline.sound(), key=lambda span: span.start_s - span.end_s)[:BLOCKS_MAX]
    if not spans:
        return None
    ranks = sorted({*range(world_size), *(span.rank for span in spans)})
    lanes = Lanes(ranks, max(span.end_s for span in spans), 34, 30)
    bound_s = max(0.0, timeline.error_s) if finite(timeline.error_s) else 0.0
    long = max(1.5, lanes.x(bound_s) - LEFT)
    told = tag("title", "error bound of the clocks' alignment")
    bound = tag("rect", told, x=LEFT, y=4, width=long, height=8, class_="bound")
    said = words(LEFT + long + 6, 12, f"clocks agree within {number(bound_s * 1e6)} us", "tick")
    parts = [*lanes.frame(), *lanes.draw(map(_night_block, spans)), bound, said]
    return drawing(WIDTH, lanes.bottom + AXIS, f"pipeline of {timeline.title}", *parts, class_="chart wide")


def _night_block(span: Span) -> Block:
    known = span.what if span.what in list(What) else "other"
    told = f"board {span.rank} {span.what} {span.label}: {span.start_s * 1e3:.4f} to {span.end_s * 1e3:.4f} ms"
    label = LETTERS[What(known)] if known != "other" else ""
    return Block(span.rank, known, span.start_s, span.end_s, told, label)


# --- stories of `hil trace` ------------------------------------------------------------------------


def timeline_svg(stories: Sequence[Story], title: str) -> str:
    """The file, WIDTH wide: one panel for each story, all of the same width whatever they last."""
    parts = [words(20, 32, title, "title"), *_legend(20, 58, stories)]
    top = 78.0
    for story in stories:
        panel, bottom = _panel(story, top)
        parts += panel
        top = bottom + AXIS + PANEL_GAP
    return sheet(WIDTH, top, title, STYLE, *parts)


def _panel(story: Story, top: float) -> tuple[list[Markup], float]:
    """One story and where it ends."""
    said = f"{story.seconds * 1e3:.2f} ms, bubble {story.bubble:.1%}, {bound_text(story)}"
    lanes = Lanes(story.ranks, story.seconds, top + HEAD, RIGHT)
    parts = [words(20, top + 18, story.title, "panel"), words(20, top + 36, said, "soft"), *lanes.frame()]
    trains = _trains(story)
    parts += lanes.draw(
        _story_block(activity, story, trains)
        for activity in story.activities
        if activity.end_s > story.start_s and activity.start_s < story.end_s
    )
    right = LEFT + lanes.width + 12
    for rank, share in story.shares.items():
        busy = f"compute {share.compute:.0%}  transfer {share.transfer:.0%}"
        parts.append(words(right, lanes.y[rank] + 16, f"bubble {share.bubble:.1%}", "label"))
        parts.append(words(right, lanes.y[rank] + 33, busy, "soft"))
    return parts + _hops(story, lanes), lanes.bottom


def bound_text(story: Story) -> str:
    """How exact the common clock is, in words."""
    if len(story.ranks) < 2:
        return "one clock"
    text = f"clocks aligned to ±{story.alignment.error_us:.1f} µs"
    return text if story.alignment.good else f"{text}, BUT: {'; '.join(story.alignment.problems)}"


def _trains(story: Story) -> bool:
    return any(activity.event.kind is TraceKind.BACKWARD for activity in story.activities)


def _story_block(activity: Activity, story: Story, trains: bool) -> Block:
    """Computing by its kind; forward, backward and head with the number of their microbatch, or position."""
    event = activity.event
    class_ = _CLASSES[event.kind] if activity.what is What.COMPUTE else str(activity.what)
    numbered = class_ in ("forward", "backward", "head")
    label = str(event.microbatch if trains else event.position) if numbered else ""
    told = f"board {activity.rank}: {'wait: ' if activity.what is What.WAIT else ''}{activity.label}"
    times = activity.start_s - story.start_s, activity.end_s - story.start_s
    return Block(activity.rank, class_, *times, told, label, event.microbatch)


def _hops(story: Story, lanes: Lanes) -> list[Markup]:
    """A line from lane to lane where a frame crossed."""
    parts = []
    for hop in story.hops:
        middle = (hop.got_s[0] + hop.got_s[1]) / 2
        if story.start_s <= middle <= story.end_s:
            x = lanes.x(middle - story.start_s)
            a, b = lanes.y[hop.sender] + LANE / 2, lanes.y[hop.receiver] + LANE / 2
            ends = (a + 13, b - 13) if a < b else (a - 13, b + 13)
            parts.append(line(x, ends[0], x, ends[1], "hop" if abs(hop.sender - hop.receiver) == 1 else "hop far"))
    return parts


def _legend(x: float, top: float, stories: Sequence[Story]) -> list[Markup]:
    """What is in the picture, and nothing else."""
    seen = {_story_block(activity, story, False).class_ for story in stories for activity in story.activities}
    parts = []
    for class_ in (name for name in _LEGEND if name in seen):
        parts.append(tag("rect", class_=f"span {class_}", x=x, y=top - 11, width=14, height=14))
        said = "embedding" if class_ == "embed" else class_
        parts.append(words(x + 20, top, said, "soft"))
        x += 44 + 7 * len(said)
    if any(story.hops for story in stories):
        parts.append(line(x + 10, top - 12, x + 10, top + 2, "hop"))
        parts.append(words(x + 18, top, "a frame goes from board to board", "soft"))
        x += 250
    numbers = "microbatch" if any(_trains(story) for story in stories) else "position"
    return [*parts, words(x + 18, top, f"numbers: {numbers}", "soft")]
