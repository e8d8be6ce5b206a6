"""The wires of a night: what is known of each, for the drawing of the ring and the table beside it.

What a level means stands in LEVELS; lines differ in width and dashes too, and a bad wire carries a cross. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hil.nightly.page.inputs import Trends
from hil.nightly.record import LinkFigures, Night, Outcome, WireFigures
from hil.nightly.series import links_of
from hil.nightly.verdict import WIRE, sentence_of
from hil.pictures.ring import WIDTH, DrawnBoard, DrawnLink, DrawnWire, ring
from hil.pictures.svg import drawing
from hil.rig.pins import WIRE_NAMES
from hil.text import count

HANDSHAKE = ("CLK", "ACK")
TIGHT = 1e-6
"""A wire without errors is called clean once its bound is below this."""
LEVELS = {
    "none": ("–", "no data", "nothing measured"),
    "loose": ("○", "few bits", f"no error, but too few bits to say more than its bound (not below {TIGHT:g})"),
    "clean": ("✓", "clean", f"no error, bit error rate below {TIGHT:g} at 95 %"),
    "used": ("·", "in use", "handshake wire of a link that moved frames without a time-out; its bits are not counted"),
    "errors": ("!", "errors", "wrong bits were seen"),
    "bad": ("✗", "bad", "named by a failure, or getting worse over the nights"),
}
"""Sign, name and meaning of each."""


@dataclass(frozen=True, slots=True)
class WireState:
    """One wire of the night. why: what speaks against it, in a sentence, or empty."""

    figures: WireFigures
    level: str
    why: str

    @property
    def sign(self) -> str:
        """The level as one letter."""
        return LEVELS[self.level][0]

    @property
    def told(self) -> str:
        """The tooltip."""
        wire = self.figures
        if wire.limit is None:
            figures = "bits are not counted on handshake wires" if wire.wire in HANDSHAKE else "no bits counted"
        else:
            figures = f"{wire.errors:,} wrong of {wire.bits:,} bits, error rate below {wire.limit:.2g} at 95 %"
        return f"{wire.name}: {LEVELS[self.level][1]}; {figures}" + (f"; {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class LinkState:
    """One link of the night with its ten wires."""

    figures: LinkFigures
    wires: list[WireState]


def link_states(night: Night, trends: Trends) -> list[LinkState]:
    """Every link of the ring with every wire, measured or not."""
    known, against = trends.nights[-1], _against(night, trends)
    states = []
    for link in links_of(night):
        figures = known.links.get(link, LinkFigures(link, 0, 0, 0, 0, 0.0))
        wires = []
        for name in dict.fromkeys([*WIRE_NAMES, *(wire for of, wire in known.wires if of == link)]):
            wire = known.wires.get((link, name), WireFigures(link, name, 0, 0))
            why = against.get((link, name), "")
            wires.append(WireState(wire, _level(wire, why, figures), why))
        states.append(LinkState(figures, wires))
    return states


def _level(wire: WireFigures, why: str, link: LinkFigures) -> str:
    if why:
        return "bad"
    if wire.wire in HANDSHAKE and link.frames:
        return "errors" if link.timeouts else "used"
    if wire.limit is None:
        return "none"
    if wire.errors:
        return "errors"
    return "clean" if wire.limit < TIGHT else "loose"


def _against(night: Night, trends: Trends) -> dict[tuple[str, str], str]:
    """(link, wire) -> what speaks against it: its mark in the history, else how many failures name it."""
    named: dict[tuple[str, str], int] = {}
    for check in night.checks:
        if check.outcome is Outcome.FAILED:
            for found in {(match[1], match[2]) for match in WIRE.finditer(sentence_of(check))}:
                named[found] = named.get(found, 0) + 1
    why = {wire: f"named by {count(times, 'failure')}" for wire, times in named.items()}
    return why | {(trend.newest.link, trend.newest.wire): trend.mark for trend in trends.wires if trend.mark}


# --- drawing -------------------------------------------------------------------------------------------


def ring_picture(night: Night, states: Sequence[LinkState]) -> Markup:
    """The ring of the night."""
    serials = {board.rank: board.serial for board in night.boards}
    boards = [DrawnBoard(rank, serials.get(rank, "no data")[-16:]) for rank in range(night.world_size)]
    picture, height = ring(boards, [link for state in states for link in _drawn(state)])
    bad = [wire.told for state in states for wire in state.wires if wire.level == "bad"]
    told = f"ring of {count(night.world_size, 'board')}; " + ("; ".join(bad[:6]) if bad else "no wire is bad")
    return drawing(WIDTH, height, told, picture, class_="chart ring")


def _drawn(state: LinkState) -> list[DrawnLink]:
    """The link's lines, with its name and resends; nothing for a link that is not between two boards."""
    source, _, target = state.figures.link.partition("->")
    if not (source.isdigit() and target.isdigit()):
        return []
    wires = [
        DrawnWire(
            f"{wire.figures.wire} {wire.sign}" if wire.level in ("bad", "errors") else wire.figures.wire,
            wire.level,
            wire.told,
            loud=wire.level == "bad",
        )
        for wire in state.wires
    ]
    link = state.figures
    trouble = link.resends or link.timeouts
    figures = count(link.resends, "resend") + (f", {count(link.timeouts, 'time-out')}" if link.timeouts else "")
    if not link.frames and not trouble:
        figures = "no data"
    caption = [(f"{source} \N{RIGHTWARDS ARROW} {target}", "link"), (figures, "trouble" if trouble else "")]
    return [DrawnLink(int(source), int(target), wires, caption)]
