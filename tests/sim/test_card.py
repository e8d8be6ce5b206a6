"""config.txt: what the GPU loads, where, and what it makes of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.sim import BoardConfig, Netlist, Simulation
from hil.sim.card import MIB, Boot, read_card
from tests.sim.programs import BOOTED_NS, MS, make_card


def boot(folder: Path, config: str, *, ram_bytes: int = 512 * MIB) -> Boot:
    (folder / "kernel.img").write_bytes(b"\xaa" * 100)
    (folder / "shard.bin").write_bytes(b"\xbb" * 5000)
    (folder / "config.txt").write_text(config)
    return read_card(folder, ram_bytes=ram_bytes)


def loads(outcome: Boot) -> dict[str, int]:
    return {load.name: load.address for load in outcome.loads}


def test_defaults_are_kernel_at_0x8000_with_tags(tmp_path: Path) -> None:
    outcome = boot(tmp_path, "")
    assert loads(outcome) == {"ATAGs": 0x100, "kernel.img": 0x8000}
    assert outcome.entry == 0x8000
    assert (outcome.arm_hz, outcome.core_hz, outcome.uart_hz) == (700_000_000, 250_000_000, 48_000_000)
    assert outcome.notes == []


def test_initramfs_line_loads_at_its_address(tmp_path: Path) -> None:
    assert loads(boot(tmp_path, "initramfs shard.bin 0x2000000\n"))["shard.bin"] == 0x2000000


def test_initramfs_with_equals_sign_loads_nothing_and_says_so(tmp_path: Path) -> None:
    outcome = boot(tmp_path, "initramfs=shard.bin 0x2000000\n")
    assert "shard.bin" not in loads(outcome)
    assert any("`initramfs=` is ignored" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("config", "address"),
    [
        ("ramfsfile=shard.bin\nramfsaddr=0x3000000\n", 0x3000000),
        ("initramfs shard.bin followkernel\n", 0x9000),
        ("initramfs shard.bin 0\n", 0x9000),
    ],
)
def test_other_ways_to_name_the_ramfs(tmp_path: Path, config: str, address: int) -> None:
    assert loads(boot(tmp_path, config))["shard.bin"] == address


def test_kernel_keys(tmp_path: Path) -> None:
    (tmp_path / "other.img").write_bytes(b"x")
    outcome = boot(tmp_path, "kernel=other.img\nkernel_address=0x10000\ndisable_commandline_tags=1\n")
    assert loads(outcome) == {"other.img": 0x10000}
    assert boot(tmp_path, "kernel_old=1\n").entry == 0


def test_clocks_memory_and_filters(tmp_path: Path) -> None:
    lines = ["core_freq=400 # mini-UART", "init_uart_clock=3000000", "force_turbo=1", "arm_freq=900"]
    outcome = boot(tmp_path, "\n".join([*lines, "gpu_mem=16", "[pi4]", "gpu_mem=128"]))
    assert (outcome.core_hz, outcome.uart_hz, outcome.arm_hz) == (400_000_000, 3_000_000, 900_000_000)
    assert outcome.gpu_mem_bytes == 16 * MIB


def test_gpio_pulls(tmp_path: Path) -> None:
    outcome = boot(tmp_path, "gpio=4-13,16-25=ip,pd\ngpio=4=pu\n")
    assert outcome.pull_down_mask == 0x03FF_3FE0
    assert outcome.pull_up_mask == 0x10


def test_ramfs_that_reaches_into_the_gpus_memory_is_not_loaded(tmp_path: Path) -> None:
    outcome = boot(tmp_path, "initramfs shard.bin 0x1bfff000\n")
    assert "shard.bin" not in loads(outcome)
    assert any("end above the ARM's memory (0x1c000000)" in note for note in outcome.notes)


def test_number_that_is_none_falls_back_and_says_so(tmp_path: Path) -> None:
    outcome = boot(tmp_path, "core_freq=fast\n")
    assert outcome.core_hz == 250_000_000
    assert outcome.notes == ["config.txt: core_freq=fast is not a number; the default 250 is used"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("core_freq=0", "core_freq=0 is not from 1 to 4000; the default 250 is used"),
        ("arm_freq=99999", "arm_freq=99999 is not from 100 to 4000; the default 1000 is used"),
        ("kernel_address=-0x1000", "kernel_address=-0x1000 is not from 0 to 4294967295; the default 32768 is used"),
        ("boot_delay=9999999", "boot_delay=9999999 is not from 0 to 3600; the default 1 is used"),
        ("initramfs shard.bin -4096", "initramfs address '-4096' is outside the memory; nothing loaded"),
    ],
)
def test_number_out_of_range_falls_back_and_says_so(tmp_path: Path, line: str, said: str) -> None:
    assert boot(tmp_path, f"{line}\n").notes == [f"config.txt: {said}"]


def test_pulls_of_pins_that_do_not_exist_are_ignored(tmp_path: Path) -> None:
    assert boot(tmp_path, "gpio=52-4000000000=pu\ngpio=\u00b2=pu\n").pull_up_mask == 0x3 << 52


def test_card_that_cannot_be_read_is_a_silent_board_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "config.txt").write_text("")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    outcome = read_card(tmp_path, ram_bytes=512 * MIB)
    assert outcome.entry is None
    assert outcome.notes == [f"{tmp_path}: cannot be read: Permission denied: the board stays silent"]


def test_big_ramfs_takes_its_time(tmp_path: Path) -> None:
    small = boot(tmp_path, "initramfs shard.bin 0x2000000\n").delay_ns
    (tmp_path / "shard.bin").write_bytes(bytes(17_000_000))
    assert read_card(tmp_path, ram_bytes=512 * MIB).delay_ns - small == pytest.approx(1e9, rel=0.01)


def test_missing_kernel_is_a_silent_board_with_a_reason(tmp_path: Path) -> None:
    with Simulation([BoardConfig(tmp_path), BoardConfig(None)], Netlist(), 1) as sim:
        for index in 0, 1:
            sim.power_on(index)
        assert not sim.run(3000 * MS, stop_on_rx=[0, 1])
        assert sim.state(0) == "halted"
        assert any("kernel.img is missing" in line for line in sim.lint(0))
        assert any("no SD card" in line for line in sim.lint(1))


def test_card_is_read_again_at_reset(tmp_path: Path) -> None:
    make_card(tmp_path, "main:\n mov r5, #1\n b stop\n")
    with Simulation([BoardConfig(tmp_path)], Netlist(), 1) as sim:
        sim.power_on(0)
        sim.run(BOOTED_NS)
        assert sim.registers(0)["r5"] == 1
        make_card(tmp_path, "main:\n mov r5, #2\n b stop\n")
        sim.reset(0)
        sim.run(sim.time_ns + BOOTED_NS)
        assert sim.registers(0)["r5"] == 2
