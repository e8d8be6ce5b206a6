"""The C half of the wire formats: headers written from the Python modules that define them, and from golden/taps.py.

`messages.h` has the serial messages, `link_frames.h` what crosses a link, `boot_words.h` the boot protocol and
`shard_header.h` the head of a shard. Called by the firmware build; `python -m hil.protocol.cheader FOLDER` writes
them by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path

from golden.taps import NO_LAYER, Op
from hil.protocol import boot, link_frames, link_messages, messages, shard_header, tensor_messages
from hil.protocol.fields import Message
from hil.protocol.trace_messages import TraceEvent, TraceKind
from hil.protocol.training_messages import Optimizer

_ENUMS: tuple[tuple[type[IntEnum], str], ...] = (
    (messages.Kind, "KIND"),
    (messages.Level, "LEVEL"),
    (messages.Status, "STATUS"),
    (messages.Command, "COMMAND"),
    (messages.Event, "EVENT"),
    (messages.JobResult, "JOB"),
    (messages.JobFlag, "FLAG"),
    (messages.TapFlag, "TAP"),
    (messages.CrashKind, "EXCEPTION"),
    (messages.CrashRequest, "CRASH"),
    (link_messages.Bank, "BANK"),
    (link_messages.Role, "ROLE"),
    (link_messages.Phase, "PHASE"),
    (link_messages.Pattern, "PATTERN"),
    (link_messages.RunFlag, "RUN"),
    (link_messages.Edge, "EDGE"),
    (tensor_messages.Source, "SOURCE"),
    (tensor_messages.Part, "PART"),
    (TraceKind, "TRACE"),
    (Optimizer, "TRAIN"),
    (Op, "OP"),
)
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
    "LINK_ATTEMPTS_MAX": link_messages.ATTEMPTS_MAX,
    "LINK_PHASE_LIMIT_US": link_messages.PHASE_LIMIT_US,
}


def headers() -> dict[str, str]:
    """The text of every header by file name."""
    return {
        "messages.h": _messages(),
        "link_frames.h": _link_frames(),
        "boot_words.h": _boot_words(),
        "shard_header.h": _shard_header(),
    }


def write_headers(folder: Path) -> None:
    """Write all headers into a folder."""
    for name, text in headers().items():
        (folder / name).write_text(text)


def _messages() -> str:
    parts = [_defines(_CONSTANTS), *(_enum(enum, prefix) for enum, prefix in _ENUMS)]
    parts += [_packed(cls) for cls in _message_classes()]
    parts += [_record(messages.TapRecord, "tap_record"), _record(TraceEvent, "trace_event")]
    return _header("messages.h", "hil/protocol/messages.py and golden/taps.py", parts)


def _link_frames() -> str:
    constants = {
        "LINK_CLAIM": link_frames.CLAIM,
        "LINK_MAGIC": link_frames.MAGIC,
        "LINK_HEADER_BYTES": link_frames.HEADER_BYTES,
        "LINK_ANSWER_BYTES": link_frames.ANSWER_BYTES,
        "LINK_CRC_BYTES": link_frames.CRC_BYTES,
        "ANSWER_GOOD": link_frames.GOOD,
        "ANSWER_BAD": link_frames.BAD,
    }
    parts = [
        _defines(constants),
        _enum(link_frames.FrameType, "LINK"),
        _record(link_frames.LinkHeader, "link_header"),
        _record(link_frames.LinkAnswer, "link_answer"),
        _record(link_frames.Hop, "hop"),
    ]
    return _header("link_frames.h", "hil/protocol/link_frames.py", parts)


def _boot_words() -> str:
    constants = {
        "LOAD_ADDRESS": boot.LOAD_ADDRESS,
        "BOOTLOADER_ADDRESS": boot.BOOTLOADER_ADDRESS,
        **{word.name: word.value for word in boot.BootWord},
    }
    return _header("boot_words.h", "hil/protocol/boot.py", [_defines(constants)])


def _shard_header() -> str:
    limits = {f"MODEL_{name.removeprefix('n_').upper()}_MAX": limit for name, limit in shard_header.LIMITS.items()}
    limits["MODEL_VOCAB_MAX"] = limits.pop("MODEL_VOCAB_SIZE_MAX")
    constants = {
        "SHARD_ADDRESS": shard_header.SHARD_ADDRESS,
        "SHARD_MAGIC": shard_header.SHARD_MAGIC,
        **limits,
        "MODEL_WORLD_MAX": shard_header.WORLD_SIZE_MAX,
    }
    parts = [_defines(constants), _record(shard_header.ShardWords, "shard_header")]
    return _header("shard_header.h", "hil/protocol/shard_header.py", parts)


def _header(name: str, source: str, parts: Iterable[str]) -> str:
    guard = name.upper().replace(".", "_")
    head = f"/* {name}: generated from {source}. Do not edit. */\n#ifndef {guard}\n#define {guard}\n"
    return "\n".join([head, "#include <stdint.h>\n", *parts, "#endif\n"])


def _defines(constants: dict[str, int]) -> str:
    return "".join(f"#define {name} {value:#x}u\n" for name, value in constants.items())


def _enum(enum: type[IntEnum], prefix: str) -> str:
    rows = "".join(f"    {prefix}_{m.name} = {m.value},\n" for m in enum)
    return f"enum {prefix.lower()}_code {{\n{rows}}};\n"


def _packed(cls: type[Message]) -> str:
    """A message, which may stand at any address."""
    name = "msg_" + re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
    return _struct(cls, name, " __attribute__((packed))")


def _record(cls: type[Message], name: str) -> str:
    """A record that C keeps in memory; its natural layout is that of the wire."""
    return _struct(cls, name, "")


def _struct(cls: type[Message], name: str, attribute: str) -> str:
    lines = [f"struct {name} {{"]
    for field, wire in cls.layout():
        array = "[]" if not wire.code else f"[{wire.count}]" if wire.count else ""
        lines.append(f"    {wire.ctype} {field}{array};")
    lines.append(f"}}{attribute};")
    lines.append(f'_Static_assert(sizeof(struct {name}) == {cls.fixed_size_bytes()}u, "{cls.__name__}");\n')
    return "\n".join(lines)


def _message_classes() -> list[type[Message]]:
    """Requests, responses and events that have fields of fixed size, each once."""
    pairs = [*messages.COMMANDS.values(), *((event,) for event in messages.EVENTS.values())]
    found = dict.fromkeys(cls for pair in pairs for cls in pair)
    return [cls for cls in found if cls.layout() and cls.layout()[0][1].code]


if __name__ == "__main__":
    write_headers(Path(sys.argv[1]))
