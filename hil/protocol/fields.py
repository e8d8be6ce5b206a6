"""Field types of the messages: how a Python annotation becomes bytes and a C member.

A message is a frozen dataclass whose fields are annotated with the types below. Packing is
little-endian without padding. `Tail` and `Floats` (of any length) may only be the last field.
"""

from __future__ import annotations

import dataclasses
import struct
import typing
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, Self, dataclass_transform


@dataclass(frozen=True, slots=True)
class FieldType:
    """How a field travels: struct code, C type, and element count for fixed byte arrays."""

    code: str
    ctype: str
    count: int = 0


U8 = Annotated[int, FieldType("B", "uint8_t")]
U16 = Annotated[int, FieldType("H", "uint16_t")]
U32 = Annotated[int, FieldType("I", "uint32_t")]
U64 = Annotated[int, FieldType("Q", "uint64_t")]
I32 = Annotated[int, FieldType("i", "int32_t")]
F32 = Annotated[float, FieldType("f", "float")]
Bytes8 = Annotated[bytes, FieldType("8s", "uint8_t", 8)]
Bytes16 = Annotated[bytes, FieldType("16s", "uint8_t", 16)]
Words8 = Annotated[tuple[int, ...], FieldType("8I", "uint32_t", 8)]
Words13 = Annotated[tuple[int, ...], FieldType("13I", "uint32_t", 13)]
Words32 = Annotated[tuple[int, ...], FieldType("32I", "uint32_t", 32)]
Words48 = Annotated[tuple[int, ...], FieldType("48I", "uint32_t", 48)]
Tail = Annotated[bytes, FieldType("", "uint8_t")]
Floats = Annotated[bytes, FieldType("", "float")]
"""A Tail of float32."""


def name_of(kind: type[IntEnum], value: int) -> str:
    """The name of a number that a board sent; in words where there is no such one, because boards are not trusted."""
    try:
        return kind(value).name
    except ValueError:
        return f"{value} (there is no such {kind.__name__})"


class MessageError(ValueError):
    """A payload that does not fit its message."""


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class Message:
    """Base of every payload; a subclass becomes a frozen dataclass by itself, of the field types above."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True)(cls)

    @classmethod
    @cache
    def layout(cls) -> tuple[tuple[str, FieldType], ...]:
        """(field name, wire type) in order of travel."""
        hints = typing.get_type_hints(cls, include_extras=True)
        rows = tuple((f.name, typing.get_args(hints[f.name])[1]) for f in dataclasses.fields(cls))
        for name, wire in rows[:-1]:
            if not wire.code:
                raise TypeError(f"{cls.__name__}.{name}: only the last field can be a Tail")
        return rows

    @classmethod
    def has_tail(cls) -> bool:
        """Whether the last field takes the remaining bytes."""
        rows = cls.layout()
        return bool(rows) and not rows[-1][1].code

    @classmethod
    def codec(cls) -> struct.Struct:
        """Packs and unpacks the plain values of the fields before the tail."""
        return struct.Struct("<" + "".join(w.code for _, w in cls.layout()))

    @classmethod
    def fixed_size_bytes(cls) -> int:
        """Bytes before the tail."""
        return cls.codec().size

    def pack(self) -> bytes:
        """The payload bytes. Raises MessageError on a value out of range."""
        out = b""
        for name, wire in self.layout():
            value: Any = getattr(self, name)
            try:
                parts = value if isinstance(value, tuple) else (value,)
                out += struct.pack("<" + wire.code, *parts) if wire.code else value
            except struct.error as error:
                raise MessageError(
                    f"{type(self).__name__}.{name} = {value!r} does not fit {wire.ctype}: {error}"
                ) from None
        return out

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Inverse of pack. Raises MessageError when the length is wrong."""
        fixed = cls.fixed_size_bytes()
        if len(data) < fixed or (len(data) > fixed and not cls.has_tail()):
            more = " or more" if cls.has_tail() else ""
            raise MessageError(f"{cls.__name__}: {len(data)} bytes, expected {fixed}{more}")
        values: list[Any] = []
        at = 0
        for _, wire in cls.layout():
            if not wire.code:
                values.append(bytes(data[at:]))
                continue
            parts = struct.unpack_from("<" + wire.code, data, at)
            at += struct.calcsize("<" + wire.code)
            values.append(parts if wire.ctype != "uint8_t" and wire.count else parts[0])
        return cls(*values)

    @classmethod
    def unpack_each(cls, data: bytes) -> list[Self]:
        """Messages of fixed size that lie one behind the other. Raises MessageError when the last is cut off."""
        size = cls.fixed_size_bytes()
        return [cls.unpack(data[at : at + size]) for at in range(0, len(data), size)]
