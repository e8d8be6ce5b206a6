"""What the page draws of many nights, and how it is gathered from their records.

A mark is a sentence; where it is empty nothing is marked. The nights carry their marks; the tests that set them are in
hil/nightly/trends.py.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hil.checks.link.runs import ber_limit
from hil.nightly.record import Check, Kind, Night, Outcome, Subject
from hil.nightly.trends import DISTANCE, FIGURES_MIN, REFERENCE_NIGHTS, usual_and_spread
from hil.nightly.triage import wilson
from hil.text import when

FLAKES_MAX = 20


@dataclass(frozen=True, slots=True)
class WirePoint:
    """One wire in one night. limit: its bit error rate is below this at 95 %; None where no bit was sent."""

    night: str
    bits: int
    errors: int

    @property
    def limit(self) -> float | None:
        """Upper bound of the bit error rate."""
        return ber_limit(self.bits, self.errors) if self.bits > 0 else None


@dataclass(frozen=True, slots=True)
class WireTrend:
    """One wire over nights, oldest first. mark: why it is marked, or empty."""

    link: str
    wire: str
    points: list[WirePoint]
    mark: str = ""

    @property
    def name(self) -> str:
        """`link 1->2 D3`."""
        return f"link {self.link} {self.wire}"


@dataclass(frozen=True, slots=True)
class FigurePoint:
    """One figure of one night.

    night: when it began. low, high: what the nights before allow. mark: why it is marked, or empty.
    """

    night: str
    value: float | None
    low: float | None = None
    middle: float | None = None
    high: float | None = None
    mark: str = ""


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
class FlakeRate:
    """How often a check needed a second try. low, high: the rate's interval at 95 %."""

    name: str
    runs: int
    flaky: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Trends:
    """Everything of many nights that the page draws. nights: their ids, oldest first."""

    nights: list[str] = field(default_factory=list)
    wires: list[WireTrend] = field(default_factory=list)
    figures: list[FigureTrend] = field(default_factory=list)
    flakes: list[FlakeRate] = field(default_factory=list)


def wires_of(night: Night) -> dict[tuple[str, str], tuple[int, int]]:
    """(link, wire) -> bits and errors of the whole night."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for check in night.checks:
        for wire in check.wires:
            bits, errors = sums.get((wire.link, wire.wire), (0, 0))
            sums[wire.link, wire.wire] = (bits + wire.bits, errors + wire.errors)
    return sums


def median(values: Sequence[float]) -> float | None:
    """The median of the finite values; None where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else None


def figure(night: Night, key: str) -> float | None:
    """The median of a check's figure over the night."""
    return median([check.figures[key] for check in night.checks if key in check.figures])


def throughput(night: Night, link: str) -> float | None:
    """The median throughput of a link over the night's checks of it alone, in 1000 bytes per second."""
    alone = [check.links[0] for check in _of(night, Kind.LINK) if len(check.links) == 1]
    return median([entry.throughput_kb_s for entry in alone if entry.link == link and entry.throughput_kb_s > 0])


def usual_range(known: Sequence[float]) -> tuple[float, float, float] | None:
    """(low, middle, high) that earlier nights allow, by the test of hil/nightly/trends.py; None with too few nights."""
    if len(known) < FIGURES_MIN:
        return None
    middle, spread = usual_and_spread(known[-REFERENCE_NIGHTS:])
    return middle - DISTANCE * spread, middle, middle + DISTANCE * spread


def resends(night: Night, link: str) -> float | None:
    """How often a link sent a frame again in the night; None where it was not measured."""
    entries = [entry.resends for check in night.checks for entry in check.links if entry.link == link]
    return float(sum(entries)) if entries else None


def boot_seconds(night: Night) -> float | None:
    """The slowest board's boot."""
    return max((board.boot_s for board in night.boards if math.isfinite(board.boot_s)), default=None)


def links_of(night: Night) -> list[str]:
    """The links of the ring, and whatever else was measured."""
    ring = [f"{rank}->{(rank + 1) % night.world_size}" for rank in range(night.world_size)]
    links = [entry.link for check in night.checks for entry in check.links]
    wires = [entry.link for check in night.checks for entry in check.wires]
    return list(dict.fromkeys([*ring, *links, *wires]))


def gather(nights: Sequence[Night]) -> Trends:
    """The figures of nights, oldest first, with the marks that the nights carry."""
    if not nights:
        return Trends()
    links = links_of(nights[-1])
    sums = [(night.id, wires_of(night)) for night in nights]
    names = list(dict.fromkeys(key for _, night in sums for key in night))
    wires = [
        WireTrend(
            link,
            wire,
            [WirePoint(night, *found.get((link, wire), (0, 0))) for night, found in sums],
            _mark(nights[-1], Subject.WIRE, f"{link} {wire}", ""),
        )
        for link, wire in sorted(names)
    ]
    figures = []
    for subject, name, what, title, unit, read in _figures(links):
        points = [
            FigurePoint(
                when(night.started).removesuffix(" UTC"),
                read(night) if alike(night, nights[-1]) else None,
                mark=_mark(night, subject, name, what),
            )
            for night in nights
        ]
        if (subject, what) != (Subject.LINK, "resends"):  # a count; its test is another one
            points = [_with_range(points[:at], point) for at, point in enumerate(points)]
        figures.append(FigureTrend(f"{what} {name}" if subject is Subject.LINK else name, title, unit, points))
    return Trends([night.id for night in nights], wires, figures, _flakes(nights))


def _flakes(nights: Sequence[Night]) -> list[FlakeRate]:
    """Checks that were flaky in these nights, the most often first."""
    runs: Counter[str] = Counter()
    flaky: Counter[str] = Counter()
    for check in (check for night in nights for check in night.checks if check.outcome is not Outcome.SKIPPED):
        runs[check.name] += 1
        flaky[check.name] += check.outcome is Outcome.FLAKY
    rates = [FlakeRate(name, runs[name], many, *wilson(many, runs[name])) for name, many in flaky.items() if many]
    return sorted(rates, key=lambda rate: (-rate.flaky / rate.runs, rate.name))[:FLAKES_MAX]


def alike(night: Night, other: Night) -> bool:
    """Whether figures of two nights can be compared."""
    return (night.profile, night.model, night.world_size) == (other.profile, other.model, other.world_size)


def _with_range(before: Sequence[FigurePoint], point: FigurePoint) -> FigurePoint:
    """The point with the range that the nights before it allow; marked ones say nothing of what is usual."""
    known = [entry.value for entry in before if entry.value is not None and not entry.mark]
    usual = usual_range(known)
    return replace(point, low=usual[0], middle=usual[1], high=usual[2]) if usual is not None else point


def _figures(links: Sequence[str]) -> list[tuple[Subject, str, str, str, str, Callable[[Night], float | None]]]:
    """(subject, name, what) as in a mark, then title, unit and how to read it from a night."""
    figures: list[tuple[Subject, str, str, str, str, Callable[[Night], float | None]]] = [
        (Subject.FIGURE, "tokens_s", "", "tokens per second", "tokens/s", _reader(figure, "tokens_s")),
        (Subject.FIGURE, "step_s", "", "time of a training step", "s", _reader(figure, "step_s")),
        (Subject.FIGURE, "boot_s", "", "boot of the slowest board", "s", boot_seconds),
        (Subject.FIGURE, "skew_s", "", "skew of the boots", "s", _reader(figure, "skew_s")),
    ]
    for link in links:
        arrow = f"link {link}"
        figures.append((Subject.LINK, link, "throughput", f"throughput of {arrow}", "kB/s", _reader(throughput, link)))
        figures.append((Subject.LINK, link, "resends", f"resends of {arrow}", "resends", _reader(resends, link)))
    return figures


def _mark(night: Night, subject: Subject, name: str, what: str) -> str:
    """The sentence of a night's mark; a figure is known by `what`, a wire or link by its name too."""
    for mark in night.marks:
        named = mark.what == name if subject is Subject.FIGURE else (mark.name == name and what in mark.what)
        if mark.subject is subject and named:
            return mark.sentence
    return ""


def _reader(read: Callable[[Night, str], float | None], what: str) -> Callable[[Night], float | None]:
    return lambda night: read(night, what)


def _of(night: Night, kind: Kind) -> list[Check]:
    return [check for check in night.checks if check.kind is kind]
