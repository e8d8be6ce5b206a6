"""`hil console`: a person at a pseudo-terminal, a board at another."""

from __future__ import annotations

import os
import select
import termios
import threading
import tty

import pytest

from hil.cli import main
from hil.commands.console import run_console, shown
from hil.errors import PortError
from hil.rig.config import load_rig


class Terminal:
    """Both ends of a pseudo-terminal; reads what must come, within a limit."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.path = os.ttyname(self.slave)
        self.seen = b""

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def read_until(self, end: bytes) -> bytes:
        while end not in self.seen:
            assert select.select([self.master], [], [], 20)[0], f"{end!r} did not come; {self.seen!r} did"
            self.seen += os.read(self.master, 4096)
        return self.seen

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminals(plug):
    board, person = plug(Terminal()), plug(Terminal())
    tty.setraw(board.slave)
    return board, person


def test_keys_go_to_the_board_and_its_text_comes_escaped(terminals, rig_file, tmp_path):
    board, person = terminals
    before = termios.tcgetattr(person.slave)
    problems: list[BaseException] = []

    def sit() -> None:
        try:
            person.read_until(b"Ctrl-] ends\r\n")
            person.type(b"hel")
            person.type(b"lo\x03")
            board.read_until(b"hello\x03")
            board.type(b"ready\n\x1b[2J>")
            person.read_until(b"ready\r\n\\x1b[2J>")
            person.type(b"\x1d")
        except BaseException as error:
            problems.append(error)
            person.type(b"\x1d")

    thread = threading.Thread(target=sit, daemon=True)
    thread.start()
    run_console(load_rig(str(rig_file(board.path))), 0, tmp_path / "logs", terminal=person.path)
    thread.join(timeout=20)
    assert problems == []
    assert termios.tcgetattr(person.slave) == before, "the terminal is as it was"
    assert (tmp_path / "logs" / "pi0.raw").read_bytes() == b"ready\n\x1b[2J>"


def test_board_that_is_unplugged_ends_the_console(rig_file, tmp_path, plug):
    board, person = Terminal(), plug(Terminal())
    tty.setraw(board.slave)

    def unplug() -> None:
        person.read_until(b"Ctrl-] ends")
        board.close()

    thread = threading.Thread(target=unplug, daemon=True)
    thread.start()
    with pytest.raises(PortError, match=f"port {board.path}: reading failed.*still plugged in"):
        run_console(load_rig(str(rig_file(board.path))), 0, tmp_path / "logs", terminal=person.path)
    thread.join(timeout=20)


def test_without_a_terminal_the_console_says_so(rig_file, tmp_path, plug):
    board = plug(Terminal())
    for path, words in ((tmp_path / "none", "needs a terminal: No such file"), (tmp_path, "needs a terminal")):
        with pytest.raises(PortError, match=words):
            run_console(load_rig(str(rig_file(board.path))), 0, tmp_path / "logs", terminal=str(path))


@pytest.mark.parametrize(
    ("rig", "rank", "sentence"),
    [("sim", "0", "serve it with `hil sim --pty DIR`"), (None, "1", "board 1: rig desk has boards 0 to 0")],
)
def test_console_refuses_in_one_sentence(rig_file, capsys, rig, rank, sentence):
    assert main(["console", rank, "--rig", rig or str(rig_file("/dev/null"))]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_shown_keeps_lines_and_escapes_the_rest():
    assert shown(b"a\tb\r\n\x1b[31m\xff\x07") == b"a\tb\r\r\n\\x1b[31m\\xff\\x07"
