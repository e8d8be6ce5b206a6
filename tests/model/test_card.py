"""Card: what is written boots, and every trap in config.txt is named."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from golden.weights import Config
from hil.model import card
from hil.model.card import CardError, check_config, config_text, write_card
from hil.model.checkpoint import CheckpointError
from hil.model.shard import write_shards
from hil.model.synth import random_weights

CONFIG = Config(dim=8, hidden_dim=8, n_layers=3, n_heads=2, n_kv_heads=1, vocab_size=5, seq_len=4)
FILES = {"kernel.img": 20_000, "shard.bin": 1_000_000}
TEXT = config_text(has_shard=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "boot.img"
    path.write_bytes(b"\x42" * 5000)
    return path


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    return write_shards(random_weights(CONFIG, seed=1), 4, tmp_path / "shards")


def test_written_card_holds_the_files_and_their_checksums(tmp_path: Path, kernel: Path, shards: list[Path]) -> None:
    directory = tmp_path / "card"
    directory.mkdir()
    (directory / "start.elf").write_bytes(b"gpu")
    written = write_card(directory, kernel=kernel, shard=shards[2], rank=2)
    assert (directory / "kernel.img").read_bytes() == kernel.read_bytes()
    assert (directory / "shard.bin").read_bytes() == shards[2].read_bytes()
    names = ["config.txt", "kernel.img", "shard.bin", "start.elf"]
    assert sorted(path.name for path in directory.iterdir()) == names, "others stay, nothing temporary does"
    for name, checksum in written.checksums.items():
        assert zlib.crc32((directory / name).read_bytes()) == checksum


def test_own_config_has_no_trap_and_says_why_per_line() -> None:
    assert check_config(TEXT, FILES) == []
    lines = TEXT.splitlines()
    assert "initramfs shard.bin 0x2000000" in lines
    assert {"init_uart_clock=48000000", "core_freq=250", "gpio=4-13,16-25=ip,pd", "kernel_address=0x8000"} <= set(lines)
    assert all(line.startswith("# ") for line in lines[0::2])


def test_card_without_shard_names_none(tmp_path: Path, kernel: Path) -> None:
    write_card(tmp_path / "card", kernel=kernel, shard=None, rank=0)
    assert "initramfs" not in (tmp_path / "card" / "config.txt").read_text()
    assert not (tmp_path / "card" / "shard.bin").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "initramfs shard.bin 0x",
            "initramfs=shard.bin 0x",
            "'initramfs=shard.bin 0x2000000': write it as 'initramfs FILE",
        ),
        ("initramfs shard.bin 0x2000000", "initramfs shard.bin", "write it as 'initramfs FILE ADDRESS'"),
        ("0x2000000", "followkernel", "loads shard.bin at followkernel, the ring image reads it at 0x2000000"),
        ("shard.bin", "other.bin", "other.bin is named but is not on the card"),
        ("kernel=kernel.img", "kernel=k.img", "k.img is named but is not on the card"),
        ("kernel_address=0x8000", "kernel_address=0x10000", "would not load at 0x8000"),
        ("kernel_address=0x8000", "kernel_old=1", "would not load at 0x8000"),
        ("init_uart_clock=48000000", "", "init_uart_clock is not set.*add init_uart_clock=48000000"),
        ("core_freq=250", "#core_freq=250", "core_freq is not set.*add core_freq=250"),
        ("core_freq=250", "[pi4]\ncore_freq=250\n[all]", "core_freq is not set"),
        ("enable_uart=1", "enable_uart=0", "enable_uart=1 is missing"),
        ("uart_2ndstage=0", "uart_2ndstage=1", "uart_2ndstage is on"),
        ("=ip,pd", "=ip,pu", "GPIO 4, 5, .*25 not set to input with pull-down"),
        ("16-25=ip", "16-24=ip", "GPIO 25 not set to input with pull-down"),
        ("gpio=4-13,16-25=ip,pd", "gpio=4-13,16-25=ip,pd\ngpio=7=op,dh", "GPIO 7 not set to input"),
        ("gpu_mem=64", "gpu_mem=lots", "gpu_mem=lots is not a number from 16 up"),
        ("gpu_mem=64", "gpu_mem=8", "gpu_mem=8 is not a number from 16 up"),
        ("boot_delay=0", "boot_delay=0" + " " * 90, "has 102 bytes, the rest after 98 is ignored"),
    ],
)
def test_trap_in_config_is_named(old: str, new: str, words: str) -> None:
    assert old in TEXT
    problems = check_config(TEXT.replace(old, new), FILES)
    assert len(problems) == 1, problems
    assert_matches(words, problems[0])


def assert_matches(words: str, sentence: str) -> None:
    assert re.search(words, sentence), sentence


def test_image_may_end_at_the_bootloader_but_not_beyond() -> None:
    room = 0x200000 - 0x8000
    assert check_config(TEXT, FILES | {"kernel.img": room}) == []
    (problem,) = check_config(TEXT, FILES | {"kernel.img": room + 1})
    assert_matches(r"kernel\.img ends at 0x200001, beyond 0x200000 where the bootloader goes", problem)


@pytest.mark.parametrize(("memory_mb", "top"), [(512, 448 << 20), (256, 192 << 20)])
def test_shard_may_end_at_the_top_of_arm_memory_but_not_beyond(memory_mb: int, top: int) -> None:
    room = top - 0x2000000
    assert check_config(TEXT, FILES | {"shard.bin": room}, memory_bytes=memory_mb << 20) == []
    (problem,) = check_config(TEXT, FILES | {"shard.bin": room + 5}, memory_bytes=memory_mb << 20)
    assert_matches(
        rf"shard\.bin ends at {top + 5:#x}, beyond the ARM's memory at {top:#x} \(5 bytes too many\)", problem
    )


def test_small_gpu_memory_needs_the_cut_down_firmware() -> None:
    text = config_text(has_shard=True, gpu_mem=16)
    (problem,) = check_config(text, FILES | {"start.elf": 1})
    assert_matches(r"gpu_mem=16 needs start_cd\.elf and fixup_cd\.dat", problem)
    assert check_config(text, FILES | {"start.elf": 1, "start_cd.elf": 1, "fixup_cd.dat": 1}) == []


def test_shard_of_other_rank_is_refused_and_nothing_written(tmp_path: Path, kernel: Path, shards: list[Path]) -> None:
    with pytest.raises(CheckpointError, match="made for rank 2, this board is rank 1"):
        write_card(tmp_path / "card", kernel=kernel, shard=shards[2], rank=1)
    assert not (tmp_path / "card").exists()


def test_card_that_cannot_work_is_not_written(tmp_path: Path, shards: list[Path]) -> None:
    kernel = tmp_path / "huge.img"
    kernel.write_bytes(bytes(0x200000))
    with pytest.raises(CardError, match=r"rank 1: kernel\.img ends at 0x208000.*nothing was written"):
        write_card(tmp_path / "card", kernel=kernel, shard=shards[1], rank=1)
    assert not (tmp_path / "card").exists()


def test_missing_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CardError, match=r"none\.img: cannot read the file for the card: No such file.*; build it first"
    ):
        write_card(tmp_path / "card", kernel=tmp_path / "none.img", shard=None, rank=0)


def test_file_as_directory_is_refused(tmp_path: Path, kernel: Path) -> None:
    with pytest.raises(CardError, match=r"boot\.img: is a file; name the directory"):
        write_card(kernel, kernel=kernel, shard=None, rank=0)


def test_card_that_reads_back_wrong_is_reported(tmp_path: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worn-out card: every byte written to it comes back with one bit changed."""
    real = card._crc32
    monkeypatch.setattr(card, "_crc32", lambda path: real(path) ^ (path.parent.name == "card"))
    with pytest.raises(
        CardError, match=r"kernel\.img: reads back with CRC-32 \w{8}, written was \w{8}; write it again"
    ):
        write_card(tmp_path / "card", kernel=kernel, shard=None, rank=0)


@pytest.mark.parametrize("pins", ["0-99999999", "\u00b2", "9" * 5000, "13-4"])
def test_pins_that_do_not_exist_set_nothing_and_cost_nothing(pins: str) -> None:
    (problem,) = check_config(TEXT.replace("gpio=4-13,16-25=ip,pd", f"gpio={pins}=ip,pd")[: 1 << 20], FILES)[-1:]
    assert_matches("GPIO 4, 5, 6, .* not set to input with pull-down", problem)
