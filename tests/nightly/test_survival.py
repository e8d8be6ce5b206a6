"""What a night survives: a kill at any moment, Ctrl-C, SIGTERM, a full disk. Real processes, real files."""

import contextlib
import json
import os
import random
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hil.nightly.history import History
from hil.nightly.record import Night, Outcome, from_json
from tests.nightly.night_server import CHECKS

ROOT = Path(__file__).resolve().parents[2]
KILL_SEED = 0x5EED
ENDED = re.compile(r"round +\d+ +(boot|echo \d+) +passed")


class Nights:
    """The server with its nights: `run` one, all of it or until it is killed."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.nightly.night_server", str(out)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT,
        )  # fmt: skip
        self._kept = b""
        assert self.line() == "ready"

    def line(self, wait_s: float | None = None) -> str | None:
        """The next line; None if none comes in time."""
        while b"\n" not in self._kept:
            ready, _, _ = select.select([self.server.stdout], [], [], wait_s)
            if not ready:
                return None
            data = os.read(self.server.stdout.fileno(), 65536)
            assert data, "the server has ended"
            self._kept += data
        line, _, self._kept = self._kept.partition(b"\n")
        return line.decode()

    def run(self, seed: int, kill_after: float | None = None) -> list[str]:
        """A night; checks that were shown as ended. kill_after: so many of them, and that part of the next one."""
        self.server.stdin.write(f"{seed}\n".encode())
        pid = int(self.line().removeprefix("pid "))
        seen = [] if kill_after is None or kill_after >= 1 else self._kill(pid, kill_after)
        while (line := self.line()) != "ended":
            match = ENDED.match(line)
            seen += [match[1]] if match else []
            if match and kill_after is not None and len(seen) == int(kill_after):
                seen += self._kill(pid, kill_after % 1)
        return seen

    def _kill(self, pid: int, part: float) -> list[str]:
        """Kill within the time that a check takes; the next line, if one came first."""
        line = self.line(part * 0.02)
        os.kill(pid, signal.SIGKILL)
        match = ENDED.match(line) if line is not None else None
        return [match[1]] if match else []

    def close(self) -> None:
        self.server.stdin.close()
        self.server.wait(timeout=60)


def kill_nights(tmp_path, kills: int) -> None:
    """Whole nights before and after, and many that are killed; what was shown is kept, the file is sound."""
    rng, shown = random.Random(KILL_SEED), {}
    nights = Nights(tmp_path)
    try:
        shown[1] = nights.run(1)
        for seed in range(2, kills + 2):
            moment = rng.uniform(0, CHECKS + 1)
            shown[seed] = nights.run(seed, moment)
            check_history(tmp_path, shown)
        shown[kills + 2] = nights.run(kills + 2)
        found = check_history(tmp_path, shown)
    finally:
        nights.close()
    assert [night.ended is not None for night in found.values()] == [True, *[False] * kills, True]
    print(f"{kills} kills, seed {KILL_SEED:#x}: " + " ".join(str(len(names)) for names in shown.values()))
    assert len({len(names) for names in shown.values()}) > min(kills, 5) // 2, "the kills came at one moment"


def check_history(out: Path, shown: dict[int, list[str]]) -> dict[int, Night]:
    """Every check that was shown is there, whole; nights by seed."""
    with contextlib.closing(sqlite3.connect(out / "history.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    with History(out / "history.sqlite") as history:
        assert history.set_aside is None
        found = {night.seed: night for night in history.nights()}
    for seed, names in shown.items():
        kept = [check.name for check in found[seed].checks] if seed in found else []
        assert kept[: len(names)] == names
        for check in found[seed].checks if seed in found else ():
            whole = (0, 0) if check.name == "boot" else (8, 1)
            assert (len(check.wires), len(check.links)) == whole, "a check is kept whole or not at all"
    return found


def test_kills_at_five_moments_lose_no_check_and_leave_the_history_sound(tmp_path):
    kill_nights(tmp_path, 5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_at_fifty_moments_lose_no_check_and_leave_the_history_sound(tmp_path):
    kill_nights(tmp_path, 50)


@pytest.mark.parametrize(
    ("number", "code", "sentence"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_an_interrupted_night_ends_in_order_with_a_partial_report(tmp_path, number, code, sentence):
    command = [sys.executable, "-m", "hil.cli", "nightly", "--world", "1", "--out", str(tmp_path), "--rounds", "1000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    for line in process.stdout:
        if "wiring" in line:
            break
    process.send_signal(number)
    rest = process.stdout.read()
    assert process.wait(timeout=60) == code, rest
    assert f"ended early: {sentence}" in rest
    with History(tmp_path / "history.sqlite") as history:
        (night,) = history.nights()
    assert night.ended is not None
    assert night.stopped == sentence
    assert [check.name for check in night.checks[:2]] == ["boot", "wiring"]
    assert {check.outcome for check in night.checks} == {Outcome.PASSED}
    assert not night.good
    written = json.loads((tmp_path / "nights" / night.id / "night.json").read_text())
    assert from_json(Night, written) == night
    assert (tmp_path / f"night-{night.id}.html").exists()
    assert list(tmp_path.glob(".reserve-*")) == []


FULL = """
import json, resource, sys
from dataclasses import replace
from pathlib import Path
from hil.checks.check import Result
from hil.nightly.record import CheckKind
from hil.nightly.rounds import Planned, plan_round
from hil.nightly.runner import Runner, Wish
from hil.nightly.history import History
from hil.nightly.verdict import exit_code
from hil.session import Session, Settings
from tests.nightly.conftest import SMALL

out, limit = Path(sys.argv[1]), sys.argv[2]
session = Session(Settings(world_size=1, logs=out / "logs"))
def talk(setup, seed):
    if limit == "file" and setup.ring.desk.seed == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    return Result(detail="", figures={"n": 1.0}, losses=[float(seed)] * 4000)
plan = [plan_round(session.config, SMALL)[0], *(Planned(f"talk {n}", CheckKind.LINK, talk) for n in range(60))]
nights, codes = [], []
def night(seed):
    session.settings = replace(session.settings, seed=seed)
    codes.append(exit_code(Runner(session, Wish(out, SMALL), plan=plan[:4] if seed != 2 else plan).run()))
night(1)
if limit != "file":
    left = __import__("os").statvfs(out)
    (out / "filler").write_bytes(bytes(left.f_bavail * left.f_frsize - 4_000_000))
night(2)
if limit == "file":
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
else:
    (out / "filler").unlink()
night(3)
with History(out / "history.sqlite") as history:
    for found in history.nights():
        nights.append([len(found.checks), found.stopped, found.ended is not None])
    print("RESULT " + json.dumps([codes, nights, history.set_aside]))
"""


def run_full(command: list[str], where: str, limit: str) -> tuple[list, list, str]:
    done = subprocess.run([*command, FULL, where, limit], capture_output=True, text=True, check=False, cwd=ROOT)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout[-2000:] + done.stderr[-4000:]
    codes, nights, set_aside = json.loads(found[1])
    assert set_aside is None
    assert codes == [0, 1, 0], "before, while and after the disk is full"
    assert nights[0][0] == nights[2][0] == 4, "nothing earlier is lost, and the next night runs again"
    return codes, nights, done.stdout


def test_a_file_that_cannot_grow_ends_the_night_in_order(tmp_path):
    _, nights, text = run_full([sys.executable, "-c"], str(tmp_path), "file")
    assert 1 < nights[1][0] < 61, "checks before that are kept"
    assert text.count("the disk is full") >= 1
    assert "Traceback" not in text


def test_a_full_disk_ends_the_night_in_order_and_says_so(tmp_path):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here: `unshare -rm` needs unprivileged user namespaces or root")
    mount = f'mount -t tmpfs -o size=24m tmpfs {tmp_path} && exec "$0" -c "$@"'
    _, nights, text = run_full(["unshare", "-rm", "sh", "-c", mount, sys.executable], str(tmp_path), "disk")
    count, stopped, ended = nights[1]
    assert 1 < count < 61
    assert ended, "the reserve gives room for the end"
    assert stopped.startswith("the disk is full: ")
    assert "make room and start again" in stopped
    assert len(re.findall(r"^the disk is full", text, re.MULTILINE)) == 1, "once"
