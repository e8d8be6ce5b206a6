"""Timers, watchdog, mailbox, poll sleeping, determinism: everything that depends on virtual time."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from hil.sim import BoardConfig, Netlist, Simulation, Wire
from tests.sim.programs import BOOTED_NS, MS, make_card, simulate, word

UART = "mov r0, #26\n mov r1, #3\n bl uart_init\n"
WATCHDOG = """
    ldr r4, =PM
    ldr r0, ={password} | 655
    str r0, [r4, #0x24]
    ldr r1, [r4, #0x20]
    ldr r2, =OUT
    str r1, [r2]
    ldr r0, ={password} | 0x20
    str r0, [r4, #0x1c]
    b stop
"""
MAILBOX = """
    ldr r4, =MAIL
    ldr r5, =buffer + {skew}
    orr r0, r5, #8
    str r0, [r4, #0x20]
{wait}
    ldr r1, [r4]
    b stop
    .balign 16
buffer:
    .word 48, 0, 0x00010004, 8, 0, 0, 0, 0x00010005, 8, 0, 0, 0, 0, 0, 0, 0
"""
WAIT_EMPTY = "1: ldr r1, [r4, #0x18]\n tst r1, #1 << 30\n bne 1b\n"
PING = """
    ldr r4, =GPIO
    ldr r0, =1 << 18
    str r0, [r4, #GPFSEL1]
    mov r6, #0
1:  mov r0, #1 << 16
    str r0, [r4, #GPSET0]
2:  ldr r0, [r4, #GPLEV0]
    tst r0, #1 << 17
    beq 2b
    mov r0, #1 << 16
    str r0, [r4, #GPCLR0]
2:  ldr r0, [r4, #GPLEV0]
    tst r0, #1 << 17
    bne 2b
    add r6, r6, #1
    mov r0, #7
    bl delay_us
    cmp r6, #50
    blo 1b
    ldr r5, =TIMER
    ldr r7, [r5, #CLO]
    b stop
"""
PONG = """
    ldr r4, =GPIO
    ldr r0, =1 << 3
    str r0, [r4, #GPFSEL1]
1:  ldr r0, [r4, #GPLEV0]
    tst r0, #1 << 10
    beq 1b
    mov r0, #3
    bl delay_us
    mov r0, #1 << 11
    str r0, [r4, #GPSET0]
2:  ldr r0, [r4, #GPLEV0]
    tst r0, #1 << 10
    bne 2b
    mov r0, #1 << 11
    str r0, [r4, #GPCLR0]
    b 1b
"""
PAIR = Netlist([Wire(0, 16, 1, 10), Wire(0, 17, 1, 11)])


def main(*parts: str) -> str:
    return "main:\n" + "".join(parts)


def test_clo_starts_near_its_wrap_and_counts_microseconds(tmp_path: Path) -> None:
    source = main("""
    ldr r4, =TIMER
    ldr r5, [r4, #CLO]
    ldr r0, =5000
    bl delay_us
    ldr r6, [r4, #CLO]
    ldr r7, [r4, #8]
    b stop
""")
    with simulate(tmp_path, source) as sim:
        sim.run(1020 * MS)
        registers = sim.registers(0)
        assert registers["r5"] == 0xFFFFF000
        assert 5000 <= (registers["r6"] - registers["r5"]) & 0xFFFFFFFF <= 5000 * 1.017
        assert registers["r6"] < 0x10000, "the low word wrapped"
        assert registers["r7"] == 1


def test_drift_changes_a_boards_own_time(tmp_path: Path) -> None:
    source = main("ldr r5, =TIMER\n1: ldr r6, [r5, #CLO]\n b 1b\n")
    with simulate(tmp_path, source, drift_ppm=50_000.0) as fast, simulate(tmp_path, source) as even:
        for sim in fast, even:
            sim.run(1100 * MS)
        elapsed = [(s.registers(0)["r6"] - 0xFFFFF000) & 0xFFFFFFFF for s in (fast, even)]
        assert 1.03 < elapsed[0] / elapsed[1] < 1.07


def test_watchdog_resets_after_its_ticks(tmp_path: Path) -> None:
    with simulate(tmp_path, main(WATCHDOG.format(password="0x5a000000"))) as sim:
        sim.run(1005 * MS)
        assert sim.counters(0).resets == 0
        assert word(sim, 0, 0) == 0x1000, "RSTS after power on"
        sim.run(1012 * MS)
        assert sim.counters(0).resets == 1
        assert sim.state(0) == "booting"
        sim.run(2015 * MS)
        assert word(sim, 0, 0) == 0x20, "RSTS after the watchdog"


def test_watchdog_write_without_password_is_ignored(tmp_path: Path) -> None:
    with simulate(tmp_path, main(WATCHDOG.format(password="0x11000000"))) as sim:
        sim.run(3000 * MS)
        assert sim.counters(0).resets == 0
        assert any("without the password 0x5a000000" in line for line in sim.lint(0))


def test_mailbox_answers_serial_and_memory(tmp_path: Path) -> None:
    source = main(MAILBOX.format(skew=0, wait=WAIT_EMPTY))
    with simulate(tmp_path, source, serial=0x1234_5678_9ABC_DEF0, config="gpu_mem=16\n") as sim:
        sim.run(BOOTED_NS)
        buffer = struct.unpack("<12I", sim.read_ram(0, sim.registers(0)["r5"], 48))
        assert buffer[1] == 0x80000000
        assert buffer[5:7] == (0x9ABCDEF0, 0x12345678)
        assert buffer[10:12] == (0, 16 << 20)
        assert sim.registers(0)["r1"] == sim.registers(0)["r5"] | 8
        assert sim.lint(0) == []


@pytest.mark.parametrize(
    ("skew", "wait", "said"), [(0, "", "while EMPTY"), (4, "", "16-byte aligned")], ids=["no wait", "unaligned"]
)
def test_mailbox_used_wrongly_gives_nothing(tmp_path: Path, skew: int, wait: str, said: str) -> None:
    with simulate(tmp_path, main(MAILBOX.format(skew=skew, wait=wait))) as sim:
        sim.run(BOOTED_NS)
        assert sim.registers(0)["r1"] == 0
        assert any(said in line for line in sim.lint(0))


def ping_pong(folder: Path, **options: object) -> tuple[object, ...]:
    with simulate(folder, main(PING), main(PONG), netlist=PAIR, **options) as sim:  # type: ignore[arg-type]
        sim.run(1050 * MS)
        a, b = sim.counters(0), sim.counters(1)
        seen = sim.registers(0)["r6"], sim.registers(0)["r7"], a.gpio_writes, b.gpio_writes
        return (*seen, a.sleeps > 20)


def test_sleeping_changes_neither_values_nor_times(tmp_path: Path) -> None:
    asleep = ping_pong(tmp_path / "a")
    awake = ping_pong(tmp_path / "b", allow_sleep=False)
    assert asleep[:4] == awake[:4]
    assert asleep[0] == 50
    assert asleep[4], "the boards did sleep"
    assert not awake[4]


def test_straight_line_reads_are_not_taken_for_a_loop(tmp_path: Path) -> None:
    source = main("ldr r4, =GPIO\n", "ldr r0, [r4, #GPLEV0]\n" * 12, "mov r5, #5\n b stop\n")
    with simulate(tmp_path, source) as sim:
        sim.run(BOOTED_NS)
        assert sim.registers(0)["r5"] == 5


def test_counting_polls_are_not_skipped(tmp_path: Path) -> None:
    source = main("ldr r4, =GPIO\n ldr r5, =1000\n1: ldr r0, [r4, #GPLEV0]\n subs r5, r5, #1\n bne 1b\n b stop\n")
    with simulate(tmp_path, source) as sim:
        sim.run(BOOTED_NS)
        assert sim.registers(0)["r5"] == 0
        assert sim.counters(0).gpio_reads == 1000


def test_long_waits_cost_little(tmp_path: Path) -> None:
    source = main("ldr r0, =60000000\n bl delay_us\n mov r5, #5\n b stop\n")
    with simulate(tmp_path, source) as sim:
        sim.run(63_000 * MS)
        assert sim.registers(0)["r5"] == 5
        assert sim.counters(0).other_mmio < 5000


def trace(folder: Path, seed: int, slice_ns: int) -> list[object]:
    sources = main(UART, PING), main(UART, PONG)
    with simulate(folder, *sources, netlist=PAIR, seed=seed, drift_ppm=30.0) as sim:
        while sim.time_ns < 1030 * MS:
            sim.run(min(sim.time_ns + slice_ns, 1030 * MS))
        ram = sim.read_ram(0, 0x100000, 64)
        return [sim.counters(0).instructions, sim.counters(1).gpio_reads, sim.registers(0), ram]


def test_same_seed_gives_the_same_run_however_it_is_sliced(tmp_path: Path) -> None:
    first = trace(tmp_path / "a", 1, 20 * MS)
    assert trace(tmp_path / "b", 1, 20 * MS) == first
    sliced = trace(tmp_path / "c", 1, 7_777)
    assert sliced[1:] == first[1:]
    assert trace(tmp_path / "d", 2, 20 * MS)[3] != first[3], "another seed, another RAM"


def test_untouched_ram_is_neither_zero_nor_resident(tmp_path: Path) -> None:
    card = make_card(tmp_path, main("b stop\n"))
    with Simulation([BoardConfig(card)] * 16, Netlist(), 1) as sim:
        for board in range(16):
            sim.power_on(board)
        sample = sim.read_ram(3, 0x1000_0000, 4096)
        assert len(set(sample)) > 200
        assert resident_bytes() < 1 << 30, "16 boards of 512 MiB"


def resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        pytest.skip("needs /proc/self/statm (Linux) to measure memory")
    return pages * 4096


def test_reset_keeps_ram_and_power_off_loses_it(tmp_path: Path) -> None:
    with simulate(tmp_path, main("b stop\n")) as sim:
        sim.write_ram(0, 0x100000, b"kept")
        sim.run(BOOTED_NS)
        sim.reset(0)
        sim.run(sim.time_ns + BOOTED_NS)
        assert sim.read_ram(0, 0x100000, 4) == b"kept"
        sim.power_off(0)
        assert not sim.is_powered(0)
        sim.power_on(0)
        assert sim.read_ram(0, 0x100000, 4) != b"kept"


def test_start_delay_shifts_the_boot(tmp_path: Path) -> None:
    say = main(UART, "mov r0, #'x'\n bl putc\n b stop\n")
    with simulate(tmp_path / "a", say) as now, simulate(tmp_path / "b", say, start_delay_ns=70 * MS) as late:
        for sim in now, late:
            assert sim.run(3000 * MS, stop_on_rx=[0])
        assert late.time_ns - now.time_ns == 70 * MS


def test_run_stops_at_once_when_bytes_wait(tmp_path: Path) -> None:
    say = main(UART, "mov r0, #'x'\n bl putc\n b stop\n")
    with simulate(tmp_path, say) as sim:
        sim.run(2000 * MS)
        assert sim.run(3000 * MS, stop_on_rx=[0])
        assert sim.time_ns == 2000 * MS
        sim.uart_read(0)
        assert not sim.run(3000 * MS, stop_on_rx=[0])
        assert sim.time_ns == 3000 * MS


def test_idle_boards_cost_no_wall_time_worth_naming(tmp_path: Path) -> None:
    """An hour of four boards in WFI; the pytest time-out is the limit, not a threshold here."""
    with simulate(tmp_path, *[main("b stop\n")] * 4) as sim:
        started = time.process_time()
        sim.run(3600_000 * MS)
        assert sim.time_ns == 3600_000 * MS
        assert time.process_time() >= started
