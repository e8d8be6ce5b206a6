"""Builds the libFuzzer harnesses of the firmware's parsers, and runs them. Works on a copy, so a test may spoil it.

Each harness is tests/fuzz/<name>_fuzz.c; what its input means stands at its head. Owns: Harness, HARNESSES.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hil.protocol.cheader import headers, write_headers
from hil.protocol.frames import Frame, encode_frame
from hil.protocol.messages import Kind

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BUILD = REPOSITORY / "build" / "fuzz"
FLAGS = (
    "-std=gnu11",
    "-g",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffp-contract=off",
    "-fno-omit-frame-pointer",
    "-DLINK_PORT_HOST",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=all",
)
NO_CLANG = "clang with libFuzzer is missing: apt-get install clang libclang-rt-dev"
Edit = tuple[str, str, str]
"""A source, a text that stands in it once, and what is to stand there."""


@dataclass(frozen=True)
class Harness:
    """One parser in C. runs: inputs of the bounded run. edits: what a host needs otherwise. seeds: first inputs."""

    name: str
    what: str
    sources: tuple[str, ...]
    runs: int
    bytes_max: int = 4096
    edits: tuple[Edit, ...] = ()
    seeds: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A run: inputs tried, and what was found (nothing: empty)."""

    inputs: int
    finding: str


_PING = bytes([1, 1, 2, 1, 3]) + b"abc\5"
_TAKE = bytes([2, 4, 0, 0, 0]) + b"okay"
_ECHOES = b"".join(bytes([1, 1, 2, -age & 255, 0, 5, 2, 0, 0, 0, 0]) for age in (0, 1, 2, 3))
"""The command just served, and three from before it: back to before the numbers wrapped."""
_TURNS = bytes(range(0, 256, 5)) * 8

HARNESSES = {
    harness.name: harness
    for harness in (
        Harness(
            "frame",
            "serial frames: ring/frame.c",
            ("ring/frame.c", "bsp/crc32.c"),
            40_000,
            5000,
            seeds=(
                b"\0" + bytes(range(1, 200)),
                b"\0" + b"a" * 600,
                b"\1" + encode_frame(Frame(Kind.LOG, 1, 2, b"hi"))[1:-1],
            ),
        ),
        Harness(
            "console",
            "commands on the line: ring/console.c, ring/text.c",
            ("ring/frame.c", "ring/text.c", "bsp/crc32.c"),
            20_000,
            seeds=((_PING + _TAKE) * 3, _PING + _TAKE + _ECHOES, b"\3\4" * 9),
        ),
        Harness(
            "boot",
            "boot protocol: boot/main.c",
            ("bsp/crc32.c",),
            5_000,
            edits=(
                ("boot_words.h", "LOAD_ADDRESS 0x8000u", "LOAD_ADDRESS 0x10000000u"),
                ("boot_words.h", "BOOTLOADER_ADDRESS 0x200000u", "BOOTLOADER_ADDRESS 0x10001000u"),
            ),
            seeds=(b"\4\5\0\0\0image", b"\5abcd", b"\x0dabcd", b"\6\x24\5\0\0\0image\6\4\5\0\0\0image"),
        ),
        Harness(
            "shard",
            "header of a shard: model/shard.c",
            ("model/shard.c", "model/ops.c", "model/forward.c", "model/taps.c", "model/sampler.c"),
            20_000,
            512,
            seeds=(bytes(80), b"\4\0\1\0\0" + bytes(14) + b"w" * 400),
        ),
        Harness(
            "link",
            "frames and handshake of a link: link/",
            ("link/link.c", "link/handshake.c", "link/instruments.c", "bsp/crc32.c"),
            2_000,
            1024,
            seeds=(
                b"\xf0\x10\1\x10" + b"p" * 16 + _TURNS,
                b"\xf1\x10" + b"p" * 16 + _TURNS,
                b"\x02\x20" + _TURNS,
                b"\xf0\x10\x21\2" + b"p" * 17 + _TURNS,
            ),
        ),
    )
}


@cache
def has_clang() -> bool:
    """Whether this machine's clang can link a fuzzer."""
    if shutil.which("clang") is None:
        return False
    BUILD.mkdir(parents=True, exist_ok=True)
    program = "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const char *a, size_t b) { return a == NULL && b; }\n"
    command = ["clang", "-x", "c", "-fsanitize=fuzzer,address,undefined", "-", "-o", str(BUILD / f"probe{os.getpid()}")]
    done = subprocess.run(command, input=program, text=True, capture_output=True, check=False)
    (BUILD / f"probe{os.getpid()}").unlink(missing_ok=True)
    return done.returncode == 0


def build(harness: Harness, folder: Path, *, edits: Sequence[Edit] = ()) -> Path:
    """Compile a harness into a new folder; edits: further ones, to plant a fault."""
    folder.mkdir(parents=True)
    for part in ("bsp", "boot", "link", "model", "ring"):
        shutil.copytree(REPOSITORY / "firmware" / part, folder / part)
    (folder / "fuzz").mkdir()
    (folder / "firmware").mkdir()
    for path in HERE.glob("*.[ch]"):
        shutil.copy(path, folder / "fuzz")
    shutil.copy(REPOSITORY / "tests" / "firmware" / "pins.h", folder / "firmware")
    write_headers(folder)
    for source, old, new in (*harness.edits, *edits):
        path = folder / source
        text = path.read_text()
        assert text.count(old) == 1, f"{source} holds {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new))
    program = folder / f"{harness.name}_fuzz"
    includes = [f"-I{folder / part}" for part in ("", "bsp", "link", "model", "ring", "fuzz")]
    sources = [str(folder / "fuzz" / f"{harness.name}_fuzz.c"), *(str(folder / source) for source in harness.sources)]
    done = subprocess.run(
        ["clang", *FLAGS, *includes, *sources, "-o", str(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return program


def built(harness: Harness) -> Path:
    """The harness under build/fuzz, built when its sources changed."""
    digest = hashlib.sha256(repr(headers()).encode() + repr(harness).encode() + repr(FLAGS).encode())
    paths = [*HERE.glob("*.[ch]"), REPOSITORY / "tests" / "firmware" / "pins.h"]
    paths += (REPOSITORY / "firmware").rglob("*.[ch]")
    for path in sorted(paths):
        digest.update(path.read_bytes())
    folder = BUILD / f"{harness.name}-{digest.hexdigest()[:16]}"
    if not folder.exists():
        scratch = BUILD / f"{folder.name}.{os.getpid()}"
        shutil.rmtree(scratch, ignore_errors=True)
        build(harness, scratch)
        try:
            scratch.rename(folder)
        except OSError:  # somebody else was faster
            shutil.rmtree(scratch)
    return folder / f"{harness.name}_fuzz"


def run(
    harness: Harness,
    program: Path,
    findings: Path,
    *,
    seed: int,
    runs: int | None = None,
    seconds: int | None = None,
    corpus: Path | None = None,
) -> Outcome:
    """Try inputs until there are so many, or so much time has passed, or one is found that breaks a promise.

    The same seed and runs give the same inputs. findings: folder for such an input. corpus: kept from run to run.
    """
    findings.mkdir(parents=True, exist_ok=True)
    command = [str(program), f"-seed={seed}", f"-max_len={harness.bytes_max}", "-timeout=20", "-rss_limit_mb=2048"]
    command += [f"-artifact_prefix={findings}/{harness.name}-", "-print_final_stats=1", "-verbosity=1"]
    command += [f"-runs={runs}"] if runs is not None else [f"-max_total_time={seconds}"]
    with tempfile.TemporaryDirectory() as scratch:
        corpus = corpus or Path(scratch)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(harness.seeds):
            (corpus / f"seed{number}").write_bytes(data)
        done = subprocess.run([*command, str(corpus)], capture_output=True, text=True, check=False, errors="replace")
    counted = re.findall(r"stat::number_of_executed_units: (\d+)|^#(\d+)", done.stderr, re.MULTILINE)
    inputs = max((int(a or b) for a, b in counted), default=0)
    return Outcome(inputs, "" if done.returncode == 0 else _tail(done.stderr))


def _tail(text: str) -> str:
    """The lines that say what was found."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if re.search(r"ERROR|runtime error|broken promise", line)), -30)
    return "\n".join(lines[start:][:40])
