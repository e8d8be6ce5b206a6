"""Faults while a job runs: a seeded few of each kind; the whole bench is `hil bench accusations`. And it can fail."""

from dataclasses import replace

import pytest

from hil.bench import accusations
from hil.bench.accusations import Judged, Scenario, as_promised, blame, figures_of
from hil.rig.specs import sim_rig
from hil.session import Session
from hil.settings import Settings

D3 = "link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2 GPIO7 (pin 26): open; no level gets across"
FEW = (
    Scenario("open:1-2.ACK", 0.3, training=False),
    Scenario("open:0-1.D3", 0.3, training=True),
    Scenario("stuck1:2-3.CLK", 0.3, training=True),
    Scenario("missing:1-2", 0.5, training=False),
    Scenario("reversed:1-2", 0.5, training=True),
    Scenario("bridge-or:0-1.D2,0-1.ACK", 0.3, training=False),
    Scenario("glitch:1-2.D5=0.05", 0.2, training=False),
    Scenario("halt:2@0.02s", 0.0, training=False),
    Scenario("off:1@0.02s", 0.0, training=True),
    Scenario("reset:3@0.02s", 0.0, training=False),
    Scenario("uart-hangup:1@0.02s", 0.0, training=False),
)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("accusations")
    settings = Settings(logs=folder / "logs", work=folder / "work", seed=0x5EED)
    return accusations.judge_all(accusations._Share(settings, "accusations", FEW))


@pytest.mark.parametrize("number", range(len(FEW)), ids=[scenario.fault for scenario in FEW])
def test_the_one_who_is_to_blame_is_named_and_nobody_else_within_fifteen_seconds(judged, number):
    one = judged[number]
    assert one.sentence
    assert one.named, one.sentence
    assert not one.wrong, one.sentence
    assert 0 < one.seconds <= 15
    assert one.usable_again
    assert not one.false_green


def test_sentence_that_names_another_wire_is_wrong():
    assert blame(Scenario("open:1-2.D3", 0.1, False), f"x\n  so:      {D3}") == (True, False)
    assert blame(Scenario("open:1-2.D4", 0.1, False), f"x\n  so:      {D3}") == (False, True)


def test_sentence_that_names_a_wire_where_a_board_is_to_blame_is_wrong():
    silent = "x\n  so:      board 2 does not answer its UART either: it has no power"
    assert blame(Scenario("halt:2@1s", 0.0, False), f"x\n  so:      {D3}") == (False, True)
    assert blame(Scenario("halt:2@1s", 0.0, False), silent) == (True, False)
    assert blame(Scenario("halt:1@1s", 0.0, False), silent) == (False, True)
    assert blame(Scenario("open:1-2.D3", 0.0, False), silent) == (False, True)


def test_bridge_must_be_named_by_both_wires():
    both = "  so:      link 1->2 D3 and link 1->2 D4: joined"
    assert blame(Scenario("bridge-or:1-2.D3,1-2.D4", 0.1, False), both) == (True, False)
    assert blame(Scenario("bridge-or:1-2.D3,1-2.D4", 0.1, False), f"  so:      {D3}") == (False, False)


def test_sentence_that_names_another_link_is_wrong():
    missing = "  so:      link 1->2: none of its ten wires gets through"
    assert blame(Scenario("missing:1-2", 0.1, False), missing) == (True, False)
    assert blame(Scenario("missing:0-1", 0.1, False), missing) == (False, True)


def test_figures_hold_and_break_by_each_of_their_limits():
    good = Judged("open:1-2.D3", False, "so", True, False, False, 4.0, True)
    assert as_promised(figures_of([good] * 10))
    for spoiled in (
        replace(good, named=False), replace(good, wrong=True), replace(good, false_green=True),
        replace(good, seconds=15.1), replace(good, usable_again=False),
    ):  # fmt: skip
        assert not as_promised(figures_of([good] * 10 + [spoiled]))


def test_scenarios_are_the_same_by_the_seed_and_cover_every_wire_and_bridge():
    config = sim_rig(4)
    some = accusations.scenarios(config, 5, 30)
    assert some == accusations.scenarios(config, 5, 30)
    assert some != accusations.scenarios(config, 6, 30)
    assert len(some) == 66 + 90 + 30
    assert {"open", "stuck0", "stuck1", "missing", "reversed", "noground", "bridge-and"} <= {one.kind for one in some}


def test_job_that_ends_well_with_another_result_is_a_false_green(tmp_path):
    session = Session(Settings(logs=tmp_path / "logs", work=tmp_path / "work"))
    bench = accusations._Bench(session, session.config)
    try:
        bench.clean[False] = ((1, 2, 3), 1.0)
        assert bench.judge(Scenario("uart-hangup:1@9s", 0.0, training=False)).false_green
    finally:
        bench.ring.desk.close()
