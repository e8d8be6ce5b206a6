"""What boards recorded while tracing was on, read and put into order; still on each board's own clock.

Messages: hil/protocol/trace_messages.py. Firmware: firmware/ring/trace.h. Meaning of the instants: docs/timeline.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from golden.taps import NO_LAYER
from hil.board.board import Board
from hil.protocol.link_messages import Bank
from hil.protocol.messages import Command, Empty
from hil.protocol.trace_messages import BURST_FAILED, TraceEvent, TraceKind, TracePart, TraceRead, TraceState
from hil.rig.specs import LinkSpec
from hil.ring.ring import Ring

BURSTS = (TraceKind.FRAME_OUT, TraceKind.ANSWER_IN, TraceKind.FRAME_IN, TraceKind.ANSWER_OUT)
SENDING = (TraceKind.FRAME_OUT, TraceKind.ANSWER_OUT)
COMPUTING = tuple(kind for kind in TraceKind if TraceKind.CLEAR <= kind <= TraceKind.OPTIMIZER)
_READ_AT_ONCE = 127
_TIMER_MASK = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event of one board. Times are its system timer's microseconds, 64 bits; of a burst all four count.

    layer is None where there is none; code is a frame's type or a command. ok is False for a burst that broke off.
    """

    rank: int
    kind: TraceKind
    begin_us: int
    open_us: int
    header_us: int
    end_us: int
    bytes: int = 0
    sequence: int = 0
    position: int = 0
    microbatch: int = 0
    bank: Bank = Bank.DOWNSTREAM
    layer: int | None = None
    code: int = 0
    attempt: int = 0
    ok: bool = True


@dataclass(frozen=True, slots=True)
class BoardTrace:
    """All events of a board that are left, in the order in which they ended. dropped: older ones that are gone."""

    rank: int
    events: tuple[Recorded, ...]
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Capture:
    """What all boards of a ring recorded, and the links between them."""

    boards: tuple[BoardTrace, ...]
    links: tuple[LinkSpec, ...]

    @property
    def dropped(self) -> int:
        """Events that are gone, on all boards."""
        return sum(board.dropped for board in self.boards)


def start_tracing(ring: Ring) -> None:
    """Forget old events and record new ones, on every board. Raises BoardError."""
    for board in ring.boards:
        board.command(Command.TRACE_START, Empty(), TraceState)


def stop_tracing(ring: Ring) -> Capture:
    """Stop recording on every board and read what there is. Raises BoardError."""
    traces = [_read(board, board.command(Command.TRACE_STOP, Empty(), TraceState)) for board in ring.boards]
    return Capture(tuple(traces), tuple(ring.desk.config.links))


def _read(board: Board, state: TraceState) -> BoardTrace:
    data = b""
    size = TraceEvent.fixed_size_bytes()
    while len(data) < state.kept * size:
        request = TraceRead(len(data) // size, _READ_AT_ONCE)
        part = board.command(Command.TRACE_READ, request, TracePart)
        data += part.data
        if not part.data:
            break
    return BoardTrace(board.rank, recorded(board.rank, TraceEvent.unpack_each(data), state.now_us), state.dropped)


def recorded(rank: int, events: Sequence[TraceEvent], now_us: int) -> tuple[Recorded, ...]:
    """Events as a board sends them, with times of 64 bits.

    Args:
        now_us: the board's timer, all of its bits, when the last of them had been recorded; none is older than
            71 minutes, after which the timer's low word comes round again.
    """

    def whole(low_us: int) -> int:
        return now_us - ((now_us - low_us) & _TIMER_MASK)

    found = []
    for event in events:
        kind = TraceKind(event.kind)
        by_layer = kind in (TraceKind.FORWARD, TraceKind.BACKWARD)
        burst = kind in BURSTS
        found.append(
            Recorded(
                rank=rank,
                kind=kind,
                begin_us=whole(event.begin_us),
                open_us=whole(event.open_us if burst else event.begin_us),
                header_us=whole(event.header_us if burst else event.begin_us),
                end_us=whole(event.end_us),
                bytes=event.bytes,
                sequence=event.sequence,
                position=event.position,
                microbatch=event.microbatch,
                bank=Bank(event.bank),
                layer=event.detail if by_layer and event.detail != NO_LAYER else None,
                code=0 if kind in COMPUTING else event.detail,
                attempt=event.attempt & ~BURST_FAILED,
                ok=not event.attempt & BURST_FAILED,
            )
        )
    return tuple(found)
