"""Locks, with real processes: the second user is told who has the rig; a dead owner holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hil.desk import lock
from hil.desk.lock import RigLock, lock_path
from hil.errors import PortError

HOLDER = """
import sys
from hil.desk.lock import RigLock
held = RigLock(sys.argv[1:], rig="desk")
print("held", flush=True)
sys.stdin.read()
held.release()
"""


@pytest.fixture
def hold(tmp_path: Path):
    """hold(port, ...) -> a process that has the locks."""
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    processes: list[subprocess.Popen[str]] = []

    def start(*ports: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), *ports]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.communicate("")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch):
    """Lock files of these tests only."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def test_fifo_in_place_of_a_lock_file_is_a_sentence(tmp_path):
    port = str(tmp_path / "ttyUSB0")
    os.mkfifo(lock_path(port))
    with pytest.raises(PortError, match=r"its lock file .*\.lock is no file; remove it"):
        RigLock([port], rig="desk")


def test_second_user_is_told_who_has_the_port(hold, tmp_path):
    port = str(tmp_path / "ttyUSB0")
    owner = hold(str(tmp_path / "ttyUSB1"), port)
    told = rf"port {port}: is in use by another program: process {owner.pid}, `holder.py .*ttyUSB1 .*ttyUSB0`, rig desk"
    with pytest.raises(PortError, match=told):
        RigLock([port], rig="other")
    RigLock([str(tmp_path / "ttyUSB2")], rig="other").release()


def test_two_names_of_a_device_are_one_port(hold, tmp_path):
    (tmp_path / "ttyUSB0").touch()
    (tmp_path / "pi0").symlink_to("ttyUSB0")
    hold(str(tmp_path / "pi0"))
    with pytest.raises(PortError, match="is in use by another program"):
        RigLock([str(tmp_path / "ttyUSB0")], rig="other")


def test_lock_that_is_refused_holds_nothing(hold, tmp_path):
    taken, free = str(tmp_path / "b"), str(tmp_path / "a")
    hold(taken)
    with pytest.raises(PortError):
        RigLock([free, taken], rig="other")
    RigLock([free], rig="third").release()


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_after_its_owner_a_lock_is_free(hold, tmp_path, how):
    port = str(tmp_path / "ttyUSB0")
    owner = hold(port)
    if how == "killed":
        owner.send_signal(signal.SIGKILL)
        owner.wait(timeout=20)
        assert str(owner.pid) in lock_path(port).read_text(), "the stale file still names its owner"
    else:
        owner.communicate("")
        assert lock_path(port).read_text() == ""
    mine = RigLock([port], rig="next")
    assert f'"pid": {os.getpid()}' in lock_path(port).read_text()
    mine.release()


def test_owner_that_wrote_nonsense_is_not_quoted(tmp_path):
    port = str(tmp_path / "p")
    mine = RigLock([port], rig="x")
    lock_path(port).write_text('{"pid": "rm", "command"')
    with pytest.raises(PortError, match="is in use by another program; end it"):
        RigLock([port], rig="y")
    lock_path(port).write_text('{"pid": 1, "command": "a\\u001b[31m", "rig": "r", "since": "now"}')
    with pytest.raises(PortError, match=r"process 1, `a\\x1b\[31m`"):
        RigLock([port], rig="y")
    mine.release()


def test_lock_file_that_is_a_link_is_not_followed(tmp_path):
    port = str(tmp_path / "p")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock.lock_path(port).symlink_to(victim)
    with pytest.raises(PortError, match="its lock file .* cannot be opened"):
        RigLock([port], rig="x")
    assert victim.read_text() == "precious"
