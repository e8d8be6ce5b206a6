"""How commands begin: a ring opened and booted, with what is seen on the way on the terminal. Shared by the verbs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hil.board.board import Board
from hil.protocol.messages import Identity
from hil.ring.boot import BootTimes
from hil.ring.ring import Ring
from hil.session import Session


@contextmanager
def opened(session: Session) -> Iterator[Ring]:
    """The session's ring, open and not booted, below a header that says what it is; closed at the end."""
    ring = session.open_ring()
    try:
        for line in session.describe():
            print(line)
        yield ring
    finally:
        ring.desk.close()


def boot(session: Session, ring: Ring) -> BootTimes:
    """Boot it, a line for each board."""
    return session.boot(ring, on_board=show_board)


def show_board(board: Board, seconds: float) -> None:
    """The progress line of a board that has booted."""
    identity = board.identity
    if identity is None:
        return
    owns_layers = identity.layer_end > identity.layer_start
    parts = [f"layers [{identity.layer_start}, {identity.layer_end})"] if owns_layers else []
    parts += ["embedding + head"] if identity.has_head else []
    print(
        f"board {board.rank}  booted in {seconds:6.3f} s  serial {identity.board_serial:016x}  "
        f"{_place(identity)}: {', '.join(parts) or 'no shard'}",
        flush=True,
    )


def _place(identity: Identity) -> str:
    if identity.shards > 1:
        return f"all {identity.shards} ranks, every hop through the jumpers"
    return f"rank {identity.rank} of {identity.world_size}"


def logs_of(ring: Ring) -> str:
    """Where the boards' logs are: `logs/pi0.log .. pi3.log`."""
    last = f" .. pi{len(ring.boards) - 1}.log" if len(ring.boards) > 1 else ""
    return f"{ring.desk.logs}/pi0.log{last}"


def serial_rows(times: BootTimes) -> list[tuple[str, str]]:
    """How well the images went over the serial lines, and which lines stay slow."""
    share = f"images at {min(times.line_shares):.2%} of the line rate" if times.line_shares else ""
    return [("serial", text) for text in (share, *times.notes) if text]
