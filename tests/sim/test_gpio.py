"""Pads, pulls, nets, contention and noise."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.sim import BoardConfig, Netlist, Simulation, SimulationError, Wire
from tests.sim.programs import BOOTED_NS, MS, simulate, word

DRIVE_16 = """
    ldr r4, =GPIO
    ldr r0, =1 << 16
    str r0, [r4, #{latch}]
    ldr r0, =1 << 18
    str r0, [r4, #GPFSEL1]
    b stop
"""
DRIVE_4 = """
    ldr r4, =GPIO
    mov r0, #1 << 4
    str r0, [r4, #{latch}]
    mov r0, #1 << 12
    str r0, [r4, #GPFSEL0]
    b stop
"""
READ = """
    ldr r4, =GPIO
    ldr r5, =OUT
    mov r6, #64
1:  ldr r0, [r4, #GPLEV0]
    str r0, [r5], #4
    subs r6, r6, #1
    bne 1b
    b stop
"""
SET_PULL = """
    ldr r4, =GPIO
    mov r0, #{pull}
    str r0, [r4, #GPPUD]
    mov r0, #{setup_us}
    bl delay_us
    ldr r0, ={mask}
    str r0, [r4, #GPPUDCLK0]
    mov r0, #{hold_us}
    bl delay_us
    mov r0, #0
    str r0, [r4, #GPPUD]
    str r0, [r4, #GPPUDCLK0]
"""


def main(*parts: str) -> str:
    return "main:\n" + "".join(parts)


def pulls(pull: int, mask: int, *, setup_us: int = 5, hold_us: int = 5) -> str:
    return SET_PULL.format(pull=pull, mask=mask, setup_us=setup_us, hold_us=hold_us)


def test_reset_pulls_are_up_to_8_and_down_above(tmp_path: Path) -> None:
    with simulate(tmp_path, main(READ)) as sim:
        sim.run(BOOTED_NS)
        assert word(sim, 0, 0) & 0x0FFF_7FFF == 0x1FF


def test_output_reaches_the_other_end_of_its_wire_only(tmp_path: Path) -> None:
    wires = Netlist([Wire(0, 16, 1, 4)])
    with simulate(
        tmp_path, main(DRIVE_16.format(latch="GPCLR0")), main("mov r0,#9\n bl delay_us\n", READ), netlist=wires
    ) as sim:
        sim.run(BOOTED_NS)
        assert sim.levels()[0, 16] == "0"
        assert sim.levels()[1, 4] == "0", "driven low against the pull-up"
        assert word(sim, 1, 0) & 0x1F0 == 0x1E0
        assert sim.contentions == []


def test_without_the_wire_the_pull_stays(tmp_path: Path) -> None:
    with simulate(tmp_path, main(DRIVE_16.format(latch="GPCLR0")), main(READ)) as sim:
        sim.run(BOOTED_NS)
        assert word(sim, 1, 0) & 0x1F0 == 0x1F0


def test_two_outputs_that_disagree_are_contention_with_names_and_pcs(tmp_path: Path) -> None:
    sources = main(DRIVE_16.format(latch="GPSET0")), main(DRIVE_4.format(latch="GPCLR0"))
    with simulate(tmp_path, *sources, netlist=Netlist([Wire(0, 16, 1, 4)])) as sim:
        sim.run(BOOTED_NS)
        (contention,) = sim.contentions
        assert contention.end_ns is None
        assert {(o.board, o.pin, o.level) for o in contention.outputs} == {(0, 16, 1), (1, 4, 0)}
        assert all(0x8000 <= o.pc < 0x9000 for o in contention.outputs)
        assert "board 0 GPIO16=1" in str(contention)
        assert sim.levels()[1, 4] == "!"
        sim.reset(1)
        assert sim.contentions[0].end_ns == sim.time_ns


def test_two_outputs_that_agree_are_not_contention(tmp_path: Path) -> None:
    sources = main(DRIVE_16.format(latch="GPSET0")), main(DRIVE_4.format(latch="GPSET0"))
    with simulate(tmp_path, *sources, netlist=Netlist([Wire(0, 16, 1, 4)])) as sim:
        sim.run(BOOTED_NS)
        assert sim.contentions == []
        assert sim.levels()[1, 4] == "1"


def test_pull_sequence_with_enough_time_sets_the_pull(tmp_path: Path) -> None:
    with simulate(tmp_path, main(pulls(1, 0x1F0), READ)) as sim:
        sim.run(BOOTED_NS)
        assert word(sim, 0, 0) & 0x1FF == 0x00F
        assert sim.lint(0) == []


@pytest.mark.parametrize(("setup_us", "hold_us", "said"), [(0, 5, "after GPPUD"), (5, 0, "released")])
def test_pull_sequence_that_is_too_quick_changes_nothing(
    tmp_path: Path, setup_us: int, hold_us: int, said: str
) -> None:
    with simulate(tmp_path, main(pulls(1, 0x1F0, setup_us=setup_us, hold_us=hold_us), READ)) as sim:
        sim.run(BOOTED_NS)
        assert word(sim, 0, 0) & 0x1FF == 0x1FF
        assert any(said in line and "150 core cycles" in line for line in sim.lint(0))


def floating(tmp_path: Path, seed: int) -> list[int]:
    with simulate(tmp_path, main(pulls(0, 0x1F0), READ), seed=seed) as sim:
        sim.run(BOOTED_NS)
        assert sim.levels()[0, 4] == "?"
        return [word(sim, 0, i) & 0x1F0 for i in range(64)]


def test_floating_pins_read_as_noise_that_the_seed_repeats(tmp_path: Path) -> None:
    first = floating(tmp_path / "a", 1)
    assert len(set(first)) > 8
    assert floating(tmp_path / "b", 1) == first
    assert floating(tmp_path / "c", 2) != first


def test_pulls_that_disagree_are_undefined(tmp_path: Path) -> None:
    with simulate(tmp_path, main(READ), main("b stop\n"), netlist=Netlist.ring(2)) as sim:
        sim.run(BOOTED_NS)
        assert sim.levels()[0, 4] == "?", "GPIO4 pulls up, GPIO20 at the other end down"
        assert sim.levels()[0, 9] == "0"


def test_board_without_power_neither_drives_nor_pulls(tmp_path: Path) -> None:
    sources = main(DRIVE_16.format(latch="GPSET0")), main("b stop\n")
    with simulate(tmp_path, *sources, netlist=Netlist([Wire(0, 16, 1, 10)])) as sim:
        sim.run(BOOTED_NS)
        assert sim.levels()[1, 10] == "1"
        sim.power_off(0)
        assert sim.levels()[1, 10] == "0"
        sim.power_off(1)
        assert sim.levels()[1, 10] == "?"


def test_ring_wires_every_high_bank_to_the_next_low_bank() -> None:
    ring = Netlist.ring(3)
    assert len(ring.wires) == 30
    assert Wire(2, 25, 0, 13) in ring.wires
    assert Netlist.ring(1).wires == ()
    assert Wire(0, 16, 0, 4) in Netlist.loopback().wires


def test_wire_to_a_board_that_is_not_there_is_refused() -> None:
    with pytest.raises(SimulationError, match=r"board_b=1.*boards are 0\.\.0, pins 0\.\.53"):
        Simulation([BoardConfig(None)], Netlist([Wire(0, 16, 1, 4)]), 1)


def test_fsel_write_that_unroutes_an_enabled_uart_is_noted(tmp_path: Path) -> None:
    enable = "mov r0,#26\n mov r1,#3\n bl uart_init\n"
    with simulate(tmp_path, main(enable, DRIVE_16.format(latch="GPCLR0"))) as sim:
        sim.run(BOOTED_NS)
        assert any("GPIO 14/15 away from the enabled UART" in line for line in sim.lint(0))
    with simulate(tmp_path / "ok", main(DRIVE_16.format(latch="GPCLR0"), enable)) as sim:
        sim.run(BOOTED_NS)
        assert sim.lint(0) == []


def test_time_is_shared_between_boards(tmp_path: Path) -> None:
    """A pulse of 10 us on board 0 is seen by board 1 as long as it lasted."""
    pulse = main(
        "mov r0, #50\n bl delay_us\n ldr r4, =GPIO\n ldr r0, =1 << 18\n str r0, [r4, #GPFSEL1]\n ldr r5, =1 << 16\n"
        "str r5, [r4, #GPSET0]\n mov r0, #10\n bl delay_us\n str r5, [r4, #GPCLR0]\n b stop\n"
    )
    watch = main("""
    ldr r4, =GPIO
    ldr r5, =TIMER
1:  ldr r0, [r4, #GPLEV0]
    tst r0, #1 << 10
    beq 1b
    ldr r6, [r5, #CLO]
1:  ldr r0, [r4, #GPLEV0]
    tst r0, #1 << 10
    bne 1b
    ldr r7, [r5, #CLO]
    sub r7, r7, r6
    ldr r0, =OUT
    str r7, [r0]
    b stop
""")
    with simulate(tmp_path, pulse, watch, netlist=Netlist([Wire(0, 16, 1, 10)])) as sim:
        sim.run(1100 * MS)
        assert 9 <= word(sim, 1, 0) <= 12
