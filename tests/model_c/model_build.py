"""Builds firmware/model for tests: as a host program (plain or under sanitizers), as a host library of single
ops, and for ARM1176, run in Unicorn. Every build works on a copy of the sources, so a test may spoil them.
"""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from golden.generate import Generation, expected_taps
from golden.taps import TapKey
from hil.protocol.cheader import write_headers

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
MODEL_SOURCES = (
    "shard.c",
    "ops.c",
    "forward.c",
    "taps.c",
    "sampler.c",
    "backward_ops.c",
    "train.c",
    "backward.c",
    "optimizer.c",
)
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fno-math-errno")
ZIG = (sys.executable, "-m", "ziglang", "cc")
ARM_COMPILERS: dict[str, tuple[str, ...]] = {
    "zig": (*ZIG, "-target", "arm-freestanding-eabihf", "-mcpu=arm1176jzf_s+strict_align", "-fno-sanitize=all"),
    "gcc": (
        "arm-none-eabi-gcc",
        "-mcpu=arm1176jzf-s",
        "-mfpu=vfp",
        "-mfloat-abi=hard",
        "-marm",
        "-mno-unaligned-access",
    ),
}
LAYOUT = """ENTRY(run_ring)
SECTIONS {
  . = 0x8000;
  .text : { KEEP(*(.text .text.*)) *(.rodata .rodata.*) }
  .data : { *(.data .data.*) }
  .bss : { *(.bss .bss.*) *(COMMON) }
  /DISCARD/ : { *(.ARM.exidx*) *(.ARM.extab*) *(.comment) *(.note*) *(.eh_frame*) }
}
"""

SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Tap:
    """One tap record as the C code kept it."""

    key: TapKey
    crc32: int
    count: int
    minimum: float
    maximum: float
    nonfinite: int
    flags: int


@dataclass(frozen=True)
class Run:
    """What a ring did: chosen tokens, taps and dropped taps by rank, or the line of an error."""

    tokens: list[int]
    taps: dict[int, list[Tap]]
    dropped: dict[int, int] = field(default_factory=dict)
    error: str = ""
    service_calls: int = 0


def host_compiler() -> list[str]:
    """The system's C compiler, or zig where there is none."""
    return [found] if (found := shutil.which("cc")) else list(ZIG)


def copy_sources(folder: Path, edits: Mapping[str, tuple[str, str]] | None = None) -> list[Path]:
    """Puts model sources, test harness and generated headers into folder; edits: file name -> (old text, new text)."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*(REPOSITORY / "firmware" / "model").glob("*.[ch]"), *HERE.glob("*.[ch]")]:
        text = path.read_text()
        if edits and path.name in edits:
            old, new = edits[path.name]
            assert text.count(old) == 1, f"{path.name} holds {old!r} {text.count(old)} times"
            text = text.replace(old, new)
        (folder / path.name).write_text(text)
    write_headers(folder)
    return [folder / name for name in MODEL_SOURCES]


def sanitizer_flags(folder: Path) -> tuple[str, ...]:
    """Flags for a build with sanitizers; skips the test where the host's compiler cannot link them."""
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    command = [*host_compiler(), *SANITIZERS, str(folder / "empty.c"), "-o", str(folder / "empty")]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip(
            f"{host_compiler()[0]} cannot link the sanitizers; install GCC or Clang with their run-time libraries"
        )
    return SANITIZERS


def compile_with(command: Sequence[str], folder: Path) -> None:
    """Runs a compiler; its output is the assertion's message."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def build_ring(
    folder: Path,
    flags: Sequence[str] = ("-O2",),
    *,
    edits: Mapping[str, tuple[str, str]] | None = None,
    compiler: Sequence[str] | None = None,
) -> Path:
    """The host program of main_host.c."""
    sources = [*copy_sources(folder, edits), folder / "ring.c", folder / "host_io.c", folder / "main_host.c"]
    program = folder / "ring"
    command = [*(compiler or host_compiler()), *FLAGS, *flags, f"-I{folder}", *map(str, sources), "-o", str(program)]
    compile_with(command, folder)
    return program


def run_ring(
    program: Path,
    shards: Sequence[Path],
    *,
    prompt: Sequence[int] = (1,),
    positions: int = 4,
    temperature: float = 0.0,
    topp: float = 0.9,
    seed: int = 1,
    tap_capacity: int = 20000,
    arena_bytes: int = 16 << 20,
) -> Run:
    """Runs the host program over shards, one per rank."""
    arguments = [tap_capacity, arena_bytes, positions, temperature, topp, seed, ",".join(map(str, prompt)), *shards]
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr}"
    return _parse(done.stdout)


def _parse(text: str) -> Run:
    tokens: list[int] = []
    taps: dict[int, list[Tap]] = {}
    dropped: dict[int, int] = {}
    error, service_calls = "", 0
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        words = rest.split()
        if kind == "token":
            tokens.append(int(words[0]))
        elif kind == "tap":
            taps.setdefault(int(words[0]), []).append(parse_tap(words[1:]))
        elif kind == "dropped":
            dropped[int(words[0])] = int(words[1])
        elif kind == "service":
            service_calls = int(words[0])
        else:
            error = line
    return Run(tokens, taps, dropped, error, service_calls)


def parse_tap(words: Sequence[str]) -> Tap:
    """KEY CRC COUNT MIN_BITS MAX_BITS NONFINITE FLAGS, as the host programs print them."""
    low, high = (struct.unpack("<f", bytes.fromhex(word)[::-1])[0] for word in words[3:5])
    key = TapKey.unpack(int(words[0], 16))
    return Tap(key, int(words[1], 16), int(words[2]), low, high, int(words[5]), int(words[6]))


def first_difference(run: Run, generation: Generation, n_layers: int, world_size: int) -> str:
    """Rank and key of the first tap in which a run differs from the golden; empty when there is none."""
    expected = expected_taps(generation.taps, n_layers, world_size)
    places: dict[TapKey, int] = {key: place for place, (key, _) in enumerate(generation.taps)}
    wrong: list[tuple[int, str]] = []
    for rank, taps in enumerate(expected):
        found = run.taps.get(rank, [])
        for mine, theirs in zip(taps, found, strict=False):
            if (mine.key, mine.crc) != (theirs.key, theirs.crc32):
                wrong.append((places.get(mine.key, 1 << 30), f"rank {rank}: {mine.key}, found {theirs.key}"))
                break
        if len(found) != len(taps):
            wrong.append((1 << 31, f"rank {rank}: {len(found)} taps, expected {len(taps)}"))
    return min(wrong, default=(0, ""))[1]


def build_arm(folder: Path, compiler: str) -> Path:
    """ELF file of main_arm.c and the model for ARM1176."""
    sources = [*copy_sources(folder), folder / "ring.c", folder / "train_ring.c", folder / "main_arm.c"]
    flags = ["-O2", "-ffreestanding", "-fno-builtin", "-fno-pic", "-fno-unwind-tables", "-nostdlib", "-static"]
    (folder / "test.ld").write_text(LAYOUT)
    elf = folder / "ring.elf"
    link = ["-T", str(folder / "test.ld"), *map(str, sources), "-o", str(elf)]
    if compiler == "gcc":
        link.insert(0, "-Wl,--no-warn-rwx-segments,--build-id=none")
    compile_with([*ARM_COMPILERS[compiler], *FLAGS, *flags, f"-I{folder}", *link], folder)
    return elf


class OpsLibrary:
    """dot8, exp and swiglu of the host build on NumPy arrays."""

    def __init__(self, folder: Path, edits: Mapping[str, tuple[str, str]] | None = None) -> None:
        sources = [*copy_sources(folder, edits), folder / "ops_host.c"]
        library = folder / "libops.so"
        flags = ["-O2", "-shared", "-fPIC", f"-I{folder}"]
        compile_with([*host_compiler(), *FLAGS, *flags, *map(str, sources), "-o", str(library)], folder)
        self._library = ctypes.CDLL(str(library))

    def call(self, name: str, a: np.ndarray, b: np.ndarray | None = None, length: int = 1) -> np.ndarray:
        """host_<name>(a, b, out, count, length); out has len(a) / length elements."""
        b = a if b is None else b
        out = np.empty(len(a) // length, np.float32)
        pointers = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, out)]
        getattr(self._library, f"host_{name}")(*pointers, ctypes.c_uint32(len(out)), ctypes.c_uint32(length))
        return out

    def sample(self, logits: np.ndarray, temperature: float, topp: float, seed: int, count: int) -> list[int]:
        """Tokens that one sampler draws from the same logits."""
        tokens = np.empty(count, np.uint32)
        self._library.host_sample(
            ctypes.c_void_p(logits.ctypes.data),
            ctypes.c_uint32(len(logits)),
            ctypes.c_float(temperature),
            ctypes.c_float(topp),
            ctypes.c_uint64(seed),
            ctypes.c_void_p(tokens.ctypes.data),
            ctypes.c_uint32(count),
        )
        return [int(token) for token in tokens]
