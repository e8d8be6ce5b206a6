"""Thirty real nights on the simulated ring: a wire whose glitches grow from night 20 on is marked, and no other one."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from hil.nightly.record import CheckKind, Outcome, Subject
from tests.nightly.conftest import SMALL
from tests.nightly.nights import START
from tests.nightly.test_trends import (
    BACKGROUND,
    BITS,
    BY,
    GLITCH_SEEN,
    LINKS,
    NIGHTS,
    SLOWLY_FROM,
    WIRES,
    glitch_rate,
)

SOAKED = replace(SMALL, ber=0.05, soak_frames=BITS // 16384 // 2, kinds=frozenset((CheckKind.BOOT, CheckKind.LINK)))
"""Boot and links: one soak of BITS bits on each wire. All these errors are within its target: trends must tell."""
BAD = ("1->2", "D3")


def faults(rates) -> tuple[str, ...]:
    """Glitches by (link, wire), in pulses per byte."""
    return tuple(f"glitch:{link.replace('->', '-')}.{wire}={rate:g}" for (link, wire), rate in rates.items() if rate)


def test_pulses_on_a_wire_give_as_many_errors_as_the_drawn_nights_take(run_night):
    rate, link = 2e-4, ("0->1", "D3")
    result = run_night(profile=SOAKED, faults=faults({link: rate}))
    check = result.check("link 0->1")
    assert check.outcome is Outcome.PASSED
    errors = {wire.wire: wire.errors for wire in check.wires}
    expected = BITS * rate * GLITCH_SEEN
    print(f"{errors['D3']} errors, {expected:.1f} expected")
    assert abs(errors["D3"] - expected) < 4 * expected**0.5
    assert sum(errors.values()) == errors["D3"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_wire_that_degrades_is_marked_by_night_23_and_no_other_in_any_night(run_night):
    sound = {(link, wire): BACKGROUND / GLITCH_SEEN for link in LINKS for wire in WIRES}
    marked = {}
    for number in range(1, NIGHTS + 1):
        bad = {BAD: sound[BAD] + glitch_rate(number)}
        result = run_night(
            profile=SOAKED, world_size=4, seed=number, faults=faults(sound | bad),
            utc=lambda number=number: START + timedelta(days=number),
        )  # fmt: skip
        wires = [mark.name for mark in result.night.marks if mark.subject is Subject.WIRE]
        others = [mark.sentence for mark in result.night.marks if mark.subject is not Subject.WIRE]
        errors = sum(w.errors for c in result.night.checks for w in c.wires if (w.link, w.wire) == BAD)
        noise = sum(w.errors for c in result.night.checks for w in c.wires) - errors
        print(f"night {number}: {errors} errors on the bad wire, {noise} on all others, marked {wires} {others}")
        page = (result.out / f"night-{result.night.id}.html").read_text()
        told = set(re.findall(r"wire (\d-&gt;\d D\d) gets worse", page))
        assert told == {name.replace(">", "&gt;") for name in wires}, "the page says what the history says"
        if wires:
            marked[number] = wires
    assert all(names == [" ".join(BAD)] for names in marked.values()), marked
    assert SLOWLY_FROM <= min(marked) <= BY, marked
    assert set(range(BY, NIGHTS + 1)) <= set(marked), marked
