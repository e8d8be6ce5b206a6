"""Booting the boards of a ring together: one image, all uploads at the same time, who is late and who is wrong.

Behind `Ring.boot`. Where the rig file knows serial numbers, nothing is offered before every such board has said who
it is, so a wrong board stops the run before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hil.board.baud import raise_baud
from hil.board.board import Board
from hil.desk.desk import Desk
from hil.errors import BoardError
from hil.protocol.line_messages import Watchdog
from hil.protocol.messages import Command
from hil.toolchain import Image

PROGRESS_EVERY_S = 5.0
GATHER_S = 3.0
"""How long the first board waits for the others' serial numbers; boards of one ring start closer together."""


@dataclass(frozen=True, slots=True)
class BootTimes:
    """Seconds on the rig's clock from reset to the board's identity, per rank.

    line_shares: time that the image's bits take at the boot baud, over what its upload took.
    notes: what did not go as the rig file wishes, though the boards run.
    """

    seconds: tuple[float, ...]
    line_shares: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def skew_s(self) -> float:
        """Between the first board and the last."""
        return max(self.seconds) - min(self.seconds)


class RingBoot:
    """One parallel boot.

    Args:
        on_board: called with each board and its seconds as soon as it has booted.
        on_progress: called with a line about boards that are late, every five seconds.
    """

    def __init__(
        self,
        desk: Desk,
        image: Image,
        timeout_s: float,
        on_board: Callable[[Board, float], None] | None,
        on_progress: Callable[[str], None] | None,
    ) -> None:
        self._desk = desk
        self._boards: Sequence[Board] = desk.boards
        self._image = image
        self._timeout_s = timeout_s
        self._on_board = on_board
        self._on_progress = on_progress
        self._waiting = set(self._boards)
        self._held = any(board.spec.serial is not None for board in self._boards)
        self._running = True
        self._started_s = 0.0
        self._gather_until_s: float | None = None

    def run(self) -> BootTimes:
        """Boot them all. Raises BoardError naming every board that did not boot; the others stay booted."""
        loop = self._desk.loop
        self._started_s = loop.now_s()
        for board in self._boards:
            board.begin_boot(self._image, hold=self._held)
            board.reset()
        loop.call_at(self._started_s + PROGRESS_EVERY_S, self._tell)
        loop.run_until(self._settled, self._timeout_s)
        self._running = False
        self._check()
        return BootTimes(
            tuple(boot_seconds(board) for board in self._boards),
            tuple(board.line_share for board in self._boards if board.line_share is not None),
            tuple(self._settle_in()),
        )

    def _settled(self) -> bool:
        gathered = not self._held or self._gathered()
        if gathered and any(board.wrong_board for board in self._boards):
            return True
        if self._held and gathered:
            self._held = False
            for board in self._boards:
                if board.upload is not None:
                    board.upload.release()
        for board in sorted(self._waiting, key=lambda b: b.rank):
            if board.booted or board.dead is not None:
                self._waiting.discard(board)
                if board.booted and self._on_board is not None:
                    self._on_board(board, boot_seconds(board))
        return not self._waiting

    def _gathered(self) -> bool:
        """Whether every board that the rig file knows has announced itself, or has had its time for it."""
        asking = [board for board in self._boards if board.announcements.since(self._started_s)]
        if all(board in asking or board.dead for board in self._boards if board.spec.serial is not None):
            return True
        now_s = self._desk.loop.now_s()
        if asking and self._gather_until_s is None:
            self._gather_until_s = now_s + GATHER_S
            self._desk.loop.call_at(self._gather_until_s, _nothing)
        return self._gather_until_s is not None and now_s >= self._gather_until_s

    def _tell(self) -> None:
        if not self._running:
            return
        now_s = self._desk.loop.now_s()
        late = [board for board in sorted(self._waiting, key=lambda b: b.rank) if board.received_bytes == 0]
        if late and self._on_progress is not None:
            names = ", ".join(str(board) for board in late)
            self._on_progress(
                f"waiting for {names}: no byte for {now_s - self._started_s:.0f} s; slow cards take 30 s, "
                f"the limit is {self._timeout_s:.0f} s"
            )
        self._desk.loop.call_at(now_s + PROGRESS_EVERY_S, self._tell)

    def _check(self) -> None:
        wrong = [str(board.dead) for board in self._boards if board.wrong_board]
        if wrong:
            loaded = [str(board) for board in self._boards if board.boot_begun]
            rest = f"\n  {', '.join(loaded)} had taken the image before" if loaded else ""
            for board in self._boards:
                board.stop_boot()
            raise BoardError("\n".join(wrong) + rest)
        late = [board for board in self._boards if board.dead is not None or not board.booted]
        problems = [board.dead or board.boot_problem(self._timeout_s) for board in late]
        if problems:
            raise BoardError("\n".join(problems) + f"\n  to start a board anew: {self._desk.power.describe()}")

    def _settle_in(self) -> list[str]:
        """Arm the watchdogs, raise the bauds; sentences on what stays slow."""
        config = self._desk.config
        limit_ms = round(config.watchdog_s * 1000)
        for board in self._boards:
            if limit_ms:
                board.command(Command.SET_WATCHDOG, Watchdog(limit_ms), Watchdog)
        return [note for board in self._boards if (note := raise_baud(board, config.baud)) is not None]


def boot_seconds(board: Board) -> float:
    """From reset to identity."""
    return (board.boot_done_s or board.boot_started_s) - board.boot_started_s


def _nothing() -> None:
    """A timer that only wakes the loop."""
