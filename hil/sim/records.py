"""What a simulation is told of a board, and what it tells: plain records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
