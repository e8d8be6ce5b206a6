"""What goes wrong in the simulator reaches a user of a simulated rig as one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil import sim
from hil.cli import main
from hil.desk.simulated import RigSimulation
from hil.errors import RigError
from hil.sim import core


def rig(tmp_path: Path, card: str) -> list[str]:
    path = tmp_path / "cards.toml"
    path.write_text(f'[sim]\nboards = 1\ncards = ["{card}"]\n')
    return ["generate", "--rig", str(path), "--logs", str(tmp_path / "logs")]


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


def test_damaged_card_image_ends_with_its_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.img").write_bytes(bytes(4096))
    assert main(rig(tmp_path, "bad.img")) == 1
    line = only_line(capsys.readouterr().err)
    assert line.startswith(f"hil generate: rig cards: [sim] cards: board 0: {tmp_path / 'bad.img'}: ")
    assert line.endswith("the board stays silent; `hil sd write` makes a good one")


def test_card_without_a_kernel_ends_with_its_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "config.txt").write_bytes(b"\xff\xfe kernel=none.img")
    assert main(rig(tmp_path, "card")) == 1
    assert "board 0: " in (line := only_line(capsys.readouterr().err))
    assert "kernel.img is missing: the board stays silent; `hil sd write` makes a good one" in line


def test_simulator_that_cannot_be_built_says_which_command_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load() -> None:
        raise sim.BuildError("cc -O2 nets.c failed: no space left on the device")

    monkeypatch.setattr(core, "load", load)
    assert main(["generate", "--logs", str(tmp_path)]) == 1
    assert (
        only_line(capsys.readouterr().err)
        == "hil generate: rig sim (simulated): cc -O2 nets.c failed: no space left on the device"
    )


def test_shard_too_big_for_its_board_ends_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hil.desk.simulated.write_card", lambda *_, **__: (_ for _ in ()).throw(ValueError("too big")))
    assert main(["generate", "--logs", str(tmp_path)]) == 1
    assert only_line(capsys.readouterr().err) == "hil generate: rig sim: the simulated card: too big"


def test_every_border_names_the_rig() -> None:
    with RigSimulation("desk", [sim.BoardConfig(None)], sim.Netlist(), seed=1) as simulation:
        with pytest.raises(RigError, match=r"^rig desk \(simulated\): Wire\(.*boards are 0\.\.0, pins 0\.\.53"):
            simulation.set_wires([sim.Wire(0, 1, 7, 2)])
        with pytest.raises(RigError, match=r"^rig desk \(simulated\): board 3: this simulation has boards 0\.\.0"):
            simulation.power_on(3)
        with pytest.raises(RigError, match=r"^rig desk \(simulated\): board 3"):
            simulation.run(1, stop_on_rx=[3])
    with pytest.raises(RigError, match=r"^rig desk \(simulated\): 0 boards: a simulation has 1 to 16"):
        RigSimulation("desk", [], sim.Netlist(), seed=1)
