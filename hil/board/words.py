"""What a board says, in words: messages for its log, crashes for people. Pure functions."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

from hil.protocol.fields import Message
from hil.protocol.link_messages import Bank, Phase, Role
from hil.protocol.messages import Command, Crashed, CrashKind, JobResult
from hil.toolchain import symbolize

NAMED_FIELDS: dict[str, type[IntEnum]] = {
    "command": Command,
    "result": JobResult,
    "bank": Bank,
    "role": Role,
    "phase": Phase,
}
"""Fields that the log shows by name, and their names."""
HEX_FIELDS = {
    "gplev0",
    "outputs",
    "pc",
    "lr",
    "sp",
    "cpsr",
    "fault_address",
    "board_serial",
    "board_revision",
    "session",
}
CRASH_KINDS: dict[int, str] = {
    CrashKind.UNDEFINED: "undefined instruction",
    CrashKind.SOFTWARE_INTERRUPT: "SWI",
    CrashKind.PREFETCH_ABORT: "prefetch abort",
    CrashKind.DATA_ABORT: "data abort",
    CrashKind.INTERRUPT: "unexpected interrupt",
    CrashKind.ASSERTION: "assertion",
}
LONG_BYTES = 16
"""Longer bytes are cut in the log."""


def describe_message(message: Message) -> str:
    """Fields as name=value, long bytes cut."""
    parts = []
    for name, _ in message.layout():
        value = getattr(message, name)
        if name in NAMED_FIELDS:
            value = _name(NAMED_FIELDS[name], value)
        elif name in HEX_FIELDS:
            value = f"{value:#010x}"
        elif isinstance(value, bytes):
            value = value.hex() if len(value) <= LONG_BYTES else f"{value[:8].hex()}..({len(value)} bytes)"
        parts.append(f"{name}={value}")
    return " ".join(parts)


def describe_crash(crash: Crashed, elf: Path | None) -> str:
    """A crash in one line: kind, function and line, address; needs the image's ELF for names."""
    kind = CRASH_KINDS.get(crash.kind, f"kind {crash.kind}")
    text = f"crashed: {kind} at {crash.pc:#010x} {_symbol(elf, crash.pc)}, "
    text += f"called from {crash.lr:#010x} {_symbol(elf, crash.lr)}"
    if crash.fault_status or crash.fault_address:
        text += f", fault address {crash.fault_address:#010x} status {crash.fault_status:#x}"
    return text


def _name(names: type[IntEnum], value: int) -> str:
    return names(value).name if value in set(names) else str(value)


def _symbol(elf: Path | None, address: int) -> str:
    return symbolize(elf, address) if elf is not None and elf.exists() else "?"
