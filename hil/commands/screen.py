"""What boards say, on the console: the head's lines, and with -v everybody's. The logs have all of it in any case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hil.board.board import Board
from hil.ring.ring import Ring


class BoardLines:
    """Prints log lines of boards as `pi3| text` as they come, but never into the middle of another line.

    Args:
        verbose: of all boards instead of the head's alone.
    """

    def __init__(self, ring: Ring, *, verbose: bool) -> None:
        self._held: list[str] | None = None
        for board in ring.boards if verbose else [ring.head]:
            board.on_log = self._line

    @contextmanager
    def held(self) -> Iterator[None]:
        """While a line is being written by somebody else, piece by piece: lines are kept, and printed afterwards."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for line in held:
                print(line, flush=True)

    def _line(self, board: Board, text: str) -> None:
        line = f"pi{board.rank}| {text}"
        if self._held is not None:
            self._held.append(line)
        else:
            print(line, flush=True)
