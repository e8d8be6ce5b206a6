"""What the page draws of many nights: a line for each wire and each figure, with the marks that the nights carry.

A mark is a sentence; where it is empty nothing is marked. The tests that set them are in hil/nightly/trends.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hil.nightly.record import Night, Subject, TrendMark, WireFigures
from hil.nightly.series import FlakeRate, NightFigures, figures_of, flake_rates, links_of
from hil.nightly.trends import Usual, usual_of
from hil.text import when

FLAKES_MAX = 20


@dataclass(frozen=True, slots=True)
class WireTrend:
    """One wire over nights, oldest first; no bits where it was not measured. mark: why it is marked, or empty."""

    points: list[WireFigures]
    mark: str = ""

    @property
    def newest(self) -> WireFigures:
        """The wire in the newest night."""
        return self.points[-1]


@dataclass(frozen=True, slots=True)
class FigurePoint:
    """One figure of one night.

    night: when it began. usual: what the nights before allow. mark: why it is marked, or empty.
    """

    night: str
    value: float | None
    usual: Usual | None
    mark: str


@dataclass(frozen=True, slots=True)
class FigureTrend:
    """A figure over nights, oldest first."""

    key: str
    name: str
    unit: str
    points: list[FigurePoint]

    @property
    def mark(self) -> str:
        """The mark of the newest night."""
        return self.points[-1].mark if self.points else ""


@dataclass(frozen=True, slots=True)
class Trends:
    """Everything of many nights that the page draws. nights: their figures, oldest first."""

    nights: list[NightFigures] = field(default_factory=list)
    wires: list[WireTrend] = field(default_factory=list)
    figures: list[FigureTrend] = field(default_factory=list)
    flakes: list[FlakeRate] = field(default_factory=list)


def gather(nights: Sequence[Night]) -> Trends:
    """The figures of nights, oldest first and at least one, with the marks that they carry."""
    known = [figures_of(night) for night in nights]
    names = sorted({key for night in known for key in night.wires})
    wires = [
        WireTrend(
            [night.wires.get((link, wire), WireFigures(link, wire, 0, 0)) for night in known],
            _mark(known[-1].marks, Subject.WIRE, f"{link} {wire}"),
        )
        for link, wire in names
    ]
    figures = [
        _trend(known, "tokens_s", "tokens per second", "tokens/s"),
        _trend(known, "step_s", "time of a training step", "s"),
        _trend(known, "boot_s", "boot of the slowest board", "s"),
        _trend(known, "skew_s", "skew of the boots", "s"),
    ]
    for link in links_of(nights[-1]):
        figures += [_throughput(known, link), _resends(known, link)]
    return Trends(known, wires, figures, flake_rates(nights)[:FLAKES_MAX])


def _trend(nights: Sequence[NightFigures], name: str, title: str, unit: str) -> FigureTrend:
    points = _points(nights, lambda night: night.figure(name), Subject.FIGURE, name)
    return FigureTrend(name, title, unit, points)


def _throughput(nights: Sequence[NightFigures], link: str) -> FigureTrend:
    points = _points(nights, lambda night: night.throughput(link), Subject.LINK, link, "throughput")
    return FigureTrend(f"throughput {link}", f"throughput of link {link}", "kB/s", points)


def _resends(nights: Sequence[NightFigures], link: str) -> FigureTrend:
    """A count, without a usual range: its test is another one."""
    points = _points(nights, lambda night: night.resends(link), Subject.LINK, link, "resends", usual=False)
    return FigureTrend(f"resends {link}", f"resends of link {link}", "resends", points)


def _points(
    nights: Sequence[NightFigures],
    read: Callable[[NightFigures], float | None],
    subject: Subject,
    name: str,
    what: str = "",
    *,
    usual: bool = True,
) -> list[FigurePoint]:
    """A point for each night; usual: with what the nights before it allow, of which marked ones say nothing."""
    points, before = [], list[float]()
    for night in nights:
        value = read(night) if night.alike(nights[-1]) else None
        mark = _mark(night.marks, subject, name, what)
        began = when(night.started).removesuffix(" UTC")
        points.append(FigurePoint(began, value, usual_of(before) if usual else None, mark))
        before += [value] if value is not None and not mark else []
    return points


def _mark(marks: Sequence[TrendMark], subject: Subject, name: str, what: str = "") -> str:
    """The sentence of the mark of a wire, a link or a figure. what: of a link its throughput or its resends."""
    for mark in marks:
        if mark.subject is subject and mark.name == name and what in mark.what:
            return mark.sentence
    return ""
