"""Flattened device trees: read one, change properties, write it again. Source: the Devicetree Specification 0.4, ch. 5.

A node is a dictionary: properties are bytes, children are dictionaries. Order is kept.
"""

from __future__ import annotations

import struct

MAGIC = 0xD00DFEED
VERSION, VERSION_COMPATIBLE = 17, 16
_BEGIN, _END, _PROPERTY, _NOP, _OVER = 1, 2, 3, 4, 9
_HEADER = struct.Struct(">10I")


class FdtError(Exception):
    """The bytes are no device tree; the message says what is wrong."""


Node = dict[str, "bytes | Node"]


def read_fdt(data: bytes) -> Node:
    """The tree of a .dtb.

    Raises: FdtError.
    """
    if len(data) < _HEADER.size:
        raise FdtError(f"a device tree has at least {_HEADER.size} bytes, this has {len(data)}")
    magic, total, structure, strings = struct.unpack_from(">4I", data)
    if magic != MAGIC:
        raise FdtError(f"a device tree begins with 0x{MAGIC:08x}, this with 0x{magic:08x}")
    if total > len(data):
        raise FdtError(f"the device tree says that it has {total} bytes, but {len(data)} are there")
    try:
        return _structure(data, structure, strings)
    except (struct.error, ValueError, IndexError) as error:
        raise FdtError("the device tree is damaged") from error


def _structure(data: bytes, at: int, strings: int) -> Node:
    root: Node = {}
    stack: list[Node] = []
    while True:
        (token,) = struct.unpack_from(">I", data, at)
        at += 4
        if token == _BEGIN:
            end = data.index(b"\0", at)
            node: Node = {} if stack else root
            if stack:
                stack[-1][data[at:end].decode("ascii")] = node
            stack.append(node)
            at = (end + 4) & ~3
        elif token == _PROPERTY:
            size, name = struct.unpack_from(">2I", data, at)
            end = data.index(b"\0", strings + name)
            stack[-1][data[strings + name : end].decode("ascii")] = data[at + 8 : at + 8 + size]
            at = (at + 8 + size + 3) & ~3
        elif token == _END:
            stack.pop()
        elif token == _OVER:
            return root
        elif token != _NOP:
            raise ValueError(token)


def write_fdt(root: Node) -> bytes:
    """The .dtb of a tree, without memory reservations."""
    body, strings = bytearray(), bytearray()
    offsets: dict[str, int] = {}

    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    def add(name: str, node: Node) -> None:
        body.extend(struct.pack(">I", _BEGIN) + padded(name.encode() + b"\0"))
        for key, value in node.items():
            if isinstance(value, bytes):
                if key not in offsets:
                    offsets[key] = len(strings)
                    strings.extend(key.encode() + b"\0")
                body.extend(struct.pack(">3I", _PROPERTY, len(value), offsets[key]) + padded(value))
        for key, value in node.items():
            if not isinstance(value, bytes):
                add(key, value)
        body.extend(struct.pack(">I", _END))

    add("", root)
    body.extend(struct.pack(">I", _OVER))
    reserved = _HEADER.size + 16
    total = reserved + len(body) + len(strings)
    header = _HEADER.pack(
        MAGIC,
        total,
        reserved,
        reserved + len(body),
        _HEADER.size,
        VERSION,
        VERSION_COMPATIBLE,
        0,
        len(strings),
        len(body),
    )
    return header + bytes(16) + bytes(body) + bytes(strings)


def child(node: Node, name: str) -> Node:
    """A node's child of that name, which is made when it is not there."""
    found = node.setdefault(name, {})
    assert isinstance(found, dict)
    return found


def cells(*numbers: int) -> bytes:
    """A property of 32-bit numbers."""
    return b"".join(number.to_bytes(4, "big") for number in numbers)
