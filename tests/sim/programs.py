"""Small ARM programs for the simulator's tests: assembled with zig at test time, put on a card, run.

A program starts at 0x8000 with `PRELUDE` included: names of registers, `uart_init`, `putc`, `delay_us`, `stop`.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile

from hil.sim import BoardConfig, Netlist, Simulation

MS = 1_000_000
BOOTED_NS = 1_010 * MS
"""A little after the boot delay: a small program has started by then."""

PRELUDE = """
.syntax unified
.arm
.cpu arm1176jzf-s
.fpu vfpv2
.equ GPIO,  0x20200000
.equ GPFSEL0, 0x00
.equ GPFSEL1, 0x04
.equ GPFSEL2, 0x08
.equ GPSET0, 0x1c
.equ GPCLR0, 0x28
.equ GPLEV0, 0x34
.equ GPPUD, 0x94
.equ GPPUDCLK0, 0x98
.equ TIMER, 0x20003000
.equ CLO, 0x04
.equ PM, 0x20100000
.equ MAIL, 0x2000b880
.equ UART, 0x20201000
.equ OUT, 0x10000          @ results go here, for the test to read
.section .text.start, "ax"
.global _start
_start:
    ldr sp, =0x7ff0
    b main

uart_init:                 @ r0 = IBRD, r1 = FBRD; clobbers r2, r3
    ldr r2, =GPIO
    ldr r3, =(4 << 12) | (4 << 15)
    str r3, [r2, #GPFSEL1]
    ldr r2, =UART
    mov r3, #0
    str r3, [r2, #0x30]
    str r0, [r2, #0x24]
    str r1, [r2, #0x28]
    mov r3, #0x70
    str r3, [r2, #0x2c]
    ldr r3, =0x301
    str r3, [r2, #0x30]
    bx lr

putc:                      @ r0 = byte; clobbers r2, r3
    ldr r2, =UART
1:  ldr r3, [r2, #0x18]
    tst r3, #0x20
    bne 1b
    str r0, [r2]
    bx lr

delay_us:                  @ r0 = microseconds; clobbers r1..r3
    ldr r1, =TIMER
    ldr r2, [r1, #CLO]
1:  ldr r3, [r1, #CLO]
    sub r3, r3, r2
    cmp r3, r0
    blo 1b
    bx lr

stop:
    wfi_instruction:
    mcr p15, 0, r0, c7, c0, 4
    b stop
    .ltorg
"""


@cache
def assemble(source: str) -> bytes:
    """The image of PRELUDE + source, linked at 0x8000."""
    text = PRELUDE + source + "\n.ltorg\n"
    folder = Path(tempfile.gettempdir()) / "pi-ring-test-programs"
    folder.mkdir(exist_ok=True)
    image = folder / (hashlib.sha256(text.encode()).hexdigest()[:20] + ".img")
    if image.exists():
        return image.read_bytes()
    with tempfile.TemporaryDirectory() as scratch:
        unit = Path(scratch) / "program.S"
        unit.write_text(text)
        script = Path(scratch) / "layout.ld"
        script.write_text("ENTRY(_start)\nSECTIONS { . = 0x8000; .text : { *(.text.start) *(.text*) *(.data*) } }\n")
        elf = Path(scratch) / "program.elf"
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "arm-freestanding-eabihf"]
        command += ["-mcpu=arm1176jzf_s", "-nostdlib", "-g0", "-T", str(script), str(unit), "-o", str(elf)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with elf.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".text")
            assert section is not None
            assert section["sh_addr"] == 0x8000
            data = section.data()
        partial = image.with_suffix(f".{Path(scratch).name}")
        partial.write_bytes(data)
        partial.replace(image)
        return data


def make_card(folder: Path, source: str, config: str = "") -> Path:
    """An SD card whose kernel.img is the program."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.img").write_bytes(assemble(source))
    (folder / "config.txt").write_text(config)
    return folder


def simulate(
    folder: Path,
    *sources: str,
    netlist: Netlist | None = None,
    seed: int = 1,
    config: str = "",
    allow_sleep: bool = True,
    **board: object,
) -> Simulation:
    """One board per source, powered on; `board` goes to every BoardConfig."""
    cards = [make_card(folder / f"card{i}", source, config) for i, source in enumerate(sources)]
    configs = [BoardConfig(card, ram_bytes=32 << 20, **board) for card in cards]  # type: ignore[arg-type]
    sim = Simulation(configs, netlist or Netlist(), seed, allow_sleep=allow_sleep)
    for index in range(len(cards)):
        sim.power_on(index)
    return sim


def word(sim: Simulation, board: int, index: int) -> int:
    """Result word `index` that the program stored at OUT."""
    return int.from_bytes(sim.read_ram(board, 0x10000 + 4 * index, 4), "little")
