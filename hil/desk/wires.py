"""Recording wires of a simulated rig into a VCD file, by the names that links and wires have."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hil.desk.faulty import rig_wires
from hil.rig.faults import WireRef
from hil.rig.pins import WIRE_NAMES
from hil.rig.specs import RigConfig, end_text
from hil.sim import Simulation
from hil.sim.vcd import VcdWriter


class WireRecording:
    """Records wires from now until `close`.

    Each wire has two signals, `link_1_2.D3` at its source and `link_1_2.D3_far` at its target: faults may part them.
    """

    def __init__(self, simulation: Simulation, config: RigConfig, path: Path, wires: Iterable[WireRef] | None) -> None:
        known = rig_wires(config)
        pads = {}
        for ref in known if wires is None else wires:
            name = f"link_{end_text(ref.link.source)}_{end_text(ref.link.target)}.{WIRE_NAMES[ref.wire]}"
            pads[name] = (known[ref].board_a, known[ref].pin_a)
            pads[f"{name}_far"] = (known[ref].board_b, known[ref].pin_b)
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="ascii")
        self._writer = VcdWriter(simulation, self._file, pads)

    def flush(self, latest: int | None = None) -> None:
        """Write what has happened so far (only the latest changes, if asked), so that the file can be read."""
        if latest is not None:
            self._writer.forget(keep=latest)
        self._writer.flush()
        self._file.flush()

    def discard(self) -> None:
        """Forget what has happened, close and remove the file."""
        self._writer.forget()
        self.close()
        self.path.unlink()

    def close(self) -> None:
        """Write the rest and close the file."""
        self._writer.close()
        self._file.close()
