"""Builds the simulator's C core (hil/sim/core) on demand, for this machine or, with zig, for others.

The core links libunicorn.a from the `unicorn` wheel statically, with -Bsymbolic, so that calls inside it
do not go through the PLT (a quarter of the time of VFP code otherwise). A library is cached under a hash
of everything that went into it. The compiler is the system's `cc`, or `zig cc` from the `ziglang` wheel; the build
with sanitizers (SANITIZE_VARIABLE) takes clang. How that one is run: docs/hardening.md.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from hil.data import build_path, compiler_environment
from hil.kept import kept_folder

CORE = Path(__file__).resolve().parent / "core"
CFLAGS = (
    "-std=c11",
    "-D_DEFAULT_SOURCE",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Werror",
)
SANITIZE_VARIABLE = "HIL_SIM_SANITIZE"
"""Environment: 1 builds the core under AddressSanitizer and UndefinedBehaviorSanitizer; see sanitizer_environment."""
SANITIZE_FLAGS = (
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-shared-libasan",
)


class BuildError(Exception):
    """The core could not be built; the message says which command failed and what it printed."""


@dataclass(frozen=True)
class Target:
    """A machine to build for: zig's triple, the wheel platforms that fit it, the linker's extra flags."""

    zig: str
    wheel_platforms: tuple[str, ...]
    suffix: str
    link: tuple[str, ...]


_ELF = ("-shared", "-Wl,-Bsymbolic", "-lpthread", "-lm")
_MACHO = ("-shared",)

TARGETS = {
    "x86_64-linux": Target("x86_64-linux-gnu.2.28", ("manylinux2014_x86_64", "manylinux_2_28_x86_64"), ".so", _ELF),
    "aarch64-linux": Target("aarch64-linux-gnu.2.28", ("manylinux2014_aarch64", "manylinux_2_28_aarch64"), ".so", _ELF),
    "x86_64-macos": Target("x86_64-macos", ("macosx_11_0_x86_64", "macosx_13_0_x86_64"), ".dylib", _MACHO),
    "aarch64-macos": Target("aarch64-macos", ("macosx_11_0_arm64", "macosx_13_0_arm64"), ".dylib", _MACHO),
}


def host_target() -> str:
    """Name of the target that runs on this machine.

    Raises: BuildError on a processor or system that the core does not support.
    """
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    system = {"Linux": "linux", "Darwin": "macos"}.get(platform.system(), platform.system().lower())
    name = f"{machine}-{system}"
    if name not in TARGETS:
        raise BuildError(f"the simulator runs on {', '.join(TARGETS)}; this machine is {name}")
    return name


def zig_command() -> list[str]:
    """Command line of zig's C compiler from the `ziglang` wheel."""
    return [sys.executable, "-m", "ziglang", "cc"]


def system_compiler() -> list[str]:
    """The system's `cc`, or zig where there is none; clang and its sanitizers where SANITIZE_VARIABLE asks for them."""
    if os.environ.get(SANITIZE_VARIABLE):
        return [sanitizing_compiler(), *SANITIZE_FLAGS]
    found = shutil.which("cc")
    return [found] if found else zig_command()


def cache_folder() -> Path:
    """Where built libraries live: the folder `sim` among the built things (hil/data.py)."""
    return build_path() / "sim"


def unicorn_folder() -> Path:
    """Folder of the installed unicorn package: `include/` and `lib/libunicorn.a`.

    Raises: BuildError if the wheel is missing or carries no static library.
    """
    try:
        import unicorn
    except ImportError as error:
        raise BuildError("the simulator needs the unicorn package: pip install unicorn") from error
    folder = Path(unicorn.__path__[0])
    if not (folder / "lib" / "libunicorn.a").is_file():
        raise BuildError(f"{folder}/lib has no libunicorn.a; install unicorn from a wheel, not from a system package")
    return folder


def core_library() -> Path:
    """Path of the shared library for this machine; builds it when its sources changed.

    Raises: BuildError.
    """
    target = host_target()
    suffix = TARGETS[target].suffix
    return _cached(target, system_compiler(), unicorn_folder(), cache_folder(), suffix)


def sanitizing_compiler() -> str:
    """The compiler that has the sanitizers. Raises: BuildError saying how to get it."""
    found = shutil.which("clang")
    if found is None:
        raise BuildError("there is no clang, which has the sanitizers: apt-get install clang")
    return found


def sanitizer_environment() -> dict[str, str]:
    """What the environment of a Python process needs in addition, so that its core is the one with sanitizers.

    AddressSanitizer must be in the process before Python is, hence LD_PRELOAD. Leaks are not looked for: Python's own
    would be found. Raises: BuildError where clang or its run-time library is missing.
    """
    ask = [sanitizing_compiler(), f"-print-file-name=libclang_rt.asan-{platform.machine()}.so"]
    runtime = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).is_file():
        raise BuildError("clang has no run-time library of AddressSanitizer: apt-get install libclang-rt-dev")
    return {
        SANITIZE_VARIABLE: "1",
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:handle_segv=0:handle_sigfpe=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def cross_build(target: str, *, folder: Path | None = None) -> Path:
    """Build the core for another machine with zig, with libunicorn.a from that platform's wheel.

    Args:
        target: a key of TARGETS.
        folder: where wheels and the library go; default cache_folder().
    Raises: BuildError, also when the wheel cannot be downloaded.
    """
    if target not in TARGETS:
        raise BuildError(f"unknown target {target!r}; known: {', '.join(TARGETS)}")
    folder = folder or cache_folder()
    spec = TARGETS[target]
    compiler = [*zig_command(), "-target", spec.zig]
    return _cached(target, compiler, _foreign_unicorn(target, folder), folder, spec.suffix)


def _digest(parts: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:16]


def _cached(target: str, compiler: list[str], unicorn: Path, folder: Path, suffix: str) -> Path:
    sources = sorted(CORE.glob("*.c"))
    archive = unicorn / "lib" / "libunicorn.a"
    parts = [p.read_bytes() for p in [*sources, *sorted(CORE.glob("*.h"))]]
    parts += [
        " ".join([*compiler, *CFLAGS, *TARGETS[target].link]).encode(),
        str(archive.stat().st_size).encode(),
    ]
    parts += [metadata.version("unicorn").encode()]
    name = f"sim-{target}-{_digest(parts)}"
    library = folder / name / f"{name}{suffix}"
    try:
        kept_folder(
            library.parent, lambda part: _compile(compiler, sources, unicorn, TARGETS[target], part / library.name)
        )
    except OSError as error:
        raise BuildError(
            f"the simulator core cannot be written into {folder}: {error.strerror or error}; "
            "make room there, or name another folder in HIL_CACHE"
        ) from None
    return library


def _compile(compiler: list[str], sources: list[Path], unicorn: Path, target: Target, library: Path) -> None:
    if "ziglang" not in compiler and "macos" not in target.zig:
        sources = [s for s in sources if s.name != "clrsb.c"]  # GCC's runtime has it
    command = [*compiler, *CFLAGS, f"-I{unicorn / 'include'}", *map(str, sources)]
    command += [str(unicorn / "lib" / "libunicorn.a"), *target.link, "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=compiler_environment())
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-20:])
        raise BuildError(f"the simulator core did not compile with {' '.join(compiler)}:\n{tail}")


def _foreign_unicorn(target: str, folder: Path) -> Path:
    version = metadata.version("unicorn")
    unpacked = folder / f"unicorn-{version}-{target}"
    if (unpacked / "unicorn" / "lib" / "libunicorn.a").is_file():
        return unpacked / "unicorn"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "download", f"unicorn=={version}", "--no-deps", "--quiet"]
        command += ["--only-binary=:all:", "--dest", scratch]
        for name in TARGETS[target].wheel_platforms:
            command += ["--platform", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise BuildError(f"no unicorn {version} wheel for {target}: {done.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            members = [n for n in wheel.namelist() if n.startswith(("unicorn/include/", "unicorn/lib/lib"))]
            wheel.extractall(Path(scratch) / "out", members)
        shutil.rmtree(unpacked, ignore_errors=True)
        os.replace(Path(scratch) / "out", unpacked)
    return unpacked / "unicorn"
