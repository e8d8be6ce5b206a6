"""Trends: a wire that degrades is marked by name in time, nothing else is; figures far from their past are marked."""

import random
from dataclasses import replace

import pytest

from hil.nightly.history import History
from hil.nightly.record import CheckKind, LinkFigures, Outcome, Subject, WireFigures
from hil.nightly.series import figures_of
from hil.nightly.trends import (
    CHANCE,
    DISTANCE,
    FIGURE_CHANCE,
    FIGURES_MIN,
    LOOKBACK_NIGHTS,
    Count,
    chance_of_more,
    clumping,
    figure_mark,
    marks_of,
    wire_marks,
)
from tests.nightly.nights import a_check, a_night

LINKS = ("0->1", "1->2", "2->3", "3->0")
WIRES = tuple(f"D{n}" for n in range(8))
NIGHTS, SLOWLY_FROM, BY = 30, 20, 23
BITS = 262_144
"""Of one wire in a quick night: a soak of 128 KiB in each direction."""
GLITCH_SEEN = 0.4
"""Errors for each pulse of 100 ns on a data wire, as the simulator's links show: test_thirty_nights.py."""
BACKGROUND = 2e-6
"""Errors per bit of a sound wire: one night in two somewhere on the ring."""


def poisson(rng: random.Random, mean: float) -> int:
    """Knuth's method; means here are small."""
    limit, count, product = pow(2.718281828459045, -mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count


def glitch_rate(night: int) -> float:
    """Pulses per byte on the bad wire: it doubles from night 20 on."""
    return 0.0 if night < SLOWLY_FROM else 2e-5 * 2 ** (night - SLOWLY_FROM)


def drawn_nights(
    seed: int, *, bad: tuple[str, str] | None, nights: int = NIGHTS, clump: int = 1, background=BACKGROUND
):
    """Nights with errors drawn as the wires' glitches give them; clump: errors that come with each event."""
    rng = random.Random(seed)
    for night in range(1, nights + 1):
        wires = []
        for link in LINKS:
            for wire in WIRES:
                mean = BITS * background
                if (link, wire) == bad:
                    mean += BITS * glitch_rate(night) * GLITCH_SEEN
                wires.append(WireFigures(link, wire, BITS, clump * poisson(rng, mean)))
        links = [LinkFigures(link, BITS, 16, poisson(rng, 0.05), 0, rng.gauss(3000, 3)) for link in LINKS]
        figures = {"tokens_s": rng.gauss(80, 1), "boot_s": rng.gauss(6.8, 0.01)}
        check = a_check(1, "all links at once", wires=wires, links=links, figures=figures)
        yield night, a_night(night, [check])


def judged(history: History, night) -> list:
    """The marks of a night, as the runner finds them."""
    return marks_of(history.figures(night.rig, night.started, LOOKBACK_NIGHTS), figures_of(night))


def marks_by_night(history: History, nights) -> dict[int, list[str]]:
    """What is marked each night, judged in the order of time, every judgement kept as the runner keeps it."""
    found = {}
    for number, night in nights:
        history.begin(night)
        marks = judged(history, night)
        history.update(replace(night, marks=marks))
        if marks:
            found[number] = [mark.name for mark in marks]
    return found


@pytest.mark.parametrize("seed", range(2))
def test_a_wire_that_degrades_from_night_20_is_marked_by_night_23_and_no_other_is(tmp_path, seed):
    bad = random.Random(seed).choice([(link, wire) for link in LINKS for wire in WIRES])
    print(f"seed {seed}: {bad}")
    with History(tmp_path / "h.sqlite") as history:
        found = marks_by_night(history, drawn_nights(seed, bad=bad))
    name = " ".join(bad)
    assert all(names == [name] for names in found.values()), found
    assert SLOWLY_FROM <= min(found) <= BY, found
    assert set(range(BY, NIGHTS + 1)) <= set(found), "and it stays marked while it gets worse"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wire_is_marked_in_time_and_alone_for_fifty_seeds():
    first = {}
    for seed in range(200, 250):
        bad = random.Random(seed).choice([(link, wire) for link in LINKS for wire in WIRES])
        past = []
        for number, night in drawn_nights(seed, bad=bad):
            tonight = figures_of(night)
            marks = wire_marks([*past, tonight])
            past.append(replace(tonight, marks=marks))
            assert [mark.name for mark in marks] in ([], [" ".join(bad)]), (seed, number)
            if marks:
                first.setdefault(seed, number)
    print(f"first marked in night: {sorted(first.values())}")
    assert len(first) == 50
    assert SLOWLY_FROM <= min(first.values()) <= max(first.values()) <= BY


def test_what_is_marked_is_said_in_a_sentence(tmp_path):
    with History(tmp_path / "h.sqlite") as history:
        marks_by_night(history, drawn_nights(1, bad=("1->2", "D3"), nights=24, background=0))
        marks = [mark for night in history.nights("sim") for mark in night.marks]
    assert {(mark.subject, mark.name, mark.what) for mark in marks} == {(Subject.WIRE, "1->2 D3", "errors")}
    assert marks[-1].chance < CHANCE
    assert marks[-1].usual < marks[-1].value
    assert marks[-1].sentence.startswith("wire 1->2 D3 gets worse: ")
    assert "; at the rate of the nights before there would be " in marks[-1].sentence
    assert "the other wires of its link had 0 in" in marks[-1].sentence


def false_alarms(seeds, nights=60, **values) -> tuple[int, int]:
    """(marks, nights) of histories in which nothing changes; judged without a file, for speed."""
    marks = count = 0
    for seed in seeds:
        past = []
        for _, night in drawn_nights(seed, bad=None, nights=nights, **values):
            past.append(figures_of(night))
            marks += len(wire_marks(past[-34:]))
            count += 1
    return marks, count


@pytest.mark.parametrize("clump", [1, 8], ids=["single", "in-bursts-of-8"])
def test_sound_wires_are_hardly_ever_marked(clump):
    marks, nights = false_alarms(range(2), clump=clump, background=4e-6 / clump)
    assert (marks, nights) == (0, 120)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("clump", "background"), [(1, 2e-7), (1, 4e-6), (1, 4e-5), (8, 5e-7)])
def test_false_alarms_over_thousands_of_nights(clump, background):
    marks, nights = false_alarms(range(100, 150), clump=clump, background=background)
    print(f"{marks} marks in {nights} nights of 32 wires")
    assert marks <= nights * 32 * CHANCE * 3


def test_noise_on_a_whole_link_is_the_links_and_not_a_wires(tmp_path):
    with History(tmp_path / "h.sqlite") as history:
        for day in range(1, 26):
            noisy = day >= 20
            wires = [WireFigures(k, w, BITS, 12 if noisy and k == "2->3" else 0) for k in LINKS for w in WIRES]
            links = [LinkFigures(k, BITS, 64, 12 if noisy and k == "2->3" else 0, 0, 3000.0) for k in LINKS]
            night = a_night(day, [a_check(1, wires=wires, links=links, figures={})])
            history.begin(night)
            marks = judged(history, night)
            history.update(replace(night, marks=marks))
            assert [(m.subject, m.name) for m in marks] == ([(Subject.LINK, "2->3")] if noisy else []), day


# --- statistics ------------------------------------------------------------------------------------


def test_chance_of_more_is_the_binomial_tail():
    assert chance_of_more(Count(0, 100), Count(50, 100)) == 1.0
    assert chance_of_more(Count(3, 0), Count(0, 100)) == 1.0
    assert chance_of_more(Count(3, 100), Count(0, 100)) == pytest.approx(1 / 8)
    assert chance_of_more(Count(2, 100), Count(1, 100)) == pytest.approx(4 / 8)
    assert chance_of_more(Count(2, 100), Count(1, 300)) == pytest.approx(1 - 0.75**3 - 3 * 0.25 * 0.75**2)
    assert chance_of_more(Count(100, 10**6), Count(0, 10**7)) < 1e-90


def test_clumping_is_one_for_single_events_and_grows_with_bursts():
    rng = random.Random(1)
    single = [[Count(poisson(rng, 3), 1000) for _ in range(200)] for _ in range(4)]
    bursts = [[Count(10 * poisson(rng, 3), 1000) for _ in range(200)] for _ in range(4)]
    assert clumping(single) == pytest.approx(1, abs=0.2)
    assert clumping(bursts) == pytest.approx(10, rel=0.2)
    assert clumping([]) == clumping([[Count(0, 5), Count(0, 5)]]) == clumping([[Count(7, 5)]]) == 1


def one_link(errors):
    """Figures of a night with wrong bits on D3 of one link."""
    wires = [WireFigures("0->1", wire, BITS, errors if wire == "D3" else 0) for wire in WIRES]
    return figures_of(a_night(0, [a_check(1, wires=wires, links=[])]))


def test_nothing_is_marked_before_anybody_knows_what_is_usual():
    sound, bad = one_link(0), one_link(100)
    assert wire_marks([*[sound] * 4, bad]) == []
    past = [replace(sound, night=f"n{n}") for n in range(5)]
    assert [mark.name for mark in wire_marks([*past, bad])] == ["0->1 D3"]
    assert wire_marks([*past, bad, figures_of(a_night(7))]) == [], "nothing was measured tonight"
    assert wire_marks([]) == []


def test_a_wire_that_stays_bad_stays_marked():
    past = []
    for night in range(80):
        tonight = replace(one_link(50 if night >= 10 else 0), night=f"n{night}")
        marks = wire_marks([*past, tonight])
        past.append(replace(tonight, marks=marks))
        assert [mark.name for mark in marks] == (["0->1 D3"] if night >= 10 else []), night


# --- figures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "last", "marked"),
    [
        ("tokens_s", 60, True),
        ("tokens_s", 100, False),
        ("boot_s", 100, True),
        ("boot_s", 60, False),
        ("step_s", 80, False),
    ],
)
def test_figures_are_marked_on_their_bad_side(figure, last, marked):
    values = [80 + (i % 5 - 2) / 2 for i in range(FIGURES_MIN)]
    mark = figure_mark("layers", figure, values, last)
    assert (mark is not None) == marked
    if mark is not None:
        assert mark.sentence.startswith(
            f"{figure} of layers: {last}, the median of {FIGURES_MIN} nights is 80; that is "
        )


def test_figures_need_a_past():
    before = [80.0] * FIGURES_MIN
    assert figure_mark("layers", "tokens_s", before, 10.0) is not None
    assert figure_mark("layers", "tokens_s", before[1:], 10.0) is None, "too few nights"
    assert figure_mark("layers", "tokens_s", before, 79.0) is None, "too little to be worth a word"
    assert figure_mark("layers", "boot_s", [0.0] * FIGURES_MIN, 1.0) is None, "no spread can be told"


def test_normal_figures_are_marked_as_seldom_as_stated():
    rng, runs = random.Random(7), 20_000
    marks = 0
    for _ in range(runs):
        values = [rng.gauss(80, 1) for _ in range(FIGURES_MIN + 1)]
        marks += figure_mark("layers", "tokens_s", values[:-1], values[-1]) is not None
    print(f"{marks} marks in {runs} nights, at {DISTANCE} MAD")
    assert marks <= 2 * runs * FIGURE_CHANCE


def test_figures_of_another_profile_or_model_are_no_past(tmp_path):
    with History(tmp_path / "h.sqlite") as history:
        for day in range(20):
            check = a_check(
                1, "generation", kind=CheckKind.GENERATION, wires=[], links=[], figures={"tokens_s": 80 + day % 3}
            )
            history.begin(a_night(day, [check]))
        slow = a_check(1, "generation", kind=CheckKind.GENERATION, wires=[], links=[], figures={"tokens_s": 5.0})
        other = a_night(30, [slow], model="stories15M")
        history.begin(other)
        assert judged(history, other) == []
        night = a_night(31, [slow])
        history.begin(night)
        (mark,) = judged(history, night)
        assert (mark.subject, mark.name, mark.value, mark.usual) == (Subject.FIGURE, "tokens_s", 5.0, 81.0)
        failed = a_night(32, [replace(slow, outcome=Outcome.FAILED)])
        history.begin(failed)
        assert judged(history, failed) == [], "what failed is told by its check"


def test_throughput_is_marked_as_the_links(tmp_path):
    with History(tmp_path / "h.sqlite") as history:
        for day in range(20):
            figures = {"kb_s": 300.0 + day % 3 if day < 19 else 200.0}
            history.begin(a_night(day, [a_check(1, "link 1->2", figures=figures, wires=[], links=[])]))
        marks = judged(history, history.night("sim-019"))
    assert [(m.subject, m.name, m.what, m.value) for m in marks] == [(Subject.LINK, "1->2", "throughput", 200.0)]
