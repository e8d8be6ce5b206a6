"""Builds parts of firmware/ as host programs under sanitizers. Works on a copy, so a test may spoil the sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hil.protocol.cheader import write_headers

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-DLINK_PORT_HOST")


def build_host(folder: Path, program: str, sources: Sequence[str], *, edit: tuple[str, str, str] | None = None) -> Path:
    """Compile tests/firmware/<program>.c with firmware sources such as `link/link.c`.

    edit: (source, old text, new text); the old text must be there once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("bsp", "link", "ring"):
        shutil.copytree(REPOSITORY / "firmware" / part, folder / part)
    if edit:
        path = folder / edit[0]
        text = path.read_text()
        assert text.count(edit[1]) == 1, f"{edit[0]} holds {edit[1]!r} {text.count(edit[1])} times"
        path.write_text(text.replace(edit[1], edit[2]))
    write_headers(folder)
    compiler = shutil.which("cc")
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if compiler else []
    out = folder / program
    command = [
        *([compiler] if compiler else [sys.executable, "-m", "ziglang", "cc"]),
        *FLAGS,
        *sanitizers,
        f"-I{folder}",
        f"-I{folder / 'bsp'}",
        f"-I{folder / 'link'}",
        f"-I{folder / 'ring'}",
        str(HERE / f"{program}.c"),
        *(str(folder / source) for source in sources),
        "-o",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def run(program: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a host program; its exit code and output are the caller's to judge."""
    return subprocess.run([str(program), *arguments], input=stdin, capture_output=True, check=False, timeout=120)
