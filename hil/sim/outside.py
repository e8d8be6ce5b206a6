"""Participants of a simulation that are not boards: pads that Python drives. C twin: hil/sim/core/outside.c.

An adapter on a board's wires is such a participant. It acts at times that it names, and when a pad that it watches
changes; in between the boards run. Its outputs meet those of boards on the same nets, so contention is seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.sim.simulation import Simulation


class Outside:
    """One participant. Made by Simulation; `simulation.outside[0]` is the first.

    index: its number among the boards, for `Wire`. pins: names of its pads; pad n is called pins[n].
    act: called when act_at_ns has come or a watched pad has changed; it may drive pads and set both again.
    """

    def __init__(self, simulation: Simulation, index: int, name: str, pins: Sequence[str]) -> None:
        self.index = index
        self.name = name
        self.pins = tuple(pins)
        self.act: Callable[[], None] = _nothing
        self.act_at_ns: int | None = None
        self._simulation = simulation
        self._watched = 0

    @property
    def simulation(self) -> Simulation:
        """Whose wires it is on."""
        return self._simulation

    def drive(self, outputs: int, levels: int, *, pull_up: int = 0, pull_down: int = 0) -> None:
        """What it does to its pads from now on; a bit per pad in each mask. Levels of inputs are kept, not seen."""
        self._simulation.drive_outside(self.index, outputs, levels, pull_up, pull_down)

    def watch(self, pads: int) -> None:
        """Act when one of these pads changes, the present moment excluded."""
        self._watched = pads
        self._simulation.watch_outside(self.index, pads)

    @property
    def watched(self) -> int:
        """The pads of `watch`."""
        return self._watched

    def levels(self) -> int:
        """Its pads as they are now, a bit per pad. Undefined and contended ones read as seeded noise."""
        levels = 0
        for pad in range(len(self.pins)):
            level = self._simulation.level(self.index, pad)
            if level not in ("0", "1"):
                seed = f"{self._simulation.seed} {self._simulation.time_ps} {self.index} {pad}"
                level = str(random.Random(seed).getrandbits(1))
            levels |= int(level) << pad
        return levels


def _nothing() -> None:
    pass
