"""What a simulation is told of a board, and what it tells: plain records, and the texts of its diagnostics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hil.sim.card import CORE_MHZ, UART_HZ
from hil.sim.core import LintRecord

RAM_BYTES_MAX = 512 << 20
ConflictKind = Literal["outputs", "bridge", "stuck"]
CONFLICTS: tuple[ConflictKind, ...] = ("outputs", "bridge", "stuck")
"""Two outputs on one wire; two outputs that a bridge joins; an output against a short. Twin: SIM_CONFLICT_."""


@dataclass(frozen=True)
class BoardConfig:
    """One board. card: folder that plays the SD card (None: no card). Clocks None: from config.txt."""

    card: Path | None
    ram_bytes: int = RAM_BYTES_MAX
    serial: int = 0x00000000_A5C0FFEE
    revision: int = 0x900093
    drift_ppm: float = 0.0
    start_delay_ns: int = 0
    temperature_mc: int = 41000
    core_clock_hz: int | None = None
    uart_clock_hz: int | None = None

    @property
    def has_bluetooth(self) -> bool:
        """A Zero W, by its revision: the PL011 belongs to Bluetooth, the header's pins get the mini-UART."""
        return self.revision >> 4 & 0xFF == 0x0C


BOARD_LIMITS: dict[str, tuple[float, float]] = {
    "drift_ppm": (-100_000, 100_000),
    "start_delay_ns": (0, 3600 * 10**9),
    "core_clock_hz": (CORE_MHZ[0] * 1_000_000, CORE_MHZ[1] * 1_000_000),
    "uart_clock_hz": UART_HZ,
}
"""Least and most of a BoardConfig's fields that a board can have."""


@dataclass(frozen=True)
class Output:
    """A driver on a contended net; pc is the start of the block that its board was executing.

    name: of a pad that is not a board's, such as `FT232H AD5`.
    """

    board: int
    pin: int
    level: int
    pc: int
    name: str = ""

    def __str__(self) -> str:
        if self.name:
            return f"{self.name}={self.level}"
        return f"board {self.board} GPIO{self.pin}={self.level} (pc 0x{self.pc:x})"


@dataclass(frozen=True)
class Contention:
    """Outputs that disagreed on one net, with each other or with a short. end_ns None: still so."""

    time_ns: int
    end_ns: int | None
    outputs: tuple[Output, ...]
    kind: ConflictKind = "outputs"

    @property
    def fault(self) -> bool:
        """Whether a fault that was set made it: without the bridge or short there would be no conflict."""
        return self.kind != "outputs"

    def __str__(self) -> str:
        who = ", ".join(map(str, self.outputs))
        lasted = "still" if self.end_ns is None else f"for {self.end_ns - self.time_ns} ns"
        how = {"outputs": "", "bridge": " through a bridge", "stuck": " against a short"}[self.kind]
        return f"contention{how} at {self.time_ns / 1e6:.6f} ms {lasted}: {who}"


@dataclass(frozen=True)
class Change:
    """A traced pad changed its level (an index into LEVELS)."""

    time_ps: int
    board: int
    pin: int
    level: int


@dataclass(frozen=True)
class Mark:
    """Something that happened, in words, while pads were traced."""

    time_ps: int
    text: str


@dataclass(frozen=True)
class Counters:
    """What a board did since the simulation began."""

    instructions: int
    gpio_reads: int
    gpio_writes: int
    other_mmio: int
    resets: int
    sleeps: int
    switches: int
    exceptions: int
    uart_overruns: int
    uart_received: int
    uart_sent: int
    qpu_instructions: int


LINTS = {
    1: "read of the unimplemented register 0x{address:08x}: 0",
    2: "write of 0x{value:08x} to the unimplemented register 0x{address:08x}: ignored",
    3: "write of 0x{value:08x} to 0x{address:08x} without the password 0x5a000000: ignored",
    4: "mailbox write 0x{value:08x}: not channel 8; the buffer must be 16-byte aligned: no answer",
    5: "mailbox read while EMPTY",
    6: "mailbox write while FULL: lost",
    7: "mailbox buffer at 0x{address:08x} is malformed (0x{value:08x})",
    8: "mailbox tag 0x{value:08x} is not modelled",
    9: "GPFSEL1 write 0x{value:08x} takes GPIO 14/15 away from the enabled UART",
    10: "GPPUDCLK write 0x{value:08x} less than 150 core cycles after GPPUD: ignored",
    11: "GPPUDCLK released less than 150 core cycles after it was set (pins 0x{value:08x}): pulls unchanged",
    12: "UART write of 0x{value:02x} while the transmit FIFO is full: lost",
    13: "UART write of 0x{value:02x} while the transmitter is disabled: lost",
    14: "UART write of 0x{value:02x} without a baud divisor (LCRH latches it): lost",
    15: "VFP runs without FZ and DN (FPSCR 0x{value:08x}): subnormals would trap",
    16: "VFP instruction 0x{value:08x} at 0x{address:08x} before CPACR enables cp10/cp11: undefined",
    17: "double fault at 0x{address:08x}: the exception handler itself faults; board halted",
    18: "board halted at 0x{address:08x} (code {value})",
    19: "no kernel on the SD card: the board stays silent",
    20: "access of {value} bytes or misaligned to 0x{address:08x}: peripherals take aligned words only",
    21: "unaligned access to 0x{address:08x}",
    22: "V3D register 0x{address:08x} used before QPU enable (mailbox tag 0x30012): reads 0xdeadbeef, writes are lost",
    23: "QPU program at 0x{address:08x} lost: the request queue holds {value}, or QPURQERR is still set",
    24: "performance counter source {value} (register 0x{address:08x}) is not modelled: it counts 0",
    25: "the GPU's heap at 0x{address:08x} has no room for {value} bytes: handle 0 (see gpu_mem in config.txt)",
    26: "QPU instruction at 0x{address:08x} reads register {value} (file B: 32 on) that the last one wrote: old value",
    27: "QPU instruction at 0x{address:08x} reads the VPM {value} instructions too early after its setup: undefined",
    28: "QPU instruction at 0x{address:08x} sets up a third VPM read (0x{value:08x}): ignored",
    29: "QPU program that ends at 0x{address:08x} leaves {value} TMU results unread",
    30: "QPU {value} waits at 0x{address:08x} as all others do: for a semaphore or the mutex, for ever",
    31: "board halted at 0x{address:08x}: it does what is not modelled",
    32: "QPU instruction at 0x{address:08x} rotates r{value}, which the last one wrote: the guide forbids it",
}
"""Things that real silicon would punish. Twin: SIM_LINT_."""


def lint_text(record: LintRecord) -> str:
    """One line: time, what, where, how often."""
    text = LINTS.get(record.kind, f"diagnostic {record.kind}").format(address=record.address, value=record.value)
    times = f" (x{record.count})" if record.count > 1 else ""
    return f"{record.time_ps / 1e9:.6f} ms: {text} [block 0x{record.pc:x}]{times}"
