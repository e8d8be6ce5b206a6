"""Hostile guests: random instructions and random registers of peripherals. Whatever they do, the simulator goes on.

On a core under sanitizers (`make sanitize`) they look for errors in the core; on any they must neither crash the host
nor hang it.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from hil.sim import BoardConfig, Netlist, Simulation
from hil.sim.build import SANITIZE_FLAGS, SANITIZE_VARIABLE, sanitizer_environment, sanitizing_compiler, system_compiler
from hil.sim.card import MIB
from tests.fuzz import harness

BLOCKS = (0x20003000, 0x2000B000, 0x20100000, 0x20101000, 0x20200000, 0x20201000, 0x20215000, 0x20980000, 0x7E000000)
"""System timer, mailbox, power, clocks, GPIO, UARTs, USB, and where nothing is."""
RUN_NS = 100_000
"""Short, since a guest that faults in its own fault handler costs the host much (docs/simulator.md)."""
BOOT_NS = 1_010_000_000


def move(register: int, value: int) -> list[int]:
    """Instructions that load a constant: mov, then three orr."""
    first = 0xE3A00000 | register << 12 | value & 0xFF
    rest = (value >> 8 & 0xFF, 12), (value >> 16 & 0xFF, 8), (value >> 24, 4)
    return [first, *(0xE3800000 | register << 16 | register << 12 | turn << 8 | byte for byte, turn in rest)]


def pokes(source: random.Random) -> list[int]:
    """Writes and reads of registers of one peripheral, with values of all kinds."""
    words = move(0, source.choice(BLOCKS) + source.choice((0, 0, 0x80, 0x400, 0x800)))
    for _ in range(source.randrange(1, 12)):
        value = source.choice((0, 1, 0xFF, 0x301, 0x5A000000 | source.randrange(1 << 12), source.getrandbits(32)))
        size = source.choice((0xE5800000, 0xE5900000, 0xE5C00000, 0xE1C000B0, 0xE5800000))
        words += [*move(1, value), size | 1 << 12 | (source.randrange(64) * 4 if size != 0xE1C000B0 else 0)]
    return words


def program(source: random.Random) -> bytes:
    """Vectors that end in a loop each; some pokes between random words; at last a loop, or nothing."""
    words = [0xEA000006, *[0xEAFFFFFE] * 7, *move(13, 0x7000)]
    for _ in range(source.randrange(2, 12)):
        words += (
            pokes(source) if source.random() < 0.8 else [source.getrandbits(32) for _ in range(source.randrange(4))]
        )
    words.append(source.choice((0xEAFFFFFE, 0xEA000000 | -len(words) & 0xFFFFFF, 0xE12FFF10, 0xE320F003)))
    return struct.pack(f"<{len(words)}I", *words)


def config(source: random.Random) -> str:
    """Settings at the ends of what the GPU takes, and beyond."""
    keys = {"arm_freq": (0, 100, 1500), "core_freq": (0, 100, 600), "init_uart_clock": (0, 1_000_000, 250_000_000)}
    lines = [f"{key}={source.choice(values)}" for key, values in keys.items()]
    return "\n".join(
        [*lines, f"kernel_address={source.choice((0, 0, 0, 0, 0, 0x8000, 0x8001, 0x7FFF00))}", "gpio=0-53=pu"]
    )


@pytest.mark.parametrize("seed", range(4))
def test_hostile_guests_do_no_harm(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    cards = [tmp_path / str(board) for board in range(2)]
    for card in cards:
        card.mkdir()
    boards = [BoardConfig(card, ram_bytes=16 * MIB) for card in cards]
    for number in range(6):
        for card in cards:
            (card / "kernel.img").write_bytes(program(source))
            (card / "config.txt").write_text(config(source))
        with Simulation(boards, Netlist.ring(2), seed) as sim:
            sim.power_on(0)
            sim.power_on(1)
            sim.uart_write(0, source.randbytes(40))
            end_ns = BOOT_NS + RUN_NS
            while sim.time_ns < end_ns:
                sim.run(end_ns, stop_on_rx=[0, 1])
                for board in range(2):
                    sim.uart_read(board)
            for board in range(2):
                assert sim.state(board) in ("running", "sleeping", "halted", "booting"), number
                sim.lint(board)
                sim.registers(board)
                sim.reset(board)


def test_sanitizers_are_in_the_core_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    if not harness.has_clang():
        pytest.skip(harness.NO_CLANG)
    monkeypatch.delenv(SANITIZE_VARIABLE, raising=False)
    assert not any("sanitize" in word for word in system_compiler())
    environment = sanitizer_environment()
    assert Path(environment["LD_PRELOAD"]).is_file()
    monkeypatch.setenv(SANITIZE_VARIABLE, environment[SANITIZE_VARIABLE])
    assert system_compiler() == [sanitizing_compiler(), *SANITIZE_FLAGS]
