"""The ring as a drawing: boards in a circle, each link as its wires side by side with its caption inside the ring.

Who draws it says what each wire and caption looks like, by classes; what they mean in colour is the style's business:
STYLE below for a file of its own, page.css for the nightly page. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hil.pictures.svg import tag, words

WIDTH = 960.0
MANY = 6
"""From more boards than this on the ring is drawn smaller and with fewer words."""
LINE = 17
STYLE = """
.board { fill: #f6f8fa; stroke: #1f2328; stroke-width: 1.4 } .boardname { font-size: 19px; font-weight: 600 }
.boardname.small { font-size: 15px } .serial { font-size: 11.5px; fill: #57606a }
.caption { font-size: 14px; fill: #57606a } .caption.trouble { fill: #b3121d; font-weight: 600 }
.wirename { font-size: 10.5px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
"""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class DrawnBoard:
    """A board and what stands below its name."""

    rank: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class DrawnWire:
    """One line. class_: of its looks; told: its tooltip; loud: its name is drawn even where there is little room."""

    name: str
    class_: str
    told: str
    loud: bool = False


@dataclass(frozen=True, slots=True)
class DrawnLink:
    """A bundle of lines from board to board. caption: lines of text with their classes."""

    source: int
    target: int
    wires: Sequence[DrawnWire]
    caption: Sequence[tuple[str, str]]


def ring(boards: Sequence[DrawnBoard], links: Sequence[DrawnLink]) -> tuple[Markup, float]:
    """The drawing, WIDTH wide, and its height. boards: in the order in which they stand in the ring."""
    many = len(boards) > MANY
    height = 400.0 if len(boards) <= 2 else 620.0 if len(boards) <= 4 else 820.0
    centre = (WIDTH / 2, height / 2)
    place = _places([board.rank for board in boards], centre)
    parts: list[Markup] = []
    captions: list[Markup] = []
    for link in links:
        if link.source in place and link.target in place:
            parts += _bundle(link, place, many)
            captions += _caption(link, place, centre)
    box = (84.0, 46.0) if many else (196.0, 300.0 if len(boards) == 2 else 168.0)
    for board in boards:
        parts += _board(board, place[board.rank], box, many)
    return Markup("").join(parts + captions), height


def _places(ranks: Sequence[int], centre: Point) -> dict[int, Point]:
    """Where the middle of each board is: four make a square, which uses the page better than a diamond."""
    count = len(ranks)
    if count == 1:
        return {ranks[0]: centre}
    if count == 4:
        dx, dy = centre[0] - 116, centre[1] - 100
        corners = ((-dx, -dy), (dx, -dy), (dx, dy), (-dx, dy))
        return {rank: (centre[0] + x, centre[1] + y) for rank, (x, y) in zip(ranks, corners, strict=True)}
    start = math.pi if count == 2 else -math.pi / 2
    radii = (centre[0] - 130, centre[1] - (90 if count > 2 else 0))
    angles = {rank: start + 2 * math.pi * at / count for at, rank in enumerate(ranks)}
    return {
        rank: (centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for rank, a in angles.items()
    }


def _board(board: DrawnBoard, at: Point, box: Point, many: bool) -> list[Markup]:
    corner = (at[0] - box[0] / 2, at[1] - box[1] / 2)
    name = "boardname small" if many else "boardname"
    parts = [
        tag("rect", x=corner[0], y=corner[1], width=box[0], height=box[1], rx=8, class_="board"),
        words(at[0], at[1] + (5 if many else -2), f"board {board.rank}", name, "middle"),
    ]
    return parts if many else [*parts, words(at[0], at[1] + 22, board.note, "serial", "middle")]


def _ends(link: DrawnLink, place: dict[int, Point]) -> tuple[Point, Point]:
    start, end = place[link.source], place[link.target]
    if start == end:  # a jumper from a board to itself is drawn right through it
        return (start[0] - 330, start[1]), (end[0] + 330, end[1])
    return start, end


def _bundle(link: DrawnLink, place: dict[int, Point], many: bool) -> list[Markup]:
    start, end = _ends(link, place)
    spacing = 3.0 if many else 13.0
    dx, dy = end[0] - start[0], end[1] - start[1]
    long = math.hypot(dx, dy) or 1.0
    across = (-dy / long, dx / long)
    aside = spacing * 5.6 if len(place) == 2 else 0.0
    parts = []
    for at, wire in enumerate(link.wires):
        shift = aside + (at - (len(link.wires) - 1) / 2) * spacing
        ends = [(p[0] + across[0] * shift, p[1] + across[1] * shift) for p in (start, end)]
        parts.append(_wire(wire, ends[0], ends[1], named=wire.loud or not many, at=0.12 if len(place) == 1 else 0.5))
    return parts


def _wire(wire: DrawnWire, start: Point, end: Point, *, named: bool, at: float) -> Markup:
    straight = tag("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_="stroke")
    parts = [tag("title", wire.told), straight]
    if named:
        middle = (start[0] + (end[0] - start[0]) * at, start[1] + (end[1] - start[1]) * at)
        angle = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
        upright = angle if -90 < angle <= 90 else angle - 180 if angle > 90 else angle + 180
        turn = f"rotate({upright:.1f} {middle[0]:.1f} {middle[1]:.1f})"
        parts.append(words(middle[0], middle[1] + 4, wire.name, "wirename", "middle", turn))
    return tag("g", *parts, class_=f"wire {wire.class_}")


def _caption(link: DrawnLink, place: dict[int, Point], centre: Point) -> list[Markup]:
    """Lines of text beside the middle of a link, inside the ring."""
    boards, (start, end) = len(place), _ends(link, place)
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    inward = (centre[0] - middle[0], centre[1] - middle[1])
    away = math.hypot(*inward)
    level = abs(end[0] - start[0]) >= abs(end[1] - start[1])
    if boards <= 2 or away < 1:
        at = (middle[0], middle[1] + (116 if boards == 1 else 160 if end[0] > start[0] else -168))
        anchor = "middle"
    else:
        step = (92.0 if level else 84.0) if boards <= MANY else 40.0
        at = (middle[0] + inward[0] / away * step, middle[1] + inward[1] / away * step)
        anchor = "middle" if level else ("start" if inward[0] > 0 else "end")
    grows_up = 0.5 if not level else 1.0 if at[1] < middle[1] else 0.0  # away from the wires, however many lines
    first = at[1] - max(0, len(link.caption) - 2) * LINE * grows_up
    return [
        words(at[0], first + LINE * row, said, f"caption {class_}".strip(), anchor)
        for row, (said, class_) in enumerate(link.caption)
    ]
