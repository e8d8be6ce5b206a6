"""The ring of a night: every wire with its name, coloured by what is known of its errors, with a table as its twin.

What a level means stands in LEVELS; lines differ in width and dashes too, and a bad wire carries a cross. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hil.checks.link.runs import ber_limit
from hil.nightly.page.inputs import Trends, links_of, wires_of
from hil.nightly.page.verdict import WIRE, sentence_of
from hil.nightly.record import LinkFigures, Night, Outcome
from hil.pictures.svg import drawing, tag, words
from hil.rig.pins import WIRE_NAMES
from hil.text import count

WIDTH = 960.0
TIGHT = 1e-6
"""A wire without errors is called clean once its bound is below this."""
LEVELS = {
    "none": ("no data", "nothing measured"),
    "loose": ("few bits", f"no error, but too few bits to say more than its bound (not below {TIGHT:g})"),
    "clean": ("clean", f"no error, bit error rate below {TIGHT:g} at 95 %"),
    "used": ("in use", "handshake wire of a link that moved frames without a time-out; its bits are not counted"),
    "errors": ("errors", "wrong bits were seen"),
    "bad": ("bad", "named by a failure, or getting worse over the nights"),
}
SIGNS = {"none": "–", "loose": "○", "clean": "✓", "used": "·", "errors": "!", "bad": "✗"}
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class WireState:
    """One wire of the night. why: what speaks against it, in a sentence, or empty."""

    link: str
    wire: str
    bits: int
    errors: int
    level: str
    why: str

    @property
    def limit(self) -> float | None:
        """Upper bound of its bit error rate at 95 %."""
        return ber_limit(self.bits, self.errors) if self.bits > 0 else None

    @property
    def sign(self) -> str:
        """The level as one letter."""
        return SIGNS[self.level]

    @property
    def told(self) -> str:
        """The tooltip."""
        if self.limit is None:
            figures = "bits are not counted on handshake wires" if self.wire in ("CLK", "ACK") else "no bits counted"
        else:
            figures = f"{self.errors:,} wrong of {self.bits:,} bits, error rate below {self.limit:.2g} at 95 %"
        return f"link {self.link} {self.wire}: {LEVELS[self.level][0]}; {figures}" + (
            f"; {self.why}" if self.why else ""
        )


@dataclass(frozen=True, slots=True)
class LinkState:
    """One link of the night with its ten wires."""

    link: str
    resends: int
    timeouts: int
    frames: int
    wires: list[WireState]


def link_states(night: Night, trends: Trends) -> list[LinkState]:
    """Every link of the ring with every wire, measured or not."""
    sums = wires_of(night)
    against = _against(night, trends)
    states = []
    for link in links_of(night):
        entries = [entry for check in night.checks for entry in check.links if entry.link == link]
        names = dict.fromkeys([*WIRE_NAMES, *(wire for of, wire in sums if of == link)])
        wires = []
        for wire in names:
            bits, errors = sums.get((link, wire), (0, 0))
            why = against.get((link, wire), "")
            wires.append(WireState(link, wire, bits, errors, _level(wire, bits, errors, why, entries), why))
        states.append(
            LinkState(
                link,
                sum(e.resends for e in entries),
                sum(e.timeouts for e in entries),
                sum(e.frames for e in entries),
                wires,
            )
        )
    return states


def _level(wire: str, bits: int, errors: int, why: str, entries: Sequence[LinkFigures]) -> str:
    if why:
        return "bad"
    if wire in ("CLK", "ACK") and any(entry.frames for entry in entries):
        return "errors" if any(entry.timeouts for entry in entries) else "used"
    if bits <= 0:
        return "none"
    if errors:
        return "errors"
    return "clean" if ber_limit(bits, errors) < TIGHT else "loose"


def _against(night: Night, trends: Trends) -> dict[tuple[str, str], str]:
    """(link, wire) -> what speaks against it: its mark in the history, else how many failures name it."""
    named: dict[tuple[str, str], int] = {}
    for check in night.checks:
        if check.outcome is Outcome.FAILED:
            for found in {(match[1], match[2]) for match in WIRE.finditer(sentence_of(check))}:
                named[found] = named.get(found, 0) + 1
    why = {wire: f"named by {count(times, 'failure')}" for wire, times in named.items()}
    return why | {(trend.link, trend.wire): trend.mark for trend in trends.wires if trend.mark}


# --- drawing -------------------------------------------------------------------------------------------


def ring_picture(night: Night, states: Sequence[LinkState]) -> Markup:
    """Boards on a circle (four: a square), each link as its wires side by side, names along them."""
    many = night.world_size > 6
    height = 400.0 if night.world_size <= 2 else 620.0 if night.world_size <= 4 else 820.0
    centre = (WIDTH / 2, height / 2)
    place = _places(night.world_size, centre)
    spacing = 3.0 if many else 13.0
    parts: list[Markup] = []
    for state in states:
        parts += _bundle(state, place, centre, spacing, named=not many)
    box = (84.0, 46.0) if many else (196.0, 300.0 if night.world_size == 2 else 168.0)
    serials = {board.rank: board.serial for board in night.boards}
    for rank, at in place.items():
        parts.append(
            tag("rect", x=at[0] - box[0] / 2, y=at[1] - box[1] / 2, width=box[0], height=box[1], rx=8, class_="board")
        )
        parts.append(
            words(
                at[0],
                at[1] + (5 if many else -2),
                f"board {rank}",
                "boardname small" if many else "boardname",
                "middle",
            )
        )
        if not many:
            parts.append(words(at[0], at[1] + 22, serials.get(rank, "no data")[-16:], "serial", "middle"))
    bad = [wire.told for state in states for wire in state.wires if wire.level == "bad"]
    told = f"ring of {count(night.world_size, 'board')}; " + ("; ".join(bad[:6]) if bad else "no wire is bad")
    return drawing(WIDTH, height, told, *parts, class_="chart ring")


def _places(world_size: int, centre: Point) -> dict[int, Point]:
    if world_size == 4:
        dx, dy = centre[0] - 116, centre[1] - 100
        corners = ((-dx, -dy), (dx, -dy), (dx, dy), (-dx, dy))
        return {rank: (centre[0] + x, centre[1] + y) for rank, (x, y) in enumerate(corners)}
    start = math.pi if world_size == 2 else -math.pi / 2
    radii = (centre[0] - 130, centre[1] - (90 if world_size > 2 else 0))
    angles = {rank: start + 2 * math.pi * rank / max(1, world_size) for rank in range(world_size)}
    if world_size == 1:
        return {0: centre}
    return {
        rank: (centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for rank, a in angles.items()
    }


def _bundle(state: LinkState, place: dict[int, Point], centre: Point, spacing: float, *, named: bool) -> list[Markup]:
    source, _, target = state.link.partition("->")
    if not (source.isdigit() and target.isdigit() and int(source) in place and int(target) in place):
        return []
    start, end = place[int(source)], place[int(target)]
    if start == end:
        start, end = (start[0] - 330, start[1]), (end[0] + 330, end[1])
    dx, dy = end[0] - start[0], end[1] - start[1]
    long = math.hypot(dx, dy) or 1.0
    across = (-dy / long, dx / long)
    aside = spacing * 5.6 if len(place) == 2 else 0.0
    parts = []
    for at, wire in enumerate(state.wires):
        shift = aside + (at - (len(state.wires) - 1) / 2) * spacing
        ends = [(p[0] + across[0] * shift, p[1] + across[1] * shift) for p in (start, end)]
        parts.append(_wire(wire, ends[0], ends[1], named=named, at=0.12 if len(place) == 1 else 0.5))
    return parts + [_caption(state, start, end, centre, len(place))]


def _wire(wire: WireState, start: Point, end: Point, *, named: bool, at: float) -> Markup:
    straight = tag("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_="stroke")
    parts = [tag("title", wire.told), straight]
    middle = (start[0] + (end[0] - start[0]) * at, start[1] + (end[1] - start[1]) * at)
    angle = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
    upright = angle if -90 < angle <= 90 else angle - 180 if angle > 90 else angle + 180
    if named or wire.level == "bad":
        said = f"{wire.wire} {wire.sign}" if wire.level in ("bad", "errors") else wire.wire
        turn = f"rotate({upright:.1f} {middle[0]:.1f} {middle[1]:.1f})"
        parts.append(words(middle[0], middle[1] + 4, said, "wirename", "middle", turn))
    return tag("g", *parts, class_=f"wire {wire.level}")


def _caption(state: LinkState, start: Point, end: Point, centre: Point, boards: int) -> Markup:
    """The link's name and resends, inside the ring."""
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    inward = (centre[0] - middle[0], centre[1] - middle[1])
    away = math.hypot(*inward)
    level = abs(end[0] - start[0]) >= abs(end[1] - start[1])
    if boards <= 2 or away < 1:
        at = (middle[0], middle[1] + (116 if boards == 1 else 160 if end[0] > start[0] else -168))
        anchor = "middle"
    else:
        step = (92.0 if level else 84.0) if boards <= 6 else 40.0
        at = (middle[0] + inward[0] / away * step, middle[1] + inward[1] / away * step)
        anchor = "middle" if level else ("start" if inward[0] > 0 else "end")
    trouble = state.resends or state.timeouts
    said = f"{state.link.replace('->', ' → ')}"
    figures = f"{count(state.resends, 'resend')}" + (f", {count(state.timeouts, 'time-out')}" if state.timeouts else "")
    if not state.frames and not trouble:
        figures = "no data"
    class_ = "caption trouble" if trouble else "caption"
    return Markup("").join(
        [words(*at, said, "caption link", anchor), words(at[0], at[1] + 17, figures, class_, anchor)]
    )
