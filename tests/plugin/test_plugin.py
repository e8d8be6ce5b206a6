"""The plugin as a user's project sees it, through pytester."""

import json
import shlex

import pytest

TEN_LINES = """
import pytest
from hil.protocol.messages import Blob, Command

@pytest.mark.ring
def test_every_board_answers(boards):
    for board in boards:
        assert board.command(Command.PING, Blob(b"hello"), Blob).data == b"hello"
"""


@pytest.fixture
def project(pytester):
    pytester.makepyfile(TEN_LINES)
    return pytester


def test_ring_test_of_a_user_passes_without_hardware(project):
    result = project.runpytest_subprocess("-m", "ring", "--hil-world", "2", "--hil-seed", "0x77")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["hil: rig sim, seed 0x77, model tiny", "rig sim (simulated, 2 boards), seed 0x77*", "firmware *"]
    )
    assert (project.path / ".hil" / "latest" / "pi1.log").stat().st_size > 0
    assert not [name for name in ("logs", "build") if (project.path / name).exists()]


def test_ring_test_is_deselected_by_other_markers(project):
    project.runpytest_subprocess("-m", "loopback").assert_outcomes(deselected=1)


def test_failure_shows_the_boards_logs_and_the_command_that_repeats_it(pytester):
    pytester.makepyfile(
        """
        from hil.protocol.messages import Command, Crash, Empty

        def test_crash(boards):
            boards[1].command(Command.CRASH, Crash(1), Empty)
            boards[1].command(Command.PING, __import__("hil.protocol.messages").protocol.messages.Blob(b""), Empty)

        def test_next_one_is_unharmed(boards):
            assert all(board.booted for board in boards)
        """
    )
    result = pytester.runpytest_subprocess("--hil-world", "2", "--hil-seed", "5")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*board 1 (sim://sim/1): crashed: data abort at 0x*", "*board 1: end of .hil/runs/*-pytest/pi1.log*",
         "pytest test_failure*.py::test_crash --hil-rig=sim --hil-seed=0x5 --hil-world=2"]
    )  # fmt: skip


def test_the_command_that_repeats_works_for_tests_of_an_installed_package(pytester):
    """The shipped suite, run from an empty folder, on a ring whose wire is open."""
    chosen = (
        "-k",
        "test_links_had_nothing_to_mend or test_thousand_turnarounds",
        "--hil-fault",
        "open:1-2.D3",
        "-p",
        "no:cacheprovider",
    )
    result = pytester.runpytest_subprocess("--pyargs", "hil.suite.test_links", *chosen)
    lines = [line for line in result.outlines if line.startswith("pytest ")]
    assert lines, "no test failed, or none said how to repeat it"
    command = shlex.split(lines[0])
    assert "--hil-fault=open:1-2.D3" in command
    again = pytester.runpytest_subprocess(*command[1:], "-p", "no:cacheprovider")
    again.assert_outcomes(failed=1)


TWO_GENERATIONS = """
import pytest

@pytest.mark.parametrize("positions", [4, 8])
def test_story(ring, golden, positions):
    ring.generate(golden.encode_prompt("", positions), positions)
"""


def test_loose_jumper_fails_one_test_and_the_rest_is_skipped_because_of_it(pytester):
    pytester.makepyfile(TWO_GENERATIONS)
    result = pytester.runpytest_subprocess("--hil-fault", "open:1-2.D3", "-rs")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["cause: link 1->2 D3 is open (board 1 pin 35); 1 test skipped because of that",
         "SKIPPED * because link 1->2 D3 is open (board 1 pin 35)"]
    )  # fmt: skip


def test_failure_on_sound_wires_spares_no_test(pytester):
    pytester.makepyfile(TWO_GENERATIONS + "    assert positions > 4\n")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.no_fnmatch_line("cause: *")


def test_wiring_is_tested_first(pytester):
    pytester.makepyfile(
        """
        import pytest

        def test_story(ring, golden):
            ring.generate(golden.encode_prompt("", 4), 4)

        def test_without_boards():
            pass

        @pytest.mark.wiring
        def test_wires(ring):
            from hil.checks.wiring import scan_wiring

            assert scan_wiring(ring).good
        """
    )
    result = pytester.runpytest_subprocess("--hil-fault", "stuck0:0-1.ACK", "-v")
    result.assert_outcomes(failed=1, skipped=1, passed=1)
    result.stdout.fnmatch_lines(["*::test_wires FAILED*", "*::test_story SKIPPED*", "*::test_without_boards PASSED*"])
    result.stdout.fnmatch_lines(["cause: link 0->1 ACK is stuck at 0 (board 0 pin 22); 1 test skipped*"])


def test_unknown_rig_is_refused_in_one_sentence(project):
    result = project.runpytest_subprocess("--hil-rig", "nowhere.toml")
    assert result.errlines == [
        "ERROR: rig nowhere.toml: no such file; give a rig file, or `sim` for the simulated ring", ""
    ]  # fmt: skip
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_unknown_rig_is_refused_in_one_sentence_by_several_processes(project):
    result = project.runpytest_subprocess("--hil-rig", "nowhere.toml", "-n", "2", "-p", "xdist")
    said = [line for line in [*result.outlines, *result.errlines] if "nowhere.toml" in line]
    assert said == ["ERROR: rig nowhere.toml: no such file; give a rig file, or `sim` for the simulated ring"]
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_wrong_rig_is_no_matter_where_no_test_needs_it(pytester):
    pytester.makepyfile("def test_other(): pass")
    result = pytester.runpytest_subprocess("--hil-rig", "nowhere.toml")
    result.assert_outcomes(passed=1)
    assert not [line for line in result.outlines if line.startswith("hil:")], "a header where nothing of ours runs"
    assert not (pytester.path / ".hil").exists()


def test_two_processes_have_a_ring_and_a_folder_each(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_boards(boards, number):
            assert len(boards) == 2
        """
    )
    result = pytester.runpytest_subprocess("--hil-world", "2", "-n", "2")
    result.assert_outcomes(passed=4)
    logs = [line for line in result.outlines if line.startswith("logs: ")]
    assert sorted(line.rpartition("-")[2] for line in logs) == ["gw0", "gw1"]
    assert len([line for line in result.outlines if line.startswith("rig sim (simulated, 2 boards)")]) == 1


def test_each_process_takes_a_rig_of_its_own(pytester):
    for name in ("left", "right"):
        (pytester.path / f"{name}.toml").write_text("[sim]\nboards = 2\n")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_rig(rig, number, worker_id):
            assert rig.name == {"gw0": "left", "gw1": "right"}[worker_id]
        """
    )
    rigs = "left.toml,right.toml"
    pytester.runpytest_subprocess("--hil-rig", rigs, "-n", "2").assert_outcomes(passed=4)
    alone = pytester.runpytest_subprocess("--hil-rig", rigs)
    assert alone.ret == pytest.ExitCode.USAGE_ERROR
    assert alone.errlines[0] == (
        "ERROR: --hil-rig left.toml,right.toml: names 2 rigs, and each needs a process of its own; "
        "run with -n 2 (pytest-xdist)"
    )


def test_markers_are_registered_once(pytester):
    result = pytester.runpytest_subprocess("--markers")
    assert len([line for line in result.outlines if line.startswith("@pytest.mark.ring:")]) == 1


def test_ring_test_on_a_single_board_is_skipped_with_a_reason(project):
    result = project.runpytest_subprocess("--hil-rig", "sim-loopback", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*rig sim-loopback has 1 board and no closed ring; give the rig file of a ring*"])


def test_missing_port_names_port_and_cure(project):
    (project.path / "desk.toml").write_text(
        '[[board]]\nrank = 0\nport = "/dev/none0"\n[[board]]\nrank = 1\nport = "/dev/none1"\n'
    )
    result = project.runpytest_subprocess("--hil-rig", "desk.toml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*port /dev/none0: does not exist; plug the adapter in, or correct the port in the rig file*"]
    )


def test_outputs_that_meet_fail_the_test(pytester):
    pytester.makepyfile(
        """
        from hil.protocol.link_messages import PinDrive, PinLevels
        from hil.protocol.messages import Command

        def test_both_ends_drive_the_same_wire(boards):
            boards[0].command(Command.PIN_DRIVE, PinDrive(pin=16, drive=1, level=1, drive_ma=2), PinLevels)
            boards[1].command(Command.PIN_DRIVE, PinDrive(pin=4, drive=1, level=0, drive_ma=2), PinLevels)
        """
    )
    result = pytester.runpytest_subprocess("--hil-world", "2")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*outputs met on a wire*", "*board 0 GPIO16*"])


def test_allure_results_have_steps_and_logs(pytester):
    pytester.makepyfile(
        """
        def test_fails(boards):
            assert boards == []
        """
    )
    pytester.runpytest_subprocess("--hil-world", "2", "--alluredir", "allure").assert_outcomes(failed=1)
    folder = pytester.path / "allure"
    names = [
        attachment["name"]
        for path in [*folder.glob("*-result.json"), *folder.glob("*-container.json")]
        for attachment in _attachments(json.loads(path.read_text()))
    ]
    assert "boot times" in names
    assert "board 0 log" in names


def _attachments(node):
    if isinstance(node, dict):
        yield from node.get("attachments", [])
        for value in node.values():
            yield from _attachments(value)
    elif isinstance(node, list):
        for value in node:
            yield from _attachments(value)


def test_plugin_does_not_import_the_simulator_until_it_is_used(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_nothing_heavy_is_loaded():
            assert not {"numpy", "hil.sim", "hil.ring.ring", "golden"} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_failing_link_test_keeps_the_wires_as_vcd_and_a_passing_one_does_not(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.link
        @pytest.mark.parametrize("wrong", [False, True])
        def test_frames(ring, wrong):
            ring.link_frames(ring.desk.config.links[0], frames=1, length_bytes=8, seed=1)
            assert not wrong
        """
    )
    result = pytester.runpytest_subprocess("--hil-world", "2", "--alluredir", "allure")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([".hil/runs/*-pytest/test_frames_True_.vcd (VCD: open with GTKWave)"])
    assert [path.name for path in (pytester.path / ".hil" / "latest").glob("*.vcd")] == ["test_frames_True_.vcd"]
    dump = (pytester.path / ".hil" / "latest" / "test_frames_True_.vcd").read_text()
    assert "$scope module link_0_1 $end" in dump
    assert dump.count("#") > 100, "no changes in the dump"


SEED_AND_RIG = """
def test_settings(hil):
    print("seed", hil.settings.seed, "boards", hil.settings.world_size, "rig", hil.config.name)
"""


def test_settings_come_from_command_line_environment_and_ini_in_this_order(pytester, monkeypatch):
    pytester.makepyfile(SEED_AND_RIG)
    pytester.makeini("[pytest]\nhil_seed = 5\nhil_world = 5\nhil_fault =\n    open:1-2.D3\n    halt:2@1s\n")
    result = pytester.runpytest_subprocess("-s")
    result.stdout.fnmatch_lines(["hil: rig sim, seed 0x5, *", "*seed 5 boards 5 *"])
    monkeypatch.setenv("HIL_SEED", "6")
    pytester.runpytest_subprocess("-s").stdout.fnmatch_lines(["hil: rig sim, seed 0x6, *", "*seed 6 boards 5 *"])
    result = pytester.runpytest_subprocess("-s", "--hil-seed=7")
    result.stdout.fnmatch_lines(["hil: rig sim, seed 0x7, *", "*seed 7 boards 5 *"])


@pytest.mark.parametrize(
    ("ini", "environment", "option", "sentence"),
    [
        ("abc", None, None, "hil_seed = abc: give a whole number, such as 5 or 0x5eed"),
        ("5", "abc", None, "HIL_SEED=abc: give a whole number, such as 5 or 0x5eed"),
        ("5", "6", "abc", "--hil-seed abc: give a whole number, such as 5 or 0x5eed"),
    ],
)
def test_wrong_seed_is_one_sentence_that_says_where_it_came_from(
    pytester, monkeypatch, ini, environment, option, sentence
):
    pytester.makeini(f"[pytest]\nhil_seed = {ini}\n")
    if environment is not None:
        monkeypatch.setenv("HIL_SEED", environment)
    result = pytester.runpytest_subprocess(*([f"--hil-seed={option}"] if option is not None else []))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])


def test_rig_file_of_the_ini_is_found_from_another_folder(pytester, monkeypatch):
    (pytester.path / "desk.toml").write_text("[rig]\nname = 'mine'\n[sim]\nboards = 3\n")
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nhil_rig = 'desk.toml'\n")
    pytester.makepyfile(**{"below/test_settings": SEED_AND_RIG})
    monkeypatch.chdir(pytester.path / "below")
    pytester.runpytest_subprocess("-s").stdout.fnmatch_lines(["hil: rig *desk.toml, *", "*rig mine*"])


def test_the_command_that_repeats_names_what_the_environment_said(pytester, monkeypatch):
    monkeypatch.setenv("HIL_WORLD", "2")
    pytester.makepyfile("def test_fails(boards):\n    assert len(boards) == 4\n")
    pytester.runpytest_subprocess().stdout.fnmatch_lines(
        ["pytest *::test_fails --hil-rig=sim --hil-seed=* --hil-world=2"]
    )
