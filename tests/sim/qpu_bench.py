"""Runs QPU programs on a simulated board: the ARM enables the QPUs, starts them, waits, and writes down what it saw."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hil.sim import BoardConfig, Netlist, Simulation
from tests.sim.programs import MS, make_card
from tests.sim.qpu_asm import Asm, store_setup, vpm_setup

Lanes = npt.NDArray[np.uint32]
BOOT_NS = 1_000 * MS
RAM_BYTES = 32 << 20
BUS = 0x4000_0000
TABLE = 0x2_0000
CODE = 0x10_0000
UNIFORMS = 0x20_0000
INPUT = 0x30_0000
OUTPUT = 0x40_0000

DRIVER = """
.equ V3D, 0x20c00000
main:
    ldr r4, =MAIL
    ldr r5, =enable + 8
    str r5, [r4, #0x20]
1:  ldr r1, [r4, #0x18]
    tst r1, #1 << 30
    bne 1b
    ldr r1, [r4]
    ldr r6, =0x20000            @ count, interrupt enables, SRQUL (or -1); then pairs of uniforms and code
    ldr r10, =V3D + 0xe00
    ldr r4, =V3D + 0x400
    ldr r0, [r6, #4]
    str r0, [r10, #0x2c]
    mvn r0, #0
    str r0, [r10, #0x30]
    ldr r0, =(1 << 7) | (1 << 8) | (1 << 16)
    str r0, [r4, #0x3c]
    ldr r0, [r6, #8]
    cmn r0, #1
    strne r0, [r4, #0x38]
    ldr r7, [r6]
    mov r9, r7
    add r6, r6, #12
    ldr r8, =TIMER
    ldr r11, [r8, #CLO]
2:  ldmia r6!, {r0, r1}
    str r0, [r4, #0x34]
    str r1, [r4, #0x30]
    subs r7, r7, #1
    bne 2b
3:  ldr r0, [r4, #0x3c]
    lsr r1, r0, #16
    and r1, r1, #0xff
    cmp r1, r9
    bne 3b
    ldr r2, [r8, #CLO]
    sub r2, r2, r11
    ldr r5, =OUT
    str r0, [r5, #4]
    str r2, [r5, #8]
    ldr r0, [r10, #0x30]
    str r0, [r5, #12]
    mov r0, #1
    str r0, [r5]
    b stop
    .balign 16
enable:
    .word 32, 0, 0x00030012, 4, 4, 1, 0, 0
"""


@cache
def driver_card() -> Path:
    """A card with the ARM's program."""
    return make_card(Path(tempfile.mkdtemp(prefix="pi-ring-qpu-")), DRIVER, "gpu_mem=16\n")


@dataclass
class Ran:
    """A finished run; the simulation stays open for a look inside."""

    sim: Simulation
    finished: bool
    status: int
    microseconds: int
    interrupts: int

    def words(self, address: int, count: int) -> Lanes:
        """Words of RAM."""
        return np.frombuffer(self.sim.read_ram(0, address, 4 * count), np.uint32).copy()

    def lint(self) -> list[str]:
        """Findings about QPUs and V3D; the ARM driver's own (VFP, ...) left out."""
        return [text for text in self.sim.lint(0) if "QPU" in text or "V3D" in text or "counter" in text]


def launch(
    programs: Sequence[tuple[bytes, Sequence[int]]],
    *,
    memory: dict[int, bytes] | None = None,
    interrupts: int = 0,
    length: int = 0xFFFFFFFF,
    limit_ns: int = 100 * MS,
    allow_sleep: bool = True,
) -> Ran:
    """Run (code, uniforms) pairs together, the same code stored once, and wait for all of them."""
    sim = Simulation([BoardConfig(driver_card(), ram_bytes=RAM_BYTES)], Netlist(), 1, allow_sleep=allow_sleep)
    sim.power_on(0)
    codes: dict[bytes, int] = {}
    table = struct.pack("<3I", len(programs), interrupts, length)
    for number, (code, uniforms) in enumerate(programs):
        at = codes.setdefault(code, CODE + sum(len(c) + 64 for c in codes))
        sim.write_ram(0, at, code)
        where = UNIFORMS + number * 0x1000
        sim.write_ram(0, where, struct.pack(f"<{len(uniforms)}I", *(u & 0xFFFFFFFF for u in uniforms)))
        table += struct.pack("<2I", BUS + where, BUS + at)
    sim.write_ram(0, TABLE, table)
    sim.write_ram(0, 0x10000, bytes(16))
    for address, data in (memory or {}).items():
        sim.write_ram(0, address, data)
    sim.run(BOOT_NS + limit_ns)
    done, status, microseconds, latched = struct.unpack("<4I", sim.read_ram(0, 0x10000, 16))
    return Ran(sim, done == 1, status, microseconds, latched)


def prologue(asm: Asm, inputs: int) -> None:
    """ra1, ra2, ... are the vectors at INPUT, by TMU0; r0 to r2 are used up."""
    asm.load("r0", BUS + INPUT)
    asm.add("shl", "r1", "elem_num", 2)
    asm.add("add", "r0", "r0", "r1")
    asm.load("r2", 64)
    for number in range(inputs):
        asm.mov("t0s", "r0")
        asm.add("add", "r0", "r0", "r2")
        asm.nop(sig="ldtmu0")
        asm.mov(f"ra{number + 1}", "r4")
    asm.nop()


def epilogue(asm: Asm, outputs: Sequence[str]) -> None:
    """Store the registers at OUTPUT and end."""
    asm.load("wr_setup", vpm_setup(0))
    for name in outputs:
        asm.mov("vpm", name)
    asm.load("wr_setup", store_setup(units=len(outputs)))
    asm.load("wr_setup", 3 << 30)
    asm.load("st_addr", BUS + OUTPUT)
    asm.mov("-", "st_wait")
    asm.nop(sig="end")
    asm.mov("irq", 1)
    asm.nop()


def compute(
    body: Callable[[Asm], None], inputs: Sequence[npt.ArrayLike], outputs: Sequence[str], uniforms: Sequence[int] = ()
) -> list[Lanes]:
    """Run `body` between prologue and epilogue; what `outputs` then hold."""
    asm = Asm()
    prologue(asm, len(inputs))
    body(asm)
    asm.nop()
    epilogue(asm, outputs)
    data = b"".join(np.asarray(v, np.uint32).tobytes() for v in inputs)
    ran = launch([(asm.code(), uniforms)], memory={INPUT: data})
    assert ran.finished
    found = ran.words(OUTPUT, 16 * len(outputs))
    ran.sim.close()
    return list(found.reshape(-1, 16))
