"""Pads on paper: nets from a list of faults, driven and read like boards, with the scan's promises asserted."""

import random

from hil.checks.wiring import analyse
from hil.checks.wiring.model import nets_of
from hil.checks.wiring.pads import Held, pads_of
from hil.checks.wiring.scan import PULL_UP, observe


class PaperPins:
    """Stands in for BoardPins. Never lets a held pad be driven, nor two pads at a time."""

    def __init__(self, links, codes, world_size, *, seed=1):
        nets = nets_of(links, codes, world_size)
        self.world_size = world_size
        self.net = {pad: net for net in nets.groups for pad in net}
        self.held = nets.held
        self.deaf = set()
        self.one_way = {}  # (driver, level) -> pad that does not follow
        self.pulled = 0
        self.drives = 0
        self.restored = None
        self._rng = random.Random(seed)

    def pull(self, pull):
        self.pulled = pull == PULL_UP

    def read(self):
        return self._levels({})

    def read_driven(self, pad, level):
        assert pad not in self.held, f"{pad} is held and must not be driven"
        assert level != self.pulled, "a driver must work against the pulls"
        self.drives += 1
        driven = dict.fromkeys(self.net[pad], level)
        driven.pop(self.one_way.get((pad, level)), None)
        if pad in self.deaf:
            driven.pop(pad)
        return self._levels(driven)

    def restore(self, safe):
        self.restored = list(safe)

    def _levels(self, driven):
        return [sum(self._level(pad, driven) << pad[1] for pad in pads_of(rank)) for rank in range(self.world_size)]

    def _level(self, pad, driven):
        held = self.held.get(pad)
        if held is Held.NOISE:
            return self._rng.getrandbits(1)
        if held is not None:
            return int(held.value)
        return int(driven.get(pad, self.pulled))


def scan(config, codes=(), *, links=None, known=()):
    """The report of a paper rig with these faults; links: as it is really wired."""
    pins = PaperPins(config.links if links is None else links, codes, config.world_size)
    return analyse(observe(pins), config, known)
