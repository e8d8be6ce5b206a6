"""An ARM1176 in Unicorn, just enough to run the model's functions: RAM, VFP in RunFast mode, no devices."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile
from unicorn import UC_ARCH_ARM, UC_HOOK_BLOCK, UC_MODE_ARM, Uc
from unicorn.arm_const import (
    UC_ARM_REG_FPEXC,
    UC_ARM_REG_FPSCR,
    UC_ARM_REG_LR,
    UC_ARM_REG_PC,
    UC_ARM_REG_R0,
    UC_ARM_REG_SP,
    UC_CPU_ARM_1176,
)

RAM_BYTES = 64 << 20
STACK_TOP = 0x02000000
DATA_ADDRESS = 0x02000000
STOP_ADDRESS = 0x1000
RUN_FAST = 0x03000000  # FZ, DN
FLUSHED_BITS = 1 << 3 | 1 << 7  # UFC, IDC


class Arm:
    """Runs functions of an ELF file by name. Memory that nothing wrote holds a pattern, not zeros."""

    def __init__(self, elf: Path, *, fpscr: int = RUN_FAST) -> None:
        self._uc = Uc(UC_ARCH_ARM, UC_MODE_ARM)
        self._uc.ctl_set_cpu_model(UC_CPU_ARM_1176)
        self._uc.mem_map(0, RAM_BYTES)
        self._uc.mem_write(0, b"\x5a\xa5\xc3\x3c" * (RAM_BYTES // 4))
        self._uc.reg_write(UC_ARM_REG_FPEXC, 0x40000000)
        self._fpscr = fpscr
        self.instructions = 0
        with elf.open("rb") as stream:
            file = ELFFile(stream)
            for segment in file.iter_segments():
                if segment["p_type"] == "PT_LOAD":
                    image = segment.data().ljust(segment["p_memsz"], b"\0")
                    self._uc.mem_write(segment["p_paddr"], image)
            symbols = file.get_section_by_name(".symtab").iter_symbols()
            self.symbols = {symbol.name: symbol["st_value"] for symbol in symbols}

    def call(self, function: str, *, count: bool = False) -> int:
        """Runs until the function returns; count adds to `instructions`. Returns r0."""
        hook = self._uc.hook_add(UC_HOOK_BLOCK, self._count) if count else None
        self._uc.reg_write(UC_ARM_REG_FPSCR, self._fpscr)
        self._uc.reg_write(UC_ARM_REG_SP, STACK_TOP)
        self._uc.reg_write(UC_ARM_REG_LR, STOP_ADDRESS)
        self._uc.emu_start(self.symbols[function], STOP_ADDRESS)
        assert self._uc.reg_read(UC_ARM_REG_PC) == STOP_ADDRESS
        if hook is not None:
            self._uc.hook_del(hook)
        return int(self._uc.reg_read(UC_ARM_REG_R0))

    def write(self, address: int, data: bytes) -> None:
        """Writes RAM."""
        self._uc.mem_write(address, data)

    def read(self, address: int, size_bytes: int) -> bytes:
        """Reads RAM."""
        return bytes(self._uc.mem_read(address, size_bytes))

    def flushed(self) -> bool:
        """Has anything been flushed to zero since FPSCR was last written?"""
        return bool(self._uc.reg_read(UC_ARM_REG_FPSCR) & FLUSHED_BITS)

    def vector(self, name: str, a: np.ndarray, b: np.ndarray | None = None, length: int = 1) -> np.ndarray:
        """run_<name> of main_arm.c on float32 arrays; out has len(a) / length elements."""
        limit = 65536
        base = self.symbols["vector"]
        assert len(a) <= limit
        count = len(a) // length
        self.write(base, struct.pack("<II", count, length))
        self.write(base + 8, a.tobytes())
        self.write(base + 8 + 4 * limit, (a if b is None else b).tobytes())
        self.call(f"run_{name}")
        return np.frombuffer(self.read(base + 8 + 8 * limit, 4 * count), np.float32)

    def _count(self, uc: Uc, address: int, size: int, _: object) -> None:
        self.instructions += size // 4
