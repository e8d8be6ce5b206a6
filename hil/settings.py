"""What a run works with: rig, seed, model, compiler, folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SEED_DEFAULT = 0x5EED
"""Seed of everything random, unless the user gives one."""


Compiler = Literal["zig", "gcc"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run works with. The defaults need no hardware and no system package."""

    rig: str = "sim"
    seed: int = SEED_DEFAULT
    world_size: int = 4
    model: str = "tiny"
    tokenizer: str | None = None
    logs: Path = Path("logs")
    compiler: Compiler = "zig"
    work: Path = Path("build/hil")
    faults: tuple[str, ...] = ()
    """Of a simulated rig, as hil/rig/faults.py reads them."""
