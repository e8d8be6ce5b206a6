"""Device trees: what is written is read again, damage is told, and r2 leads the kernel to what the card says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.sim.card import read_card
from hil.sim.fdt import FdtError, Node, cells, child, read_fdt, write_fdt

TREE: Node = {"compatible": b"board\0", "#size-cells": cells(1), "soc": {"ranges": b"", "uart@7": {"reg": cells(7, 9)}}}


def test_tree_comes_back_as_it_was_written() -> None:
    assert read_fdt(write_fdt(TREE)) == TREE


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:20], "at least 40 bytes, this has 20"),
        (lambda data: b"\0" + data[1:], "begins with 0xd00dfeed, this with 0x000dfeed"),
        (lambda data: data[:-1], "but"),
        (lambda data: data[:56] + cells(77) + data[60:], "damaged"),
    ],
)
def test_damaged_tree_is_told(damage, said: str) -> None:
    with pytest.raises(FdtError, match=said):
        read_fdt(damage(write_fdt(TREE)))


def _card(folder: Path, config: str = "") -> Path:
    (folder / "kernel.img").write_bytes(b"kern")
    (folder / "bcm2708-rpi-zero.dtb").write_bytes(write_fdt(TREE))
    (folder / "ramfs").write_bytes(b"files")
    (folder / "cmdline.txt").write_text("console=ttyAMA0 quiet\n")
    (folder / "config.txt").write_text("initramfs ramfs 0x1000000\n" + config)
    return folder


def test_r2_leads_to_the_tree_with_command_line_memory_and_ramfs(tmp_path: Path) -> None:
    boot = read_card(_card(tmp_path), ram_bytes=512 << 20)
    load = next(load for load in boot.loads if load.address == boot.r2)
    tree = read_fdt(load.data)
    chosen = child(tree, "chosen")
    assert chosen["bootargs"] == b"console=ttyAMA0 quiet\0"
    assert (chosen["linux,initrd-start"], chosen["linux,initrd-end"]) == (cells(0x1000000), cells(0x1000005))
    assert child(tree, "memory@0")["reg"] == cells(0, 448 << 20)


@pytest.mark.parametrize(
    ("config", "notes"),
    [
        ("device_tree=\n", []),
        ("device_tree=none.dtb\n", ["none.dtb is missing: no device tree, r2 points to the ATAGs"]),
        ("device_tree=ramfs\n", ["has at least 40 bytes, this has 5; r2 points to the ATAGs"]),
    ],
)
def test_without_a_tree_r2_leads_to_the_atags(tmp_path: Path, config: str, notes: list[str]) -> None:
    boot = read_card(_card(tmp_path, config), ram_bytes=512 << 20)
    assert boot.r2 == 0x100
    assert len(boot.notes) == len(notes)
    assert all(said in note for said, note in zip(notes, boot.notes, strict=True))
