"""The processor: entry state, exceptions, VFP access, faults that halt."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from hil.sim import Simulation
from tests.sim.programs import BOOTED_NS, MS, simulate

VECTORS = """
main:
    adr r0, vectors
    mcr p15, 0, r0, c12, c0, 0
    ldr r4, =OUT
    b body
    .balign 32
vectors:
    b .
    b h_undefined
    b h_swi
    b h_prefetch
    b h_data
h_undefined:
    mov r8, #1
    b record
h_swi:
    mov r8, #2
    b record
h_prefetch:
    mov r8, #3
    b record
h_data:
    mov r8, #4
record:
    str r8, [r4], #4
    str lr, [r4], #4
    mrs r9, cpsr
    str r9, [r4], #4
    mrs r9, spsr
    str r9, [r4], #4
    mrc p15, 0, r9, c5, c0, 0
    str r9, [r4], #4
    mrc p15, 0, r9, c6, c0, 0
    str r9, [r4], #4
    cmp r8, #4
    subeq lr, lr, #4
    cmp r8, #3
    moveq lr, r11
    movs pc, lr
body:
"""
ENABLE_VFP = """
    mrc p15, 0, r0, c1, c0, 2
    orr r0, r0, #0xf << 20
    mcr p15, 0, r0, c1, c0, 2
    mov r0, #0
    mcr p15, 0, r0, c7, c5, 4
    mov r0, #0x40000000
    fmxr fpexc, r0
    mov r0, #0x03000000
    fmxr fpscr, r0
"""
MMU = """
    ldr r0, =0x4000
    ldr r1, =0x00000c0e        @ normal memory, the first 16 MiB
    mov r2, #0
1:  orr r3, r1, r2, lsl #20
    str r3, [r0, r2, lsl #2]
    add r2, r2, #1
    cmp r2, #16
    blo 1b
    mov r3, #0
2:  str r3, [r0, r2, lsl #2]
    add r2, r2, #1
    cmp r2, #4096
    blo 2b
    ldr r3, =0x20000c16        @ peripherals
    ldr r2, =0x200
    str r3, [r0, r2, lsl #2]
    ldr r3, =0x20200c16
    add r2, r2, #2
    str r3, [r0, r2, lsl #2]
    mov r3, #0
    mcr p15, 0, r3, c8, c7, 0
    mcr p15, 0, r0, c2, c0, 0
    mov r3, #3
    mcr p15, 0, r3, c3, c0, 0
    mrc p15, 0, r3, c1, c0, 0
    ldr r2, =0x00800001
    orr r3, r3, r2
    mcr p15, 0, r3, c1, c0, 0
"""
SVC, ABORT, UNDEFINED = 0x13, 0x17, 0x1B


def records(sim: Simulation, count: int) -> list[tuple[int, ...]]:
    return [struct.unpack("<6I", sim.read_ram(0, 0x10000 + 24 * i, 24)) for i in range(count)]


def test_entry_state_is_what_the_gpu_leaves(tmp_path: Path) -> None:
    source = "main:\n mov r8, r0\n mov r9, r1\n mov r10, r2\n mrs r11, cpsr\n b stop\n"
    with simulate(tmp_path, source) as sim:
        sim.run(BOOTED_NS)
        registers = sim.registers(0)
        assert [registers[f"r{i}"] for i in (8, 9, 10)] == [0, 0xC42, 0x100]
        assert registers["r11"] & 0xDF == 0xC0 | SVC, "SVC mode, IRQ and FIQ masked, ARM state"
        assert sim.read_ram(0, 0x104, 4) == struct.pack("<I", 0x54410001)


def test_swi_and_undefined_reach_their_vectors_and_return(tmp_path: Path) -> None:
    source = VECTORS + "ldr r10, =here\n.balign 4\nhere: swi 7\n .word 0xe7f000f0\n mov r7, #77\n b stop\n"
    with simulate(tmp_path, source) as sim:
        sim.run(BOOTED_NS)
        here, state = sim.registers(0)["r10"], sim.registers(0)
        swi, undefined = records(sim, 2)
        assert (swi[0], swi[1], swi[2] & 0x1F, swi[3] & 0x1F) == (2, here + 4, SVC, SVC)
        assert (undefined[0], undefined[1], undefined[2] & 0x1F) == (1, here + 8, UNDEFINED)
        assert state["r7"] == 77
        assert sim.counters(0).exceptions == 2


@pytest.mark.parametrize(
    ("access", "address", "written"),
    [
        ("ldr r0, [r6]", 0x30000010, False),
        ("str r0, [r6, #8]", 0x30000018, True),
        ("ldmdb r6, {r0-r1}", 0x30000008, False),
        ("strd r0, r1, [r6, #-0x10]", 0x30000000, True),
        ("ldrb r0, [r6, r7, lsl #2]", 0x30000010 + 16, False),
    ],
)
@pytest.mark.parametrize("mmu", ["", MMU], ids=["flat", "mmu"])
def test_data_abort_tells_instruction_and_address(
    tmp_path: Path, access: str, address: int, written: bool, mmu: str
) -> None:
    body = f"ldr r10, =here\n mov r7, #4\n ldr r6, =0x30000010\n mov r5, #1\nhere: {access}\n mov r5, #2\n b stop\n"
    with simulate(tmp_path, VECTORS + mmu + body) as sim:
        sim.run(BOOTED_NS)
        (abort,) = records(sim, 1)
        assert (abort[0], abort[2] & 0x1F) == (4, ABORT)
        assert abort[1] == sim.registers(0)["r10"] + 8
        assert abort[5] == address
        assert bool(abort[4] & 1 << 11) == written
        assert sim.registers(0)["r5"] == 2, "the program went on after the handler"


def test_access_inside_ram_does_not_abort(tmp_path: Path) -> None:
    with simulate(tmp_path, VECTORS + MMU + "ldr r6, =0x300000\n ldr r0, [r6]\n mov r5, #2\n b stop\n") as sim:
        sim.run(BOOTED_NS)
        assert (sim.counters(0).exceptions, sim.registers(0)["r5"]) == (0, 2)


def test_jump_outside_ram_is_a_prefetch_abort(tmp_path: Path) -> None:
    body = "adr r11, after\n ldr r6, =0x31000000\n bx r6\nafter: mov r5, #5\n b stop\n"
    with simulate(tmp_path, VECTORS + body) as sim:
        sim.run(BOOTED_NS)
        (abort,) = records(sim, 1)
        assert (abort[0], abort[1], abort[2] & 0x1F) == (3, 0x31000004, ABORT)
        assert sim.registers(0)["r5"] == 5


def test_vfp_before_cpacr_is_undefined(tmp_path: Path) -> None:
    body = "ldr r10, =here\n mov r5, #1\nhere: fadds s0, s0, s0\n mov r5, #2\n b stop\n"
    with simulate(tmp_path, VECTORS + body) as sim:
        sim.run(BOOTED_NS)
        (undefined,) = records(sim, 1)
        assert (undefined[0], undefined[1]) == (1, sim.registers(0)["r10"] + 4)
        assert sim.registers(0)["r5"] == 2
        assert any("before CPACR enables cp10/cp11" in line for line in sim.lint(0))


def test_vfp_after_cpacr_and_fpexc_works(tmp_path: Path) -> None:
    body = "ldr r0, =0x3fc00000\n fmsr s0, r0\n fadds s0, s0, s0\n fmrs r5, s0\n b stop\n"
    with simulate(tmp_path, VECTORS + ENABLE_VFP + body) as sim:
        sim.run(BOOTED_NS)
        assert sim.counters(0).exceptions == 0
        assert sim.registers(0)["r5"] == 0x40400000
        assert sim.lint(0) == []


def test_vfp_without_runfast_mode_is_noted(tmp_path: Path) -> None:
    spin = "ldr r7, =3000000\n1: fadds s0, s0, s0\n subs r7, r7, #1\n bne 1b\n b stop\n"
    enable = ENABLE_VFP.replace("#0x03000000", "#0")
    with simulate(tmp_path / "bad", VECTORS + enable + spin) as sim:
        sim.run(BOOTED_NS)
        assert any("VFP runs without FZ and DN" in line for line in sim.lint(0))
    with simulate(tmp_path / "good", VECTORS + ENABLE_VFP + spin) as sim:
        sim.run(BOOTED_NS)
        assert sim.lint(0) == []


def test_fault_in_the_handler_halts_the_board(tmp_path: Path) -> None:
    source = "main:\n ldr r0, =0x30000000\n mcr p15, 0, r0, c12, c0, 0\n swi 1\n"
    with simulate(tmp_path, source) as sim:
        sim.run(BOOTED_NS)
        assert sim.state(0) == "halted"
        assert any("double fault" in line for line in sim.lint(0))
        sim.reset(0)
        assert sim.state(0) == "booting", "RUN brings a halted board back"


def test_endless_loop_does_not_stop_virtual_time(tmp_path: Path) -> None:
    with simulate(tmp_path, "main:\n b main\n", "main:\n b stop\n") as sim:
        assert not sim.run(1050 * MS)
        assert sim.time_ns == 1050 * MS
        instructions = sim.counters(0).instructions
        assert 34_000_000 < instructions < 35_100_000, "50 ms at 700 MHz, one instruction per cycle"


def test_code_written_by_the_program_itself_runs(tmp_path: Path) -> None:
    body = """
main:
    ldr r6, =0x20000
    ldr r0, =0xe3a05007        @ mov r5, #7
    str r0, [r6]
    ldr r0, =0xe12fff1e        @ bx lr
    str r0, [r6, #4]
    blx r6
    mov r8, r5
    ldr r0, =0xe3a05009        @ mov r5, #9
    str r0, [r6]
    blx r6
    b stop
"""
    with simulate(tmp_path, body) as sim:
        sim.run(BOOTED_NS)
        assert (sim.registers(0)["r8"], sim.registers(0)["r5"]) == (7, 9)
