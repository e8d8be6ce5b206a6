"""The hil command: what it refuses, in one sentence, before anything is started."""

import subprocess
import sys

import pytest

from hil.cli import main
from hil.data import data_path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hil.cli", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def tiny():
    return data_path("fixtures") / "tiny.bin"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rig", "nowhere.toml"], "rig nowhere.toml: no such file"),
        (["--world", "99"], "world size 99: a simulated rig has 1 to 16 boards"),
        (["--model", "nowhere.bin"], "nowhere.bin"),
        (["--positions", "513"], "513 positions: model tiny has a context of 512; ask for 1 to 512"),
        (["--positions", "0"], "0 positions: model tiny has a context of 512"),
        (
            ["--positions", "5", "--prompt", "Once upon a time there was a dog"],
            "is longer than the 5 positions of this run",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_1(capsys, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *arguments]) == 1
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "something was left behind"


@pytest.mark.parametrize("change", ["truncated", "oversized", "absurd"])
def test_damaged_checkpoint_is_refused(capsys, tmp_path, monkeypatch, tiny, change):
    data = bytearray(tiny.read_bytes())
    if change == "truncated":
        data = data[:-4]
    elif change == "oversized":
        data += b"\0" * 4
    else:
        data[0:4] = (0x7FFFFFF0).to_bytes(4, "little")
    path = tmp_path / "bad.bin"
    path.write_bytes(data)
    tokenizer = str(tiny.with_name("tiny_tokenizer.bin"))
    assert main(["generate", "--model", str(path), "--tokenizer", tokenizer]) == 1
    error = capsys.readouterr().err
    assert "bad.bin" in error
    assert error.count("\n") == 1


def test_tokenizer_of_another_vocabulary_is_refused(capsys, tmp_path, tiny):
    from hil.model.tokenizer import base_pieces, write_tokenizer

    other = tmp_path / "tokenizer.bin"
    pieces = base_pieces()
    write_tokenizer(other, pieces, [0.0] * len(pieces))
    assert main(["generate", "--model", str(tiny), "--tokenizer", str(other)]) == 1
    error = capsys.readouterr().err
    assert "512" in error
    assert str(len(pieces)) in error


def test_without_a_verb_the_usage_is_shown():
    done = run()
    assert done.returncode == 2
    assert "usage: hil" in done.stderr


def test_help_lists_the_verbs():
    done = run("--help")
    assert done.returncode == 0
    for verb in ("generate", "firmware", "bench", "sim"):
        assert verb in done.stdout
