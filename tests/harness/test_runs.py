"""Runs: a folder for each, the last ones stay, `latest` is the newest, and what is in use stays."""

import shlex
import subprocess
import sys

import pytest

from hil.cli import main
from hil.runs import Run, RunError


def names(base):
    return sorted(path.name for path in (base / "runs").iterdir())


def test_every_run_has_a_folder_of_its_own_and_latest_is_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/hil", "generate", "--prompt", "two words"])
    base = tmp_path / ".hil"
    first, second = (Run("generate", keep=20, base=base) for _ in range(2))
    assert first.folder != second.folder
    assert all(run.folder.name.partition("-")[2].partition("-")[2].startswith("generate") for run in (first, second))
    assert (base / "latest").resolve() == second.folder.resolve()
    assert shlex.split((second.folder / "command").read_text()) == ["hil", "generate", "--prompt", "two words"]


def test_git_is_told_to_leave_the_folder_alone(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    Run("train", keep=20, base=tmp_path / ".hil")
    status = subprocess.run(
        ["git", "-C", tmp_path, "status", "--porcelain"], capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


def test_last_runs_stay_and_older_ones_go(tmp_path):
    made = [Run("train", keep=3, base=tmp_path).folder.name for _ in range(5)]
    assert names(tmp_path) == sorted(made)[-3:]


def test_run_that_a_process_still_works_in_stays(tmp_path):
    held = Run("train", keep=1, base=tmp_path)
    made = [Run("train", keep=1, base=tmp_path).folder.name for _ in range(2)]
    assert names(tmp_path) == sorted([held.folder.name, made[-1]])
    del held
    last = Run("train", keep=1, base=tmp_path)
    assert names(tmp_path) == [last.folder.name]


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".hil").write_text("a file")
    with pytest.raises(RunError, match="a folder for this run's logs cannot be made: .*; work in a folder where you"):
        Run("train", keep=1, base=tmp_path / ".hil")
    assert main(["generate", "--positions", "4"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
