"""Value change dumps: what the wires did, for GTKWave and the like.

Format: IEEE 1364-2001 clause 18, time in picoseconds. A net that is undefined or contended is written as x.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from hil.sim.records import Mark
from hil.sim.simulation import Simulation

VALUES = ("0", "1", "x", "x")
EVENTS = "!"
"""Short name of the track of events."""


def identifier(number: int) -> str:
    """The short name of variable `number`: printable ASCII from ! on, least significant first."""
    text = chr(33 + number % 94)
    while number := number // 94:
        text += chr(33 + number % 94)
    return text


def one_word(text: str) -> str:
    """A text as one printable ASCII word: VCD has no blanks within a value."""
    return text.encode("unicode_escape").decode("ascii").replace(" ", "_")


class VcdWriter:
    """Records pads from now on and writes them to a text file; call `flush` between runs, `close` at the end.

    Beside the levels there is a string track `events` (an extension that GTKWave and Surfer read): boards' starts and
    stops, and what was given to Simulation.mark.
    """

    def __init__(self, sim: Simulation, out: TextIO, pads: Mapping[str, tuple[int, int]]) -> None:
        """Start recording.

        Args:
            sim: at its present time.
            out: where the dump goes; stays open.
            pads: name of a signal -> (board, pin); a name with a dot is SCOPE.NAME.
        """
        self._sim = sim
        self._out = out
        self._names: dict[tuple[int, int], str] = {}
        self._time_ps = -1
        out.write("$timescale 1 ps $end\n$scope module ring $end\n")
        out.write(f"$var string 1 {EVENTS} events $end\n")
        scopes: dict[str, list[str]] = {}
        for number, (name, pad) in enumerate(pads.items()):
            scope, _, signal = one_word(name).rpartition(".")
            self._names[pad] = identifier(number + 1)
            scopes.setdefault(scope, []).append(f"$var wire 1 {self._names[pad]} {signal} $end\n")
        for scope, lines in scopes.items():
            out.write("".join(lines) if not scope else f"$scope module {scope} $end\n{''.join(lines)}$upscope $end\n")
        out.write("$upscope $end\n$enddefinitions $end\n")
        for board, pin in self._names:
            sim.trace_pad(board, pin, on=True)
        self.flush()

    def flush(self) -> None:
        """Write what has happened since the last call."""
        for entry in self._sim.take_trace():
            if entry.time_ps != self._time_ps:
                self._time_ps = entry.time_ps
                self._out.write(f"#{entry.time_ps}\n")
            if isinstance(entry, Mark):
                self._out.write(f"s{one_word(entry.text)} {EVENTS}\n")
            elif (entry.board, entry.pin) in self._names:
                self._out.write(f"{VALUES[entry.level]}{self._names[entry.board, entry.pin]}\n")

    def forget(self, keep: int = 0) -> None:
        """Drop what is not written yet but for the latest `keep` changes."""
        self._sim.keep_trace(keep)

    def close(self) -> None:
        """Stop recording and write the rest, with the present time as the end."""
        self.flush()
        for board, pin in self._names:
            self._sim.trace_pad(board, pin, on=False)
        self._out.write(f"#{self._sim.time_ps}\n")

    def __enter__(self) -> VcdWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
