"""Building the core: here, for other machines, and the context switch of each processor."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from hil.sim import BuildError, build, core

ROUNDS = 1000


def selftest_program(folder: Path, target: str) -> Path:
    output = folder / "selftest"
    sources = [str(build.CORE / name) for name in ("coroutine.c", "selftest.c")]
    command = [*build.zig_command(), "-target", target, "-static", *build.CFLAGS, "-DSELFTEST_MAIN", *sources]
    subprocess.run([*command, "-o", str(output)], check=True, capture_output=True)
    return output


def test_context_switch_keeps_the_registers_of_both_sides() -> None:
    assert core.load().sim_switch_selftest(ROUNDS) != 0


def test_context_switch_of_aarch64_keeps_the_same(tmp_path: Path) -> None:
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("needs qemu-aarch64 to run the aarch64 context switch: apt-get install qemu-user")
    program = selftest_program(tmp_path, "aarch64-linux-musl")
    done = subprocess.run([emulator, str(program)], capture_output=True, text=True, check=True)
    assert int(done.stdout, 16) == core.load().sim_switch_selftest(ROUNDS)


def test_context_switch_of_aarch64_compiles(tmp_path: Path) -> None:
    assert selftest_program(tmp_path, "aarch64-linux-musl").stat().st_size > 1000


def test_library_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.core_library()
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("built again"))
    assert build.core_library() == first


def test_compiler_error_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'gpio.c:1: error: no such thing' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(build, "system_compiler", lambda: [str(compiler)])
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path / "cache")
    with pytest.raises(BuildError, match="did not compile with .*\ngpio.c:1: error: no such thing"):
        build.core_library()
    assert not list((tmp_path / "cache").glob("*.so"))


def test_unknown_target_is_refused() -> None:
    with pytest.raises(BuildError, match="unknown target 'sparc-linux'; known: x86_64-linux"):
        build.cross_build("sparc-linux")


def test_zig_builds_the_core_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "system_compiler", build.zig_command)
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path)
    library = ctypes.CDLL(str(build.core_library()))
    library.sim_switch_selftest.restype = ctypes.c_uint64
    assert library.sim_switch_selftest(ROUNDS) == core.load().sim_switch_selftest(ROUNDS)
