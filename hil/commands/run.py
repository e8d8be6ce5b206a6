"""`hil run`: boot any image on one or more boards and stream the text that it prints; `hil reset`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.board.board import BOOT_TIMEOUT_S, Board
from hil.commands.options import on_rig
from hil.desk.desk import Desk
from hil.desk.power import RESET_TIMEOUT_S, check_reset
from hil.errors import BoardError, RigError
from hil.protocol.boot import BootState
from hil.session import Session
from hil.text import printable

MARKER = r"DONE!!!"
"""What images for this bootloader print at their end."""
LIMIT_S = 600.0


def add_run(parser: argparse.ArgumentParser) -> None:
    """Declare `hil run`."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="one for all boards, or one per board")
    _add_board_option(parser)
    parser.add_argument("--until", metavar="PATTERN", help=f"end when every board's text matches (default: {MARKER})")
    parser.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="end after this time")
    on_rig(parser, run)


def add_reset(parser: argparse.ArgumentParser) -> None:
    """Declare `hil reset`."""
    _add_board_option(parser)
    on_rig(parser, reset)


def _add_board_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", action="append", type=int, metavar="N", help="this board only (repeatable)")


@dataclass(frozen=True, slots=True)
class _End:
    """When a run ends, and whether the pattern must have been seen."""

    pattern: re.Pattern[str]
    seconds: float
    must_match: bool


def run(session: Session, options: argparse.Namespace) -> int:
    """Boot, stream, end; the exit code: 1 if a board did not come to the end that was asked for."""
    end = _end(options)
    with session.open_ring().desk as desk:
        boards = _chosen(desk, options.board)
        _begin(boards, options.images)
        for board in boards:
            board.on_text = _show
            desk.power.reset(board)
        _boot_all(desk, boards)
        return _watch(desk, boards, end)


def _end(options: argparse.Namespace) -> _End:
    try:
        pattern = re.compile(options.until if options.until is not None else MARKER, re.MULTILINE)
    except re.error as error:
        raise RigError(f"--until {options.until!r}: not a regular expression: {error}") from None
    if options.seconds is not None and not 0 < options.seconds <= 1e6:
        raise RigError(f"--for {options.seconds:g}: give seconds, more than 0")
    must_match = options.until is not None or options.seconds is None
    return _End(pattern, options.seconds if options.seconds is not None else LIMIT_S, must_match)


def _chosen(desk: Desk, ranks: Sequence[int] | None) -> list[Board]:
    for rank in ranks or ():
        if not 0 <= rank < len(desk.boards):
            raise RigError(f"--board {rank}: rig {desk.config.name} has boards 0 to {len(desk.boards) - 1}")
    return [board for board in desk.boards if ranks is None or board.rank in ranks]


def _begin(boards: Sequence[Board], images: Sequence[Path]) -> None:
    if len(images) not in (1, len(boards)):
        raise RigError(f"{len(images)} images for {len(boards)} boards; give one for all, or one per board")
    for index, board in enumerate(boards):
        board.begin_program(images[index % len(images)])


def _boot_all(desk: Desk, boards: Sequence[Board]) -> None:
    desk.loop.run_until(lambda: all(b.boot_state is BootState.DONE or b.dead for b in boards), BOOT_TIMEOUT_S)
    problems = [b.dead or b.boot_problem(BOOT_TIMEOUT_S) for b in boards if b.boot_state is not BootState.DONE]
    if problems:
        raise BoardError("\n".join(problems) + f"\n  to start a board anew: {desk.power.describe()}")


def _watch(desk: Desk, boards: Sequence[Board], end: _End) -> int:
    """Stream until every board has ended; whether they all ended as they should."""
    ended: dict[int, bool] = {}

    def all_ended() -> bool:
        for board in boards:
            if not ended.get(board.rank) and board.find(end.pattern) is not None:
                ended[board.rank] = True
            elif board.rank not in ended and board.dead is not None:
                ended[board.rank] = False
        return len(ended) == len(boards)

    desk.loop.run_until(all_ended, end.seconds)
    for board in boards:
        board.finish_text()
    for board in boards:
        if ended.get(board.rank):
            how = f"matched {end.pattern.pattern!r}"
        else:
            how = board.dead or f"nothing matched {end.pattern.pattern!r} within {end.seconds:g} s"
        print(f"pi{board.rank}: {how}; log: {board.log.path}")
    good = all(ended.get(b.rank) or (not end.must_match and b.dead is None) for b in boards)
    return 0 if good else 1


def _show(board: Board, line: bytes) -> None:
    print(f"pi{board.rank}| {printable(line)}", flush=True)


def reset(session: Session, options: argparse.Namespace) -> int:
    """Reset boards one after the other and see each go away and come back."""
    with session.open_ring().desk as desk:
        for board in _chosen(desk, options.board):
            seconds = check_reset(board, desk.power, timeout_s=RESET_TIMEOUT_S)
            print(f"{board}: went away and asked for an image after {seconds:.1f} s", flush=True)
    return 0
