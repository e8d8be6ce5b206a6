"""Opening a rig: what a desk gives to its boards, and what stops it, in one sentence."""

import os
import subprocess
import sys

import pytest

from hil.desk.desk import Desk, open_desk
from hil.errors import BoardError, HilError
from hil.rig.specs import BoardSpec, RigConfig, sim_rig
from hil.toolchain import Image


class Switch:
    """A power that remembers whom it was asked to reset."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def reset(self, board) -> None:
        self.asked.append(board.rank)

    def describe(self) -> str:
        return "a switch does it"

    def close(self) -> None:
        pass


@pytest.fixture
def kernel(tmp_path):
    path = tmp_path / "kernel.img"
    path.write_bytes(bytes(64))
    return Image(path, tmp_path / "none.elf", "0" * 64, bytes(16), "t", "zig")


def test_board_is_reset_by_the_power_that_its_desk_has_now(tmp_path):
    rig = RigConfig("two", (BoardSpec(0, "loop://"), BoardSpec(1, "loop://")), ())
    (tmp_path / "any.img").write_bytes(bytes(64))
    with Desk(rig, tmp_path / "logs", seed=1) as desk:
        desk.power = Switch()
        with pytest.raises(BoardError, match="no byte in 0 s; .*; to start it anew: a switch does it"):
            desk.boards[1].boot(tmp_path / "any.img", timeout_s=0.1)
        assert desk.power.asked == [1]


def test_card_that_cannot_be_written_is_a_sentence(tmp_path, kernel):
    kernel.path.unlink()
    with pytest.raises(HilError, match=r"kernel\.img: cannot read the file for the card: .*; build it first"):
        open_desk(sim_rig(1), tmp_path / "logs", seed=1, kernel=kernel, work=tmp_path)


def test_compiler_that_is_missing_is_a_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hil.cli", "generate", "--compiler", "gcc"],
        capture_output=True, text=True, check=False, env={**os.environ, "PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "hil generate: arm-none-eabi-gcc is not on the PATH; install it" in done.stderr
    assert "Traceback" not in done.stderr
