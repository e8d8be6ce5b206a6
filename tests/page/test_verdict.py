"""The night in one sentence, its failures put together, and what changed."""

import dataclasses
import re

import pytest

from hil.nightly.record import Cause, Outcome, Subject, TrendMark
from hil.nightly.verdict import State, exit_code, groups, place_of, tally, verdict
from tests.page import nights

GOOD = nights.Maker(3).night(1)
MARK = TrendMark(Subject.WIRE, "1->2 D3", "errors", 9, 0, 1e-9, "...")


def test_good_night_is_healthy():
    said = verdict(GOOD)
    assert (said.state, said.sentence) == (
        State.GOOD, "The ring is healthy: all 20 checks passed, none needed a second try."
    )  # fmt: skip


def test_wrong_bits_that_are_allowed_are_said_in_a_healthy_night():
    said = verdict(nights.history(26)[-1])
    assert said.state is State.GOOD
    assert re.search(r"; \d+ wrong bits on link 1->2 D3 are within what its check allows\.$", said.sentence)


def test_failures_are_counted_with_cause_and_place():
    said = verdict(nights.bad_night())
    assert said.state is State.BAD
    assert said.sentence.startswith("6 of 30 checks failed (3 wiring, link 1->2 CLK; ")
    assert "2 passed only when tried again; 1 could not be tried." in said.sentence


@pytest.mark.parametrize(
    ("night", "state", "words"),
    [
        (nights.partial_night(), State.UNFINISHED, "Stopped early (interrupted by Ctrl-C) after 6 checks: none"),
        (nights.killed_night(), State.UNFINISHED, "No end is recorded (killed, or still running) after 4 checks:"),
        (dataclasses.replace(GOOD, checks=[]), State.UNFINISHED, "Nothing was tested."),
        (nights.broken(GOOD, 4, nights.failure(Cause.NOT_REPRODUCED), Outcome.FLAKY), State.WATCH,
         "Nothing failed in 20 checks, but 1 passed only when tried again."),
        (dataclasses.replace(GOOD, marks=[MARK]), State.WATCH,
         "Nothing failed in 20 checks, but link 1->2 D3 is getting worse."),
    ],
)  # fmt: skip
def test_no_other_night_is_called_healthy(night, state, words):
    said = verdict(night)
    assert said.state is state
    assert said.sentence.startswith(words)


@pytest.mark.parametrize(
    ("sentence", "place"),
    [
        ("link 1->2: byte 3 stopped\n  so: look at link 1->2 ACK: board 1 GPIO25", "link 1->2 ACK"),
        ("link 2->3: frame 77 was wrong", "link 2->3"),
        ("board 2 (/dev/ttyUSB2): no answer", "board 2"),
        ("op QUERY of layer 3, rank 1, differs", "board 1"),
        ("no space left", ""),
    ],
)
def test_place_is_what_the_sentence_names(sentence, place):
    assert place_of(sentence) == place


def test_checks_that_fail_at_one_place_are_one_group_the_largest_first():
    found = groups(nights.bad_night(), Outcome.FAILED)
    assert [(str(group.cause), group.place, len(group.checks)) for group in found] == [
        ("wiring", "link 1->2 CLK", 3), ("harness", "", 1), ("board", "board 2", 1), ("firmware", "board 1", 1)
    ]  # fmt: skip
    assert found[0].names == ["wiring", "link 0->1", "link 1->2"]


def test_tally_and_exit_code_of_a_night():
    assert (tally(GOOD), exit_code(GOOD)) == ("20 checks: 20 passed", 0)
    assert tally(dataclasses.replace(GOOD, checks=[])) == "0 checks: none ran"
    assert tally(nights.bad_night()) == "30 checks: 21 passed, 2 flaky, 6 failed, 1 skipped"
    stops = {"interrupted": 130, "ended by SIGTERM": 143, "the disk is full": 1}
    assert {stop: exit_code(dataclasses.replace(GOOD, stopped=stop)) for stop in stops} == stops
    assert exit_code(nights.bad_night()) == 1
