"""Nights on a simulated ring: what is kept of a good one, and how one goes on when something breaks."""

import dataclasses
import json
import shlex
from dataclasses import replace

import pytest

from hil.checks.check import Left, Result
from hil.cli import main
from hil.nightly.record import Cause, CheckKind, Night, Outcome, from_json
from hil.nightly.rounds import PROFILES, Planned, check_seed, plan_round
from hil.nightly.triage import clean_rig
from hil.nightly.verdict import exit_code
from hil.rig.specs import BoardSpec, LinkSpec, RigConfig, SimSpec, sim_rig
from tests.nightly.conftest import SEED, SMALL

ALL = ["boot", "wiring", "link 0->1", "link 1->0", "all links at once", "layers", "gradients", "generation", "training"]


@pytest.fixture(scope="module")
def shared():
    return {}


def good_night(run_night, shared):
    """One good night for all tests that only look at it."""
    if "night" not in shared:
        shared["night"] = run_night()
    return shared["night"]


def test_a_good_night_passes_every_check_and_is_kept_as_it_was(run_night, shared):
    result = good_night(run_night, shared)
    night = result.night
    assert [check.name for check in night.checks] == ALL
    assert {check.outcome for check in night.checks} == {Outcome.PASSED}, result.text
    assert night.good
    assert exit_code(night) == 0
    assert night == result.kept
    written = json.loads((result.out / "nights" / night.id / "night.json").read_text())
    assert from_json(Night, written) == night
    assert "GOOD: 9 checks: 9 passed" in result.text


def test_a_good_night_has_every_figure(run_night, shared):
    result = good_night(run_night, shared)
    night = result.night
    assert (night.rig, night.simulated, night.world_size, night.seed) == ("sim", True, 2, SEED)
    assert (night.compiler, night.model) == ("zig", "tiny")
    assert len(night.firmware_sha256) == 64
    assert night.harness.startswith("0.1.0")
    for rank, board in enumerate(night.boards):
        assert (board.rank, board.resets, board.retries, board.throttled) == (rank, 0, 0, 0)
        assert board.serial == f"{0xB0A2D000 + rank:016x}"
        assert board.boot_s > 1
        assert 20 < board.temperature_c < 85
    boot = result.check("boot").figures
    assert boot["boot_s"] > boot["skew_s"] > 0
    for name in ("link 0->1", "link 1->0"):
        soak = result.check(name)
        assert [wire.wire for wire in soak.wires] == [f"D{n}" for n in range(8)]
        assert {(w.link, w.bits, w.errors) for w in soak.wires} == {(name[5:], 2 * 16384, 0)}
        assert soak.figures["ber_limit"] == pytest.approx(3 / 32768, rel=0.01)
        (link,) = soak.links
        assert (link.bytes, link.frames, link.resends, link.timeouts) == (2 * 16384, 2, 0, 0)
        assert 100 < link.throughput_kb_s < 10_000
        assert set(link.phases_us) == {"ACK high", "ACK low", "CLK high", "CLK low"}
        assert all(0 <= low <= middle <= high < 1000 for low, middle, high in link.phases_us.values())
    layers, gradients = result.check("layers").figures, result.check("gradients").figures
    assert layers["taps"] == layers["taps_equal"] > 100
    assert gradients["taps"] == gradients["taps_equal"] > 100
    assert layers["traced_tokens_s"] > 1
    story = result.check("generation").figures
    assert story["tokens_s"] > layers["traced_tokens_s"]
    assert story["tokens"] == story["tokens_equal"] == SMALL.story_positions
    training = result.check("training")
    assert training.figures["step_s"] > 0
    assert training.losses == training.golden_losses
    assert len(training.losses) == SMALL.steps
    assert {span.rank for span in night.timeline.spans} == {0, 1}
    assert {"compute", "send", "receive"} <= {span.what for span in night.timeline.spans}
    assert 0 < night.timeline.error_s < 1e-3


def test_rounds_have_fresh_seeds_and_a_seed_makes_a_night(run_night):
    plan = [check for check in plan_with(2) if check.name in ("boot", "link 0->1")]
    first = run_night(plan=plan, faults=("glitch:0-1.D1=1e-3",), name="a")
    again = run_night(plan=plan, faults=("glitch:0-1.D1=1e-3",), name="b")
    assert first.check("link 0->1").wires[1].errors > 0, "glitches, and yet the same"
    assert first.check("boot").seed != first.check("link 0->1").seed
    assert first.check("boot").seed == check_seed(SEED, 1, "boot") != check_seed(SEED, 2, "boot")
    timeless = [
        [dataclasses.replace(check, started="") for check in night.checks] for night in (first.night, again.night)
    ]
    assert timeless[0] == timeless[1]


def test_time_ends_a_night_between_checks_and_a_round_that_was_cut_is_said(run_night):
    def wait(setup, seed):
        setup.ring.desk.loop.run_until(lambda: False, 5.0)
        return Result()

    waits = [Planned(f"wait {n}", CheckKind.LINK, wait, frozenset()) for n in range(3)]
    whole = run_night(plan=waits, limit_s=20, name="whole")
    assert whole.night.stopped is None
    assert [(check.round, check.name) for check in whole.night.checks[3:]] == [(2, "wait 0")]
    cut = run_night(plan=waits, limit_s=6, name="cut")
    assert [check.name for check in cut.night.checks] == ["wait 0", "wait 1"]
    assert cut.night.stopped == "time was up in the first round, 1 checks did not run"
    assert not cut.night.good
    assert exit_code(cut.night) == 1


# --- what breaks -----------------------------------------------------------------------------------


def test_an_open_wire_is_put_down_to_the_wiring_and_the_replay_command_shows_it_again(
    run_night, tmp_path, monkeypatch, capsys
):
    plan = [
        check for check in plan_round(sim_rig(2), PROFILES["quick"]) if check.name in ("boot", "wiring", "link 0->1")
    ]
    result = run_night(profile=PROFILES["quick"], plan=plan, faults=("open:0-1.D3",))
    assert exit_code(result.night) == 1
    assert [check.name for check in result.night.checks if check.outcome is Outcome.PASSED] == ["boot"]
    for check in (result.check("wiring"), result.check("link 0->1")):
        assert check.outcome is Outcome.FAILED
        assert check.failure.cause is Cause.WIRING
        assert [(a.where, a.passed) for a in check.attempts] == [("rig", False), ("rig", False), ("simulator", True)]
        assert "link 0->1 D3: board 0 GPIO19 (pin 35) -> board 1 GPIO7 (pin 26)" in check.failure.sentence
        assert {line.rank for line in check.failure.logs} == {0, 1}
        times = [line.time_s for line in check.failure.logs]
        assert times == sorted(times)
    check = result.check("link 0->1")
    assert (result.out / "nights" / result.night.id / "waves" / f"check-{check.number}.vcd").exists()
    assert any("CLK" in str(lane) for lane in check.failure.waveform["signal"])
    assert (result.out / f"night-{result.night.id}.html").exists()
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(check.failure.replay)
    assert program == "hil"
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    so = next(line for line in check.failure.sentence.splitlines() if "D3: board 0" in line)
    assert so in shown
    assert f"seed {check.seed:#x}: FAILED" in shown
    repaired = [word for word in arguments if word != "--fault=open:0-1.D3"]
    assert main(repaired) == 0, "without the fault the same command passes"


def once(action):
    """Does something the first time it is called."""
    pending = [action]

    def act(*values):
        if pending:
            pending.pop()(*values)

    return act


def plan_with(world_size, **acts):
    """The usual round of boot, wiring and links; acts: by a check's name, what is done to the setup before it."""
    kinds = frozenset((CheckKind.BOOT, CheckKind.WIRING, CheckKind.LINK))
    planned = plan_round(sim_rig(world_size), replace(SMALL, kinds=kinds))

    def before(check):
        def run(setup, seed):
            acts[check.name](setup)
            return check.run(setup, seed)

        return replace(check, run=run)

    return [before(check) if check.name in acts else check for check in planned]


def test_a_glitch_that_does_not_come_back_is_flaky_and_not_reproduced(run_night):
    def glitch(setup):
        setup.ring.desk.set_faults(["glitch:0-1.D5=0.01"])

    def clear(setup):
        setup.ring.desk.set_faults(())

    acts = [clear, glitch]  # the last one first
    plan = plan_with(2, **{"link 0->1": lambda setup: acts.pop()(setup) if acts else None})
    result = run_night(plan=[check for check in plan if check.name in ("boot", "link 0->1")])
    check = result.check("link 0->1")
    assert (check.outcome, check.failure.cause) == (Outcome.FLAKY, Cause.NOT_REPRODUCED), result.text
    assert [(a.where, a.passed) for a in check.attempts] == [("rig", False), ("rig", True), ("simulator", True)]
    assert "bits wrong on link 0->1 D5: board 0 GPIO21 (pin 40)" in check.sentence
    errors = {wire.wire: wire.errors for wire in check.wires}
    assert errors["D5"] > 0, "errors of the first attempt count"
    assert sum(errors.values()) == errors["D5"]
    assert not result.night.good
    assert exit_code(result.night) == 1


@pytest.mark.parametrize("kind", ["halt", "off"])
def test_a_board_that_dies_is_reset_and_the_retry_is_seen(run_night, kind):
    def strike(setup):
        setup.ring.desk.set_faults([f"{kind}:1@1ms"])

    plan = [check for check in plan_with(2, **{"link 0->1": once(strike)}) if check.name.startswith(("boot", "link"))]
    result = run_night(plan=plan)
    check = result.check("link 0->1")
    assert (check.outcome, check.failure.cause) == (Outcome.FLAKY, Cause.BOARD), result.text
    assert [(a.where, a.passed) for a in check.attempts] == [("rig", False), ("rig", True), ("simulator", True)]
    assert "board 1" in check.sentence
    assert [(board.resets, board.retries) for board in result.night.boards] == [(0, 0), (1, 1)]
    assert result.check("link 1->0").outcome is Outcome.PASSED, "the rest goes on"


def test_a_board_that_stays_dead_leaves_the_rest_running_until_it_is_plugged_in_again(run_night):
    def pull_out(setup):
        setup.ring.desk.set_faults(["uart-hangup:2@1us"])

    def plug_in(setup, seed):
        setup.ring.desk.set_faults(())
        return Result()

    plan = plan_with(4, wiring=once(pull_out))
    plan += [Planned("plug in", CheckKind.LINK, plug_in, frozenset())]
    plan += [replace(check, name=f"{check.name} again") for check in plan if check.name in ("boot", "link 1->2")]
    result = run_night(world_size=4, plan=plan)
    outcomes = {check.name: check.outcome for check in result.night.checks}
    assert outcomes == {
        "boot": Outcome.PASSED,
        "wiring": Outcome.FAILED,
        "link 0->1": Outcome.PASSED,
        "link 1->2": Outcome.SKIPPED,
        "link 2->3": Outcome.SKIPPED,
        "link 3->0": Outcome.PASSED,
        "all links at once": Outcome.PASSED,
        "plug in": Outcome.PASSED,
        "boot again": Outcome.PASSED,
        "link 1->2 again": Outcome.PASSED,
    }, result.text
    assert result.check("wiring").failure.cause is Cause.BOARD
    assert "board 2: port sim://sim/2: " in result.check("link 1->2").sentence
    assert {link.link for link in result.check("all links at once").links} == {"0->1", "3->0"}
    assert result.night.boards[2].resets == 1


def test_the_simulator_of_the_triage_is_the_rig_without_its_faults():
    boards = (BoardSpec(0, "/dev/ttyUSB0", serial=5, memory_mb=256), BoardSpec(1, "1330"))
    rig = RigConfig(
        "desk", boards, (LinkSpec(0, 1),), baud=921600, boot_baud=115200, sim=SimSpec(faults=("open:0-1.D3",))
    )
    clean = clean_rig(rig)
    assert (clean.name, clean.links, clean.baud, clean.baud_at_boot) == ("desk-clean", rig.links, 921600, 115200)
    assert clean.sim == SimSpec()
    assert [(spec.port, spec.serial, spec.memory_mb) for spec in clean.boards] == [
        ("sim://0", None, 256), ("sim://1", None, boards[1].memory_mb),
    ]  # fmt: skip


def test_wrong_firmware_is_found_on_the_simulator_too(run_night, tmp_path):
    from tests.broken import broken_image
    from tests.ring.test_divergence import ERRORS

    right, wrong, named = ERRORS["the head skips its norm weights"]
    image = broken_image(tmp_path, "model/forward.c", right, wrong)
    profile = replace(SMALL, kinds=frozenset((CheckKind.BOOT, CheckKind.LAYERS)))
    result = run_night(profile=profile, image=image)
    check = result.check("layers")
    assert (check.outcome, check.failure.cause) == (Outcome.FAILED, Cause.FIRMWARE), result.text
    assert named.replace("rank 3", "rank 1") in check.sentence
    wrong = {row.label for row in check.failure.mismatch_map if "x" in row.cells}
    assert "R1 FINAL_NORM" in wrong
    assert check.figures["taps_equal"] < check.figures["taps"]
    assert result.night.firmware_sha256 == image.sha256


def test_a_python_error_is_the_harness_and_the_night_goes_on(run_night):
    def wrong(setup, seed):
        return Result(figures={"x": {}["missing"]})

    plan = [Planned("boot", CheckKind.BOOT, plan_with(2)[0].run, frozenset()), Planned("odd", CheckKind.LINK, wrong)]
    result = run_night(plan=[*plan, replace(plan[1], name="after", run=lambda setup, seed: Result())])
    check = result.check("odd")
    assert (check.outcome, check.failure.cause) == (Outcome.FAILED, Cause.HARNESS)
    assert check.sentence == "KeyError: 'missing'"
    assert "test_runner.py" in check.failure.detail, "where it happened"
    assert result.check("after").outcome is Outcome.PASSED


def test_an_error_outside_any_check_ends_the_night_with_a_report(run_night, monkeypatch):
    def fail(*values):
        raise ZeroDivisionError("odd")

    monkeypatch.setattr("hil.checks.boards.health", fail)
    result = run_night(plan=plan_with(2)[:1])
    assert result.kept.stopped == "the program itself failed: ZeroDivisionError: odd"
    assert [check.outcome for check in result.kept.checks] == [Outcome.PASSED]
    assert "test_runner.py" in result.text, "the traceback"
    assert exit_code(result.night) == 1


def test_what_cannot_be_tried_is_skipped_with_its_reason(run_night):
    def leave(setup, seed):
        raise Left("no memory for training")

    boot = plan_with(2)[0]
    result = run_night(plan=[boot, Planned("training", CheckKind.TRAINING, leave)])
    assert (result.check("training").outcome, result.check("training").sentence) == (
        Outcome.SKIPPED, "no memory for training",
    )  # fmt: skip
    assert not result.night.good


def test_a_rig_that_cannot_be_opened_is_a_night_too(run_night, tmp_path):
    rig = tmp_path / "desk.toml"
    rig.write_text(f'[[board]]\nrank = 0\nport = "{tmp_path}/nowhere"\n')
    result = run_night(rig=str(rig))
    assert result.night.checks == []
    assert "does not exist; plug the adapter in" in result.night.stopped
    assert result.kept.ended is not None
    assert exit_code(result.night) == 1


def test_check_needs_a_seed_and_a_name_that_the_rig_has(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["nightly", "--check", "boot"]) == 1
    assert "--check: give --seed too" in capsys.readouterr().err
    assert main(["nightly", "--world", "2", "--check", "link 1->2", "--seed", "1"]) == 1
    assert "check 'link 1->2': rig sim has boot, wiring, link 0->1, link 1->0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--for", "8"], "8: give a time such as 8h, 90m or 30s"),
        (["--for", "0h"], "0h: give a time"),
        (["--rounds", "0"], "0: give 1 or more"),
        (["--ber", "1"], "1: give a bit error rate of 1e-15 to 0.1"),
    ],
)
def test_wrong_options_are_told(capsys, arguments, sentence):
    with pytest.raises(SystemExit):
        main(["nightly", *arguments])
    assert sentence in capsys.readouterr().err
