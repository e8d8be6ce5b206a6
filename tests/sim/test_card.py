"""config.txt: what the GPU loads, where, and what it makes of mistakes."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hil.model import fat
from hil.model.fat import FatImageError, write_image
from hil.sim import BoardConfig, Netlist, Simulation, SimulationError, simulation
from hil.sim.card import MIB, Boot, Load, read_card
from hil.sim.fat import FatError, FatVolume
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


@contextmanager
def cheap(most_bytes: int = 64 * MIB) -> Iterator[None]:
    """What is done within takes no more memory than this; what would take hours runs into pytest's own limit."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "config",
    [
        "initramfs shard.bin -0x2000000",
        "initramfs shard.bin -1",
        "initramfs shard.bin 0x100000000",
        "initramfs shard.bin 0xffffffffffffffff",
        "initramfs shard.bin 0x" + "f" * 70,
        "ramfsfile=shard.bin\nramfsaddr=-4096",
        "ramfsfile=shard.bin\nramfsaddr=0x20000000",
    ],
)
def test_ramfs_outside_of_the_arms_memory_is_not_loaded(tmp_path: Path, config: str) -> None:
    outcome = boot(tmp_path, config)
    assert loads(outcome) == {"ATAGs": 0x100, "kernel.img": 0x8000}
    where = "begin below" if "-" in config else "end above"
    (note,) = outcome.notes
    assert note.startswith("shard.bin: 5000 bytes at ")
    assert note.endswith(f" {where} the ARM's memory (0x1c000000); not loaded")


@pytest.mark.parametrize("address", ["-1", "-0x8000", "0x1bfffff0", "0x1_0000_8000", "0xffff8000"])
def test_kernel_outside_of_the_arms_memory_is_a_silent_board(tmp_path: Path, address: str) -> None:
    outcome = boot(tmp_path, f"kernel_address={address}\n")
    assert (outcome.entry, outcome.loads) == (None, [])
    assert outcome.notes[0].endswith("the ARM's memory (0x1c000000); not loaded, and the board stays silent")


def test_load_up_to_the_last_byte_of_the_arms_memory_is_made(tmp_path: Path) -> None:
    outcome = boot(tmp_path, f"initramfs shard.bin {0x1C000000 - 5000:#x}\nkernel_address=0\n")
    assert loads(outcome) == {"ATAGs": 0x100, "kernel.img": 0, "shard.bin": 0x1C000000 - 5000}


@pytest.mark.parametrize("address", [-1, -0x2000_0000, 16 * MIB - 3, 1 << 40])
def test_simulation_itself_puts_no_byte_outside_of_a_boards_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: int
) -> None:
    plan = Boot(loads=[Load(address, b"four", "x")], entry=0x8000)
    monkeypatch.setattr(simulation, "read_card", lambda card, ram_bytes: plan)
    with Simulation([BoardConfig(tmp_path, ram_bytes=16 * MIB)], Netlist(), 1) as sim:
        with pytest.raises(SimulationError, match=r"board 0: .*\+4 is outside its RAM of 16777216 bytes"):
            sim.power_on(0)
        assert sim.state(0) == "halted"


def test_card_cannot_reach_into_another_boards_memory(tmp_path: Path) -> None:
    """The distance of two boards' memories, which an attacker may learn, is not a way from one to the other."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    bad.mkdir()
    make_card(good, "main:\n b stop\n")
    with Simulation([BoardConfig(good), BoardConfig(bad)], Netlist(), 1) as sim:
        sim.power_on(0)
        sim.power_on(1)
        before = sim.read_ram(0, 0x3000000, 5000)
        for distance in (sim._ram(0, 0, 1) - sim._ram(1, 0, 1), sim._ram(1, 0, 1) - sim._ram(0, 0, 1)):
            boot(bad, f"initramfs shard.bin {distance + 0x3000000:#x}\n")
            sim.reset(1)
        assert sim.read_ram(0, 0x3000000, 5000) == before
        assert sum("shard.bin: 5000 bytes at" in line for line in sim.lint(1)) == 2


@pytest.mark.parametrize(
    ("line", "note", "field", "value"),
    [
        ("arm_freq=0", "is outside 100 to 1500; the default 1000 is used", "arm_hz_max", 1_000_000_000),
        ("arm_freq=-7", "is outside 100 to 1500; the default 1000 is used", "arm_hz", 700_000_000),
        ("arm_freq=4294967296", "is outside 100 to 1500", "arm_hz_max", 1_000_000_000),
        ("core_freq=0", "is outside 100 to 600; the default 250 is used", "core_hz", 250_000_000),
        ("core_freq=99999", "is outside 100 to 600", "core_hz", 250_000_000),
        ("init_uart_clock=0", "is outside 1000000 to 250000000; the default 48000000", "uart_hz", 48_000_000),
        ("init_uart_clock=-1", "is outside 1000000 to 250000000", "uart_hz", 48_000_000),
        ("boot_delay=99999999999999999999", "is outside 0 to 3600; the default 1 is used", "arm_hz", 700_000_000),
        ("boot_delay=-5", "is outside 0 to 3600", "arm_hz", 700_000_000),
        ("gpu_mem=-64", "is outside 16 to 256; 16 is used", "gpu_mem_bytes", 16 * MIB),
        ("gpu_mem=4096", "is outside 16 to 256; 256 is used", "gpu_mem_bytes", 256 * MIB),
    ],
)
def test_absurd_number_is_not_used_and_said(tmp_path: Path, line: str, note: str, field: str, value: int) -> None:
    outcome = boot(tmp_path, line)
    assert getattr(outcome, field) == value
    assert outcome.notes[0].startswith(f"config.txt: {line} ")
    assert note in outcome.notes[0]
    assert outcome.entry == 0x8000
    assert 1_000_000_000 <= outcome.delay_ns < 2_100_000_000


@pytest.mark.parametrize("line", ["core_freq=0", "arm_freq=0", "init_uart_clock=0", "gpu_mem=-1", "boot_delay=-9"])
def test_board_with_an_absurd_number_runs(tmp_path: Path, line: str) -> None:
    pull = "ldr r0, =GPIO\n mov r1, #2\n str r1, [r0, #GPPUD]\n mov r1, #0x10\n str r1, [r0, #GPPUDCLK0]\n"
    release = "mov r1, #0\n str r1, [r0, #GPPUDCLK0]\n"
    make_card(tmp_path, f"main:\n{pull}{release} mov r5, #1\n b stop\n", config=f"{line}\nforce_turbo=1\n")
    with Simulation([BoardConfig(tmp_path)], Netlist(), 1) as sim:
        sim.power_on(0)
        sim.run(3 * BOOTED_NS)
        assert sim.registers(0)["r5"] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("drift_ppm", -1e6), ("drift_ppm", float("nan")), ("core_clock_hz", 0), ("uart_clock_hz", -1)]
    + [("start_delay_ns", -1), ("start_delay_ns", 1 << 63)],
)
def test_board_that_cannot_be_is_refused(field: str, value: float) -> None:
    with pytest.raises(SimulationError, match=rf"board 0: {field} .* is outside"):
        Simulation([BoardConfig(None, **{field: value})], Netlist(), 1)


def test_pins_that_do_not_exist_are_ignored_at_once_and_said(tmp_path: Path) -> None:
    for pins in ("0-99999999", "25-4", "-3", "4-", "54", "1-2-3", "\u00b2", "9" * 60):
        with cheap():
            outcome = boot(tmp_path, f"gpio={pins},17=pu\ngpio={pins}=pd\n")
        assert (outcome.pull_up_mask, outcome.pull_down_mask) == (1 << 17, 0)
        assert outcome.notes == [f"config.txt: gpio={pins},17=pu: `{pins}` names no pins of 0 to 53; it is ignored"]


def test_line_beyond_98_bytes_ends_there(tmp_path: Path) -> None:
    outcome = boot(tmp_path, "\n" + "core_freq=400".ljust(98) + "1\n")
    assert outcome.core_hz == 400_000_000
    assert outcome.notes == ["config.txt: line 2 has 99 bytes; the firmware ignores what stands after the first 98"]
    assert boot(tmp_path, "\n" + "core_freq=400".ljust(98) + "\n").notes == []


def test_config_of_any_size_and_bytes_is_read_as_far_as_is_cheap(tmp_path: Path) -> None:
    boot(tmp_path, "")
    with (tmp_path / "config.txt").open("wb") as file:
        file.write(b"core_freq=400\n\xff\0\x80=\xfe\ngpio=\xb2=pu\n")
        file.truncate(1 << 40)
    with cheap():
        outcome = read_card(tmp_path, ram_bytes=512 * MIB)
    assert (outcome.entry, outcome.core_hz) == (0x8000, 400_000_000)
    assert f"config.txt has {1 << 40} bytes; what stands after the first 65536 is not read" in outcome.notes


def _device(folder: Path) -> None:
    (folder / "bad").symlink_to("/dev/zero")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "bad")


def _folder(folder: Path) -> None:
    (folder / "bad").mkdir()


def _link(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "bad").symlink_to(folder.parent / "secret")


def _huge(folder: Path) -> None:
    with (folder / "bad").open("wb") as file:
        file.truncate(1 << 40)


def _nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        ("bad", _device, "leads out of the card"),
        ("bad", _link, "leads out of the card"),
        ("bad", _pipe, "is not a plain file"),
        ("bad", _folder, "is not a plain file"),
        ("bad", _huge, "has 1099511627776 bytes, the ARM's memory 469762048"),
        ("bad", _nothing, "is missing"),
        ("/etc/passwd", _nothing, "is missing"),
        ("../secret", _link, "leads out of the card"),
        ("bad/../../secret", _folder, "leads out of the card"),
        ("..", _nothing, "leads out of the card"),
        ("config.txt/x", _nothing, "is missing"),
        ("a\0b", _nothing, "is missing"),
    ],
)
def test_only_plain_files_of_the_card_are_loaded(
    tmp_path: Path, name: str, make: Callable[[Path], None], why: str
) -> None:
    card = tmp_path / "card"
    card.mkdir()
    make(card)
    with cheap():
        kernel = boot(card, f"kernel={name}\n")
        ramfs = boot(card, f"initramfs {name} 0x2000000\n")
    assert (kernel.entry, kernel.loads) == (None, [])
    assert kernel.notes == [f"{card}/{name} {why}: the board stays silent"]
    assert loads(ramfs) == {"ATAGs": 0x100, "kernel.img": 0x8000}
    assert ramfs.notes == [f"{card}/{name} {why}: no ramfs loaded"]


def test_config_that_is_a_link_out_of_the_card_is_not_read(tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.mkdir()
    (tmp_path / "theirs").write_text("core_freq=400\n")
    (card / "kernel.img").write_bytes(b"k")
    (card / "config.txt").symlink_to(tmp_path / "theirs")
    outcome = read_card(card, ram_bytes=512 * MIB)
    assert (outcome.entry, outcome.core_hz) == (0x8000, 250_000_000)
    assert outcome.notes == [f"{card}/config.txt leads out of the card: every setting is the firmware's own"]


def test_names_are_found_whatever_their_case_and_in_folders_of_the_card(tmp_path: Path) -> None:
    (tmp_path / "Boot").mkdir()
    (tmp_path / "Boot" / "Ring.IMG").write_bytes(b"ring")
    (tmp_path / "link").symlink_to("Boot")
    assert boot(tmp_path, "kernel=bOOT/RING.img\ninitramfs link/ring.img 0x10000\n").loads[1:] == [
        Load(0x8000, b"ring", "bOOT/RING.img"),
        Load(0x10000, b"ring", "link/ring.img"),
    ]


def test_card_that_cannot_be_read_is_a_silent_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot(tmp_path, "")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "listdir", fail)
    assert read_card(tmp_path, ram_bytes=512 * MIB).notes == [
        f"{tmp_path}: cannot be read: Input/output error: the board stays silent"
    ]


# ---- images ----

VOLUME = MIB
TABLE = VOLUME + 32 * 512


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A 64 MiB card image: kernel.img in clusters 3 to 12, config.txt in cluster 13."""
    path = tmp_path / "card.img"
    write_image(path, {"kernel.img": b"k" * 5000, "config.txt": b"core_freq=400\n"}, label="CARD")
    assert read_card(path, ram_bytes=512 * MIB).core_hz == 400_000_000
    return path


def patch(image: Path, *changes: tuple[int, bytes]) -> None:
    with image.open("r+b") as file:
        for offset, data in changes:
            file.seek(offset)
            file.write(data)


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def root_entry(image: Path) -> int:
    """Where the entry of kernel.img lies: the second one of the root folder."""
    with image.open("rb") as file:
        file.seek(VOLUME + 36)
        (fat_sectors,) = struct.unpack("<I", file.read(4))
    return TABLE + 2 * fat_sectors * 512 + 32


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([(VOLUME + 13, b"\0")], "sectors of 512 bytes, 2 tables"),
        ([(VOLUME + 11, b"\0\0")], "sectors of 0 bytes"),
        ([(VOLUME + 11, b"\0\x10")], "sectors of 4096 bytes"),
        ([(VOLUME + 16, b"\0")], "0 tables"),
        ([(VOLUME + 32, u32(0xFFFFFFFF))], "says that it has 4294965245"),
        ([(VOLUME + 32, u32(20_000_000))], "says that it has 199"),
        ([(VOLUME + 32, u32(0))], "clusters are FAT12 or FAT16"),
        ([(VOLUME + 36, u32(0xFFFFFFFF))], "clusters are FAT12 or FAT16"),
        ([(VOLUME + 32, u32(0xFFFFFFFF)), (VOLUME + 36, u32(0x01000000))], "says that it has 4"),
        ([(VOLUME + 44, u32(0xFFFFFF7))], "a chain of clusters leads to 0xffffff7"),
        ([(VOLUME + 44, u32(0))], "a chain of clusters leads to 0x0"),
        ([(454, u32(0xFFFFFFFF))], "ends at byte 67108864, "),
        ([(TABLE + 4 * 2, u32(2))], "a chain of clusters leads to 0x2"),
        ([(TABLE + 4 * 2, u32(5, 3, 3, 2))], "a chain of clusters leads to 0x2"),
        ([(TABLE + 4 * 3, u32(4, 3))], "a chain of clusters leads to 0x3"),
        ([(TABLE + 4 * 5, u32(0x0FFFFFFF))], "kernel.img: 5000 bytes, but clusters for 1536 only"),
    ],
)
def test_damaged_image_is_a_silent_board_at_once(image: Path, changes: list[tuple[int, bytes]], sentence: str) -> None:
    patch(image, *changes)
    with cheap():
        outcome = read_card(image, ram_bytes=512 * MIB)
    assert (outcome.entry, outcome.loads) == (None, [])
    assert sentence in outcome.notes[0]
    assert outcome.notes[0].endswith(": the board stays silent")


@pytest.mark.parametrize("size_bytes", [0x7FFFFFFF, 0xFFFFFFFF])
def test_loop_of_clusters_under_a_huge_file_reads_nothing(image: Path, size_bytes: int) -> None:
    patch(image, (TABLE + 4 * 3, u32(4, 3)), (root_entry(image) + 28, u32(size_bytes)))
    with cheap():
        outcome = read_card(image, ram_bytes=512 * MIB)
        with pytest.raises(FatError, match="a chain of clusters leads to 0x3"):
            FatVolume(image).read("kernel.img")
    assert outcome.notes == [
        f"{image}/kernel.img has {size_bytes} bytes, the ARM's memory 469762048: the board stays silent"
    ]


def test_folder_of_nothing_but_pieces_of_long_names_is_read_at_once(image: Path) -> None:
    entry = b"\x41" + b"x\0" * 5 + b"\x0f\0\0" + b"x\0" * 6 + b"\0\0" + b"x\0" * 2
    clusters = 4096
    chain = u32(*range(101, 100 + clusters), 0x0FFFFFFF)
    data = root_entry(image) - 32
    patch(image, (VOLUME + 44, u32(100)), (TABLE + 400, chain), (data + 98 * 512, entry * (clusters * 16)))
    with cheap():
        assert FatVolume(image).files == {}


@pytest.mark.parametrize("more", [-1, 1])
def test_source_that_changes_while_it_is_copied_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    """One byte more would lie in the next file's cluster."""
    source = tmp_path / "kernel.img"
    source.write_bytes(b"k" * 512)
    measured = fat._check_sizes

    def change(*arguments: object) -> None:
        measured(*arguments)  # type: ignore[arg-type]
        source.write_bytes(b"k" * (512 + more))

    monkeypatch.setattr(fat, "_check_sizes", change)
    with pytest.raises(FatImageError, match=r"kernel.img: changed while it was copied as kernel.img; nothing was"):
        write_image(tmp_path / "card.img", {"kernel.img": source, "b.bin": b"b"}, label="CARD")
    assert [path.name for path in tmp_path.iterdir()] == ["kernel.img"]


def test_sizes_beyond_fat32_are_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    huge = tmp_path / "huge.bin"
    with huge.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(FatImageError, match=r"huge.bin has 4294967296 bytes; a file on FAT32 has at most 4294967295"):
        write_image(tmp_path / "card.img", {"huge.bin": huge}, label="CARD")
    with pytest.raises(FatImageError, match=r"an image of 1099511627776 bytes; at most 68719476736 are written"):
        write_image(tmp_path / "card.img", {"a": b"a"}, label="CARD", size_bytes=1 << 40)
    assert [path.name for path in tmp_path.iterdir()] == ["huge.bin"]
