"""The hil command: what it refuses, in one sentence, before anything is started."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hil
from hil.bench import BENCHES
from hil.cli import VERBS, main
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


def test_wrong_setting_is_one_sentence_that_says_where_it_came_from(capsys, monkeypatch):
    assert main(["generate", "--world", "99"]) == 1
    assert capsys.readouterr().err == "hil generate: --world 99: a ring has 1 to 16 boards; give one of these numbers\n"
    monkeypatch.setenv("HIL_COMPILER", "tcc")
    assert main(["generate"]) == 1
    assert capsys.readouterr().err == "hil generate: HIL_COMPILER=tcc: give zig or gcc\n"


@pytest.mark.parametrize("verb", [["train"], ["verify", "--train"]])
def test_training_of_no_steps_is_refused(capsys, verb):
    with pytest.raises(SystemExit, match="2"):
        main([*verb, "--steps", "0"])
    assert "argument --steps: 0: give 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--steps", "many"], "argument --steps: many: give a whole number, such as 5 or 0x5eed"),
        (["bench", "faults", "--clean", "-1"], "argument --clean: -1: a count is 0 or more"),
        (["bench", "sim", "--singles", "3"], "unrecognized arguments: --singles 3"),
        (["bench", "nothing"], "argument WHAT: invalid choice: 'nothing' (choose from"),
        (["tell"], "argument VERB: invalid choice: 'tell' (choose from"),
    ],
)
def test_wrong_words_are_wrong_usage(capsys, arguments, sentence):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert sentence in capsys.readouterr().err


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


def test_help_lists_every_verb_and_imports_none_of_them():
    code = (
        "import sys, hil.cli\n"
        "try: hil.cli.main(['--help'])\n"
        "except SystemExit: print(sorted({'numpy', 'unicorn', 'serial', 'golden', 'hil.session'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for verb in VERBS:
        assert f"\n    {verb}" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", [[verb] for verb in VERBS] + [["bench", what] for what in BENCHES], ids=" ".join)
def test_every_verb_has_help(capsys, verb):
    with pytest.raises(SystemExit, match="0"):
        main([*verb, "--help"])
    shown = capsys.readouterr().out
    text = (BENCHES[verb[1]] if len(verb) > 1 else VERBS[verb[0]])[1]
    assert " ".join(shown.split()).count(f"{text[0].upper()}{text[1:]}.") == 1


def test_every_module_that_declares_a_verb_is_listed():
    listed = {where for where, _ in (*VERBS.values(), *BENCHES.values())}
    declared = {
        f"hil.{path.parent.name}:{name}" if path.name == "__init__.py" else f"hil.{path.parent.name}.{path.stem}:{name}"
        for folder in ("commands", "bench")
        for path in Path(hil.__file__).parent.joinpath(folder).glob("*.py")
        for name in re.findall(r"^def (add_\w+)\(parser: argparse.ArgumentParser\)", path.read_text(), re.MULTILINE)
    }
    assert declared == listed
