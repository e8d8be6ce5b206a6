"""The C half of the messages: writes `messages.h` from messages.py (with what it imports) and golden/taps.py.

Called by the firmware build; `python -m hil.protocol.cheader FILE` writes it by hand.
"""

from __future__ import annotations

import re
import sys
from enum import IntEnum
from pathlib import Path

from golden.taps import NO_LAYER, Op
from hil.protocol import link_messages, messages, tensor_messages
from hil.protocol.fields import Message
from hil.protocol.trace_messages import TraceKind

_ENUMS: tuple[tuple[type[IntEnum], str], ...] = (
    (messages.Kind, "KIND"),
    (messages.Level, "LEVEL"),
    (messages.Status, "STATUS"),
    (messages.Command, "COMMAND"),
    (messages.Event, "EVENT"),
    (messages.JobResult, "JOB"),
    (link_messages.Bank, "BANK"),
    (link_messages.Role, "ROLE"),
    (link_messages.Phase, "PHASE"),
    (link_messages.Pattern, "PATTERN"),
    (link_messages.RunFlag, "RUN"),
    (link_messages.Edge, "EDGE"),
    (tensor_messages.Source, "SOURCE"),
    (tensor_messages.Part, "PART"),
    (TraceKind, "TRACE"),
    (Op, "OP"),
)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _struct(cls: type[Message]) -> str:
    lines = [f"struct msg_{_snake(cls.__name__)} {{"]
    for name, wire in cls.layout():
        array = "[]" if not wire.code else f"[{wire.count}]" if wire.count else ""
        lines.append(f"    {wire.ctype} {name}{array};")
    lines.append("} __attribute__((packed));")
    lines.append(
        f'_Static_assert(sizeof(struct msg_{_snake(cls.__name__)}) == {cls.fixed_size_bytes()}u, "{cls.__name__}");'
    )
    return "\n".join(lines)


def _message_classes() -> list[type[Message]]:
    found = [
        value
        for value in vars(messages).values()
        if isinstance(value, type) and issubclass(value, Message) and value is not Message
    ]
    return [cls for cls in found if cls.layout() and cls.layout()[0][1].code]


def c_header() -> str:
    """The text of messages.h: enums, constants and one packed struct per message."""
    parts = [
        "/* messages.h: generated from hil/protocol/messages.py and golden/taps.py. Do not edit. */",
        "#ifndef MESSAGES_H\n#define MESSAGES_H\n\n#include <stdint.h>\n",
        f"#define PROTOCOL_VERSION {messages.PROTOCOL_VERSION}u",
        f"#define PAYLOAD_BYTES_MAX {messages.PAYLOAD_BYTES_MAX}u",
        f"#define NO_LAYER 0x{NO_LAYER:02X}u\n",
    ]
    for enum, prefix in _ENUMS:
        rows = "".join(f"    {prefix}_{m.name} = {m.value},\n" for m in enum)
        parts.append(f"enum {prefix.lower()}_code {{\n{rows}}};\n")
    parts += [_struct(cls) + "\n" for cls in _message_classes()]
    parts.append("#endif\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(c_header())
