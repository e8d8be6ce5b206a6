"""Value change dumps: what the wires did, for GTKWave and the like.

Format: IEEE 1364-2001 clause 18, time in picoseconds. A net that is undefined or contended is written as x.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from hil.sim.simulation import Simulation

VALUES = ("0", "1", "x", "x")


def identifier(number: int) -> str:
    """The short name of variable `number`: printable ASCII from ! on, least significant first."""
    text = chr(33 + number % 94)
    while number := number // 94:
        text += chr(33 + number % 94)
    return text


class VcdWriter:
    """Records nets from now on and writes them to a text file; call `flush` between runs, `close` at the end."""

    def __init__(self, sim: Simulation, out: TextIO, pads: Mapping[str, tuple[int, int]]) -> None:
        """Start recording.

        Args:
            sim: at its present time.
            out: where the dump goes; stays open.
            pads: name of a signal -> (board, pin).
        """
        self._sim = sim
        self._out = out
        self._names: dict[tuple[int, int], str] = {}
        self._time_ps = -1
        out.write("$timescale 1 ps $end\n$scope module ring $end\n")
        for number, (name, (board, pin)) in enumerate(pads.items()):
            out.write(f"$var wire 1 {identifier(number)} {name.replace(' ', '_')} $end\n")
            self._names[board, pin] = identifier(number)
        out.write("$upscope $end\n$enddefinitions $end\n")
        for board, pin in self._names:
            sim.trace_pad(board, pin, on=True)
        self.flush()

    def flush(self) -> None:
        """Write what has happened since the last call."""
        for change in self._sim.take_trace():
            if change.time_ps != self._time_ps:
                self._time_ps = change.time_ps
                self._out.write(f"#{change.time_ps}\n")
            name = self._names.get((change.board, change.pin))
            if name is not None:
                self._out.write(f"{VALUES[change.level]}{name}\n")

    def close(self) -> None:
        """Stop recording and write the rest, with the present time as the end."""
        self.flush()
        for board, pin in self._names:
            self._sim.trace_pad(board, pin, on=False)
        self._out.write(f"#{self._sim.time_ns * 1000}\n")

    def __enter__(self) -> VcdWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
