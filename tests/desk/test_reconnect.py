"""Ports that go and come back: every handle is new, and what arrived is in the raw log, whole."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading

import pytest

from hil.desk.desk import Desk
from hil.line.loop import Loop, WallWaiter
from hil.line.port import WRITE_LIMIT_S
from hil.rig.specs import BoardSpec, RigConfig
from tests.desk.wires import LinkedPort

SENDER = """
import hashlib, os, random, sys, threading
count, seed, paths = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
sys.stdin.read(1)
def send(rank, path):
    block, hashed, left = random.Random(seed + rank).randbytes(1 << 16), hashlib.sha256(), count
    while left:
        part = block[: min(left, len(block))]
        hashed.update(part)
        done = 0
        while done < len(part):
            done += os.write(int(path), part[done:])
        left -= len(part)
    print(rank, hashed.hexdigest(), flush=True)
threads = [threading.Thread(target=send, args=pair) for pair in enumerate(paths)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


@pytest.fixture
def linked(tmp_path, plug):
    """linked(name) -> a port behind a stable name, unplugged after the test."""
    return lambda name="usb-board": plug(LinkedPort(tmp_path / name))


@pytest.fixture
def loop():
    made = Loop(WallWaiter(), reconnect_s=20)
    yield made
    made.close()


def test_port_that_comes_back_as_another_device_is_used_through_its_new_handles(loop, linked):
    port = linked()
    got, lost, back = bytearray(), [], []
    opened = loop.open_port(str(port.path), 115200, got.extend)
    opened.on_lost, opened.on_back = lost.append, back.append
    first = opened.device
    for turn in range(3):
        sent = b"turn %d " % turn * 40
        os.write(port.master, sent)
        assert loop.run_until(lambda sent=sent: got.endswith(sent), 20)
        port.unplug()
        assert loop.run_until(lambda turn=turn: len(lost) > turn, 20)
        assert not opened.usable
        opened.write(b"into the void")
        port.plug()
        assert loop.run_until(lambda turn=turn: len(back) > turn, 20)
        opened.write(b"to the new device")
        assert loop.run_until(lambda: not opened.outgoing, 20)
        assert os.read(port.master, 100) == b"to the new device", "and nothing of what was written meanwhile"
    assert got == b"".join(b"turn %d " % turn * 40 for turn in range(3))
    assert opened.device is not first
    assert len(set(port.devices)) > 1 or opened.device.fd != first.fd
    assert opened.failure is None


def test_port_that_stays_away_fails_after_its_time(linked):
    port = linked()
    loop = Loop(WallWaiter(), reconnect_s=0.3)
    try:
        opened = loop.open_port(str(port.path), 115200, lambda data: None)
        port.unplug()
        assert loop.run_until(lambda: opened.lost is not None, 20)
        assert opened.failure is None, "not yet: USB may be enumerating"
        assert loop.run_until(lambda: opened.failure is not None, 20)
        assert f"port {port.path}: reading failed" in str(opened.failure)
        port.plug()
        loop.reopen(opened)
        assert opened.usable, "a new run begins anew"
    finally:
        loop.close()


def test_number_of_a_pseudo_terminal_is_not_opened_again():
    """Another program may have been given it."""
    master, slave = os.openpty()
    name = os.ttyname(slave)
    loop = Loop(WallWaiter(), reconnect_s=20)
    try:
        opened = loop.open_port(name, 115200, lambda data: None)
        os.close(slave)
        os.close(master)
        assert loop.run_until(lambda: opened.failure is not None, 20)
        loop.reopen(opened)
        assert not opened.usable
    finally:
        loop.close()


def test_write_that_hangs_fails_after_its_limit_and_others_go_on(linked, monkeypatch):
    """Nobody reads the terminal: it takes some thousand bytes and then none."""
    monkeypatch.setattr("hil.line.loop.WRITE_LIMIT_S", 0.3)
    hung, good = linked("hung"), linked("good")
    loop, got = Loop(WallWaiter(), reconnect_s=20), bytearray()
    try:
        opened = loop.open_port(str(hung.path), 115200, lambda data: None)
        loop.open_port(str(good.path), 115200, got.extend)
        opened.write(bytes(1_000_000))
        assert loop.run_until(lambda: opened.failure is not None, 20)
        assert f"port {hung.path}: took no byte for 0.3 s, " in str(opened.failure)
        assert "wait to be written; is the adapter still plugged in?" in str(opened.failure)
        os.write(good.master, b"fine")
        assert loop.run_until(lambda: got == b"fine", 20)
    finally:
        loop.close()
    assert WRITE_LIMIT_S >= 1


class _Hanging:
    """A device without descriptor whose writes never end, as a driver's may."""

    timeout, write_timeout, in_waiting = 0.1, None, 0

    def __init__(self) -> None:
        self.closed = threading.Event()

    def read(self, size: int) -> bytes:
        self.closed.wait(0.05)
        return b""

    def write(self, data: bytes) -> None:
        self.closed.wait(20)

    def close(self) -> None:
        self.closed.set()


def test_write_that_hangs_in_a_driver_fails_after_its_limit(monkeypatch):
    monkeypatch.setattr("hil.line.loop.WRITE_LIMIT_S", 0.3)
    monkeypatch.setattr("hil.line.loop.open_device", lambda url, baud: _Hanging())
    loop = Loop(WallWaiter())
    try:
        opened = loop.open_port("ftdi://somewhere", 115200, lambda data: None)
        opened.write(bytes(100))
        assert loop.run_until(lambda: opened.failure is not None, 20)
        assert "port ftdi://somewhere: took no byte for 0.3 s, 100 wait to be written" in str(opened.failure)
    finally:
        loop.close()


def test_slow_writes_are_no_hung_ones(linked, monkeypatch):
    """The twin: a reader that takes a little now and then keeps the port alive for longer than the limit."""
    monkeypatch.setattr("hil.line.loop.WRITE_LIMIT_S", 0.4)
    port = linked()
    loop = Loop(WallWaiter())
    try:
        opened = loop.open_port(str(port.path), 115200, lambda data: None)
        opened.write(bytes(60_000))
        begin_s = loop.now_s()
        while opened.outgoing:
            loop.run_until(lambda: False, 0.05)
            os.read(port.master, 4096)
        assert opened.failure is None
        assert loop.now_s() - begin_s > 0.4
    finally:
        loop.close()


def flood(tmp_path, plug, count: int) -> None:
    """Four ports at once, count random bytes each as fast as they go; the raw logs must be what was sent."""
    ports = [plug(LinkedPort(tmp_path / f"pi{rank}")) for rank in range(4)]
    config = RigConfig("flood", tuple(BoardSpec(rank, str(port.path)) for rank, port in enumerate(ports)), ())
    masters = [str(port.master) for port in ports]
    with Desk(config, tmp_path / "logs", seed=1) as desk:
        sender = subprocess.Popen(
            [sys.executable, "-c", SENDER, str(count), "7", *masters],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            pass_fds=[port.master for port in ports if port.master is not None],
        )  # fmt: skip
        assert sender.stdin is not None
        sender.stdin.write("g")
        sender.stdin.close()
        desk.loop.run_until(lambda: all(board.log.size_bytes == count for board in desk.boards), 200)
        assert [board.log.size_bytes for board in desk.boards] == [count] * 4
        assert sender.stdout is not None
        sent = dict(line.split() for line in sender.stdout.read().splitlines())
        assert sender.wait(timeout=20) == 0
    for rank in range(4):
        raw = (tmp_path / "logs" / f"pi{rank}.raw").read_bytes()
        assert hashlib.sha256(raw).hexdigest() == sent[str(rank)]


def test_bytes_received_on_four_ports_at_once_are_the_bytes_in_the_raw_logs(tmp_path, plug):
    flood(tmp_path, plug, 1 << 20)


@pytest.mark.slow
def test_fifty_megabytes_on_each_of_four_ports_are_in_the_raw_logs(tmp_path, plug):
    flood(tmp_path, plug, 50_000_000)
