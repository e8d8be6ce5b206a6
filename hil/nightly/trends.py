"""Trends: what has become worse over the nights, though no check need have failed.

Wires and links: errors are counts, so a wire's rate is compared with its own nights before and with the other wires of
its link, by the exact test for two Poisson rates (Przyborowski and Wilenski 1940: given both counts, one of them is
binomial). Only what is worse in both ways is marked. Figures: distance from the median in units of the MAD. Thresholds
and false alarm rates: docs/nightly.md. Pure: figures of nights in, marks out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from hil.nightly.record import Subject, TrendMark
from hil.nightly.series import THROUGHPUT, NightFigures

REFERENCE_NIGHTS = 30
"""A night is held against so many before it."""
WINDOWS = (1, 2, 4)
"""Tonight alone, and the last 2 and 4 nights together: a slow change shows only over several nights."""
REFERENCE_NIGHTS_MIN = 5
"""With fewer nights before it nothing is marked: too little is known of what is usual."""
LOOKBACK_NIGHTS = 365
"""How far back unmarked nights are looked for."""
CHANCE = 1e-5
"""A wire is marked when so many errors had at most this chance, over all windows, if nothing had changed."""
FIGURES_MIN = 14
"""Nights that a figure's median and MAD need."""
DISTANCE = 8.0
"""A figure is marked beyond this many times 1.4826 MAD (which estimates a standard deviation) from the median."""
FIGURE_CHANCE = 3e-4
"""How often that happens to a normally distributed figure with 14 to 30 nights before it, at most; measured."""
MAD_TO_SIGMA = 1.4826
SPREAD_MIN = 0.005
"""Of the median. A smaller spread counts as this one: on a simulated rig the MAD may well be 0."""
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
Words = tuple[str, str]
"""What the trials are, and what the wire or link is held against."""


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
    """More events than there should be.

    window: over how many nights. usual: as many events as the nights before had for so many trials.
    """

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


def wire_marks(nights: Sequence[NightFigures]) -> list[TrendMark]:
    """Wires that have become worse by the last of these nights, which are oldest first and carry earlier marks."""
    links: dict[str, dict[str, dict[str, Count]]] = {}
    for night in nights:
        for (link, wire), found in night.wires.items():
            series = links.setdefault(link, {}).setdefault(f"{link} {wire}", {})
            series[night.night] = Count(found.errors, found.bits)
    words = ("bits", "wires of its link")
    return _count_marks(nights, links.values(), Subject.WIRE, "errors", words) if nights and nights[-1].wires else []


def link_marks(nights: Sequence[NightFigures]) -> list[TrendMark]:
    """Links that resend, or time out, more than they did and more than the others; as wire_marks."""
    links: dict[str, dict[str, Count]] = {}
    for night in nights:
        for name, link in night.links.items():
            links.setdefault(name, {})[night.night] = Count(link.resends + link.timeouts, link.frames)
    words = ("frames", "links")
    return _count_marks(nights, [links], Subject.LINK, "resends", words) if nights and nights[-1].links else []


def _count_marks(
    nights: Sequence[NightFigures], groups: Iterable[Mapping[str, Series]], subject: Subject, what: str, words: Words
) -> list[TrendMark]:
    """groups: series by name; those of one group are held against each other."""
    groups = list(groups)
    every = {name: series for group in groups for name, series in group.items()}
    measured = [night.night for night in nights if any(night.night in series for series in every.values())]
    marked = {(n.night, mark.name) for n in nights[:-1] for mark in n.marks if mark.what in ("errors", "resends")}
    clump_of = clumps(measured, every, marked)
    found = [(name, excess(name, measured, group, clump_of, marked)) for group in groups for name in group]
    return [_mark(subject, name, what, more, words) for name, more in found if more is not None]


def _mark(subject: Subject, name: str, what: str, found: Excess, words: Words) -> TrendMark:
    trials, fellows = words
    when = "tonight" if found.window == 1 else f"in the last {found.window} nights"
    sentence = (
        f"{subject} {name} gets worse: {found.recent.events:,} {what} in {found.recent.trials:,} {trials} {when}; "
        f"at the rate of the nights before there would be {found.usual:.2g}, the other {fellows} had "
        f"{found.others.events:,} in {found.others.trials:,}; chance below {found.chance:.0e}"
    )
    return TrendMark(subject, name, what, float(found.recent.events), found.usual, found.chance, sentence)


@dataclass(frozen=True, slots=True)
class Usual:
    """What a figure's nights before allow. spread: what stands for a standard deviation; low, high: the limits."""

    nights: int
    middle: float
    spread: float

    @property
    def low(self) -> float:
        """Below this a figure is out of the ordinary."""
        return self.middle - DISTANCE * self.spread

    @property
    def high(self) -> float:
        """Above this a figure is out of the ordinary."""
        return self.middle + DISTANCE * self.spread


def usual_of(before: Sequence[float]) -> Usual | None:
    """Of the nights before, oldest first; None where they are too few, or all 0."""
    if len(before) < FIGURES_MIN:
        return None
    values = before[-REFERENCE_NIGHTS:]
    middle = median(values)
    spread = max(MAD_TO_SIGMA * median(abs(value - middle) for value in values), SPREAD_MIN * abs(middle))
    return Usual(len(values), middle, spread) if spread > 0 else None


def figure_mark(check: str, figure: str, before: Sequence[float], tonight: float) -> TrendMark | None:
    """Whether a figure is far on the bad side of the nights before it, which are oldest first.

    The throughput of a link's own check is a mark of that link.
    """
    known = usual_of(before)
    if known is None:
        return None
    worse = known.middle - tonight if figure in BETTER_HIGH else tonight - known.middle
    if worse <= DISTANCE * known.spread:
        return None
    sentence = (
        f"{figure} of {check}: {tonight:.4g}, the median of {known.nights} nights is {known.middle:.4g}; "
        f"that is {worse / known.spread:.0f} times their spread"
    )
    return TrendMark(*_figure_name(check, figure), tonight, known.middle, FIGURE_CHANCE, sentence)


def _figure_name(check: str, figure: str) -> tuple[Subject, str, str]:
    """What a mark of a figure is about: subject, name, what."""
    if figure == THROUGHPUT:
        return Subject.LINK, check.removeprefix("link "), "throughput"
    return Subject.FIGURE, figure, figure


def marks_of(before: Sequence[NightFigures], tonight: NightFigures) -> list[TrendMark]:
    """The marks of a night. before: the rig's nights before it, oldest first."""
    nights = [*before, tonight]
    wires = wire_marks(nights)
    at_fault = {mark.name.partition(" ")[0] for mark in wires}
    marks = wires + [mark for mark in link_marks(nights) if mark.name not in at_fault]
    for (check, figure), value in sorted(tonight.figures.items()):
        if figure not in BETTER_HIGH + BETTER_LOW or (figure == THROUGHPUT and not check.startswith("link ")):
            continue
        about = _figure_name(check, figure)
        past = [
            night.figures[check, figure]
            for night in before
            if night.alike(tonight) and (check, figure) in night.figures
            and about not in [(mark.subject, mark.name, mark.what) for mark in night.marks]
        ]  # fmt: skip
        mark = figure_mark(check, figure, past, value)
        marks += [mark] if mark is not None else []
    return marks
