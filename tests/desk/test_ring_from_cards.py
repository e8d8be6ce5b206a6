"""The whole way: cards as images, a ring that boots from them, and a rig file that the boards themselves dictate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hil.cli import main
from hil.errors import BoardError, RigError
from hil.rig.config import load_rig
from hil.session import Session
from hil.settings import Settings


@pytest.fixture
def image_rig(tmp_path: Path) -> Path:
    """A simulated rig of two boards whose cards are images, written by `hil sd write`."""
    for rank in range(2):
        dest = tmp_path / f"card{rank}.img"
        assert main(["sd", "write", "--rank", str(rank), "--world", "2", "--model", "tiny", str(dest)]) == 0
    path = tmp_path / "cards.toml"
    path.write_text('[sim]\nboards = 2\ncards = ["card0.img", "card1.img"]\n')
    return path


def test_ring_generates_from_card_images(image_rig, tmp_path, capsys):
    logs = str(tmp_path / "logs")
    assert main(["generate", "--rig", str(image_rig), "--positions", "4", "--logs", logs]) == 0
    shown = capsys.readouterr().out
    assert "4, all equal to the golden's" in shown


def test_ring_with_exchanged_cards_is_refused(image_rig, tmp_path, capsys):
    image_rig.write_text('[sim]\nboards = 2\ncards = ["card1.img", "card0.img"]\n')
    assert main(["generate", "--rig", str(image_rig), "--positions", "4", "--logs", str(tmp_path / "logs")]) == 1
    assert "holds the shard of rank 1 of 2, but stands at rank 0 of 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cards", "sentence"),
    [
        ('["a.img"]', "give a list with one folder or image for each board"),
        ('"a.img"', "give a list with one folder or image for each board"),
        ('["a.img", "b.img"]', "a.img does not exist; `hil sd write` makes one"),
    ],
)
def test_wrong_cards_of_a_simulated_rig_are_refused(tmp_path, cards, sentence):
    path = tmp_path / "rig.toml"
    path.write_text(f"[sim]\nboards = 2\ncards = {cards}\n")
    with pytest.raises(RigError, match=sentence):
        load_rig(str(path))


def test_rig_init_before_and_after_boot_over_terminals(tmp_path, capsys):
    folder = tmp_path / "desk"
    command = [sys.executable, "-m", "hil.cli", "sim", "--pty", str(folder), "--fast", "--world", "2", "--seed", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("2 boards at")
            _ask_boot_ask(tmp_path, folder, capsys)
        finally:
            process.terminate()


def _ask_boot_ask(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ports = [str(folder / "pi1"), str(folder / "pi0")]
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    assert main(["rig", "init", str(first), "--ports", *ports]) == 0
    assert "2 boards, 2 ranks guessed" in capsys.readouterr().out
    assert [spec.port for spec in load_rig(str(first)).boards] == ports

    session = Session(Settings(rig=str(folder / "rig.toml"), logs=tmp_path / "logs", work=tmp_path / "work"))
    ring = session.open_ring()
    session.boot(ring)
    ring.desk.close()
    assert main(["rig", "init", str(second), "--ports", *ports]) == 0
    config = load_rig(str(second))
    assert [(spec.port, spec.serial) for spec in config.boards] == [(ports[1], 0xB0A2D000), (ports[0], 0xB0A2D001)]

    text = second.read_text()
    second.write_text(text.replace("pi0", "piX").replace("pi1", "pi0").replace("piX", "pi1"))
    swapped = Session(Settings(rig=str(second), logs=tmp_path / "logs", work=tmp_path / "work"))
    ring = swapped.open_ring()
    try:
        with pytest.raises(BoardError, match="two ports may be swapped"):
            swapped.boot(ring)
    finally:
        ring.desk.close()
