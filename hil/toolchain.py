"""Toolchain: builds the firmware images on demand and finds them again by content.

Compilers: `zig cc` from the ziglang wheel, or `arm-none-eabi-gcc` when asked. Sources and memory map:
firmware/README.md, firmware/layout.ld. Owns build/firmware/: one kept folder (hil/kept.py) per content
key (all sources, flags, compiler version, git revision). The same source and toolchain give the same
bytes: no path and no date enters an image.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from hil.data import build_path, compiler_environment, data_path, git_revision, is_checkout
from hil.data import revision as installed_revision
from hil.errors import HilError
from hil.files import atomically
from hil.kept import kept_folder
from hil.protocol.boot import BOOTLOADER_ADDRESS, LOAD_ADDRESS
from hil.protocol.cheader import headers, write_headers
from hil.settings import Compiler

ImageName = Literal["kernel", "ring"]

IMAGE_END_MAX = BOOTLOADER_ADDRESS
_BOOT_END_MAX = 0x300000
_ERROR_LINES = 25

_PARTS: dict[str, tuple[str, ...]] = {"kernel": ("bsp", "boot"), "ring": ("bsp", "link", "model", "ring")}
_BASES = {"kernel": (IMAGE_END_MAX, _BOOT_END_MAX), "ring": (LOAD_ADDRESS, IMAGE_END_MAX)}

_COMMON_FLAGS = (
    "-O2",
    "-g",
    "-std=c11",
    "-ffreestanding",
    "-fno-builtin",
    "-ffp-contract=off",
    "-fno-short-enums",
    "-fno-common",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fno-pic",
    "-fomit-frame-pointer",
    "-ffunction-sections",
    "-Wall",
    "-Wextra",
    "-Werror",
)
_ZIG_FLAGS = (
    "-target",
    "arm-freestanding-eabihf",
    "-mcpu=arm1176jzf_s+strict_align",
    "-fno-sanitize=all",
    "-Wno-unused-command-line-argument",
)
_GCC_FLAGS = (
    "-mcpu=arm1176jzf-s",
    "-mfpu=vfp",
    "-mfloat-abi=hard",
    "-marm",
    "-mno-unaligned-access",
    "-fno-tree-loop-distribute-patterns",
)


class BuildError(HilError):
    """An image could not be built; the message says why, with the end of the compiler's output."""


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: the raw bytes to load, and the ELF file that explains its addresses."""

    path: Path
    elf: Path
    sha256: str
    build_id: bytes
    git_revision: str
    compiler: str
    load_address: int = LOAD_ADDRESS


def build_image(
    name: ImageName,
    *,
    compiler: Compiler = "zig",
    baud: int = 115200,
    defines: Mapping[str, str] | None = None,
    source: Path | None = None,
    out: Path | None = None,
    objects: Path | None = None,
) -> Image:
    """Build `kernel` (the bootloader) or `ring`, or return the image that the same content gave before.

    Args:
        name: which image.
        compiler: zig (from the wheel) or gcc (arm-none-eabi-gcc on the PATH).
        baud: the UART's speed, in the image.
        defines: additional preprocessor macros, name to value.
        source: the firmware folder; the project's own by default.
        out: folder for build results; build/firmware by default.
        objects: folder in which compiled files are kept by content, for many images that differ in a line.
    Raises: BuildError.
    """
    if name not in _PARTS:
        raise BuildError(f"there is no image {name!r}; choose one of {', '.join(_PARTS)}")
    root = (source or firmware_folder()).resolve()
    revision = git_revision(root) if is_checkout() or source is not None else installed_revision()
    macros = {"UART_BAUD": f"{baud}u", **(defines or {})}
    key = _content_key(name, compiler, macros, root, revision)
    build_id = key[:16]
    folder = (out or default_out()) / f"{name}-{compiler}-{key.hex()[:16]}"
    macros |= {
        "BUILD_ID_BYTES": ",".join(f"0x{byte:02x}" for byte in build_id), "GIT_REVISION": f'"{revision}"',
    }  # fmt: skip
    try:
        kept_folder(folder, partial(_build_into, name, compiler, macros, root, objects))
    except OSError as error:
        raise BuildError(
            f"{name}.img cannot be written into {folder.parent}: {error.strerror or error}; "
            "make room there, or name another folder in HIL_CACHE"
        ) from None
    path = folder / f"{name}.img"
    return Image(
        path=path,
        elf=folder / f"{name}.elf",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        build_id=build_id,
        git_revision=revision,
        compiler=compiler,
    )


def firmware_folder() -> Path:
    """The firmware's sources: of the checkout, or inside the installed package."""
    folder = data_path("firmware")
    if (folder / "layout.ld").exists():
        return folder
    raise BuildError(f"{folder} holds no firmware sources; install pi-ring-hil again, or pass source=")


def default_out() -> Path:
    """The folder `firmware` among the built things (hil/data.py)."""
    return build_path() / "firmware"


def symbols(elf: Path, names: Sequence[str]) -> dict[str, int]:
    """Addresses of symbols of an image, like those of layout.ld. Raises BuildError naming one that is missing."""
    with elf.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        found = {name: table.get_symbol_by_name(name) for name in names} if table is not None else {}
        missing = [name for name in names if not found.get(name)]
        if missing:
            raise BuildError(f"{elf}: has no symbol {missing[0]}; build the image again")
        return {name: int(entries[0]["st_value"]) for name, entries in found.items()}


def symbolize(elf: Path, address: int) -> str:
    """`function+0x12 (file.c:123)` for a code address; the address in hex where nothing is known."""
    with elf.open("rb") as stream:
        file = ELFFile(stream)
        function = _function_at(file, address)
        line = _line_at(file, address)
    return (function or f"{address:#010x}") + (f" ({line})" if line else "")


def compiler_command(compiler: Compiler) -> list[str]:
    """The compiler's command without arguments. Raises BuildError naming what to install."""
    if compiler == "zig":
        return [sys.executable, "-m", "ziglang", "cc"]
    if compiler == "gcc":
        path = shutil.which("arm-none-eabi-gcc")
        if path is None:
            raise BuildError(
                "arm-none-eabi-gcc is not on the PATH; install it (Debian: gcc-arm-none-eabi) or use compiler='zig'"
            )
        return [path]
    raise BuildError(f"there is no compiler {compiler!r}; choose zig or gcc")


@lru_cache
def compiler_version(compiler: Compiler) -> str:
    """First line of what the compiler says about its version."""
    command = compiler_command(compiler)
    done = subprocess.run(
        [*command, "--version"], capture_output=True, text=True, check=False, env=compiler_environment()
    )
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} --version fails: {_tail(done.stderr)}")
    return done.stdout.splitlines()[0]


def _sources(root: Path, name: str) -> list[Path]:
    found: list[Path] = []
    for part in _PARTS[name]:
        found += sorted((root / part).glob("*.c")) + sorted((root / part).glob("*.S"))
    if not found:
        raise BuildError(f"{root} holds no firmware sources ({', '.join(_PARTS[name])})")
    return found


def _content_key(name: str, compiler: Compiler, macros: Mapping[str, str], root: Path, revision: str) -> bytes:
    """SHA-256 over everything that can change the image's bytes."""
    hasher = hashlib.sha256()

    def add(label: str, data: bytes) -> None:
        hasher.update(f"{label}\0{len(data)}\0".encode())
        hasher.update(data)

    add("image", name.encode())
    add("compiler", compiler_version(compiler).encode())
    add("flags", repr((_COMMON_FLAGS, _flags(compiler), _BASES[name])).encode())
    add("macros", repr(sorted(macros.items())).encode())
    add("revision", revision.encode())
    for header, text in headers().items():
        add(header, text.encode())
    for part in _PARTS[name]:
        for path in sorted((root / part).glob("*.[chS]")):
            add(str(path.relative_to(root)), path.read_bytes())
    add("layout.ld", (root / "layout.ld").read_bytes())
    return hasher.digest()


def _flags(compiler: Compiler) -> tuple[str, ...]:
    return _ZIG_FLAGS if compiler == "zig" else _GCC_FLAGS


def _build_into(
    name: str, compiler: Compiler, macros: Mapping[str, str], root: Path, objects: Path | None, work: Path
) -> None:
    """Build in the folder `work`, which then holds the image, the ELF file and the headers."""
    elf = _compile_and_link(work, name, compiler, macros, root, objects)
    (work / f"{name}.img").write_bytes(raw_image(elf))
    for leftover in work.glob("*.o"):
        leftover.unlink()


def _compile_and_link(
    work: Path, name: str, compiler: Compiler, macros: Mapping[str, str], root: Path, objects: Path | None
) -> Path:
    write_headers(work)
    sources = _sources(root, name)
    prefix = [
        *compiler_command(compiler),
        *_flags(compiler),
        *_COMMON_FLAGS,
        f"-ffile-prefix-map={root}=firmware",
        f"-ffile-prefix-map={work}=build",
        f"-I{work}",
        *(f"-I{root / part}" for part in _PARTS[name]),
        *(f"-D{macro}={value}" for macro, value in sorted(macros.items())),
    ]

    included = "".join(headers().values()).encode() + b"".join(
        path.read_bytes() for part in _PARTS[name] for path in sorted((root / part).glob("*.h"))
    )

    def compile_one(path: Path) -> Path:
        target = work / f"{path.parent.name}-{path.stem}{path.suffix.replace('.', '-')}.o"
        kept = objects / f"{_object_key(path, compiler, macros, included)}.o" if objects is not None else None
        if kept is not None and kept.exists():
            return kept
        _run([*prefix, "-c", str(path), "-o", str(target)], f"{path.relative_to(root)} does not compile", root)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with atomically(kept) as copy:
                shutil.copy(target, copy)
        return target

    with ThreadPoolExecutor(2) as pool:
        compiled = list(pool.map(compile_one, sources))
    elf = work / f"{name}.elf"
    _run(_link_command(compiler, name, root, compiled, elf), f"{name}.img does not link", root)
    return elf


def _object_key(path: Path, compiler: Compiler, macros: Mapping[str, str], headers: bytes) -> str:
    """SHA-256 over what can change the object of one file: macros count where the file names them."""
    text = path.read_bytes()
    named = sorted(item for item in macros.items() if item[0].encode() in text + headers)
    known = (path.parent.name, path.name, compiler_version(compiler), _COMMON_FLAGS, _flags(compiler), named)
    return hashlib.sha256(repr(known).encode() + b"\0" + headers + b"\0" + text).hexdigest()


def _link_command(compiler: Compiler, name: str, root: Path, objects: Sequence[Path], elf: Path) -> list[str]:
    base, limit = _BASES[name]
    script = [f"--defsym=IMAGE_BASE={base:#x}", f"--defsym=IMAGE_LIMIT={limit:#x}"]
    tail = ["-T", str(root / "layout.ld"), *map(str, objects), "-o", str(elf)]
    if compiler == "zig":
        return [sys.executable, "-m", "ziglang", "ld.lld", "--build-id=none", *script, *tail]
    wrapped = [f"-Wl,{option}" for option in ("--build-id=none", "--no-warn-rwx-segments", *script)]
    return [*compiler_command("gcc"), *_GCC_FLAGS, "-nostdlib", "-static", *wrapped, *tail]


def _run(command: Sequence[str], what: str, root: Path) -> None:
    environment = {**compiler_environment(), "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment)
    if done.returncode != 0:
        raise BuildError(f"{what}:\n{_tail(done.stderr or done.stdout)}")


def _tail(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines[-_ERROR_LINES:]) or "(no output)"


def raw_image(elf: Path) -> bytes:
    """The bytes of an ELF file's loaded sections, from the lowest address, gaps as zeros."""
    with elf.open("rb") as stream:
        # Sections, not segments: a linker may put the ELF header itself into a loaded segment of its own.
        segments = [
            (section["sh_addr"], section.data())
            for section in ELFFile(stream).iter_sections()
            if section["sh_type"] == "SHT_PROGBITS" and section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_size"]
        ]
    base = min(address for address, _ in segments)
    image = bytearray(max(address + len(data) for address, data in segments) - base)
    for address, data in segments:
        image[address - base : address - base + len(data)] = data
    return bytes(image)


def _function_at(file: ELFFile, address: int) -> str | None:
    table = file.get_section_by_name(".symtab")
    if table is None:
        return None
    best: tuple[int, str] | None = None
    for symbol in table.iter_symbols():
        start = symbol["st_value"]
        size = symbol["st_size"]
        kind = symbol["st_info"]["type"]
        # Labels of assembly have no type; neither have mapping symbols ($a, $d) and the linker script's (__bss_start).
        named = kind == "STT_FUNC" or (kind == "STT_NOTYPE" and not symbol.name.startswith(("$", "__")))
        if not named or not symbol.name or start > address or (size and address >= start + size):
            continue
        if symbol["st_shndx"] in ("SHN_ABS", "SHN_UNDEF"):
            continue
        if best is None or start > best[0]:
            best = (start, symbol.name)
    if best is None or not _in_code(file, address):
        return None
    return best[1] if address == best[0] else f"{best[1]}+{address - best[0]:#x}"


def _in_code(file: ELFFile, address: int) -> bool:
    text = file.get_section_by_name(".text")
    return text is not None and 0 <= address - int(text["sh_addr"]) < int(text["sh_size"])


def _line_at(file: ELFFile, address: int) -> str | None:
    if not file.has_dwarf_info() or not _in_code(file, address):
        return None
    dwarf = file.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        before = None
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if before is not None and before.address <= address < state.address:
                files = program.header["file_entry"]
                index = before.file if program.header["version"] >= 5 else before.file - 1
                return f"{os.path.basename(files[index].name.decode())}:{before.line}"
            before = None if state.end_sequence else state
    return None
