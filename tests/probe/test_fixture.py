"""The `probe` fixture: what it hands out, and what it does not let pass."""

from __future__ import annotations

TESTS = """
    import pytest

    @pytest.mark.probe
    def test_probe_has_its_board(probe):
        assert probe.board.booted
        assert str(probe).endswith("on the downstream bank of board 0")

    @pytest.mark.probe
    def test_says_what_the_chip_does_not_know(probe):
        probe.lines.adapter.transact(bytes([0xAB]), 2, 0.1)

    @pytest.mark.probe
    def test_lets_outputs_meet(probe):
        from hil.protocol.link_messages import PinDrive, PinLevels
        from hil.protocol.messages import Command

        probe.board.command(Command.PIN_DRIVE, PinDrive(25, 1, 0, 2), PinLevels)
        probe.lines.adapter.transact(bytes([0x80, 0x20, 0x20, 0x81]), 1, 0.1)
        probe.board.command(Command.PIN_DRIVE, PinDrive(25, 0, 0, 2), PinLevels)
"""


def test_fixture_hands_out_a_probe_and_fails_tests_that_do_harm(pytester):
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-m", "probe", "--hil-logs", str(pytester.path))
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        ["*0xab is no MPSSE command that is known here", "*outputs met on a wire:", "*FT232H AD5=1*"]
    )


def test_rig_without_a_probe_skips_and_says_why(pytester):
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-rs", "--hil-rig", "sim-loopback", "-k", "has_its_board")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*rig sim-loopback has no probe; add a ?probe? table to the rig file*"])
