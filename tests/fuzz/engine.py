"""A small coverage-guided fuzzer for parsers in Python.

It changes inputs, and keeps those that made a line of the project run that had not run before. The same seed and count
give the same inputs. No package does this for every Python that the project runs on (docs/hardening.md).
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PROJECT = str(Path(__file__).resolve().parents[2] / "hil")
SETTLED_CALLS = 300
"""A function that showed no new line in so many calls is not watched any more: watching costs time."""
NUMBERS = (0, 1, 2, 3, 7, 8, 9, 16, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 4096, 32767, 65535, 1 << 31, 0xFFFFFFFF)
TEXT_NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"9" * 20, b"0x10", b"1.5", b"true", b'""', b"[]", b"\xc2\xb2")
INPUT_BYTES_MAX = 1 << 13
FINDINGS_MAX = 20


@dataclass(frozen=True)
class Target:
    """One parser.

    run: gives it an input; returns where the input is taken, or refused in the way that is promised, and lets
    everything else out. seeds: good inputs to begin with. words: pieces that the format is made of. make: further
    inputs, out of nothing. runs: inputs of the bounded run.
    """

    name: str
    what: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    make: Callable[[random.Random], bytes] | None = None
    runs: int = 3000


@dataclass
class Report:
    """inputs: how many were tried. kept: those that reached new lines. findings: input and traceback, one a place."""

    inputs: int = 0
    kept: int = 0
    findings: list[tuple[bytes, str]] = field(default_factory=list)


class _Coverage:
    """Lines of the project that have run. Without effect on code that is not the project's."""

    def __init__(self) -> None:
        self.lines: set[tuple[CodeType, int]] = set()
        self._quiet: dict[CodeType, int] = {}

    def __enter__(self) -> _Coverage:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        calls = self._quiet.get(code, 0)
        if calls >= SETTLED_CALLS:
            return None
        if calls == 0 and not code.co_filename.startswith(PROJECT):
            self._quiet[code] = SETTLED_CALLS
            return None
        self._quiet[code] = calls + 1
        return self._line

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        at = (frame.f_code, frame.f_lineno)
        if event == "line" and at not in self.lines:
            self.lines.add(at)
            self._quiet[frame.f_code] = 1
        return self._line


def fuzz(target: Target, *, seed: int, runs: int | None = None, seconds: float | None = None) -> Report:
    """Try inputs until there are so many, or so much time has passed."""
    source = random.Random(f"{target.name} {seed}")
    corpus = list(target.seeds)
    coverage, report = _Coverage(), Report()
    places: set[str] = set()
    end = time.monotonic() + (seconds or 0)
    for data in _inputs(target, corpus, source):
        if (report.inputs >= runs) if runs is not None else (time.monotonic() >= end):
            break
        report.inputs += 1
        known = len(coverage.lines)
        try:
            with coverage:
                target.run(data)
        except Exception as error:
            place = _place(error)
            if place not in places and len(places) < FINDINGS_MAX:
                places.add(place)
                report.findings.append((data, traceback.format_exc()))
        if len(coverage.lines) > known:
            corpus.append(data)
    report.kept = len(corpus) - len(target.seeds)
    return report


def _place(error: BaseException) -> str:
    """Kind of an error and the line that raised it: further inputs that end there tell nothing new."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {last.filename}:{last.lineno}"


def _inputs(target: Target, corpus: list[bytes], source: random.Random) -> Iterator[bytes]:
    yield from target.seeds
    while True:
        if target.make is not None and source.random() < 0.7:
            data = target.make(source)
            yield _mutated(data, corpus, target.words, source) if source.random() < 0.1 else data
        else:
            yield _mutated(source.choice(corpus), corpus, target.words, source)


def _mutated(data: bytes, corpus: list[bytes], words: tuple[bytes, ...], source: random.Random) -> bytes:
    for _ in range(1 << source.randrange(4)):
        data = source.choice(_MUTATIONS)(data, corpus, words, source)
    return data[:INPUT_BYTES_MAX]


_Mutation = Callable[[bytes, list[bytes], tuple[bytes, ...], random.Random], bytes]


def _flip(data: bytes, corpus: list[bytes], words: tuple[bytes, ...], source: random.Random) -> bytes:
    at = source.randrange(len(data) + 1)
    return data[:at] + bytes([byte ^ 1 << source.randrange(8) for byte in data[at : at + 1]]) + data[at + 1 :]


def _byte(data: bytes, corpus: list[bytes], words: tuple[bytes, ...], source: random.Random) -> bytes:
    at = source.randrange(len(data) + 1)
    return data[:at] + bytes([source.randrange(256)]) + data[at + source.randrange(2) :]


def _cut(data: bytes, corpus: list[bytes], words: tuple[bytes, ...], source: random.Random) -> bytes:
    start, end = sorted(source.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[end:] if source.randrange(4) else data[:start]


def _repeat(data: bytes, corpus: list[bytes], words: tuple[bytes, ...], source: random.Random) -> bytes:
    start, end = sorted(source.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end] * source.choice((1, 1, 2, 20)) + data[end:]


def _splice(data: bytes, corpus: list[bytes], words: tuple[bytes, ...], source: random.Random) -> bytes:
    other = source.choice(corpus)
    return data[: source.randrange(len(data) + 1)] + other[source.randrange(len(other) + 1) :]


def _word(data: bytes, corpus: list[bytes], words: tuple[bytes, ...], source: random.Random) -> bytes:
    word = source.choice(words or TEXT_NUMBERS)
    at = source.randrange(len(data) + 1)
    return data[:at] + word + data[at + source.choice((0, len(word))) :]


def _number(data: bytes, corpus: list[bytes], words: tuple[bytes, ...], source: random.Random) -> bytes:
    size = source.choice((1, 2, 4))
    value = (source.choice(NUMBERS) * source.choice((1, 1, -1))) & ((1 << 8 * size) - 1)
    at = source.randrange(len(data) // size + 1) * size
    return data[:at] + value.to_bytes(size, "little") + data[at + size :]


def _digits(data: bytes, corpus: list[bytes], words: tuple[bytes, ...], source: random.Random) -> bytes:
    """Another number in the place of a digit."""
    places = [at for at in range(len(data)) if 0x30 <= data[at] <= 0x39]
    if not places:
        return data
    at = source.choice(places)
    return data[:at] + source.choice(TEXT_NUMBERS) + data[at + 1 :]


_MUTATIONS: tuple[_Mutation, ...] = (_flip, _byte, _cut, _repeat, _splice, _word, _number, _digits)
