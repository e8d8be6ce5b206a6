"""Other people's images on our chip: Debian's U-Boot for the Zero W, whose drivers share no code with us.

`.ci/armel` fetches the package u-boot-rpi into build/armel.
"""

from __future__ import annotations

import os
import shutil
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


def _boot(folder: Path, *, enable_uart: int, device_tree: Path | None = None) -> Simulation:
    shutil.copy(_file("usr/lib/u-boot/rpi_0_w/u-boot.bin"), folder / "kernel.img")
    (folder / "config.txt").write_text(f"enable_uart={enable_uart}\ndevice_tree=board.dtb\n")
    package = next(iter(sorted((ARMEL / "usr/lib").glob("linux-image-*"))), ARMEL / "usr/lib/linux-image")
    shutil.copy(_file(str((package / "bcm2835-rpi-zero-w.dtb").relative_to(ARMEL))), folder / "board.dtb")
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
