"""The figures of a night: each is worked out once, from the records of its checks."""

import math

import pytest

from hil.nightly.record import LinkFigures, Outcome, WireFigures
from hil.nightly.series import figures_of, flake_rates, links_of, median, sum_links, sum_wires, wilson
from tests.nightly.nights import a_check, a_failed_check, a_night


def test_bits_and_errors_of_a_wire_are_summed_over_all_checks():
    checks = [a_check(1), a_failed_check(2, wires=[WireFigures("1->2", "D3", 500, 7)])]
    wires = figures_of(a_night(1, checks)).wires
    assert wires["1->2", "D3"] == WireFigures("1->2", "D3", 1500, 7)
    assert wires["1->2", "D4"] == WireFigures("1->2", "D4", 1000, 0)
    assert sum_wires([]) == {}


def test_counts_of_a_link_are_summed_and_its_throughput_averaged():
    entries = [
        LinkFigures("1->2", 100, 4, 1, 0, 300.0, {"ACK high": [1.0]}),
        LinkFigures("0->1", 1, 1, 0, 0, 0.0),
        LinkFigures("1->2", 50, 2, 0, 3, 100.0),
        LinkFigures("1->2", 0, 0, 0, 1, 0.0),
    ]
    assert sum_links(entries) == {
        "1->2": LinkFigures("1->2", 150, 6, 1, 4, 200.0, {"ACK high": [1.0]}), "0->1": entries[1]
    }  # fmt: skip


def test_figures_are_medians_of_the_rounds_that_passed():
    speeds = ((1, 300.0, Outcome.PASSED), (2, 100.0, Outcome.FLAKY), (3, 500.0, Outcome.PASSED), (4, 0, Outcome.FAILED))
    night = a_night(1, [a_check(n, figures={"kb_s": speed}, outcome=outcome) for n, speed, outcome in speeds])
    found = figures_of(night)
    assert found.figures == {("link 1->2", "kb_s"): 300.0}
    assert (found.throughput("1->2"), found.throughput("0->1")) == (300.0, None)
    assert (found.figure("kb_s"), found.figure("tokens_s")) == (300.0, None)
    assert (found.resends("1->2"), found.resends("0->1")) == (4.0, None)


def test_what_is_no_finite_number_has_no_median():
    assert median([]) is median([math.nan, math.inf]) is None
    assert median([1.0, math.nan, 2.0]) == 1.5


def test_nights_are_alike_with_one_profile_model_and_size():
    night = figures_of(a_night(1))
    assert night.alike(figures_of(a_night(2)))
    for change in ({"profile": "full"}, {"model": "other"}, {"world_size": 3}):
        assert not night.alike(figures_of(a_night(2, **change)))


def test_links_are_those_of_the_ring_and_whatever_was_measured():
    assert links_of(a_night(1, world_size=3)) == ["0->1", "1->2", "2->0"]
    odd = a_check(1, wires=[WireFigures("7->8", "D0", 1, 0)], links=[])
    assert links_of(a_night(1, [odd], world_size=1)) == ["0->0", "7->8"]


@pytest.mark.parametrize(
    ("hits", "runs", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 10, 0.0179, 0.4042), (5, 100, 0.0215, 0.1118)],
)
def test_wilson_intervals_are_those_of_the_tables(hits, runs, low, high):
    assert wilson(hits, runs) == pytest.approx((low, high), abs=1e-4)


def test_flake_rates_are_of_flaky_checks_the_worst_first():
    def runs(name, passed, flaky, skipped=0):
        ends = [Outcome.PASSED] * passed + [Outcome.FLAKY] * flaky + [Outcome.SKIPPED] * skipped
        return [a_check(n, name, outcome=end) for n, end in enumerate(ends)]

    nights = [a_night(1, runs("a", 10, 0)), a_night(2, [*runs("b", 8, 2, 5), *runs("c", 19, 1)])]
    rates = flake_rates(nights)
    assert [(rate.name, rate.runs, rate.flaky, rate.rate) for rate in rates] == [("b", 10, 2, 0.2), ("c", 20, 1, 0.05)]
    assert all(rate.low <= rate.rate <= rate.high for rate in rates)
