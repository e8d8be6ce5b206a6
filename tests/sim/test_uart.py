"""Both UARTs: routing, divisors, FIFO depths, overruns, wrong bauds, faults on the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.sim import Simulation, SimulationError, UartNoise
from tests.sim.programs import BOOTED_NS, MS, simulate, word

PL011 = "mov r0, #{ibrd}\n mov r1, #{fbrd}\n bl uart_init\n"
SAY = "mov r0, #'O'\n bl putc\n mov r0, #'K'\n bl putc\n b stop\n"
ECHO = """
1:  ldr r2, =UART
2:  ldr r3, [r2, #0x18]
    tst r3, #0x10
    bne 2b
    ldr r0, [r2]
    and r0, r0, #255
    bl putc
    b 1b
"""
WAIT_THEN_COUNT = """
    ldr r0, =20000
    bl delay_us
    ldr r2, =UART
    ldr r5, =OUT
    mov r6, #0
    mov r7, #0
1:  ldr r3, [r2, #0x18]
    tst r3, #0x10
    bne 2f
    ldr r0, [r2]
    tst r0, #1 << 11
    addne r7, r7, #1
    add r6, r6, #1
    b 1b
2:  str r6, [r5]
    ldr r0, [r2, #4]
    str r0, [r5, #4]
    b stop
"""
MINI = """
    ldr r2, =GPIO
    ldr r3, =(2 << 12) | (2 << 15)
    str r3, [r2, #GPFSEL1]
    ldr r2, =0x20215000
    mov r3, #1
    str r3, [r2, #4]
    mov r3, #{lcr}
    str r3, [r2, #0x4c]
    ldr r3, ={baud_register}
    str r3, [r2, #0x68]
    mov r3, #3
    str r3, [r2, #0x60]
1:  ldr r3, [r2, #0x54]
    tst r3, #1
    beq 1b
    ldr r0, [r2, #0x40]
2:  ldr r3, [r2, #0x54]
    tst r3, #0x20
    beq 2b
    str r0, [r2, #0x40]
    b 1b
"""


def main(*parts: str) -> str:
    return "main:\n" + "".join(parts)


def ask(sim: Simulation, data: bytes, *, wait_ns: int = 20 * MS) -> bytes:
    sim.uart_write(0, data)
    sim.run(sim.time_ns + wait_ns)
    return sim.uart_read(0)


def test_pl011_speaks_at_115200(tmp_path: Path) -> None:
    with simulate(tmp_path, main(PL011.format(ibrd=26, fbrd=3), SAY)) as sim:
        assert sim.run(2000 * MS, stop_on_rx=[0])
        assert sim.uart_read(0) == b"OK"


@pytest.mark.parametrize("ibrd", [13, 30], ids=["twice the baud", "13 percent slow"])
def test_wrong_divisor_garbles(tmp_path: Path, ibrd: int) -> None:
    with simulate(tmp_path, main(PL011.format(ibrd=ibrd, fbrd=3), SAY)) as sim:
        assert sim.run(2000 * MS, stop_on_rx=[0])
        assert sim.uart_read(0) != b"OK"


def test_two_percent_off_is_still_understood(tmp_path: Path) -> None:
    with simulate(tmp_path, main(PL011.format(ibrd=26, fbrd=32), SAY)) as sim:
        sim.run(2000 * MS, stop_on_rx=[0])
        assert sim.uart_read(0) == b"OK"


def test_uart_clock_of_3_mhz_garbles_what_was_computed_for_48(tmp_path: Path) -> None:
    program = main(PL011.format(ibrd=26, fbrd=3), SAY)
    with simulate(tmp_path, program, config="init_uart_clock=3000000\n") as sim:
        sim.run(2000 * MS, stop_on_rx=[0])
        assert sim.uart_read(0) != b"OK"


def test_divisor_written_after_lcrh_is_not_taken(tmp_path: Path) -> None:
    again = "ldr r2, =UART\n mov r0, #1\n str r0, [r2, #0x24]\n"
    with simulate(tmp_path, main(PL011.format(ibrd=26, fbrd=3), again, SAY)) as sim:
        sim.run(2000 * MS, stop_on_rx=[0])
        assert sim.uart_read(0) == b"OK"


def test_unrouted_pins_carry_nothing(tmp_path: Path) -> None:
    unroute = "ldr r2, =GPIO\n mov r3, #0\n str r3, [r2, #GPFSEL1]\n"
    with simulate(tmp_path, main(PL011.format(ibrd=26, fbrd=3), unroute, SAY)) as sim:
        assert not sim.run(2000 * MS, stop_on_rx=[0])


def test_disabled_transmitter_sends_nothing_and_is_noted(tmp_path: Path) -> None:
    disable = "ldr r2, =UART\n mov r3, #0\n str r3, [r2, #0x30]\n"
    with simulate(tmp_path, main(PL011.format(ibrd=26, fbrd=3), disable, SAY)) as sim:
        assert not sim.run(2000 * MS, stop_on_rx=[0])
        assert any("transmitter is disabled" in line for line in sim.lint(0))


@pytest.mark.parametrize(("sent", "kept", "overruns"), [(16, 16, 0), (20, 16, 4)])
def test_receive_fifo_holds_sixteen(tmp_path: Path, sent: int, kept: int, overruns: int) -> None:
    with simulate(tmp_path, main(PL011.format(ibrd=26, fbrd=3), WAIT_THEN_COUNT)) as sim:
        sim.run(1002 * MS)
        sim.uart_write(0, bytes(range(sent)))
        sim.run(1100 * MS)
        assert word(sim, 0, 0) == kept
        assert sim.uart_overruns(0) == overruns
        assert bool(word(sim, 0, 1) & 8) == (overruns > 0), "RSRECR.OE"


def test_transmit_fifo_that_is_full_loses_bytes(tmp_path: Path) -> None:
    flood = "ldr r2, =UART\n mov r4, #40\n1: str r4, [r2]\n subs r4, r4, #1\n bne 1b\n b stop\n"
    with simulate(tmp_path, main(PL011.format(ibrd=26, fbrd=3), flood)) as sim:
        sim.run(1100 * MS)
        assert 16 <= len(sim.uart_read(0)) <= 18
        assert any("transmit FIFO is full" in line for line in sim.lint(0))


def test_wrong_host_baud_garbles_both_ways(tmp_path: Path) -> None:
    with simulate(tmp_path, main(PL011.format(ibrd=26, fbrd=3), ECHO)) as sim:
        sim.run(BOOTED_NS)
        assert ask(sim, b"hello") == b"hello"
        sim.uart_set_baud(0, 57600)
        assert ask(sim, b"hello") != b"hello"
        sim.uart_set_baud(0, 115200)
        assert ask(sim, b"hello") == b"hello"


def test_bytes_take_their_bit_times(tmp_path: Path) -> None:
    with simulate(tmp_path, main(PL011.format(ibrd=26, fbrd=3), ECHO)) as sim:
        sim.run(BOOTED_NS)
        start = sim.time_ns
        sim.uart_write(0, bytes(1000))
        received = 0
        while received < 1000:
            assert sim.run(start + 1000 * MS, stop_on_rx=[0])
            received += len(sim.uart_read(0))
        assert 86.8 * MS < sim.time_ns - start < 90 * MS, "1000 bytes of 10 bits at 115200 baud"


def test_mini_uart_follows_the_core_clock(tmp_path: Path) -> None:
    program = main(MINI.format(lcr=3, baud_register=270))
    with simulate(tmp_path / "250", program) as sim:
        sim.run(BOOTED_NS)
        assert ask(sim, b"\xe9llo") == b"\xe9llo"
    with simulate(tmp_path / "400", program, config="core_freq=400\n") as sim:
        sim.run(BOOTED_NS)
        assert ask(sim, b"\xe9llo") != b"\xe9llo"


def test_mini_uart_with_lcr_1_strips_the_eighth_bit(tmp_path: Path) -> None:
    with simulate(tmp_path, main(MINI.format(lcr=1, baud_register=270))) as sim:
        sim.run(BOOTED_NS)
        assert ask(sim, b"\xe9") == b"\x69"


def test_dropped_and_corrupted_bytes_follow_the_seed(tmp_path: Path) -> None:
    def noisy(folder: str, seed: int) -> bytes:
        with simulate(tmp_path / folder, main(PL011.format(ibrd=26, fbrd=3), ECHO), seed=seed) as sim:
            sim.run(BOOTED_NS)
            sim.set_faults([UartNoise(0, drop_rate=0.05, corrupt_rate=0.05)])
            return ask(sim, bytes(200), wait_ns=60 * MS)

    first = noisy("a", 1)
    assert 150 < len(first) < 200
    assert any(first)
    assert noisy("b", 1) == first
    assert noisy("c", 2) != first


def test_baud_out_of_range_is_refused(tmp_path: Path) -> None:
    with (
        simulate(tmp_path, main(SAY)) as sim,
        pytest.raises(SimulationError, match=r"baud 7 is outside 50\.\.12000000"),
    ):
        sim.uart_set_baud(0, 7)
