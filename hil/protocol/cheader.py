"""The C half of the wire formats: headers written from the Python modules that define them, and from golden/taps.py.

`messages.h` has the serial messages, `link_frames.h` what crosses a link, `boot_words.h` the boot protocol and
`shard_header.h` the head of a shard. Called by the firmware build; `python -m hil.protocol.cheader FOLDER` writes
them by hand.
"""

from __future__ import annotations

import re
import sys
from enum import IntEnum
from pathlib import Path

from golden.taps import NO_LAYER, Op
from hil.protocol import boot, link_frames, link_messages, messages, shard_header, tensor_messages
from hil.protocol.fields import Message
from hil.protocol.trace_messages import BURST_FAILED, TraceEvent, TraceKind
from hil.protocol.training_messages import Optimizer

_ENUMS: tuple[type[IntEnum], ...] = (
    messages.Kind, messages.Level, messages.Status, messages.Command, messages.Event, messages.JobResult,
    messages.Activity, messages.JobFlag, messages.TapFlag, messages.CrashKind, messages.CrashRequest,
    link_messages.Bank, link_messages.Role, link_messages.Phase, link_messages.Pattern, link_messages.RunFlag,
    link_messages.Edge,
    tensor_messages.Source, tensor_messages.Part, TraceKind, Optimizer, Op,
)  # fmt: skip
_PREFIXES: dict[type[IntEnum], str] = {
    messages.JobResult: "JOB", messages.JobFlag: "FLAG", messages.TapFlag: "TAP", messages.CrashKind: "EXCEPTION",
    messages.CrashRequest: "CRASH", link_messages.RunFlag: "RUN", TraceKind: "TRACE", Optimizer: "TRAIN",
    link_frames.FrameType: "LINK",
}  # fmt: skip
"""What the names of an enum begin with in C, where that is not its own name."""
_CONSTANTS = {
    "PROTOCOL_VERSION": messages.PROTOCOL_VERSION,
    "PAYLOAD_BYTES_MAX": messages.PAYLOAD_BYTES_MAX,
    "NO_LAYER": NO_LAYER,
    "NO_RANK": messages.NO_RANK,
    "BANK_COUNT": len(link_messages.Bank),
    **{f"BANK_{bank.name}_FIRST_PIN": pin for bank, pin in link_messages.FIRST_PIN.items()},
    "RING_PINS": link_messages.RING_PINS,
    "DATA_WIRES": link_messages.DATA_WIRES,
    "TIMING_BUCKETS": link_messages.TIMING_BUCKETS,
    "WORK_BYTES": link_messages.WORK_BYTES,
    "BURST_FAILED": BURST_FAILED,
    "LINK_ATTEMPTS_MAX": link_messages.ATTEMPTS_MAX,
    "LINK_PHASE_LIMIT_US": link_messages.PHASE_LIMIT_US,
}


_LINK_CONSTANTS = {
    "LINK_CLAIM": link_frames.CLAIM,
    "LINK_MAGIC": link_frames.MAGIC,
    "LINK_HEADER_BYTES": link_frames.HEADER_BYTES,
    "LINK_ANSWER_BYTES": link_frames.ANSWER_BYTES,
    "LINK_CRC_BYTES": link_frames.CRC_BYTES,
    "ANSWER_GOOD": link_frames.GOOD,
    "ANSWER_BAD": link_frames.BAD,
}
_BOOT_CONSTANTS = {
    "LOAD_ADDRESS": boot.LOAD_ADDRESS,
    "BOOTLOADER_ADDRESS": boot.BOOTLOADER_ADDRESS,
    **{word.name: word.value for word in boot.BootWord},
}
_SHARD_CONSTANTS = {
    "SHARD_ADDRESS": shard_header.SHARD_ADDRESS,
    "SHARD_MAGIC": shard_header.SHARD_MAGIC,
    "MODEL_WORLD_MAX": shard_header.WORLD_SIZE_MAX,
    **{f"MODEL_{name.upper()}_MAX": limit for name, limit in shard_header.LIMITS.items()},
}


def headers() -> dict[str, str]:
    """The text of every header by file name."""
    records = (messages.FrameHead, messages.TapRecord, TraceEvent, link_messages.LinkCounters)
    link_records = (link_frames.LinkHeader, link_frames.LinkAnswer, link_frames.Hop)
    enums = [_enum(enum) for enum in _ENUMS]
    packed = [_struct(cls, f"msg_{_snake(cls)}", " __attribute__((packed))") for cls in _message_classes()]
    link = [_enum(link_frames.FrameType), *map(_record, link_records)]
    shard = [_struct(shard_header.ShardWords, "shard_header")]
    texts = (
        _header("messages", "messages.py and golden/taps.py", _CONSTANTS, [*enums, *packed, *map(_record, records)]),
        _header("link_frames", "link_frames.py", _LINK_CONSTANTS, link),
        _header("boot_words", "boot.py", _BOOT_CONSTANTS, []),
        _header("shard_header", "shard_header.py", _SHARD_CONSTANTS, shard),
    )
    return dict(texts)


def write_headers(folder: Path) -> None:
    """Write all headers into a folder."""
    for name, text in headers().items():
        (folder / name).write_text(text)


def _header(name: str, source: str, constants: dict[str, int], parts: list[str]) -> tuple[str, str]:
    """File name and text of a header from hil/protocol/`source`."""
    guard = f"{name.upper()}_H"
    head = f"/* {name}.h: generated from hil/protocol/{source}. Do not edit. */\n#ifndef {guard}\n#define {guard}\n"
    defines = "".join(f"#define {name} {value:#x}u\n" for name, value in constants.items())
    return f"{name}.h", "\n".join([head, "#include <stdint.h>\n", defines, *parts, "#endif\n"])


def _enum(enum: type[IntEnum]) -> str:
    prefix = _PREFIXES.get(enum, enum.__name__.upper())
    rows = "".join(f"    {prefix}_{m.name} = {m.value},\n" for m in enum)
    return f"enum {prefix.lower()}_code {{\n{rows}}};\n"


def _snake(cls: type[Message]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def _record(cls: type[Message]) -> str:
    """A record that C keeps in memory; its natural layout is that of the wire."""
    return _struct(cls, _snake(cls))


def _struct(cls: type[Message], name: str, attribute: str = "") -> str:
    """attribute: packed for a message, which may stand at any address."""
    lines = [f"struct {name} {{"]
    for field, wire in cls.layout():
        array = "[]" if not wire.code else f"[{wire.count}]" if wire.count else ""
        lines.append(f"    {wire.ctype} {field}{array};")
    lines.append(f"}}{attribute};")
    lines.append(f'_Static_assert(sizeof(struct {name}) == {cls.fixed_size_bytes()}u, "{cls.__name__}");\n')
    return "\n".join(lines)


def _message_classes() -> list[type[Message]]:
    """Requests, responses and events that have fields of fixed size, each once."""
    payloads = [cls for command in messages.Command for cls in (command.request, command.response)]
    found = dict.fromkeys([*payloads, *(event.payload for event in messages.Event)])
    return [cls for cls in found if cls.layout() and cls.layout()[0][1].code]


if __name__ == "__main__":
    write_headers(Path(sys.argv[1]))
