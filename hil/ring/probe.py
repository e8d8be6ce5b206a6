"""A probe on a rig: frames to and from the one board that it is wired to.

C twin of frames and their attempts: firmware/link/link.c. Time limits: docs/probe.md; a USB round trip takes so long
that the board must be given a phase limit of its own for a run with the probe (LINK_RUN carries one).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hil.board.board import Board
from hil.errors import LinkError, RigError
from hil.probe.adapter import Ft232hAdapter
from hil.probe.lines import REFUSE, STOP, Lines, LineStep, ProbeFault, burst_steps
from hil.protocol import link_frames as link
from hil.protocol.link_messages import Bank, Phase, Role
from hil.ring.ring import Ring

PHASE_LIMIT_S = 0.1
"""Of both ends while they talk to each other: a hundred USB round trips."""
REOPEN_FACTOR = 10
SOURCE = 0xFE
"""Rank in the headers of the probe's frames."""
ATTEMPTS_MAX = 8
Change = Callable[[int, list[LineStep]], list[LineStep]]
"""Attempt (from 1) and the steps of a frame's burst; gives the steps to take instead."""
BeforeEdge = Callable[[int, bool], None]


@dataclass(frozen=True, slots=True)
class Received:
    """A frame from the board. good: its payload's CRC is right."""

    type: int
    source: int
    payload: bytes
    good: bool


class Probe:
    """An open probe. Sequence numbers count from 1 after `reset`, as the board's do after LINK_RESET."""

    def __init__(self, lines: Lines, ring: Ring, board: Board, bank: Bank) -> None:
        self.lines = lines
        self.ring, self.board, self.bank = ring, board, bank
        self.resends = 0
        self._sent = self._delivered = 0

    def __str__(self) -> str:
        return f"probe {self.lines.adapter.url} on the {self.bank.name.lower()} bank of board {self.board.rank}"

    def reset(self) -> None:
        """Every pin an input, sequences from 1."""
        self.lines.let_go()
        self._sent = self._delivered = self.resends = 0

    def close(self) -> None:
        """Let go of pins and adapter."""
        self.lines.adapter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- frames ----

    def send_frame(
        self,
        payload: bytes,
        *,
        type: int = link.FrameType.PATTERN,
        open_limit_s: float = 2.0,
        attempts: int = ATTEMPTS_MAX,
        change: Change = lambda attempt, steps: steps,
    ) -> int:
        """Send a frame until the board answers that it has it.

        Args:
            change: may disturb an attempt, for tests.
        Returns: the attempts that it took.
        Raises: the first ProbeFault, when no attempt went well or the board does not grant any more; LinkError if it
            never answers good.
        """
        self._sent += 1
        header = link.LinkHeader(link.MAGIC, type, SOURCE, self._sent, len(payload))
        data = link.pack_frame(type, SOURCE, self._sent, payload)
        limit_s = open_limit_s
        first: ProbeFault | None = None
        for attempt in range(1, attempts + 1):
            try:
                honest = burst_steps(data)
                steps = change(attempt, honest)
                self.lines.send(steps, open_limit_s=limit_s)
                if not _same_edges(steps, honest):  # the board may not know that the burst is over: no time to grant
                    raise self.lines.give_up(Role.SENDER, Phase.DAMAGED, len(data) - 1)
                answer = self.lines.receive(_exactly(link.ANSWER_BYTES), open_limit_s=self.lines.phase_limit_s)
            except ProbeFault as fault:
                first = first or fault
                if attempt == attempts or fault.phase is Phase.WAIT_GRANT:
                    raise first from None
                self._stay_quiet()
            else:
                if link.parse_answer(answer, header) == link.GOOD:
                    return attempt
            self.resends += attempt < attempts
            limit_s = REOPEN_FACTOR * self.lines.phase_limit_s
        raise LinkError(
            f"{self}: frame {self._sent} was not taken in {attempts} attempts; its last answer was not good"
        )

    def receive_frame(
        self,
        *,
        open_limit_s: float = 2.0,
        attempts: int = ATTEMPTS_MAX,
        before_edge: BeforeEdge = lambda byte, rising: None,
        answer: Callable[[bytes], bytes] = lambda answer: answer,
        fresh: bool = True,
    ) -> Received:
        """Take a frame and answer it. A frame that came already is answered and not given again.

        Args:
            before_edge: as in Lines.receive, of the frame's burst.
            answer: may change the answer, for tests.
            fresh: False gives a frame that came already, too.
        Raises: the first ProbeFault, when no attempt went well or the board does not claim any more; LinkError if no
            good frame came.
        """
        limit_s = open_limit_s
        first: ProbeFault | None = None
        received: Received | None = None
        for attempt in range(1, attempts + 1):
            try:
                data = self.lines.receive(_frame_length, open_limit_s=limit_s, before_edge=before_edge)
                header = link.parse_header(data)
                assert header is not None
                payload, good = link.payload_of(data)
                new = header.sequence != self._delivered
                taken = good or not new or header.type == link.FrameType.RAW
                if taken and (new or not fresh):
                    received = Received(header.type, header.source, payload, good)
                self._answer(answer(link.pack_answer(link.GOOD if taken else link.BAD, header)))
            except ProbeFault as fault:
                first = first or fault
                if attempt == attempts or fault.phase in (Phase.WAIT_CLAIM, Phase.WAIT_QUIET):
                    if received is None:
                        raise first from None
                    return received  # the board does not ask again: it has the answer, or has given up
                self._stay_quiet()
            else:
                if received is not None:
                    self._delivered = header.sequence
                    return received
            limit_s = REOPEN_FACTOR * self.lines.phase_limit_s
        raise LinkError(f"{self}: no new frame came undamaged in {attempts} attempts")

    def _answer(self, answer: bytes) -> None:
        self.lines.send(burst_steps(answer), open_limit_s=self.lines.phase_limit_s)

    def _stay_quiet(self) -> None:
        """Until the board has given up too."""
        self.lines.wait_s(2 * self.lines.phase_limit_s + 0.001)


def _same_edges(steps: Sequence[LineStep], others: Sequence[LineStep]) -> bool:
    """Whether the board sees the same edges in the same order, so that it knows of the burst's end."""
    return [(step.phase, step.byte) for step in steps] == [(step.phase, step.byte) for step in others]


def _exactly(count: int) -> Callable[[bytes], int]:
    return lambda data: STOP if data else count


def _frame_length(data: bytes) -> int:
    """The header, then what it says. REFUSE where it is damaged."""
    if len(data) == 0:
        return link.HEADER_BYTES
    header = link.parse_header(data)
    if header is None:
        return REFUSE
    return link.rest_bytes(header) if len(data) == link.HEADER_BYTES else STOP


def open_probe(ring: Ring, *, phase_limit_s: float = PHASE_LIMIT_S) -> Probe:
    """The probe of an open rig; its boards are booted or will be.

    Raises: RigError if the rig has none; ProbeError if its adapter cannot be opened.
    """
    spec = ring.desk.config.probe
    if spec is None:
        raise RigError(
            f"rig {ring.desk.config.name} has no probe; use `sim-probe`, or add a [probe] table to the rig file "
            "(docs/probe.md)"
        )
    loop = ring.desk.loop
    adapter = Ft232hAdapter(spec.url, loop.now_s)

    def wait_s(seconds: float) -> None:
        loop.run_until(lambda: False, seconds)

    lines = Lines(adapter, loop.now_s, wait_s, phase_limit_s)
    return Probe(lines, ring, ring.boards[spec.board], spec.bank)
