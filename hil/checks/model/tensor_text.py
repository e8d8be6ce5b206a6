"""Tensors as text: how firmware of any make reports what its ops gave, over a UART, among whatever else it prints.

A line carries a part of one tensor, with its own CRC-32; what stands before `TENSOR` or `GRADIENT` in a line is not
looked at. Format and twenty lines of C that print it: docs/close.md. Pure.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from golden.taps import NO_LAYER, Op, TapKey
from golden.weights import F32Array
from hil.errors import HilError

VALUES_PER_LINE = 16
"""That `tensor_lines` writes; a reader takes any number."""
VALUES_MAX = 1 << 26
"""Of one tensor: the embedding of the largest model that the project handles has 2^25."""
_LINE = re.compile(r"\b(TENSOR|GRADIENT) ([^\n]*)")
_CRC = re.compile(r" crc=([0-9a-fA-F]{8})$")
_WORD = re.compile(r"[0-9a-fA-F]{8}\Z")
_DECIMAL = re.compile(r"[-+]?(\d+\.\d*([eE][-+]?\d+)?|nan|inf)\Z")
_KEYS = {"TENSOR": ("layer", "position", "microbatch", "at", "of"), "GRADIENT": ("layer", "at", "of")}
_NAMES = tuple(op.name for op in Op if not op.name.startswith(("GRAD_", "PARAM_")))
_PARAMETERS = tuple(op.name.removeprefix("GRAD_").lower() for op in Op if Op.GRAD_TOK_EMB <= op <= Op.GRAD_WCLS)


class TensorTextError(HilError):
    """A line that reports a tensor cannot be read. The message names the line."""


@dataclass(slots=True)
class TextTensors:
    """What a text reports: tensors by microbatch and tap, gradients by parameter and layer, and how many lines."""

    tensors: dict[int, dict[TapKey, F32Array]] = field(default_factory=dict)
    gradients: dict[tuple[str, int], F32Array] = field(default_factory=dict)
    lines: int = 0


@dataclass(slots=True)
class _Partial:
    values: F32Array
    there: np.ndarray[tuple[int], np.dtype[np.bool_]]
    line: int


def read_tensors(text: str) -> TextTensors:
    """The tensors in a text.

    Raises: TensorTextError with the number of the first line that is damaged or contradicts another, or whose tensor
        is not whole.
    """
    found = TextTensors()
    partials: dict[tuple[str, str, int, int, int], _Partial] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.search(line.rstrip())
        if match is None:
            continue
        found.lines += 1
        kind, (name, places, values) = match[1], _parse(match[1], match[0], number)
        place = (kind, name, places.get("layer", NO_LAYER), places.get("position", 0), places.get("microbatch", 0))
        _put(partials, place, places["at"], places["of"], values, number)
    for (kind, name, layer, position, microbatch), partial in partials.items():
        gap = np.flatnonzero(~partial.there)
        if len(gap):
            _refuse(
                partial.line, f"{name}: {len(gap)} of {len(partial.there)} values never came, the first is [{gap[0]}]"
            )
        if kind == "GRADIENT":
            found.gradients[name, layer] = partial.values
        else:
            found.tensors.setdefault(microbatch, {})[TapKey(position, layer, Op[name])] = partial.values
    return found


def tensor_lines(name: str, values: Sequence[float] | F32Array, **places: int) -> list[str]:
    """The lines that report a tensor, as firmware would print them; places: layer, position, microbatch."""
    kind = "TENSOR" if name in _NAMES else "GRADIENT"
    flat = np.asarray(values, np.float32).reshape(-1)
    lines = []
    for at in range(0, len(flat), VALUES_PER_LINE):
        words = " ".join(f"{word:08x}" for word in flat[at : at + VALUES_PER_LINE].view(np.uint32).tolist())
        where = "".join(f" {key}={value}" for key, value in places.items())
        body = f"{kind} {name}{where} at={at} of={len(flat)} {words}"
        lines.append(f"{body} crc={zlib.crc32(body.encode()):08x}")
    return lines


def _refuse(line: int, why: str) -> NoReturn:
    raise TensorTextError(f"line {line}: {why}; format: docs/close.md")


def _parse(kind: str, text: str, line: int) -> tuple[str, dict[str, int], list[float]]:
    """Name, places and values of a line whose CRC is right."""
    crc = _CRC.search(text)
    if crc is None:
        _refuse(line, f"a {kind} line ends in crc= and eight hexadecimal digits; this one ends {text[-20:]!r}")
    body = text[: crc.start()]
    if zlib.crc32(body.encode()) != int(crc[1], 16):
        _refuse(
            line, f"the CRC-32 is {zlib.crc32(body.encode()):08x}, the line says {crc[1]}: it was damaged on its way"
        )
    words = body.split()[1:]
    known = _NAMES if kind == "TENSOR" else _PARAMETERS
    if not words or words[0] not in known:
        _refuse(line, f"{words[0] if words else ''!r} is no name of a {kind}; names are {', '.join(known)}")
    places: dict[str, int] = {}
    values: list[float] = []
    for word in words[1:]:
        key, equals, number = word.partition("=")
        if equals:
            if key not in _KEYS[kind] or not number.isascii() or not number.isdigit() or len(number) > 9:
                _refuse(line, f"{word!r}: give {', '.join(_KEYS[kind])} and whole numbers")
            places[key] = int(number)
        else:
            values.append(_value(word, line))
    if "at" not in places or "of" not in places:
        _refuse(line, "at= and of= are missing: the first value's index and the tensor's size")
    if not 0 < places["of"] <= VALUES_MAX or not values or places["at"] + len(values) > places["of"]:
        _refuse(line, f"{len(values)} values from at={places['at']} do not fit of={places['of']}")
    for key, most in (("layer", NO_LAYER - 1), ("position", 0xFFFF), ("microbatch", 0xFFFF)):
        if places.get(key, 0) > most:
            _refuse(line, f"{key}={places[key]}: at most {most}")
    return words[0], places, values


def _value(word: str, line: int) -> float:
    """A float32 as eight hexadecimal digits, or a decimal number with a point."""
    if _WORD.match(word):
        return float(struct.unpack("<f", struct.pack("<I", int(word, 16)))[0])
    if not _DECIMAL.match(word):
        _refuse(line, f"{word!r} is neither eight hexadecimal digits nor a number with a decimal point")
    return float(word)


def _put(
    partials: dict[tuple[str, str, int, int, int], _Partial],
    place: tuple[str, str, int, int, int],
    at: int,
    size: int,
    values: Sequence[float],
    line: int,
) -> None:
    """One part into its tensor; the same part may come again with the same values."""
    if place not in partials:
        partials[place] = _Partial(np.zeros(size, np.float32), np.zeros(size, np.bool_), line)
    one = partials[place]
    if len(one.values) != size:
        _refuse(line, f"{place[1]} has {size} values here and {len(one.values)} in line {one.line}")
    part = slice(at, at + len(values))
    with np.errstate(over="ignore"):
        new = np.asarray(values, np.float64).astype(np.float32)
    old = one.values[part][one.there[part]]
    if not np.array_equal(old, new[one.there[part]], equal_nan=True):
        _refuse(line, f"{place[1]}: values from [{at}] on differ from those that came before")
    one.values[part], one.there[part] = new, True
