"""Interrupts as the ARM takes them: their causes, the controller's registers, IRQ and FIQ entry, WFI."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.sim import Netlist, Simulation, Wire
from tests.sim.programs import BOOTED_NS, MS, simulate, word

HANDLED, PENDING, MODE, AT = 0, 1, 2, 3
"""Words at OUT: how many were handled, PENDING_1/2 or basic in the handler, CPSR's mode, the timer then."""

HANDLER = """
.equ IRQ, 0x2000b200
.balign 32
vectors:
    b vectors
    b vectors
    b vectors
    b vectors
    b vectors
    nop
    b handler                  @ 0x18
handler:                       @ 0x1c: FIQ comes here as well
    push {{r0-r3, lr}}
    ldr r0, =OUT
    ldr r1, [r0]
    add r1, r1, #1
    str r1, [r0]
    ldr r1, =IRQ
    ldr r2, [r1, #{pending}]
    str r2, [r0, #4]
    mrs r2, cpsr
    and r2, r2, #0x1f
    str r2, [r0, #8]
    ldr r2, =TIMER
    ldr r2, [r2, #CLO]
    str r2, [r0, #12]
    {clear}
    pop {{r0-r3, lr}}
    subs pc, lr, #4

main:
    ldr r0, =OUT
    mov r1, #0
    str r1, [r0]
    str r1, [r0, #16]
    ldr r0, =vectors
    mcr p15, 0, r0, c12, c0, 0
    mov r0, #0xd1              @ FIQ's stack, then IRQ's
    msr cpsr_c, r0
    ldr sp, =0x7000
    mov r0, #0xd2
    msr cpsr_c, r0
    ldr sp, =0x6000
    mov r0, #0xd3
    msr cpsr_c, r0
    {setup}
    {unmask}
    {wait}
"""
SPIN = """
    ldr r0, =OUT
    mov r1, #0
9:  add r1, r1, #1
    str r1, [r0, #16]
    b 9b
"""
WFI = "9: mcr p15, 0, r0, c7, c0, 4\n b 9b"
MATCH_IN_20_MS = """
    ldr r0, =TIMER
    ldr r1, [r0, #CLO]
    ldr r2, =20000
    add r1, r1, r2
    ldr r2, =OUT
    str r1, [r2, #20]
    str r1, [r0, #0x10]
    mov r1, #2
"""
ENABLE_1 = "ldr r0, =IRQ\n str r1, [r0, #0x10]\n"
CLEAR_MATCH = "ldr r1, =TIMER\n mov r2, #2\n str r2, [r1]"
UNMASK_IRQ = "cpsie i"


def program(
    setup: str, *, clear: str = CLEAR_MATCH, pending: int = 4, unmask: str = UNMASK_IRQ, wait: str = SPIN
) -> str:
    """A program that sets something up and counts what its handler is called for."""
    return HANDLER.format(setup=setup, clear=clear, pending=pending, unmask=unmask, wait=wait)


@pytest.mark.parametrize("wait", [SPIN, WFI], ids=["spinning", "waiting"])
def test_system_timer_interrupts_once_at_its_match(tmp_path: Path, wait: str) -> None:
    with simulate(tmp_path, program(MATCH_IN_20_MS + ENABLE_1, wait=wait)) as sim:
        sim.run(BOOTED_NS + 3 * MS)
        assert word(sim, 0, HANDLED) == 0
        sim.run(BOOTED_NS + 40 * MS)
        assert (word(sim, 0, HANDLED), word(sim, 0, PENDING), word(sim, 0, MODE)) == (1, 2, 0x12)
        assert 0 <= word(sim, 0, AT) - word(sim, 0, 5) <= 2
        if wait == SPIN:
            before = word(sim, 0, 4)
            sim.run(BOOTED_NS + 41 * MS)
            assert word(sim, 0, 4) > before > 1000


@pytest.mark.parametrize(
    ("setup", "unmask"), [(MATCH_IN_20_MS, UNMASK_IRQ), (MATCH_IN_20_MS + ENABLE_1, "")], ids=["disabled", "masked"]
)
def test_line_that_is_disabled_or_masked_is_not_taken(tmp_path: Path, setup: str, unmask: str) -> None:
    with simulate(tmp_path, program(setup, unmask=unmask)) as sim:
        sim.run(BOOTED_NS + 40 * MS)
        assert word(sim, 0, HANDLED) == 0
        assert sim.read_ram(0, 0x10010, 4) != bytes(4)  # it runs


def test_cause_that_stays_is_taken_again(tmp_path: Path) -> None:
    with simulate(tmp_path, program(MATCH_IN_20_MS + ENABLE_1, clear="")) as sim:
        sim.run(BOOTED_NS + 40 * MS)
        assert word(sim, 0, HANDLED) > 100


def test_fast_interrupt_has_its_own_mode_and_source(tmp_path: Path) -> None:
    setup = MATCH_IN_20_MS + "ldr r0, =IRQ\n mov r1, #0x81\n str r1, [r0, #0x0c]\n"
    with simulate(tmp_path, program(setup, unmask="cpsie f")) as sim:
        sim.run(BOOTED_NS + 40 * MS)
        assert (word(sim, 0, HANDLED), word(sim, 0, PENDING), word(sim, 0, MODE)) == (1, 0, 0x11)


def test_arm_timer_interrupts_again_and_again(tmp_path: Path) -> None:
    """Core clock 250 MHz / (0x7d + 1), load 1983: 1984 steps of 0.504 us are a millisecond."""
    setup = """
    ldr r0, =0x2000b400
    ldr r1, =1983
    str r1, [r0]
    ldr r1, =0x3e00a2
    str r1, [r0, #8]
    ldr r0, =IRQ
    mov r1, #1
    str r1, [r0, #0x18]
    """
    clear = "ldr r1, =0x2000b400\n ldr r2, [r1, #0x10]\n ldr r3, [r1, #0x14]\n add r2, r2, r3, lsl #4\n"
    clear += "str r2, [r0, #24]\n str r1, [r1, #0x0c]\n ldr r2, [r1, #0x10]\n str r2, [r0, #28]"
    with simulate(tmp_path, program(setup, clear=clear, pending=0)) as sim:
        sim.run(BOOTED_NS + 40 * MS)
        assert 45 <= word(sim, 0, HANDLED) <= 50
        assert (word(sim, 0, PENDING), word(sim, 0, 6), word(sim, 0, 7)) == (1, 0x11, 0)


EDGES = {"rising": (0x4C, 5), "falling": (0x58, 5), "async rising": (0x7C, 5), "async falling": (0x88, 5)}
"""Offset of the enable register, edges of each kind in SQUARE."""
SQUARE = """
main:
    ldr r4, =GPIO
    mov r0, #1
    lsl r0, r0, #12            @ GPIO4 output
    str r0, [r4]
    mov r5, #10
    ldr r0, =3000
    bl delay_us
1:  tst r5, #1
    mov r0, #16
    streq r0, [r4, #GPSET0]
    strne r0, [r4, #GPCLR0]
    mov r0, #500
    bl delay_us
    subs r5, r5, #1
    bne 1b
    b stop
"""


def gpio_program(register: int, wait: str) -> str:
    """Counts events of GPIO4."""
    setup = f"ldr r0, =GPIO\n mov r1, #16\n str r1, [r0, #{register}]\n ldr r0, =IRQ\n mov r1, #1\n lsl r1, r1, #17\n"
    clear = "ldr r1, =GPIO\n ldr r2, [r1, #0x40]\n str r2, [r0, #24]\n mov r2, #16\n str r2, [r1, #0x40]"
    return program(setup + "str r1, [r0, #0x14]\n", clear=clear, pending=8, wait=wait)


@pytest.mark.parametrize("wait", [SPIN, WFI], ids=["spinning", "waiting"])
@pytest.mark.parametrize("kind", EDGES)
def test_edges_from_another_board_interrupt(tmp_path: Path, kind: str, wait: str) -> None:
    register, edges = EDGES[kind]
    wires = Netlist([Wire(0, 4, 1, 4)])
    with simulate(tmp_path, gpio_program(register, wait), SQUARE, netlist=wires) as sim:
        sim.run(BOOTED_NS + 40 * MS)
        assert (word(sim, 0, HANDLED), word(sim, 0, 6)) == (edges, 16)
        assert word(sim, 0, PENDING) == 1 << 17


def test_level_is_an_event_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    with simulate(tmp_path, gpio_program(0x64, SPIN), SQUARE, netlist=Netlist([Wire(0, 4, 1, 4)])) as sim:
        sim.run(BOOTED_NS + 40 * MS)
        assert word(sim, 0, HANDLED) > 100


def _uart_board(tmp_path: Path, pending: int, wait: str) -> Simulation:
    setup = """
    mov r0, #26
    mov r1, #3
    bl uart_init
    ldr r0, =UART
    mov r1, #0x50
    str r1, [r0, #0x38]
    ldr r0, =IRQ
    mov r1, #1
    lsl r1, r1, #25
    str r1, [r0, #0x14]
    """
    clear = "ldr r1, =UART\n ldr r2, [r1, #0x40]\n str r2, [r0, #24]\n 5: ldr r2, [r1]\n str r2, [r0, #28]\n"
    clear += "ldr r2, [r1, #0x18]\n tst r2, #16\n beq 5b\n"
    return simulate(tmp_path, program(setup, clear=clear, pending=pending, wait=wait))


@pytest.mark.parametrize("wait", [SPIN, WFI], ids=["spinning", "waiting"])
def test_received_byte_interrupts_after_its_time_out(tmp_path: Path, wait: str) -> None:
    with _uart_board(tmp_path, 8, wait) as sim:
        sim.uart_set_baud(0, 115200)
        sim.run(BOOTED_NS + 3 * MS)
        sim.uart_write(0, b"A")
        sim.run(BOOTED_NS + 10 * MS)
        assert (word(sim, 0, HANDLED), word(sim, 0, PENDING)) == (1, 1 << 25)
        assert (word(sim, 0, 6), word(sim, 0, 7)) == (0x40, ord("A"))


def test_full_enough_fifo_interrupts_at_once(tmp_path: Path) -> None:
    """IFLS is 0x12 after reset: half of 16."""
    with _uart_board(tmp_path, 0, SPIN) as sim:
        sim.uart_set_baud(0, 115200)
        sim.run(BOOTED_NS + 3 * MS)
        sim.uart_write(0, b"12345678")
        sim.run(BOOTED_NS + 10 * MS)
        assert (word(sim, 0, HANDLED), word(sim, 0, PENDING)) == (1, 1 << 19)
        assert (word(sim, 0, 6), word(sim, 0, 7)) == (0x10, ord("8"))
