"""The bytes of link tests, as a board makes and checks them. Definition: docs/protocol.md, section 4.

C twin: firmware/link/pattern.c. Pure functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hil.protocol.link_messages import Pattern

_PERIODS = {
    Pattern.ZEROS_ONES: (0x00, 0xFF),
    Pattern.CHECKERS: (0x55, 0xAA),
    Pattern.WALKING_ONES: tuple(1 << n for n in range(8)),
    Pattern.WALKING_ZEROS: tuple(0xFF ^ 1 << n for n in range(8)),
    Pattern.COUNT: tuple(range(256)),
}
_ORDERS = {Pattern.PRBS15: (14, 15), Pattern.PRBS31: (28, 31)}
_HISTORY = 32


def pattern_frames(kind: Pattern, seed: int, frames: int, length_bytes: int) -> list[bytes]:
    """The payloads of a run."""
    if kind is Pattern.XORSHIFT:
        return [_take(_xorshift(seed + frame), length_bytes) for frame in range(frames)]
    stream = _prbs(*_ORDERS[kind], seed) if kind in _ORDERS else itertools.cycle(_PERIODS.get(kind) or _de_bruijn())
    return [_take(stream, length_bytes) for _ in range(frames)]


def _take(stream: Iterator[int], count: int) -> bytes:
    return bytes(itertools.islice(stream, count))


def _next_word(word: int) -> int:
    word ^= word << 13 & 0xFFFFFFFF
    word ^= word >> 17
    return word ^ word << 5 & 0xFFFFFFFF


def _xorshift(seed: int) -> Iterator[int]:
    word = (seed | 1) & 0xFFFFFFFF
    while True:
        word = _next_word(word)
        yield from word.to_bytes(4, "little")


def _de_bruijn() -> Iterator[int]:
    for first in range(256):
        yield first
        for second in range(first + 1, 256):
            yield first
            yield second


def _prbs(tap: int, order: int, seed: int) -> Iterator[int]:
    word = (seed | 1) & 0xFFFFFFFF
    history = []
    for _ in range(_HISTORY):
        word = _next_word(word)
        history.append(word >> 11 & 0xFF)
    history[-1] = 0xFF
    while True:
        history.append(history[-tap] ^ history[-order])
        del history[0]
        yield history[-1]
