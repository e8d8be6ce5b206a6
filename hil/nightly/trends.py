"""Trends: what has become worse over the nights, though no check need have failed.

Wires and links: errors are counts, so a wire's rate is compared with its own nights before and with the other wires of
its link, by the exact test for two Poisson rates (Przyborowski and Wilenski 1940: given both counts, one of them is
binomial). Only what is worse in both ways is marked. Figures: distance from the median in units of the MAD. Thresholds
and false alarm rates: docs/nightly.md. Pure functions on the history's points; `marks_of` asks the history for them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from hil.nightly.history import FigurePoint, History, LinkPoint, WirePoint
from hil.nightly.record import Mark, Night, Subject

REFERENCE_NIGHTS = 30
"""A night is held against so many before it."""
WINDOWS = (1, 2, 4)
"""Tonight, and tonight with the nights before it: what is slow shows in more than one."""
REFERENCE_NIGHTS_MIN = 5
"""Nothing is marked with fewer nights: nobody knows yet what is usual."""
LOOKBACK_NIGHTS = 365
"""How far back unmarked nights are looked for."""
CHANCE = 1e-5
"""A wire is marked when so much would come about with at most this chance if nothing had changed, over all windows."""
FIGURES_MIN = 14
"""Nights that a figure's median and MAD need."""
DISTANCE = 8.0
"""A figure is marked beyond this many times 1.4826 MAD (which estimates a standard deviation) from the median."""
FIGURE_CHANCE = 3e-4
"""How often that happens to a normally distributed figure with 14 to 30 nights before it, at most; measured."""
MAD_TO_SIGMA = 1.4826
SPREAD_MIN = 0.005
"""Of the median: below this a change is not worth a word, and the MAD of a simulated rig may well be 0."""
P = TypeVar("P", WirePoint, LinkPoint)
THROUGHPUT = "kb_s"
BETTER_HIGH, BETTER_LOW = (THROUGHPUT, "tokens_s"), ("boot_s", "step_s")
"""Figures that are judged, by which way is better."""


@dataclass(frozen=True, slots=True)
class Count:
    """Events in trials: errors in bits, or resends in frames."""

    events: int
    trials: int

    def __add__(self, other: Count) -> Count:
        return Count(self.events + other.events, self.trials + other.trials)

    def reduced(self, factor: float) -> Count:
        """Events that count as independent when they come `factor` at a time."""
        return Count(int(self.events / factor), self.trials)


NOTHING = Count(0, 0)
Series = Mapping[str, Count]
"""Of one wire or link: counts by night, oldest first."""


def chance_of_more(part: Count, rest: Count) -> float:
    """P(so many events or more fall to `part`), if both have the same rate. 1 without events or without a rest."""
    if part.events == 0 or part.trials <= 0 or rest.trials <= 0:
        return 1.0
    share, total = part.trials / (part.trials + rest.trials), part.events + rest.events
    logs = math.log(share), math.log1p(-share)
    terms = (
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) + k * logs[0] + (total - k) * logs[1]
        for k in range(part.events, total + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def clumping(series: Iterable[Sequence[Count]]) -> float:
    """How many events come at a time: the index of dispersion over nights, pooled over wires; at least 1.

    series: of each wire its nights. Wires without events say nothing.
    """
    squares, freedom = 0.0, 0
    for nights in series:
        total = sum(nights, NOTHING)
        if len(nights) < 2 or total.events == 0:
            continue
        rate = total.events / total.trials
        expected = [night.trials * rate for night in nights]
        squares += sum((n.events - e) ** 2 / e for n, e in zip(nights, expected, strict=True) if e > 0)
        freedom += len(nights) - 1
    return max(1.0, squares / freedom) if freedom else 1.0


@dataclass(frozen=True, slots=True)
class Excess:
    """More events than there should be. window: how many nights; usual: events that its past makes one expect."""

    window: int
    recent: Count
    usual: float
    others: Count
    chance: float


def clumps(
    nights: Sequence[str], all_series: Mapping[str, Series], marked: Collection[tuple[str, str]]
) -> dict[int, float]:
    """The clumping before each window, over all wires of a rig; marked nights of a wire are left out."""
    found = {}
    for window in WINDOWS:
        before = nights[:-window][-REFERENCE_NIGHTS:]
        found[window] = clumping(
            [s[n] for n in before if n in s and (n, name) not in marked] for name, s in all_series.items()
        )
    return found


def excess(
    name: str,
    nights: Sequence[str],
    all_series: Mapping[str, Series],
    clump_of: Mapping[int, float],
    marked: Collection[tuple[str, str]],
) -> Excess | None:
    """Whether one of several wires (or links) has become worse than it was and worse than the others.

    Args:
        nights: ids, oldest first; the last one is judged.
        all_series: of the wire and of those it is held against.
        clump_of: how many events come at a time, by window.
        marked: (night, name) that were marked; those nights are no reference for that wire.
    """
    best: Excess | None = None
    for window in WINDOWS:
        latest, clump = nights[-window:], clump_of[window]
        own = all_series[name]
        reference = [own[night] for night in nights[:-window] if night in own and (night, name) not in marked]
        reference = reference[-REFERENCE_NIGHTS:]
        if len(reference) < REFERENCE_NIGHTS_MIN:
            continue
        recent = _sum(all_series[name], latest)
        others = sum((_sum(s, latest) for other, s in all_series.items() if other != name), NOTHING)
        past = sum(reference, NOTHING)
        chances = [chance_of_more(recent.reduced(clump), past.reduced(clump))]
        if others.trials:  # the one link of a single board has no others
            chances.append(chance_of_more(recent.reduced(clump), others.reduced(clump)))
        chance = min(1.0, max(chances) * len(WINDOWS))
        usual = past.events * recent.trials / past.trials if past.trials else 0.0
        if chance < CHANCE and (best is None or chance < best.chance):
            best = Excess(window, recent, usual, others, chance)
    return best


def _sum(series: Series, nights: Iterable[str]) -> Count:
    return sum((series[night] for night in nights if night in series), NOTHING)


# --- marks -----------------------------------------------------------------------------------------


def wire_marks(points: Sequence[WirePoint], marked: Collection[tuple[str, str]] = ()) -> list[Mark]:
    """Wires that have become worse by the last night of the points, which are oldest first.

    marked: (night, name of the wire) of earlier marks.
    """
    nights = list(dict.fromkeys(point.night for point in points))
    links: dict[str, dict[str, dict[str, Count]]] = {}
    for point in points:
        wires = links.setdefault(point.link, {})
        wires.setdefault(f"{point.link} {point.wire}", {})[point.night] = Count(point.errors, point.bits)
    marks = []
    clump_of = clumps(nights, {name: series for wires in links.values() for name, series in wires.items()}, marked)
    for wires in links.values():
        for name in wires:
            found = excess(name, nights, wires, clump_of, marked)
            if found is not None:
                marks.append(_mark(Subject.WIRE, name, "errors", found, ("bits", "wires of its link")))
    return marks


def link_marks(points: Sequence[LinkPoint], marked: Collection[tuple[str, str]] = ()) -> list[Mark]:
    """Links that resend, or time out, more than they did and more than the others; as wire_marks."""
    nights = list(dict.fromkeys(point.night for point in points))
    links: dict[str, dict[str, Count]] = {}
    for point in points:
        links.setdefault(point.link, {})[point.night] = Count(point.resends + point.timeouts, point.frames)
    clump_of = clumps(nights, links, marked)
    found = {name: excess(name, nights, links, clump_of, marked) for name in links}
    return [
        _mark(Subject.LINK, name, "resends", more, ("frames", "links"))
        for name, more in found.items()
        if more is not None
    ]


def _mark(subject: Subject, name: str, what: str, found: Excess, words: tuple[str, str]) -> Mark:
    trials, fellows = words
    when = "tonight" if found.window == 1 else f"in the last {found.window} nights"
    sentence = (
        f"{subject} {name} gets worse: {found.recent.events:,} {what} in {found.recent.trials:,} {trials} {when}; "
        f"the nights before make one expect {found.usual:.2g}, the other {fellows} had {found.others.events:,} "
        f"in {found.others.trials:,}; chance below {found.chance:.0e}"
    )
    return Mark(subject, name, what, float(found.recent.events), found.usual, found.chance, sentence)


def usual_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and what stands for a standard deviation: the MAD, but not less than SPREAD_MIN of the median."""
    usual = median(values)
    return usual, max(MAD_TO_SIGMA * median(abs(v - usual) for v in values), SPREAD_MIN * abs(usual))


def figure_mark(check: str, figure: str, points: Sequence[FigurePoint], tonight: str) -> Mark | None:
    """Whether a figure of the night `tonight`, the last of the points, is far on the bad side of the nights before.

    The throughput of a link's own check is a mark of that link.
    """
    if not points or points[-1].night != tonight or len(points) <= FIGURES_MIN:
        return None
    value, before = points[-1].value, [point.value for point in points[:-1]][-REFERENCE_NIGHTS:]
    usual, spread = usual_and_spread(before)
    worse = usual - value if figure in BETTER_HIGH else value - usual
    if spread <= 0 or worse <= DISTANCE * spread:
        return None
    sentence = (
        f"{figure} of {check}: {value:.4g}, the median of {len(before)} nights is {usual:.4g}; "
        f"that is {worse / spread:.0f} times their spread"
    )
    return Mark(*_figure_name(check, figure), value, usual, FIGURE_CHANCE, sentence)


def _figure_name(check: str, figure: str) -> tuple[Subject, str, str]:
    """What a mark of a figure is about: subject, name, what."""
    if figure == THROUGHPUT:
        return Subject.LINK, check.removeprefix("link "), "throughput"
    return Subject.FIGURE, figure, figure


def marks_of(history: History, night: Night) -> list[Mark]:
    """The marks of a night that is in the history and is the rig's latest. Raises HistoryError."""
    last = LOOKBACK_NIGHTS
    past = [(night_id, mark) for night_id, mark in history.marks(night.rig, last) if night_id != night.id]
    marked = {(night_id, mark.name) for night_id, mark in past if mark.what in ("errors", "resends")}
    wires = wire_marks(_until(history.wire_trend(night.rig, last), night), marked)
    at_fault = {mark.name.partition(" ")[0] for mark in wires}
    links = link_marks(_until(history.link_trend(night.rig, last), night), marked)
    marks = wires + [mark for mark in links if mark.name not in at_fault]
    for check, figure in history.figure_names(night.rig):
        if figure not in BETTER_HIGH + BETTER_LOW or (figure == THROUGHPUT and not check.startswith("link ")):
            continue
        points = history.figure_trend(night.rig, figure, check, last=last, like=night)
        skip = {
            night_id for night_id, mark in past if (mark.subject, mark.name, mark.what) == _figure_name(check, figure)
        }
        skip -= {night.id}
        mark = figure_mark(check, figure, [p for p in points if p.night not in skip], night.id)
        marks += [mark] if mark is not None else []
    return marks


def _until(points: Sequence[P], night: Night) -> list[P]:
    """The points of nights up to this one; empty if this one has none, for then nothing can be said of it."""
    kept = [point for point in points if point.started <= night.started]
    return kept if any(point.night == night.id for point in kept) else []
