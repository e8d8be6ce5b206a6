"""The end of a link's handshake out of a VCD file, as WaveJSON: what stood on the wires when it stopped.

One slot for each edge of CLK or ACK, not for equal times; the ticks below tell the microseconds. A slot shows what the
wires were at its end. VCD comes from hil/desk/wires.py: `link_1_2.D3` is a wire at its source, `link_1_2.D3_far` at its
target. Formats: IEEE 1364-2001 clause 18, wavedrom.com/tutorial.html. Owns: no file, it only reads.
"""

from __future__ import annotations

import bisect
from pathlib import Path
from typing import Any

from vcd.reader import TokenKind, VCDParseError, tokenize

from hil.errors import HilError

EDGES = 30
DATA = tuple(f"D{bit}" for bit in range(8))
HANDSHAKE = ("CLK", "ACK")
_LEVELS = {"0": "0", "1": "1", "z": "z"}


class WaveError(HilError):
    """A recording of the wires cannot be read."""


class Recording:
    """Changes of the wires of one link, by signal. unit_us: microseconds of a step of its time."""

    def __init__(self, path: Path, link: str) -> None:
        """Read a link's signals. link: `1->2`. Raises: WaveError."""
        self.times: dict[str, list[int]] = {}
        self.values: dict[str, list[str]] = {}
        self.unit_us = 1e-6
        self.end = 0
        try:
            with path.open("rb") as file:
                self._read(file, f"link_{link.replace('->', '_')}")
        except (OSError, VCDParseError, ValueError) as error:
            raise WaveError(f"recording {path}: cannot be read: {error}; was the disk full when it was made?") from None

    def _read(self, file: Any, wanted: str) -> None:
        scope: list[str] = []
        names: dict[str, str] = {}
        for token in tokenize(file):
            if token.kind is TokenKind.SCOPE:
                scope.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                if not scope:
                    raise ValueError("$upscope without its $scope")
                scope.pop()
            elif token.kind is TokenKind.TIMESCALE:
                self.unit_us = int(token.timescale.magnitude) * _UNITS_US[token.timescale.unit.value]
            elif token.kind is TokenKind.VAR and scope and scope[-1] == wanted:
                names[token.var.id_code] = token.var.reference
                self.times[token.var.reference], self.values[token.var.reference] = [], []
            elif token.kind is TokenKind.CHANGE_TIME:
                self.end = token.time_change
            elif token.kind is TokenKind.CHANGE_SCALAR and token.scalar_change.id_code in names:
                name = names[token.scalar_change.id_code]
                self.times[name].append(self.end)
                self.values[name].append(token.scalar_change.value)

    def edges(self, names: tuple[str, ...], last: int) -> list[int]:
        """When any of the signals changed, the last ones, each time once."""
        found = {at for name in names for at in self.times.get(name, [])[1:]}
        return sorted(found)[-last:]

    def at(self, name: str, time: int) -> str:
        """The level of a signal just before a time: 0, 1, z or x."""
        place = bisect.bisect_left(self.times.get(name, []), time) - 1
        return _LEVELS.get(self.values[name][place].lower(), "x") if place >= 0 else "x"


_UNITS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3, "ps": 1e-6, "fs": 1e-9}


def wavejson(path: Path, link: str, edges: int = EDGES) -> dict[str, Any] | None:
    """The last edges of a link's handshake, as WaveJSON.

    Args:
        path: a VCD file that hil/desk/wires.py wrote.
        link: `1->2`.
    Returns: None if the file has no edge of that link.
    Raises: WaveError if the file cannot be read.
    """
    recording = Recording(path, link)
    found = recording.edges(HANDSHAKE, edges)
    if not found:
        return None
    ends = [*found, recording.end + 1]
    source, _, target = link.partition("->")
    lanes = [_bus(recording, ends, "", f"D at {source}")]
    lanes += [_lane(recording, ends, name, f"{name} at {source}") for name in HANDSHAKE]
    far_bus = _bus(recording, ends, "_far", f"D at {target}")
    far = [_lane(recording, ends, f"{name}_far", f"{name} at {target}") for name in HANDSHAKE]
    different = [lane for lane, near in zip([far_bus, *far], lanes, strict=True) if _drawn(lane) != _drawn(near)]
    ticks = [""] + [_time((at - found[0]) * recording.unit_us) for at in found]
    later = _time((recording.end - found[-1]) * recording.unit_us)
    return {
        "head": {"text": f"link {link}: the last {len(found)} edges of CLK and ACK"},
        "signal": lanes + different,
        "foot": {"tick": ticks, "text": f"microseconds (m: milliseconds); the recording ends {later} later"},
    }


def _drawn(lane: dict[str, Any]) -> tuple[Any, Any]:
    return lane["wave"], lane.get("data")


def _time(us: float) -> str:
    """At most five letters: `0.43`, `12.3`, `39.7m`."""
    if us >= 999.5:
        return f"{us / 1e3:.3g}m" if us < 999_500 else f"{us / 1e3:.0f}m"
    return f"{us:.2f}" if us < 10 else f"{us:.3g}"


def _lane(recording: Recording, ends: list[int], name: str, title: str) -> dict[str, Any]:
    """Levels, `0011` as `0.1.`."""
    levels = [recording.at(name, end) for end in ends]
    wave = "".join("." if at and level == levels[at - 1] else level for at, level in enumerate(levels))
    return {"name": title, "wave": wave}


def _bus(recording: Recording, ends: list[int], suffix: str, title: str) -> dict[str, Any]:
    """The eight data wires as one lane of bytes; x where any of them has no level."""
    bricks, data, before = [], [], ""
    for end in ends:
        bits = [recording.at(f"{name}{suffix}", end) for name in DATA]
        known = all(bit in "01" for bit in bits)
        shown = f"{int(''.join(reversed(bits)), 2):02x}" if known else "x"
        if shown == before:
            bricks.append(".")
            continue
        bricks.append("=" if known else "x")
        data += [shown] if known else []
        before = shown
    return {"name": title, "wave": "".join(bricks), "data": data}
