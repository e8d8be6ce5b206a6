"""Needs: what a rig must have so that a check can run on it. Asked before anything boots; the one place that asks."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from hil.errors import RigError
from hil.rig.specs import RigConfig

_Met = Callable[[RigConfig], bool]
_RING = "rig {rig} has {boards} and no closed ring; give the rig file of a ring"


class Need(Enum):
    """What a check needs: how it is called, whether a rig has it, and the sentence for one that does not."""

    BOARD = ("a board", lambda config: True, "")
    LINK = ("a link", lambda config: bool(config.links), "rig {rig} has no link; add a [[link]] to its file")
    LINKS = (
        "two links",
        lambda config: len(config.links) > 1,
        "rig {rig} has no two links; add a [[link]] to its file",
    )
    RING = ("a ring", lambda config: config.is_ring, _RING)
    LOOPBACK = (
        "loopback",
        lambda config: config.is_loopback,
        "rig {rig} has no loopback link; use a rig file with one board and [[link]] from = 0, to = 0",
    )
    WIRED_RANKS = (
        "a ring or loopback",
        lambda config: config.is_ring or config.is_loopback,
        _RING + ", or of one board with loopback jumpers",
    )
    RANKS = (
        "a ring or one board",
        lambda config: config.is_ring or config.world_size == 1,
        _RING + ", or of one board",
    )
    PROBE = (
        "a probe",
        lambda config: config.probe is not None,
        "rig {rig} has no probe; add a [probe] table to the rig file (docs/probe.md)",
    )
    BARE = (
        "a bare board",
        lambda config: config.world_size == 1 and not config.links,
        "rig {rig} has links; give a rig of one board without [[link]]",
    )

    def __init__(self, text: str, met: _Met, sentence: str) -> None:
        self.text, self.met, self._sentence = text, met, sentence

    def lack(self, config: RigConfig) -> str:
        """Why a rig does not do, in a sentence; empty if it does."""
        if self.met(config):
            return ""
        count = config.world_size
        boards = f"{count} board{'' if count == 1 else 's'}"
        return self._sentence.format(rig=config.name, boards=boards)

    def require(self, config: RigConfig) -> None:
        """Raises RigError with the sentence if a rig does not do."""
        sentence = self.lack(config)
        if sentence:
            raise RigError(sentence)
