"""Images: same bytes from the same source, both compilers, limits, and addresses explained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from hil.toolchain import (
    IMAGE_END_MAX,
    LOAD_ADDRESS,
    BuildError,
    Compiler,
    build_image,
    firmware_folder,
    git_revision,
    symbolize,
)

COMPILERS = [
    "zig",
    pytest.param(
        "gcc",
        marks=pytest.mark.skipif(
            shutil.which("arm-none-eabi-gcc") is None,
            reason="arm-none-eabi-gcc is not installed; Debian: apt-get install gcc-arm-none-eabi",
        ),
    ),
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the firmware outside git, which a test may spoil."""
    copy = tmp_path / "copy" / "firmware"
    shutil.copytree(firmware_folder(), copy)
    return copy


def symbols(elf: Path) -> dict[str, int]:
    with elf.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        return {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_same_source_in_two_folders_gives_the_same_bytes(source: Path, tmp_path: Path, compiler: Compiler) -> None:
    other = tmp_path / "elsewhere" / "longer" / "firmware"
    shutil.copytree(source, other)
    first = build_image("ring", compiler=compiler, source=source, out=tmp_path / "a")
    second = build_image("ring", compiler=compiler, source=other, out=tmp_path / "b")
    assert first.path != second.path
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.build_id == second.build_id
    assert first.git_revision == "unknown"


def test_changed_source_gives_another_build_id(source: Path, tmp_path: Path) -> None:
    first = build_image("kernel", source=source, out=tmp_path / "a")
    with (source / "boot" / "main.c").open("a") as stream:
        stream.write("\n/* changed */\n")
    second = build_image("kernel", source=source, out=tmp_path / "a")
    assert first.build_id != second.build_id
    assert first.path.parent != second.path.parent


def test_second_build_comes_from_the_cache(source: Path, tmp_path: Path) -> None:
    first = build_image("kernel", source=source, out=tmp_path)
    written = first.path.stat().st_mtime_ns
    assert build_image("kernel", source=source, out=tmp_path) == first
    assert first.path.stat().st_mtime_ns == written
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".building")] == []


@pytest.mark.parametrize("compiler", COMPILERS)
def test_images_carry_id_and_revision_and_lie_where_the_map_says(compiler: Compiler) -> None:
    ring = build_image("ring", compiler=compiler)
    names = symbols(ring.elf)
    assert ring.build_id in ring.path.read_bytes()
    assert ring.git_revision.encode() in ring.path.read_bytes()
    assert names["_start"] == names["__image_start"] == LOAD_ADDRESS
    assert names["__memory_end"] <= IMAGE_END_MAX
    assert len(ring.path.read_bytes()) <= names["__image_end"] - LOAD_ADDRESS
    kernel = build_image("kernel", compiler=compiler)
    assert symbols(kernel.elf)["_start"] == IMAGE_END_MAX


def test_baud_is_part_of_the_image(source: Path, tmp_path: Path) -> None:
    slow = build_image("kernel", source=source, out=tmp_path, baud=115200)
    fast = build_image("kernel", source=source, out=tmp_path, baud=460800)
    assert slow.path.read_bytes() != fast.path.read_bytes()


@pytest.mark.parametrize("compiler", COMPILERS)
def test_image_that_is_too_large_is_refused(source: Path, tmp_path: Path, compiler: Compiler) -> None:
    with (source / "ring" / "main.c").open("a") as stream:
        stream.write("\nuint8_t too_much[0x200000];\n")
    with pytest.raises(BuildError, match=r"ring\.img does not link(.|\n)*image too large"):
        build_image("ring", compiler=compiler, source=source, out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_compiler_error_is_shown_with_its_file(source: Path, tmp_path: Path) -> None:
    with (source / "bsp" / "timer.c").open("a") as stream:
        stream.write("\nint unfinished(void) { return missing; }\n")
    with pytest.raises(BuildError, match=r"bsp/timer\.c does not compile:(.|\n)*missing"):
        build_image("kernel", source=source, out=tmp_path / "out")


def test_warning_is_an_error(source: Path, tmp_path: Path) -> None:
    with (source / "bsp" / "timer.c").open("a") as stream:
        stream.write("\nstatic int unused(void) { return 1; }\n")
    with pytest.raises(BuildError, match="unused"):
        build_image("kernel", source=source, out=tmp_path / "out")


def test_wrong_names_are_refused() -> None:
    with pytest.raises(BuildError, match="no image 'disk'; choose one of kernel, ring"):
        build_image("disk")  # type: ignore[arg-type]
    with pytest.raises(BuildError, match="no compiler 'tcc'; choose zig or gcc"):
        build_image("ring", compiler="tcc")  # type: ignore[arg-type]


def test_missing_gcc_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hil import toolchain

    toolchain.compiler_version.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="arm-none-eabi-gcc is not on the PATH; install it"):
        build_image("ring", compiler="gcc")


def test_folder_without_git_is_unknown(tmp_path: Path) -> None:
    assert git_revision(tmp_path) == "unknown"


@pytest.mark.parametrize("compiler", COMPILERS)
def test_address_becomes_function_and_line(compiler: Compiler) -> None:
    elf = build_image("ring", compiler=compiler).elf
    names = symbols(elf)
    text = symbolize(elf, names["crc32_update"] + 4)
    assert text.startswith("crc32_update+0x4 (crc32.c:")
    line = int(text.split(":")[1].rstrip(")"))
    source_lines = (firmware_folder() / "bsp" / "crc32.c").read_text().splitlines()
    first = next(i for i, row in enumerate(source_lines, 1) if row.startswith("uint32_t crc32_update"))
    assert first <= line <= first + 8
    assert symbolize(elf, names["_start"]).startswith("_start (start.S:")


def test_address_outside_the_code_stays_a_number() -> None:
    assert symbolize(build_image("ring").elf, 0x30000000) == "0x30000000"
