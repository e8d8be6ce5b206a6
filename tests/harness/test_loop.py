"""The loop on real pseudo-terminals: nothing lost, nothing blocks, one sentence per broken port."""

import os
import socket
import threading
import tty
from pathlib import Path

import pytest
import serial

from hil.errors import PortError
from hil.line.loop import Loop, WallWaiter
from hil.line.port import ThreadedPort, open_device


class Terminal:
    """A pseudo-terminal: `path` is what pyserial opens, `master` the other end."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)

    def close(self) -> None:
        os.close(self.master)


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    os.close(made.master)


@pytest.fixture
def loop():
    made = Loop(WallWaiter())
    yield made
    made.close()


def test_bytes_arrive_in_order_and_whole(loop, terminal):
    got = bytearray()
    loop.open_port(terminal.path, 115200, got.extend)
    data = bytes(range(256)) * 8
    os.write(terminal.master, data)
    assert loop.run_until(lambda: len(got) >= len(data), 10)
    assert bytes(got) == data


def test_write_larger_than_the_terminal_buffer_does_not_block(loop, terminal):
    port = loop.open_port(terminal.path, 115200, lambda data: None)
    data = os.urandom(200_000)
    port.write(data)
    assert port.outgoing, "the terminal took everything at once; the test needs a larger write"
    got = bytearray()

    def drain() -> None:
        while len(got) < len(data):
            got.extend(os.read(terminal.master, 65536))

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    assert loop.run_until(lambda: not port.outgoing, 20)
    reader.join(timeout=20)
    assert bytes(got) == data


def test_deadline_passes_when_nothing_comes(loop, terminal):
    loop.open_port(terminal.path, 115200, lambda data: None)
    assert not loop.run_until(lambda: False, 0.01)


def test_timer_runs_when_due_and_only_once(loop, terminal):
    loop.open_port(terminal.path, 115200, lambda data: None)
    ran = []
    loop.call_at(loop.now_s(), lambda: ran.append(1))
    assert loop.run_until(lambda: bool(ran), 5)
    assert not loop.run_until(lambda: len(ran) > 1, 0.01)


def test_unplugged_port_fails_with_a_sentence_and_ends_the_wait(loop):
    terminal = Terminal()
    port = loop.open_port(terminal.path, 115200, lambda data: None)
    terminal.close()
    assert loop.run_until(lambda: port.failure is not None, 5)
    assert port.failure is not None
    assert f"port {terminal.path}: " in port.failure
    assert "is the adapter still plugged in?" in port.failure


def test_other_port_goes_on_when_one_is_unplugged(loop, terminal):
    gone, got = Terminal(), bytearray()
    broken = loop.open_port(gone.path, 115200, lambda data: None)
    loop.open_port(terminal.path, 115200, got.extend)
    gone.close()
    assert loop.run_until(lambda: broken.failure is not None, 5)
    os.write(terminal.master, b"alive")
    assert loop.run_until(lambda: bytes(got) == b"alive", 5)


def test_missing_port_says_so():
    with pytest.raises(PortError, match="port /dev/no-such-port: does not exist; plug the adapter in"):
        open_device("/dev/no-such-port", 115200)


def test_busy_port_says_so(terminal):
    first = open_device(terminal.path, 115200)
    try:
        with pytest.raises(PortError, match="is in use by another program; close that program"):
            open_device(terminal.path, 115200)
    finally:
        first.close()


def test_port_without_descriptor_is_fed_by_a_thread(loop, tmp_path: Path):
    """pyserial's loop:// has no file descriptor: what is written comes back."""
    got = bytearray()
    port = loop.open_port("loop://", 115200, got.extend)
    port.write(b"round trip")
    assert loop.run_until(lambda: bytes(got) == b"round trip", 10)


@pytest.mark.parametrize("url", ["nonsense://x", "loop://?bad=1"])
def test_bad_url_is_refused(url):
    with pytest.raises(PortError, match="cannot be opened"):
        open_device(url, 115200)


class _Dying:
    """A device that gives some bytes and then fails."""

    timeout, write_timeout, in_waiting = 0.1, None, 1

    def __init__(self) -> None:
        self._left = [b"last words"]

    def read(self, size: int) -> bytes:
        if not self._left:
            raise serial.SerialException("gone")
        return self._left.pop()

    def close(self) -> None:
        pass


def test_failure_that_comes_with_data_wakes_the_loop_a_second_time():
    """The data is handed over first; without another wake the failure would be noticed at the deadline only."""
    got = bytearray()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        port = ThreadedPort("usb://x", 115200, got.extend, theirs)
        port.attach(_Dying())
        assert port._threads is not None
        port._threads._threads[0].join(timeout=20)
        assert ours.recv(100) == b".."
        assert port.receive()
        assert bytes(got) == b"last words"
        assert port.lost is None
        ours.settimeout(20)
        assert ours.recv(100) == b"."
        port.receive()
        assert port.lost is not None
        port.close()
