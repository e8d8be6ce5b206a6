"""Power: each back end, and the check that a board really went away."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hil.cli import main
from hil.desk.desk import open_desk
from hil.desk.power import CommandReset, check_reset, make_power, person
from hil.errors import BoardError, RigError
from hil.rig.config import load_rig
from hil.rig.power_spec import PowerSpec
from hil.session import Session
from hil.settings import Settings
from tests.desk.boards import Bootloader


@pytest.fixture
def run_line(tmp_path, plug):
    """A reset line: a named pipe; what is written there pulls RUN of a board. (boards, path of the pipe)"""
    boards = [plug(Bootloader()) for _ in range(2)]
    pipe = tmp_path / "run"
    os.mkfifo(pipe)

    def serve() -> None:
        while True:
            for word in pipe.read_text().split():
                if word == "end":
                    return
                boards[int(word)].reset()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield boards, pipe
    pipe.write_text("end\n")
    thread.join(timeout=20)


@pytest.fixture
def open_rig(tmp_path):
    desks = []

    def make(path: Path):
        desks.append(open_desk(load_rig(str(path)), tmp_path / "logs", seed=1))
        return desks[-1]

    yield make
    for desk in desks:
        desk.close()


def test_reset_command_takes_the_board_away_and_hil_reset_sees_it(tmp_path, capsys, rig_file, run_line):
    boards, pipe = run_line
    rig = rig_file(*(board.path for board in boards), head=f'power = {{reset = "echo {{rank}} > {pipe}"}}')
    assert main(["reset", "--rig", str(rig), "--logs", str(tmp_path / "logs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"board {n} ({board.path})" for n, board in enumerate(boards)]
    assert all("went away and asked for an image after" in line for line in lines)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("true", "it did not go away: its bootloader went on asking; the reset command `true` does it;"),
        ("echo no such hub >&2; exit 3", "does it; for board 0 it ended with 3: no such hub"),
        ("sleep 30", "for board 0 it has not ended yet"),
    ],
)
def test_reset_that_does_nothing_is_noticed(open_rig, rig_file, plug, command, sentence):
    desk = open_rig(rig_file(plug(Bootloader()).path, head=f'power = {{reset = "{command}"}}'))
    with pytest.raises(BoardError) as caught:
        check_reset(desk.boards[0], desk.power, timeout_s=2)
    assert sentence in str(caught.value) + ";"


def test_reset_of_a_board_that_never_asks_is_noticed(open_rig, rig_file, plug):
    board = plug(Bootloader())
    desk = open_rig(rig_file(board.path, head='power = {reset = "true"}'))
    desk.boards[0].boot(Path(__file__))
    with pytest.raises(BoardError, match="0 bytes came, but its bootloader did not ask for an image"):
        check_reset(desk.boards[0], desk.power, timeout_s=1)


def test_reset_command_fills_in_rank_port_and_serial(tmp_path, open_rig):
    out = tmp_path / "out"
    master, slave = os.openpty()
    path = tmp_path / "desk.toml"
    path.write_text(
        f"[rig]\npower = {{reset = \"printf '%s ' {{rank}} {{port}} {{serial}} {{{{a,b}}}} > {out}\"}}\n"
        f'[[board]]\nrank = 0\nport = "{os.ttyname(slave)}"\nserial = "a1"\n'
    )
    desk = open_rig(path)
    desk.power.reset(desk.boards[0])
    desk.boards[0].wait_until(
        lambda: "does it" in desk.power.describe() and out.exists() and out.stat().st_size > 0, 20
    )
    assert out.read_text() == f"0 {os.ttyname(slave)} 00000000000000a1 {{a,b}} "
    os.close(master)
    os.close(slave)


def test_uhubctl_is_called_for_the_boards_own_port(tmp_path, monkeypatch, open_rig, rig_file, run_line):
    boards, pipe = run_line
    tool = tmp_path / "bin" / "uhubctl"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncase $4 in 3) echo 1 > {pipe};; esac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    desk = open_rig(rig_file(*(b.path for b in boards), head='power = {uhubctl = "1-1.4", ports = [2, 3]}'))
    assert check_reset(desk.boards[1], desk.power, timeout_s=20) > 0.5
    assert (tmp_path / "calls").read_text() == "-l 1-1.4 -p 3 -a cycle -d 2\n"
    with pytest.raises(BoardError, match="it did not go away.*uhubctl does it"):
        check_reset(desk.boards[0], desk.power, timeout_s=2)


def test_person_is_asked_and_seen_to_have_done_it(open_rig, rig_file, plug, capsys):
    board = plug(Bootloader())
    desk = open_rig(rig_file(board.path, head="power = {person = true}"))
    asked: list[str] = []

    def press(text: str) -> None:
        asked.append(text)
        board.reset()

    assert check_reset(desk.boards[0], person(press), timeout_s=20) > 0.5
    assert asked == [f"press RUN on board 0 ({board.path})"]
    with pytest.raises(BoardError, match="it did not go away.*somebody must press RUN"):
        check_reset(desk.boards[0], desk.power, timeout_s=1)
    assert "press RUN on board 0" in capsys.readouterr().err


def test_rig_without_power_asks_the_firmware():
    assert make_power(None).describe() == "short RUN to ground, or unplug the board and plug it in again"
    assert isinstance(make_power(PowerSpec("uhubctl", hub="1", ports=(1,))), CommandReset)


@pytest.mark.parametrize(
    ("power", "sentence"),
    [
        ("3", "power = 3: give one of {reset = ...}, {uhubctl = ...}, {cbus = ...}, {gpio = ...}, {person = ...}"),
        ("{}", "give one of"),
        ('{reset = "x", person = true}', "give one of"),
        ('{reset = ""}', "reset = '': give a shell command"),
        ('{reset = "x {board}"}', "names board; known are port, rank, serial"),
        ('{reset = "x }"}', "write a brace of the shell's twice"),
        ('{reset = "x", ports = [1]}', "unknown key `ports` beside `reset`"),
        ('{uhubctl = "1-1", ports = [1]}', 'ports = [one port number for each of 2 boards]'),
        ('{cbus = ["ftdi://a/1", "/dev/ttyUSB0"]}', "one ftdi:// URL for each of 2 boards"),
        ('{cbus = ["ftdi://a/1", "ftdi://b/1"], pin = 4}', "pin = 0 to 3"),
        ('{gpio = "ftdi://a/1", pins = ["AC0"]}', 'a pin of its own, "AC0" to "AC7", for each of 2 boards'),
        ('{gpio = "ftdi://a/1", pins = ["AC0", "AC0"]}', "a pin of its own"),
        ('{gpio = "ftdi://a/1", pins = ["AC7", "AC8"]}', "a pin of its own"),
        ('{gpio = "/dev/ttyUSB0", pins = ["AC0", "AC1"]}', "a pin of its own"),
        ('{gpio = "ftdi://a/1"}', "a pin of its own"),
        ("{person = false}", "write person = true"),
    ],
)  # fmt: skip
def test_wrong_power_is_refused_in_one_sentence(rig_file, power, sentence):
    with pytest.raises(RigError) as caught:
        load_rig(str(rig_file("/dev/a", "/dev/b", head=f"power = {power}")))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_power_of_a_simulated_rig_is_refused(tmp_path):
    path = tmp_path / "sim.toml"
    path.write_text("[rig]\npower = {person = true}\n[sim]\nboards = 2\n")
    with pytest.raises(RigError, match="power is for real boards"):
        load_rig(str(path))


def test_simulated_boards_go_away_and_firmware_that_runs_reboots_when_asked(tmp_path, capsys):
    settings = Settings(world_size=2, logs=tmp_path / "logs", work=tmp_path / "work")
    session = Session(settings)
    ring = session.open_ring()
    try:
        session.boot(ring)
        board = ring.boards[1]
        assert 0.5 < check_reset(board, make_power(None), timeout_s=20) < 5
        with pytest.raises(BoardError, match="it did not go away: its bootloader went on asking; short RUN to ground"):
            check_reset(board, make_power(None), timeout_s=2)
        assert check_reset(board, ring.desk.power, timeout_s=20) > 0.5
        session.boot(ring)
        assert board.booted
    finally:
        ring.desk.close()
    assert main(["reset", "--world", "2", "--board", "1", "--logs", str(tmp_path / "logs")]) == 0
    assert capsys.readouterr().out.startswith("board 1 (sim://sim/1): went away and asked for an image after")
