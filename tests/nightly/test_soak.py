"""When a soak ends: its target is met, it cannot be met any more, or time is up.

A link made by hand stands for the ring.
"""

from dataclasses import replace
from functools import partial

import pytest

from hil.checks.check import Setup
from hil.checks.link import checks
from hil.checks.link.checks import percentile, soak
from hil.checks.link.runs import EXACT_ERRORS_MAX, LinkRunResult, WireResult, _poisson_at_most, ber_limit
from hil.protocol.link_messages import TIMING_BUCKETS
from hil.rig.specs import LinkSpec
from tests.nightly.conftest import SMALL

BITS = 16384
"""A frame of SMALL on each wire."""
LINK = LinkSpec(1, 2)


@pytest.fixture
def soaked(monkeypatch):
    """soaked(errors, target, time_up=) -> (Result, runs); errors: on D3 in each run."""

    def run(errors, target, time_up=lambda: False):
        runs = []

        def run_links(ring, links, plan, *, reverse=False, timeout_s=0.0):
            count = 0 if plan.timing else errors
            wires = tuple(WireResult(f"D{n}", BITS, count if n == 3 else 0) for n in range(8))
            waits = {"ACK high": (0, 4) + (0,) * (TIMING_BUCKETS - 2)} if plan.timing else {}
            runs.append(plan)
            return [LinkRunResult(links[0], reverse, plan, plan.frames, 0, 0, wires, 300.0, 0, 0, 0, 0, 0, "us", waits)]

        monkeypatch.setattr(checks, "run_links", run_links)
        monkeypatch.setattr(checks, "_cycle_us", lambda ring, link: 1.0)
        setup = Setup(None, None, None, replace(SMALL, ber=target), time_up=time_up)
        return soak.work(setup, 0xFFFF_FFFF, link=LINK), [plan for plan in runs if not plan.timing]

    return run


def test_a_sound_link_is_soaked_until_its_target_is_met(soaked):
    found, runs = soaked(0, 3 / (BITS * 5))
    assert found.sentence == ""
    assert len(runs) == 6, "in pairs, so six runs for five frames' worth of bits"
    assert found.wires[3].bits == 6 * BITS
    assert found.figures["ber_limit"] == pytest.approx(3 / (6 * BITS), rel=0.01)
    assert len({plan.seed for plan in runs}) == 6
    assert max(plan.seed for plan in runs) <= 0xFFFF_FFFF


def test_few_errors_make_it_longer_and_may_be_within_the_target(soaked):
    found, runs = soaked(1, 2.2 / BITS)
    assert found.sentence == ""
    assert found.wires[3].errors == len(runs) == 6


def test_a_hopeless_wire_ends_it_at_once_and_is_named(soaked):
    found, runs = soaked(5000, 1e-8)
    assert len(runs) == 2, "not the 1,200,000,000 bits that the limit allows"
    assert found.sentence.startswith("10,000 of 32,768 bits wrong on link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2")
    assert "wanted 1e-08" in found.sentence
    assert found.detail.count("bits wrong on") == 1


def test_time_ends_it_and_without_an_error_that_is_no_failure(soaked):
    assert soaked(0, 1e-9, time_up=lambda: True)[0].sentence == ""
    found, runs = soaked(1, 1e-6, time_up=lambda: True)
    assert "2 of 32,768 bits wrong" in found.sentence
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("counts", "share", "wait"),
    [((10,), 0.9, 0.0), ((0, 10), 0.5, 1.5), ((0, 0, 4, 4), 0.5, 4.0), ((0, 0, 4, 4), 0.75, 6.0)],
)
def test_percentiles_are_within_their_bucket(counts, share, wait):
    assert percentile(counts, share) == wait


def test_percentile_of_nothing_is_nothing():
    assert list(map(partial(percentile, ()), (0.5, 0.99))) == [0.0, 0.0]


@pytest.mark.parametrize("errors", [EXACT_ERRORS_MAX, EXACT_ERRORS_MAX + 1, 5000])
def test_limits_of_many_errors_are_right_too(errors):
    bits = 10**9
    assert _poisson_at_most(errors, ber_limit(bits, errors) * bits) == pytest.approx(0.05, rel=1e-3)
