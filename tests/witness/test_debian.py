"""Other people's images on our chip: Debian's U-Boot and Linux for the Zero, whose drivers share no code with us.

`.ci/armel` fetches the packages u-boot-rpi, linux-image-rpi and busybox-static into build/armel.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.sim import BoardConfig, Netlist, Simulation

ARMEL = Path(__file__).resolve().parents[2] / "build" / "armel" / "root"
ZERO_W = 0x9000C1
SECOND_NS = 1_000_000_000


def _file(path: str) -> Path:
    """A file of a Debian package."""
    if not (ARMEL / path).is_file():
        said = f"{ARMEL / path} is missing: run .ci/armel, which needs apt and Debian's armel packages"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    return ARMEL / path


def _newest(pattern: str) -> Path:
    """The file of a kernel package, whose name carries a version."""
    found = sorted(ARMEL.glob(pattern))
    return _file(str(found[-1].relative_to(ARMEL)) if found else pattern)


INIT = b"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
exec /bin/sh
"""


def _initramfs() -> bytes:
    """A cpio archive (newc) with busybox and INIT."""
    busybox = next((ARMEL / name for name in ("bin/busybox", "usr/bin/busybox") if (ARMEL / name).is_file()), None)
    shell = (busybox or _file("bin/busybox")).read_bytes()
    out = bytearray()
    for number, (name, mode, data, device) in enumerate(
        [
            ("bin", stat.S_IFDIR | 0o755, b"", (0, 0)),
            ("proc", stat.S_IFDIR | 0o755, b"", (0, 0)),
            ("dev", stat.S_IFDIR | 0o755, b"", (0, 0)),
            ("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)),
            ("bin/busybox", stat.S_IFREG | 0o755, shell, (0, 0)),
            ("init", stat.S_IFREG | 0o755, INIT, (0, 0)),
            ("TRAILER!!!", 0, b"", (0, 0)),
        ]
    ):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return gzip.compress(bytes(out))


class _Console:
    """A board's serial line and what came over it."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.text = ""

    def until(self, end: str, seconds: int = 10) -> str:
        """What came until `end` did; fails after so many virtual seconds."""
        deadline = self.sim.time_ns + seconds * SECOND_NS
        while end not in self.text:
            assert self.sim.time_ns < deadline, f"no {end!r} in {self.text!r}; {self.sim.lint(0)}"
            self.sim.run(min(deadline, self.sim.time_ns + SECOND_NS // 20), stop_on_rx=[0])
            self.text += self.sim.uart_read(0).decode("ascii", "replace")
        said, self.text = self.text.split(end, 1)
        return said

    def command(self, line: str) -> str:
        """What U-Boot answers to a line."""
        self.sim.uart_write(0, line.encode() + b"\n")
        self.until(line)
        return self.until("U-Boot> ")


def _boot(folder: Path, *, enable_uart: int) -> Simulation:
    shutil.copy(_file("usr/lib/u-boot/rpi_0_w/u-boot.bin"), folder / "kernel.img")
    (folder / "config.txt").write_text(f"enable_uart={enable_uart}\ndevice_tree=board.dtb\n")
    shutil.copy(_newest("usr/lib/linux-image-*/bcm2835-rpi-zero-w.dtb"), folder / "board.dtb")
    sim = Simulation([BoardConfig(folder, revision=ZERO_W)], Netlist(), 1)
    sim.uart_set_baud(0, 115200)
    sim.power_on(0)
    return sim


@pytest.fixture
def prompt(tmp_path: Path) -> Iterator[_Console]:
    with _boot(tmp_path, enable_uart=1) as sim:
        console = _Console(sim)
        said = console.until("Hit any key to stop autoboot", 20)
        assert "RPI Zero W (0x9000c1)" in said
        assert "DRAM:  448 MiB" in said
        sim.uart_write(0, b"\n")
        console.until("U-Boot> ")
        yield console


@pytest.mark.slow
def test_u_boot_comes_to_its_prompt_and_shows_memory_and_pads(prompt: _Console) -> None:
    assert "ea0000be" in prompt.command("md 8000 8")
    assert "value is 1" in prompt.command("gpio set 5")
    assert prompt.sim.level(0, 5) == "1"
    assert "value is 0" in prompt.command("gpio clear 5")
    assert prompt.sim.level(0, 5) == "0"


@pytest.mark.slow
def test_u_boot_stays_silent_where_the_firmware_has_set_up_no_uart(tmp_path: Path) -> None:
    with _boot(tmp_path, enable_uart=0) as sim:
        sim.run(5 * SECOND_NS)
        assert sim.uart_read(0) == b""


@pytest.mark.slow
def test_linux_comes_to_a_shell_with_its_own_drivers(tmp_path: Path) -> None:
    """Timer, interrupt controller, mailbox, clock manager and PL011, each by Linux's driver and by interrupt."""
    shutil.copy(_newest("boot/vmlinuz-*-rpi"), tmp_path / "kernel.img")
    shutil.copy(_newest("usr/lib/linux-image-*/bcm2835-rpi-zero.dtb"), tmp_path / "bcm2835-rpi-zero.dtb")
    (tmp_path / "initrd.gz").write_bytes(_initramfs())
    (tmp_path / "config.txt").write_text("initramfs initrd.gz 0x8000000\n")
    (tmp_path / "cmdline.txt").write_text("console=ttyAMA0,115200 rdinit=/init loglevel=1\n")
    with Simulation([BoardConfig(tmp_path)], Netlist(), 1) as sim:
        sim.uart_set_baud(0, 115200)
        sim.power_on(0)
        console = _Console(sim)
        console.until("/ # ", 30)
        sim.uart_write(0, b"cat /proc/interrupts; echo $((6*7))0\n")
        said = console.until("420", 5)
        counts = {name: int(n) for n, name in re.findall(r"^ *\d+: +(\d+) .* (\S+)\r?$", said, re.MULTILINE)}
        assert counts.get("timer", 0) > 100, said
        assert counts.get("uart-pl011", 0) > 0, said
        assert any(count > 0 for name, count in counts.items() if "mailbox" in name), said
