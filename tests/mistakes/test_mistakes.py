"""What users do wrong: each mistake is one clear sentence and an exit code as documented, never a traceback.

Most run in this process; those about the process itself (its home, its signals, what reads its output) in one of their
own. The fixture `folder` has the files that are named.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hil.cli import main
from hil.data import build_path

WHOLE = "give a whole number, such as 5 or 0x5eed"
FILE_THERE = "is there already; name another file, or replace it with --force"
NO_FILE = "is no file, so that none can be written there; name another"

USAGE = [
    ("generate --positions nan", f"argument --positions: nan: {WHOLE}"),
    ("generate --temperature -1", "argument --temperature: -1: give 0 or more"),
    ("generate --temperature nan", "argument --temperature: nan: give 0 or more"),
    ("generate --temperature warm", "argument --temperature: warm: give 0 or more"),
    ("generate --topp 2", "argument --topp: 2: give 0 to 1"),
    ("generate --topp -0.5", "argument --topp: -0.5: give 0 to 1"),
    ("generate --rng-seed -1", "argument --rng-seed: -1: give a whole number from 0 to 2"),
    ("generate --rng-seed 99999999999999999999", "argument --rng-seed: 99999999999999999999: give a whole number from"),
    ("train --steps 0", "argument --steps: 0: give 1 or more"),
    ("train --microbatches 0", "argument --microbatches: 0: give 1 or more"),
    ("train --slots 0", "argument --slots: 0: give 1 or more"),
    ("train --rate nan", "argument --rate: nan: give a number above 0"),
    ("train --rate -1", "argument --rate: -1: give a number above 0"),
    ("train --rate inf", "argument --rate: inf: give a number above 0"),
    ("train --momentum 2", "argument --momentum: 2: give 0 to 1"),
    ("train --decay -1", "argument --decay: -1: give 0 or more"),
    ("train --clip nan", "argument --clip: nan: give 0 or more"),
    ("train --optimizer adam", "invalid choice: 'adam'"),
    ("trace --out x --microbatches 0", "argument --microbatches: 0: give 1 or more"),
    ("trace --out x --microbatches a", "argument --microbatches: a: give a number, or several as 1,2,4,8"),
    ("nightly --for 0s", "argument --for: 0s: give a time such as 8h, 90m or 30s"),
    ("nightly --rounds 0", "argument --rounds: 0: give 1 or more"),
    ("nightly --ber x", "argument --ber: x: give a bit error rate of 1e-15 to 0.1"),
    ("sd write x.img --rank 0 --model tiny --baud 0", "argument --baud: 0: give 1200 to 3000000"),
    ("ports --bogus", "unrecognized arguments: --bogus"),
    ("nonsense", "invalid choice: 'nonsense'"),
    ("bench nonsense", "invalid choice: 'nonsense'"),
]
"""Exit code 2: wrong usage."""

WRONG = [
    ("generate --positions 0", "0 positions: model tiny has a context of 512; ask for 1 to 512"),
    ("generate --positions 999999", "999999 positions: model tiny has a context of 512"),
    ("generate --world 0", "--world 0: a ring has 1 to 16 boards"),
    ("generate --world 17", "--world 17: a ring has 1 to 16 boards"),
    ("generate --seed x", f"--seed x: {WHOLE}"),
    ("generate --keep 0", "--keep 0: give a whole number from 1"),
    ("generate --compiler tcc", "--compiler tcc: give zig or gcc"),
    ("generate --model nowhere", "nowhere: cannot read the checkpoint: No such file or directory; check the path"),
    ("generate --model empty", "empty: 0 bytes, shorter than the 28-byte header"),
    ("generate --model junk", "junk: header says dim = .* this is not a llama2.c checkpoint"),
    ("generate --model folder", "folder: cannot read the checkpoint: Is a directory"),
    ("generate --tokenizer junk", "this is not a llama2.c tokenizer"),
    ("generate --tokenizer empty", "empty: 0 bytes, shorter than the 4-byte header"),
    ("generate --tokenizer folder", "folder: cannot read the tokenizer: Is a directory"),
    ("generate --rig nowhere.toml", "rig nowhere.toml: no such file; give a rig file"),
    ("generate --rig folder", "rig folder: no such file"),
    ("generate --rig fifo", "rig fifo: no such file"),
    ("generate --rig junk", "rig junk: not TOML"),
    ("generate --rig types.toml", r"rig types.toml: \[rig\]: 5 is not a table of `key = value`"),
    ("generate --rig quotes.conf", "rig quotes.conf: line 1: No closing quotation; close the quotes"),
    ("generate --rig none.toml", "board 0: port /dev/none0: does not exist; plug the adapter in"),
    ("generate --fault nonsense", "fault 'nonsense': unknown kind `nonsense`; known are open"),
    ("generate --fault open:9-9.D3", "rig sim has no link `9-9`; its links are 0-1"),
    ("generate --fault open:0-1.D]", r"no wire is called `D\]`"),
    ("generate --logs file", "file: cannot be written: File exists; name another folder with --logs"),
    ("generate --logs /proc/x", "/proc/x: cannot be written: .*; name another folder with --logs"),
    ("train --text nowhere", "cannot read the text nowhere"),
    ("train --text folder", "cannot read the text folder"),
    ("train --text empty", "a text of 1 tokens is too short for 16 positions"),
    ("train --text junk", "cannot read the text junk: .*; give a text file in UTF-8"),
    ("train --positions 100000", "too short for 100000 positions"),
    ("train --save folder", "folder: is a folder; name a file for the checkpoint"),
    ("train --save nowhere/x", "nowhere/x: there is no folder"),
    ("train --save file", f"file: {FILE_THERE}"),
    ("train --save /dev/full --force", f"/dev/full: {NO_FILE}"),
    ("verify --positions 0", "0 positions: model tiny has a context of 512"),
    ("trace --out file", "cannot make the folder file: File exists; give another --out"),
    ("run nowhere", "nowhere: cannot read the image: No such file or directory"),
    ("run folder", "folder: cannot read the image: Is a directory"),
    ("run empty", "empty: the image is empty; build it again"),
    ("run damaged.elf", "damaged.elf: is an ELF file; a board takes its bytes alone: make them with objcopy -O binary"),
    ("run junk --for -1", "--for -1: give seconds, more than 0"),
    ("run junk --for nan", "--for nan: give seconds, more than 0"),
    ("run junk --until (", "--until '\\(': not a regular expression"),
    ("run junk --board 9", "--board 9: rig sim has boards 0 to 3"),
    ("run junk junk", "2 images for 4 boards; give one for all, or one per board"),
    ("reset --board -1", "--board -1: rig sim has boards 0 to 3"),
    ("console 0", "rig sim is simulated in this process; serve it with `hil sim --pty DIR`"),
    ("console 9 --rig none.toml", "board 9: rig none has boards 0 to 0"),
    ("probe --rig none.toml", "rig none has no probe; add a .probe. table"),
    ("sd write x.img --rank 9 --model tiny", "rank 9: a ring of 4 boards has ranks 0 to 3"),
    ("sd write file --rank 0 --model tiny", "file: exists already; remove it"),
    ("sd write x.img --rank 0 --model nowhere", "nowhere: cannot read the checkpoint"),
    ("sd write x.img --rank 0 --model tiny --label a]b", r"card label 'a\]b': give 1 to 11 letters"),
    ("sd write x.img --rank 0 --model tiny --boot-files folder", "folder: has no bootcode.bin"),
    ("shard tiny 0 out", "world size 0: a ring has 1 to 16 boards"),
    ("shard junk 4 out", "this is not a llama2.c checkpoint"),
    ("shard tiny 4 file", "file: is a file; name a folder for the shards"),
    ("shard tiny 4 /proc/out", "/proc/out: No such file or directory; is there room, and may you read and write there"),
    ("synth 43M x", "no shape is named '43M'; choose one of 260K"),
    ("synth 260K folder", "folder: is a folder; name a file for the checkpoint"),
    ("synth 260K /dev/full --force", f"/dev/full: {NO_FILE}"),
    ("synth 260K x --tokenizer fifo --force", f"fifo: {NO_FILE}"),
    ("synth 260K /proc/x", "/proc/.*: No such file or directory; is there room, and may you read and write there"),
    ("plan --model nowhere", "nowhere: cannot read the checkpoint"),
    ("plan --seq 0", "--seq 0: the model's context has 1 to 512 positions"),
    ("plan --world 99", "--world 99: a ring has 1 to 16 boards"),
    ("plan --gpu-mem 9999", "gpu_mem = 9999: give 16 to 511 MB"),
    ("plan --train --slots 65", "65 under way"),
    ("sim --pty file", "file: File exists; is there room, and may you read and write there"),
    ("sim --pty folder --rig none.toml", "rig none has real ports; `hil sim` needs a simulated one"),
    ("sim-control folder status", "rig folder/rig.toml: no such file"),
    ("nightly --check boot", "--check: give --seed too"),
    ("nightly --check no --seed 1", "check 'no': rig sim has boot, wiring"),
    ("report list --out nowhere", "history nowhere/history.sqlite: there is none"),
    ("report compare a b --out damaged", "history damaged/history.sqlite: has no night a"),
    ("report page --out damaged", "page damaged: the history has no night yet; run `hil nightly` first"),
]
"""Exit code 1: something is wrong with the rig, a setting or a file."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with the files that the mistakes name."""
    for name in ("folder", "damaged"):
        (tmp_path / name).mkdir()
    for name, content in {
        "empty": b"", "junk": bytes(range(255, -1, -1)) * 20, "file": b"x", "damaged/history.sqlite": b"junk" * 300,
        "types.toml": b"rig = 5\n", "quotes.conf": b'0 "abc\n', "damaged.elf": b"\x7fELF" + b"\xff" * 300,
        "none.toml": b'[[board]]\nrank = 0\nport = "/dev/none0"\n',
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sentence(verb, error, pattern):
    """Assert that what was said ends in one line that begins as every message of the command, and matches."""
    last = error.strip().splitlines()[-1]
    assert re.search(pattern, last), error
    assert last.startswith(("hil: ", f"hil {verb}")), error
    assert "Traceback" not in error


@pytest.mark.parametrize(("words", "pattern"), USAGE)
def test_wrong_usage_is_a_sentence_and_exit_code_2(folder, capsys, words, pattern):
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    sentence(words.split()[0], capsys.readouterr().err, re.escape(pattern))


@pytest.mark.parametrize(("words", "pattern"), WRONG)
def test_mistake_is_a_sentence_and_exit_code_1(folder, capsys, words, pattern):
    assert main(words.split()) == 1
    sentence(words.split()[0], capsys.readouterr().err, pattern)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode), "a device was replaced by a file"
    assert (folder / "file").read_bytes() == b"x"


def test_table_has_80_mistakes_and_each_once():
    words = [words for words, _ in USAGE + WRONG]
    assert len(words) == len(set(words))
    assert len(words) >= 80


def hil(folder, *words, **options):
    """The command in a process of its own, in a folder."""
    command = [sys.executable, "-m", "hil.entry", *words]
    return subprocess.run(
        command, cwd=folder, text=True, check=False, stdin=subprocess.DEVNULL, **{"capture_output": True} | options
    )


def test_night_whose_folder_is_a_file_is_a_sentence(folder):
    done = hil(folder, "nightly", "--out", "file")
    assert done.returncode == 1
    sentence("nightly", done.stderr, "history file/history.sqlite: cannot be opened")


def test_full_disk_behind_the_output_is_a_sentence(tmp_path):
    with open("/dev/full", "w") as full:
        done = hil(tmp_path, "checks", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == ("hil checks: No space left on device; is there room, and may you read and write there?\n")


def test_reader_that_goes_away_ends_it_in_silence(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = hil(tmp_path, "checks", capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


LOADING = """
import builtins, os, signal, sys
real = builtins.__import__
def stop(name, *rest):
    if name == {module!r}:
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest)
builtins.__import__ = stop
from hil.entry import main
sys.exit(main())
"""


@pytest.mark.parametrize("module", ["hil.cli", "argparse", "hil.commands.options", "hil.checks.catalogue"])
def test_interrupt_while_it_is_loading_is_one_line(tmp_path, module):
    command = [sys.executable, "-c", LOADING.format(module=module), "checks"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr in ("hil: interrupted\n", "hil checks: interrupted\n")
    assert done.stdout == ""


def test_interrupt_handler_is_the_usual_one_when_the_command_runs(monkeypatch):
    from hil import entry

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("hil.cli.main", lambda: 7)
    assert entry.main() == 7
    assert signal.getsignal(signal.SIGINT) == before


def environment(tmp_path, **more):
    kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    return kept | {"TMPDIR": str(tmp_path)} | more


@pytest.mark.parametrize("home", [None, "/proc/none", ""], ids=["unset", "read-only", "empty"])
def test_no_home_is_no_matter(tmp_path, home):
    more = {} if home is None else {"HOME": home}
    done = hil(tmp_path, "generate", "--positions", "4", "--world", "1", env=environment(tmp_path, **more))
    assert done.returncode == 0, done.stderr
    assert "all equal to the golden's" in done.stdout


def test_no_compiler_is_a_sentence(tmp_path):
    """An empty cache, and a zig that is not there."""
    (tmp_path / "ziglang").mkdir()
    (tmp_path / "ziglang" / "__init__.py").touch()
    (tmp_path / "bin").mkdir()
    env = environment(tmp_path, HIL_CACHE=str(tmp_path / "cache"), PYTHONPATH=str(tmp_path), PATH=str(tmp_path / "bin"))
    done = hil(tmp_path, "firmware", "--compiler", "zig", env=env)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    sentence("firmware", done.stderr.splitlines()[0], "ziglang cc --version fails")
    missing = hil(tmp_path, "firmware", "--compiler", "gcc", env=env)
    assert missing.returncode == 1
    assert missing.stdout.startswith("gcc     not installed (arm-none-eabi-gcc); images are built with zig")


def test_damaged_image_of_the_cache_is_made_again(tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(build_path() / "firmware", cache / "firmware", ignore=shutil.ignore_patterns("objects"))
    env = environment(tmp_path, HIL_CACHE=str(cache), HOME=str(Path.home()))
    assert hil(tmp_path, "firmware", "--compiler", "zig", env=env).returncode == 0
    for elf in cache.glob("firmware/*/*.elf"):
        elf.write_bytes(elf.read_bytes()[:-100])
    done = hil(tmp_path, "firmware", "--compiler", "zig", env=env)
    assert done.returncode == 0
    assert done.stderr.count("is not as it was written") == 2
    assert "Traceback" not in done.stderr
