"""Texts of the core's diagnostics: things that real silicon would punish.

Twin: the SIM_LINT_ enum in core/sim.h.
"""

from __future__ import annotations

from hil.sim.core import LintRecord

TEXTS = {
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


def lint_text(record: LintRecord) -> str:
    """One line: time, what, where, how often."""
    text = TEXTS.get(record.kind, f"diagnostic {record.kind}").format(address=record.address, value=record.value)
    times = f" (x{record.count})" if record.count > 1 else ""
    return f"{record.time_ps / 1e9:.6f} ms: {text} [block 0x{record.pc:x}]{times}"
