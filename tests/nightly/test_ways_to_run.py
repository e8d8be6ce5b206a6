"""The files in docs/nightly: units, cron line, workflows. Checked by their own tools, their commands by our parser."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hil.cli import build_parser

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "nightly"
COMMAND = re.compile(r"\.venv/bin/(hil [^\n]*?)(?: >> .*)?$", re.MULTILINE)


@pytest.mark.parametrize("name", ["pi-ring-nightly.service", "crontab", "github-simulator.yml", "github-boards.yml"])
def test_every_command_is_one_that_hil_understands(name):
    commands = COMMAND.findall((FOLDER / name).read_text())
    assert commands, "no command found"
    for command in commands:
        words = shlex.split(command.replace("${TIME:-6h}", "6h"))[1:]
        options = build_parser().parse_args(words)
        assert options.verb == "nightly"
        assert options.limit_s == 6 * 3600 or options.rounds == 20


def test_docs_name_every_file():
    text = (FOLDER.parent / "nightly.md").read_text()
    for path in FOLDER.iterdir():
        assert f"docs/nightly/{path.name}" in text or f"`{path.name}`" in text, path.name


@pytest.fixture
def units(tmp_path):
    """The units with a `hil` that exists: a verifier looks for the program."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    hil = Path(sys.executable).with_name("hil")
    for path in FOLDER.glob("pi-ring-nightly.*"):
        (tmp_path / path.name).write_text(path.read_text().replace("%h/pi-ring-hil/.venv/bin/hil", str(hil)))
    return tmp_path


def verify(units, *names):
    command = ["systemd-analyze", "verify", "--man=no", *(str(units / name) for name in names)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_finds_nothing_wrong_with_the_units(units):
    done = verify(units, "pi-ring-nightly.service", "pi-ring-nightly.timer")
    assert "pi-ring-nightly" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("OnCalendar=*-*-* 01:00:00", "OnCalendar=every night"), ("[Timer]", "[Timr]")],
)
def test_systemd_would_find_a_wrong_timer(units, right, wrong):
    timer = units / "pi-ring-nightly.timer"
    assert right in timer.read_text()
    timer.write_text(timer.read_text().replace(right, wrong))
    done = verify(units, timer.name)
    assert done.returncode != 0 or "pi-ring-nightly.timer" in done.stderr


def test_systemd_knows_the_timers_next_night(units):
    when = re.search(r"OnCalendar=(.*)", (FOLDER / "pi-ring-nightly.timer").read_text())[1]
    done = subprocess.run(["systemd-analyze", "calendar", when], capture_output=True, text=True, check=False)
    assert "*-*-* 01:00:00" in done.stdout, done.stderr


def check_workflow(path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["github-simulator.yml", "github-boards.yml"])
def test_workflows_fit_their_schema(name, tmp_path):
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema, or make setup")
    done = check_workflow(FOLDER / name)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / name
    wrong.write_text((FOLDER / name).read_text().replace("runs-on:", "run-on:"))
    assert check_workflow(wrong).returncode != 0, "the negative twin"


def test_cron_line_has_five_fields_and_a_sound_shell_command(tmp_path):
    (line,) = [text for text in (FOLDER / "crontab").read_text().splitlines() if not text.startswith("#")]
    *fields, command = line.split(maxsplit=5)
    assert [re.fullmatch(r"\*|\d+", field) is not None for field in fields] == [True] * 5
    assert "%" not in command, "cron would end the line there"
    assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0
