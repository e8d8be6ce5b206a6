"""The wiring scan: which pads are joined, found with one driver at a time.

1. All pads inputs, pulled down: read; pulled up: read. A pad that disagrees with its pull is held by something else
   and is never driven.
2. One pad at a time: driven high while all others are pulled down, then driven low while they are pulled up. Who
   follows is joined to it.
3. Only where the map is clean: every link's ten wires at once carry codes that differ in every wire.
The drivers run at 2 mA. Nothing is concluded here: hil/checks/wiring/analysis.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence

from hil.board.board import Board
from hil.board.channel import Pending
from hil.checks.wiring.pads import WIRES, Held, Observation, OneWay, Pad, bank_pad, group, pads_of
from hil.errors import BoardError
from hil.line.loop import Loop
from hil.protocol.fields import Message
from hil.protocol.link_messages import RING_PINS, Bank, PinDrive, PinLevels, PinMode
from hil.protocol.messages import Command, Empty
from hil.rig.specs import LinkSpec

SCAN_MA, LINK_MA = 2, 8
"""Drive strength while scanning, and the pads' reset value, which the links use."""
PULL_DOWN, PULL_UP = 1, 2
PASSIVE_READS = 8
"""Reads under each pull: noise must not look like a level."""
NOISY_PADS = 3
"""A bank with this many noisy pads has no common ground; none of its pads is driven."""
ANSWER_S = 5.0
CODES = tuple(
    tuple((number + 1 >> plane & 1) ^ invert for number in range(WIRES)) for plane in range(4) for invert in (0, 1)
)
"""Levels of the ten wires: the bits of 1..10, each also inverted. Any two wires differ in some code."""


class BoardPins:
    """Pads of real or simulated boards, over their serial ports. Commands to several boards run at the same time.

    Levels are GPLEV words, one per board.
    """

    def __init__(self, boards: Sequence[Board], loop: Loop) -> None:
        self._boards = boards
        self._loop = loop
        self._driven: set[int] = set()
        self.world_size = len(boards)

    def pull(self, pull: int) -> None:
        """All pads of all boards input with this pull (1 down, 2 up)."""
        self._together({board.rank: (Command.PIN_MODE, PinMode(RING_PINS, pull)) for board in self._boards})

    def read(self) -> list[int]:
        """Levels on all boards, read at about the same time."""
        return self._read(range(self.world_size))

    def read_driven(self, pad: Pad, level: int) -> list[int]:
        """Drive the pad, read all boards, release it; never leaves it driven."""
        rank = pad[0]
        others = [other for other in range(self.world_size) if other != rank]
        levels = [0] * self.world_size
        try:
            levels[rank] = self._drive_at(pad, level, SCAN_MA)
            for other, found in zip(others, self._read(others), strict=True):
                levels[other] = found
        finally:
            self._together({rank: (Command.PIN_DRIVE, PinDrive(pad[1], 0, 0, SCAN_MA))})
        return levels

    def drive_together(self, pins: Mapping[int, tuple[int, int]]) -> None:
        """On each board named drive one pin to a level."""
        requests = {r: (Command.PIN_DRIVE, PinDrive(pin, 1, level, SCAN_MA)) for r, (pin, level) in pins.items()}
        self._driven |= set(requests)
        self._together(requests)

    def restore(self, safe: Iterable[Pad]) -> None:
        """Inputs, pull-downs, 8 mA, on every board that answers; one that does not must not keep the others.

        A board that drove at 2 mA goes back to 8 mA by way of a pad in `safe`.
        """
        by_board = {pad[0]: pad for pad in safe}
        for board in self._boards:
            with contextlib.suppress(BoardError):
                self._together({board.rank: (Command.PIN_MODE, PinMode(RING_PINS, PULL_DOWN))})
        for rank in sorted(self._driven & set(by_board)):
            with contextlib.suppress(BoardError):
                self._drive_at(by_board[rank], 0, LINK_MA)
                self._together({rank: (Command.PIN_DRIVE, PinDrive(by_board[rank][1], 0, 0, LINK_MA))})
                self._driven.discard(rank)

    def _drive_at(self, pad: Pad, level: int, milliamperes: int) -> int:
        self._driven.add(pad[0])
        request = PinDrive(pad[1], 1, level, milliamperes)
        return self._together({pad[0]: (Command.PIN_DRIVE, request)})[pad[0]]

    def _read(self, ranks: Iterable[int]) -> list[int]:
        ranks = list(ranks)
        levels = self._together({rank: (Command.PIN_READ, Empty()) for rank in ranks})
        return [levels[rank] for rank in ranks]

    def _together(self, requests: Mapping[int, tuple[Command, Message]]) -> dict[int, int]:
        """Send one command to each board, wait for all answers; levels by rank. Raises BoardError."""
        pending: dict[int, Pending] = {
            rank: self._boards[rank].start(command, request) for rank, (command, request) in requests.items()
        }
        waiting = [(self._boards[rank], one) for rank, one in pending.items()]
        self._loop.run_until(lambda: all(one.done or board.dead is not None for board, one in waiting), ANSWER_S)
        levels = {}
        for rank, one in pending.items():
            answer = self._boards[rank].result(one, ANSWER_S)
            if not isinstance(answer, PinLevels):
                raise BoardError(f"{self._boards[rank]}: answered {one.command.name} with {type(answer).__name__}")
            levels[rank] = answer.gplev0
        return levels


def observe(pins: BoardPins) -> Observation:
    """Steps 1 and 2. Leaves every pad an input, pulled down, whatever happens."""
    drivable: list[Pad] = []
    try:
        held = passive(pins)
        drivable = [pad for rank in range(pins.world_size) for pad in pads_of(rank) if pad not in held]
        followers = _drive_each(pins, drivable)
    finally:
        pins.restore(drivable)
    return _joined(pins.world_size, held, drivable, followers)


def passive(pins: BoardPins) -> dict[Pad, Held]:
    """Step 1: the pads that do not follow their pulls."""
    seen: dict[Pad, set[tuple[int, int]]] = {}
    for pull, level in ((PULL_UP, 1), (PULL_DOWN, 0)):
        pins.pull(pull)
        for _ in range(PASSIVE_READS):
            for rank, word in enumerate(pins.read()):
                for pad in pads_of(rank):
                    seen.setdefault(pad, set()).add((level, word >> pad[1] & 1))
    held = {}
    for pad, reads in seen.items():
        if reads == {(1, 1), (0, 0)}:
            continue
        levels = {level for _, level in reads}
        held[pad] = Held.NOISE if len(levels) == 2 else Held.HIGH if levels == {1} else Held.LOW
    for rank in range(pins.world_size):
        for bank in Bank:
            pads = [bank_pad((rank, bank), number) for number in range(WIRES)]
            if sum(held.get(pad) is Held.NOISE for pad in pads) >= NOISY_PADS:
                held.update(dict.fromkeys(pads, Held.NOISE))
    return held


def _drive_each(pins: BoardPins, drivable: Sequence[Pad]) -> dict[tuple[Pad, int], set[Pad]]:
    """Step 2: for each driver and level, the pads that read that level."""
    followers = {}
    for level, pull in ((1, PULL_DOWN), (0, PULL_UP)):
        pins.pull(pull)
        for pad in drivable:
            levels = pins.read_driven(pad, level)
            followers[pad, level] = {
                other
                for rank in range(pins.world_size)
                for other in pads_of(rank)
                if levels[rank] >> other[1] & 1 == level
            }
    return followers


def _joined(
    world_size: int, held: Mapping[Pad, Held], drivable: Sequence[Pad], followers: Mapping[tuple[Pad, int], set[Pad]]
) -> Observation:
    free = set(drivable)
    votes: dict[tuple[Pad, Pad], int] = {}
    for (driver, _), pads in followers.items():
        for pad in pads & free - {driver}:
            pair = (min(driver, pad), max(driver, pad))
            votes[pair] = votes.get(pair, 0) + 1
    deaf = tuple(pad for pad in drivable if not all(pad in followers[pad, level] for level in (0, 1)))
    return Observation(
        world_size,
        held,
        group(drivable, [pair for pair, count in votes.items() if count == 4]),
        tuple(OneWay(*pair, count, 4) for pair, count in sorted(votes.items()) if count < 4),
        deaf,
    )


def wrong_codes(pins: BoardPins, links: Sequence[LinkSpec]) -> list[str]:
    """Step 3, for a clean map only: every link carries each code at once; what arrived wrong, one sentence each.

    Every board drives its high bank, and no two banks of a clean map share a wire, so no outputs can meet.
    """
    wrong = []
    sources = {link.source: link for link in links}
    now: list[int | None] = [None] * WIRES
    try:
        for code in CODES:
            for number in range(WIRES):
                if now[number] != code[number]:
                    pin = bank_pad((0, Bank.DOWNSTREAM), number)[1]
                    pins.drive_together({rank: (pin, code[number]) for rank in sources})
            now = list(code)
            levels = pins.read()
            for link in links:
                found = [levels[link.target] >> bank_pad((0, Bank.UPSTREAM), n)[1] & 1 for n in range(WIRES)]
                if tuple(found) != code:
                    wrong.append(f"link {link}: sent {_bits(code)}, arrived {_bits(found)} (D0 .. D7, CLK, ACK)")
    finally:
        pins.restore([bank_pad((rank, Bank.DOWNSTREAM), 0) for rank in sources])
    return wrong


def _bits(levels: Iterable[int]) -> str:
    return "".join(str(level) for level in levels)
