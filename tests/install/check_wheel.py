"""Builds the wheel, installs it where nothing else is, and uses it as its users do; CI runs this.

    python tests/install/check_wheel.py [--quick]

On the oldest and the newest Python that this computer has and the project supports: pyenv's versions, and those on the
PATH. Prints a line for every command with its time, and ends with 1 if one of them fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 11)
USERS_TEST = """
import pytest
from hil.protocol.messages import Blob, Command

@pytest.mark.ring
def test_every_board_answers(boards):
    for board in boards:
        assert board.command(Command.PING, Blob(b"hello"), Blob).data == b"hello"
"""


@dataclass(frozen=True)
class Use:
    """A command that must end with 0 and say something."""

    name: str
    command: tuple[str, ...]
    says: str
    quick: bool = True


USES = (
    Use("train", ("hil", "train", "--steps", "1", "--positions", "4"), r"1 losses equal to the golden's"),
    Use("verify --train", ("hil", "verify", "--train", "--steps", "1", "--positions", "4"), r"equal"),
    Use("trace", ("hil", "trace", "--microbatches", "1", "--positions", "2", "--out", "trace"), r"wrote trace"),
    Use("nightly", ("hil", "nightly", "--world", "2", "--rounds", "1", "--out", "nights"), r"passed"),
    Use("a user's test", ("python", "-m", "pytest", "-q", "test_mine.py"), r"1 passed"),
    Use("a user's test, two processes", ("python", "-m", "pytest", "-q", "-n", "2", "test_mine.py"), r"1 passed"),
    Use("hil.suite", ("python", "-m", "pytest", "-q", "-n", "2", "--pyargs", "hil.suite"), r"\d+ passed", quick=False),
)  # fmt: skip
HOMELESS = Use("generate, HOME read-only", ("hil", "generate", "--positions", "4"), r"4, all equal to the golden's")


def pythons() -> dict[tuple[int, int], Path]:
    """The oldest and the newest Python of this computer that the project supports, by version."""
    found: dict[tuple[int, int], Path] = {}
    for path in _candidates():
        done = subprocess.run(
            [path, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"], capture_output=True, text=True
        )
        if done.returncode == 0:
            major, minor = map(int, done.stdout.split())
            if (major, minor) >= OLDEST:
                found.setdefault((major, minor), path)
    return {number: found[number] for number in sorted({min(found), max(found)})}


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable)
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from sorted(versions.glob("3.*/bin/python3"))
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield from (p for p in sorted(Path(folder).glob("python3.*")) if re.fullmatch(r"python3\.\d+", p.name))


class Installed:
    """The wheel in an environment of its own, with an empty folder to work in and an empty home."""

    def __init__(self, python: Path, wheel: Path, folder: Path) -> None:
        self._folder = folder
        self.home, self.desk = folder / "home", folder / "desk"
        for made in (self.home, self.desk):
            made.mkdir(parents=True)
        subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
        pip = [folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, wheel, "pytest-xdist"], check=True, stderr=subprocess.DEVNULL)
        (self.desk / "test_mine.py").write_text(USERS_TEST)
        self._plant_a_trap()

    def _plant_a_trap(self) -> None:
        """Folders as a checkout has them, with what must never be used from a folder in which somebody works."""
        for name in ("build/firmware", "build/sim", "build/shards", "firmware", "fixtures"):
            (self.desk / name).mkdir(parents=True)
        (self.desk / "fixtures" / "corpus.txt").write_text("not ours\n")

    def environment(self) -> dict[str, str]:
        """Of a user who has nothing set."""
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        return kept | {"PATH": f"{self._folder / 'venv' / 'bin'}:{kept['PATH']}", "HOME": str(self.home)}

    def run(self, command: Sequence[str], more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run it in the folder; what it says, with the errors behind."""
        return subprocess.run(
            command, cwd=self.desk, env=self.environment() | more, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def strangers(self) -> list[str]:
        """Files in the working folder that no command was asked for."""
        asked = ("trace", "nights", "test_mine.py", ".hil", ".pytest_cache", "__pycache__", "fixtures/corpus.txt")
        names = [path.relative_to(self.desk).as_posix() for path in self.desk.rglob("*") if path.is_file()]
        return [name for name in names if not name.startswith(asked)]


def check(installed: Installed, use: Use, more: Mapping[str, str]) -> bool:
    """Whether it works; says so in a line, and what it said if it does not."""
    begin = time.monotonic()
    done = installed.run(use.command, more)
    good = done.returncode == 0 and re.search(use.says, done.stdout) is not None and "Traceback" not in done.stdout
    print(f"  {'passed' if good else 'FAILED'}  {time.monotonic() - begin:6.1f} s  {use.name}", flush=True)
    if not good:
        print(f"exit code {done.returncode}, expected 0 and {use.says!r}:\n{done.stdout[-4000:]}", flush=True)
    return good


def check_facts(installed: Installed, revision: str) -> bool:
    """Version and revision are known, and nothing was left or taken where it should not."""
    asked = "from hil.data import *; print(version(), revision(), build_path())"
    said = installed.run(("python", "-c", asked), {}).stdout.split()
    wrong = []
    if said[1:2] != [revision]:
        wrong.append(f"the wheel says {said}, it was made from {revision}")
    if installed.home not in Path(said[-1]).parents:
        wrong.append(f"built things are kept in {said[-1]}, outside the home")
    wrong += [f"{name} was left in the working folder" for name in installed.strangers()]
    print("\n".join(f"  FAILED  {text}" for text in wrong) or f"  passed            version {said[0]}, git {said[1]}")
    return not wrong


def git_revision() -> str:
    """As the wheel should know it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD")[:12] + ("+" if git("status", "--porcelain") else "")


def main() -> int:
    """Build, install, use."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the whole suite")
    quick = parser.parse_args().quick
    outcomes, made_from = [], git_revision()
    with tempfile.TemporaryDirectory(prefix="hil-wheel-") as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True, stderr=subprocess.DEVNULL)
        [wheel] = folder.glob("*.whl")
        print(f"{wheel.name}, {wheel.stat().st_size:,} bytes")
        for number, python in pythons().items():
            print(f"Python {number[0]}.{number[1]} ({python})", flush=True)
            installed = Installed(python, wheel, folder / f"python{number[0]}.{number[1]}")
            outcomes += [check(installed, use, {}) for use in USES if use.quick or not quick]
            outcomes.append(check_facts(installed, made_from))
            outcomes.append(check(installed, HOMELESS, {"HOME": "/proc/no-home", "TMPDIR": str(folder)}))
            shutil.rmtree(folder / f"python{number[0]}.{number[1]}")
    print(f"{sum(outcomes)} passed, {len(outcomes) - sum(outcomes)} failed")
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
