"""The figures of a night, each worked out once: the marks, the page, summary.json and `hil report` all take them here.

Pure: a Night in, figures out. Throughput is in 1000 bytes per second.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from hil.nightly.record import LinkFigures, Night, Outcome, TrendMark, WireFigures

CONFIDENCE = 0.95
THROUGHPUT = "kb_s"
"""The figure of a link's own check, `link 1->2`, that is the link's throughput."""


@dataclass(frozen=True, slots=True)
class NightFigures:
    """What is known of a night in numbers.

    night: its id. wires: by link and wire, sums over all checks. links: by name, counts summed, throughput averaged.
    figures: by check and name, the median over the rounds in which the check passed, be it at the second try.
    """

    night: str
    started: str
    profile: str
    model: str
    world_size: int
    wires: dict[tuple[str, str], WireFigures]
    links: dict[str, LinkFigures]
    figures: dict[tuple[str, str], float]
    marks: list[TrendMark]

    def figure(self, name: str) -> float | None:
        """A figure by its name alone, whichever check gave it; None where it was not measured."""
        return median([value for (_, key), value in self.figures.items() if key == name])

    def throughput(self, link: str) -> float | None:
        """Of a link, measured by itself."""
        return self.figures.get((f"link {link}", THROUGHPUT))

    def resends(self, link: str) -> float | None:
        """How often a link sent a frame again; None where it was not measured."""
        return float(self.links[link].resends) if link in self.links else None

    def alike(self, other: NightFigures) -> bool:
        """Whether figures of two nights can be compared."""
        return (self.profile, self.model, self.world_size) == (other.profile, other.model, other.world_size)


def figures_of(night: Night) -> NightFigures:
    """The figures of a night, whole or partial."""
    values: dict[tuple[str, str], list[float]] = {}
    for check in night.checks:
        if check.outcome in (Outcome.PASSED, Outcome.FLAKY):
            for name, value in check.figures.items():
                values.setdefault((check.name, name), []).append(value)
    medians = {key: median(found) for key, found in values.items()}
    return NightFigures(
        night.id, night.started, night.profile, night.model, night.world_size,
        sum_wires(wire for check in night.checks for wire in check.wires),
        sum_links(link for check in night.checks for link in check.links),
        {key: value for key, value in medians.items() if value is not None},
        night.marks,
    )  # fmt: skip


def median(values: Sequence[float]) -> float | None:
    """The median of the finite values; None where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else None


def sum_wires(wires: Iterable[WireFigures]) -> dict[tuple[str, str], WireFigures]:
    """Bits and errors of each wire, by link and wire."""
    found: dict[tuple[str, str], WireFigures] = {}
    for wire in wires:
        old = found.get((wire.link, wire.wire))
        bits, errors = (old.bits, old.errors) if old is not None else (0, 0)
        found[wire.link, wire.wire] = WireFigures(wire.link, wire.wire, bits + wire.bits, errors + wire.errors)
    return found


def sum_links(links: Iterable[LinkFigures]) -> dict[str, LinkFigures]:
    """Each link once: counts added up, throughput the mean of those measured, phases the last that were timed."""
    by_link: dict[str, list[LinkFigures]] = {}
    for link in links:
        by_link.setdefault(link.link, []).append(link)
    return {name: _sum_link(name, entries) for name, entries in by_link.items()}


def _sum_link(name: str, entries: Sequence[LinkFigures]) -> LinkFigures:
    speeds = [entry.throughput_kb_s for entry in entries if entry.throughput_kb_s > 0]
    return LinkFigures(
        name,
        sum(entry.bytes for entry in entries),
        sum(entry.frames for entry in entries),
        sum(entry.resends for entry in entries),
        sum(entry.timeouts for entry in entries),
        sum(speeds) / len(speeds) if speeds else 0.0,
        next((entry.phases_us for entry in reversed(entries) if entry.phases_us), {}),
    )


def links_of(night: Night) -> list[str]:
    """The links of the ring, and whatever else was measured."""
    ring = [f"{rank}->{(rank + 1) % night.world_size}" for rank in range(night.world_size)]
    links = [entry.link for check in night.checks for entry in check.links]
    wires = [entry.link for check in night.checks for entry in check.wires]
    return list(dict.fromkeys([*ring, *links, *wires]))


# --- how often checks are flaky -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlakeRate:
    """How often a check failed first and passed when tried again. low, high: the rate's interval at 95 % (Wilson)."""

    name: str
    runs: int
    flaky: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Flaky runs of all runs."""
        return self.flaky / self.runs


def flake_rates(nights: Iterable[Night]) -> list[FlakeRate]:
    """Of the checks that were flaky in these nights, the most often first. Skipped ones do not count as run."""
    runs: Counter[str] = Counter()
    flaky: Counter[str] = Counter()
    for check in (check for night in nights for check in night.checks if check.outcome is not Outcome.SKIPPED):
        runs[check.name] += 1
        flaky[check.name] += check.outcome is Outcome.FLAKY
    rates = [FlakeRate(name, runs[name], many, *wilson(many, runs[name])) for name, many in flaky.items() if many]
    return sorted(rates, key=lambda rate: (-rate.rate, rate.name))


def wilson(hits: int, runs: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a rate after `hits` in `runs`. (0, 1) without a run. Source: Wilson 1927."""
    if runs == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, square = hits / runs, z * z / runs
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / runs + square / (4 * runs)) / (1 + square)
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    return low, 1.0 if hits == runs else min(1.0, middle + half)
