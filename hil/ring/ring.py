"""The ring: the boards of a desk and their links as one machine.

Owns: parallel boot, jobs that run on several boards at once, reading taps and counters.
Link faults are put into words by hil/ring/link_faults.py.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from golden.generate import GenerationRequest
from golden.taps import TapKey
from hil.board.board import BOOT_TIMEOUT_S, Board
from hil.board.channel import BoardEvent
from hil.desk.desk import Desk
from hil.errors import BoardError, LinkError, ModelError
from hil.protocol.fields import Message, name_of
from hil.protocol.link_messages import Bank, LinkBank, LinkCounters, LinkFault, LinkRun, Pattern, PinLevels
from hil.protocol.messages import (
    NO_RANK,
    Command,
    Empty,
    Event,
    Generate,
    Identity,
    JobFlag,
    JobResult,
    JobStarted,
    JobState,
    Serve,
    TapRecord,
    TapsPart,
    TapsRead,
    Token,
    TokensPart,
    TokensRead,
)
from hil.rig.specs import LinkSpec
from hil.ring.boot import BootTimes, RingBoot
from hil.ring.link_faults import FaultReport, WiresSaid, explain
from hil.ring.look import Look
from hil.toolchain import Image

SILENCE_S = 5.0
"""Jobs that are to fail and say nothing for this long are asked how they are."""
LOOK_EVERY_S = 1.0
"""As long as boards say nothing, they are asked so often what they do for their job."""
TAPS_PART_BYTES = 4000
TAPS_PART_BYTES_MIN = 250
"""Taps are read in parts of so many bytes; in smaller ones where noise on the line lets no long answer through."""
DIGEST_BYTES = 4


@dataclass(frozen=True, slots=True)
class RingGeneration:
    """What a generation gave. tokens[i] was chosen at position i; the prompt's first token is not among them.

    shown: the board's events, one for each token as it is chosen; those that a noisy line lost are missing.
    """

    tokens: tuple[int, ...]
    rig_s: float
    wall_s: float
    shown: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class TapRows:
    """Taps of a board, digests alone: nonfinite, zero, flushed count those of which the board says so."""

    digests: list[int]
    nonfinite: int = 0
    zero: int = 0
    flushed: int = 0


class Ring:
    """Boards that are wired in a ring, or one board alone, which may play all ranks through jumpers.

    Rank r is board r of the desk, or shard r of the one board; the last rank holds the embedding and the head.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.boards: Sequence[Board] = desk.boards
        self.image: Image | None = None
        self.trained = False  # the boards hold other weights than their cards; booting mends it
        self._loop = desk.loop
        self._taps_part_bytes = TAPS_PART_BYTES
        self.ask_wires: Callable[[Ring, LinkSpec], WiresSaid | None] | None = None  # measures wires when a link gave up

    def __repr__(self) -> str:
        return f"<Ring of {self.world_size} boards, rig {self.desk.config.name}>"

    @property
    def world_size(self) -> int:
        """Number of ranks: of boards, or of shards on a board that plays all ranks."""
        identity = self.boards[0].identity
        if len(self.boards) == 1 and identity is not None:
            return max(1, identity.shards)
        return len(self.boards)

    @property
    def head(self) -> Board:
        """The board with embedding and classifier."""
        return self.boards[-1]

    def place(self, rank: int) -> tuple[Board, int]:
        """The board that plays a rank, and the number of the rank's shard there."""
        return (self.boards[0], rank) if len(self.boards) == 1 else (self.boards[rank], 0)

    # --- boot ----------------------------------------------------------------------------------

    def boot(
        self,
        image: Image,
        *,
        timeout_s: float = BOOT_TIMEOUT_S,
        on_board: Callable[[Board, float], None] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> BootTimes:
        """Reset every board, give all of them the image at the same time, learn who they are.

        Then arm their watchdogs and raise the baud, where the rig file says so.

        Args:
            on_board: called with each board and its seconds as soon as it has booted.
            on_progress: called with a line about boards that are late, every five seconds.
        Raises: BoardError naming every board that did not boot; the others stay booted. A board with another serial
            number than the rig file says stops everything before anything is loaded.
        """
        self.image = image
        self.trained = False
        return RingBoot(self.desk, image, timeout_s, on_board, on_progress).run()

    def check_ranks(self) -> None:
        """Every board must hold the shard of its place in this ring. Raises ModelError."""
        for board in self.boards:
            identity = board.identity
            if identity is None:
                raise BoardError(f"{board}: has not booted")
            if identity.rank == NO_RANK:
                raise ModelError(f"{board}: no shard in memory; write its card with the shard of rank {board.rank}")
            if (identity.rank, identity.world_size) != (board.rank, self.world_size):
                raise ModelError(
                    f"{board}: holds the shard of rank {identity.rank} of {identity.world_size}, but stands at "
                    f"rank {board.rank} of {self.world_size}; swap the cards or the ports in the rig file"
                )

    # --- jobs ----------------------------------------------------------------------------------

    def generate(
        self,
        prompt: Sequence[int],
        positions: int,
        *,
        taps: bool = True,
        on_token: Callable[[Token], None] | None = None,
        timeout_s: float = 600.0,
        **sampling: Any,
    ) -> RingGeneration:
        """`run_generation` of GenerationRequest(prompt, positions, **sampling)."""
        __tracebackhide__ = True
        request = GenerationRequest(prompt, positions, **sampling)
        return self.run_generation(request, taps=taps, on_token=on_token, timeout_s=timeout_s)

    def run_generation(
        self,
        wanted: GenerationRequest,
        *,
        taps: bool = True,
        on_token: Callable[[Token], None] | None = None,
        timeout_s: float = 600.0,
    ) -> RingGeneration:
        """Run a generation over all boards.

        Args:
            taps: whether the boards record digests.
            timeout_s: for the whole run, on the rig's clock.
        Raises: ModelError if the prompt does not fit, LinkError with the fault in words, BoardError.
        """
        __tracebackhide__ = True
        self.check_ranks()
        if not wanted.prompt or len(wanted.prompt) > wanted.positions:
            raise ModelError(
                f"prompt of {len(wanted.prompt)} tokens does not fit {wanted.positions} positions; "
                "ask for more positions"
            )
        start_s, wall_start_s = self._loop.now_s(), time.perf_counter()
        flags = JobFlag.RECORD_TAPS | JobFlag.KEEP_TENSORS if taps else 0
        for board in self.boards:
            board.command(Command.TAPS_CLEAR, Empty(), Empty)
        serve = Serve(flags, int(timeout_s * 1000))
        generate = Generate(
            flags,
            wanted.positions,
            wanted.temperature,
            wanted.topp,
            wanted.rng_seed,
            int(timeout_s * 1000),
            struct.pack(f"<{len(wanted.prompt)}H", *wanted.prompt),
        )
        shown: list[Token] = []

        def show(token: Token) -> None:
            shown.append(token)
            if on_token is not None:
                on_token(token)

        self.head.on_event = lambda _, event: _forward_token(event, show)
        try:
            requests = [(board, Command.SERVE, serve) for board in self.boards[:-1]]
            started = self.start_jobs([*requests, (self.head, Command.GENERATE, generate)])
            self.wait_jobs(started, timeout_s=timeout_s)
        finally:
            self.head.on_event = None
        tokens = self._read_tokens()
        return RingGeneration(tokens, self._loop.now_s() - start_s, time.perf_counter() - wall_start_s, tuple(shown))

    def start_jobs(self, requests: Sequence[tuple[Board, Command, Message]]) -> list[tuple[Board, int]]:
        """Start a job on each board, in this order; jobs for wait_jobs.

        Raises: BoardError if one does not start; then those that have are stopped.
        """
        __tracebackhide__ = True
        try:
            return [(board, board.command(command, request, JobStarted).job) for board, command, request in requests]
        except BoardError:
            self.quiet()
            raise

    def wait_jobs(self, jobs: Sequence[tuple[Board, int]], *, timeout_s: float) -> list[JobState]:
        """Wait until every job has ended well; the final states, in the order given.

        A JOB_DONE event that got lost is made up for by asking. Raises LinkError or BoardError otherwise,
        after the remaining jobs are aborted and the links are idle again.
        """
        __tracebackhide__ = True
        deadline_s = self._loop.now_s() + timeout_s
        states: dict[int, JobState] = {}
        before = Look()
        while True:
            self._collect_done(jobs, states)
            if len(states) == len(jobs) or any(s.result != JobResult.DONE for s in states.values()):
                break
            count = sum(len(b.events) for b, _ in jobs)
            patience_s = max(0.0, min(LOOK_EVERY_S, deadline_s - self._loop.now_s()))
            if self._loop.run_until(partial(_something_happened, jobs, count), patience_s):
                before = Look()
            elif self._loop.now_s() >= deadline_s:
                break
            else:
                look = self._look(jobs, states)
                if look.silent or look.stands_still_since(before):
                    break
                before = look
            if any(board.dead for board, _ in jobs):
                break
        if len(states) < len(jobs) or any(s.result != JobResult.DONE for s in states.values()):
            raise self._job_failure(jobs, states, timeout_s)
        return [states[board.rank] for board, _ in jobs]

    def end_jobs(self, jobs: Sequence[tuple[Board, int]], *, timeout_s: float) -> list[JobState]:
        """Wait until every job has ended, well or not; the final states, in the order given.

        For tests in which jobs are to fail. Raises BoardError if a job has not ended in time; then the links are
        made idle.
        """
        __tracebackhide__ = True
        states: dict[int, JobState] = {}
        deadline_s = self._loop.now_s() + timeout_s
        while len(states) < len(jobs) and self._loop.now_s() < deadline_s:
            self._collect_done(jobs, states)
            count = sum(len(b.events) for b, _ in jobs)
            remaining_s = min(SILENCE_S, deadline_s - self._loop.now_s())
            if len(states) < len(jobs) and not self._loop.run_until(
                partial(_something_happened, jobs, count), remaining_s
            ):
                self._look(jobs, states)
        if len(states) < len(jobs):
            self.quiet()
            running = ", ".join(str(board) for board, _ in jobs if board.rank not in states)
            raise BoardError(f"the job has not ended within {timeout_s:g} s on {running}")
        return [states[board.rank] for board, _ in jobs]

    @staticmethod
    def _collect_done(jobs: Sequence[tuple[Board, int]], states: dict[int, JobState]) -> None:
        for board, job in jobs:
            for noted in board.events:
                if isinstance(noted.message, JobState) and noted.message.job == job:
                    states[board.rank] = noted.message

    def _look(self, jobs: Sequence[tuple[Board, int]], states: dict[int, JobState]) -> Look:
        """Ask every board whose job has not ended; adds those that have to `states`."""
        look = Look()
        for board, job in jobs:
            if board.rank in states:
                continue
            try:
                state = board.command(Command.JOB_STATUS, Empty(), JobState)
            except BoardError as error:
                look.silent[board.rank] = str(error)
                continue
            if state.job == job and state.result != JobResult.RUNNING:
                states[board.rank] = state
            else:
                look.states[board.rank] = state
        return look

    def _job_failure(
        self, jobs: Sequence[tuple[Board, int]], states: dict[int, JobState], timeout_s: float
    ) -> Exception:
        """Let the last reports arrive, see where the others stand, stop everything, and put the failure into words."""
        self._loop.run_until(lambda: False, 0.2)
        alive = [(board, job) for board, job in jobs if board.dead is None]
        look = self._look(alive, dict(states))
        silent = {board.rank: str(board.dead) for board, _ in jobs if board.dead} | look.silent
        reports = self.fault_reports()
        reports += [r for r in look.reports(self._loop.now_s()) if self._belongs(r, reports)]
        for text in self.quiet():
            rank = next((board.rank for board in self.boards if text.startswith(str(board))), NO_RANK)
            silent.setdefault(rank, text)
        sentences = list(dict.fromkeys(silent.values()))
        if reports:
            text = self._explain(reports, silent)
            return LinkError("\n".join([text, *(sentence for sentence in sentences if sentence not in text)]))
        if sentences:
            return BoardError("\n".join(sentences))
        ended = {rank: name_of(JobResult, state.result) for rank, state in states.items()}
        rows = [f"  {board}: {ended.get(board.rank, 'running')}" for board, _ in jobs]
        return BoardError(f"the job did not end well within {timeout_s:g} s:\n" + "\n".join(rows))

    @staticmethod
    def _belongs(stand: FaultReport, reports: Sequence[FaultReport]) -> bool:
        """Where a board stands is told unless it has given up there."""
        return all((r.rank, r.fault.bank) != (stand.rank, stand.fault.bank) for r in reports)

    def _explain(self, reports: Sequence[FaultReport], silent: Mapping[int, str]) -> str:
        ask, self.ask_wires = self.ask_wires, None  # a measurement that fails does not ask for another one
        try:
            wires = partial(ask, self) if ask is not None else lambda link: None
            return explain(reports, self.desk.config.links, self._log_paths(), silent=silent, ask_wires=wires)
        finally:
            self.ask_wires = ask

    def fault_reports(self) -> list[FaultReport]:
        """The link faults that boards have reported and nobody has looked at yet; forgets them."""
        reports = []
        for board in self.boards:
            kept = [n for n in board.events if n.event is not Event.LINK_FAULT]
            for noted in board.events:
                if isinstance(noted.message, LinkFault):
                    reports.append(FaultReport(board.rank, noted.message, noted.time_s))
            board.events.clear()
            board.events.extend(kept)
        return reports

    def quiet(self) -> list[str]:
        """Abort jobs and make every link idle: all pins inputs, sequence numbers from 1.

        Returns: one sentence for each board that turned out not to answer; boards known to be dead are left out.
        """
        silent = []
        alive = [board for board in self.boards if board.booted and board.dead is None]
        for board in list(alive):
            try:
                board.command(Command.JOB_ABORT, Empty(), JobState)
            except BoardError as error:
                silent.append(str(error))
                alive.remove(board)
        for board in alive:
            for bank in Bank:
                board.command(Command.LINK_RESET, LinkBank(bank), PinLevels)
        return silent

    # --- links ---------------------------------------------------------------------------------

    def link_frames(
        self,
        link: LinkSpec,
        *,
        frames: int,
        length_bytes: int,
        seed: int,
        reverse: bool = False,
        timeout_s: float = 60.0,
    ) -> tuple[JobState, JobState]:
        """Send pattern frames over one link; (sender's state, receiver's state).

        The receiver checks every byte; its `detail` counts frames with wrong content.
        reverse: from the target to the source.
        """
        sender, receiver = self.boards[link.source], self.boards[link.target]
        banks = (Bank.DOWNSTREAM, Bank.UPSTREAM)
        if reverse:
            sender, receiver, banks = receiver, sender, (Bank.UPSTREAM, Bank.DOWNSTREAM)
        options = (Pattern.XORSHIFT, 0, frames, length_bytes, seed, int(timeout_s * 1000))
        expecting = receiver.command(Command.LINK_RUN, LinkRun(0, 1 << banks[1], *options), JobStarted)
        sending = sender.command(Command.LINK_RUN, LinkRun(1 << banks[0], 0, *options), JobStarted)
        states = self.wait_jobs([(sender, sending.job), (receiver, expecting.job)], timeout_s=timeout_s)
        return states[0], states[1]

    def link_counters(self, rank: int, bank: Bank) -> LinkCounters:
        """Counters of one bank since boot."""
        return self.boards[rank].command(Command.LINK_COUNTERS, LinkBank(bank), LinkCounters)

    # --- taps ----------------------------------------------------------------------------------

    def tap_count(self, rank: int) -> int:
        """How many taps the board recorded. Raises BoardError if some did not fit its memory."""
        part = self._taps_part(rank, 0, 0, full=False)
        if part.dropped:
            raise BoardError(
                f"{self.place(rank)[0]}: {part.dropped} of {part.total + part.dropped} taps did not fit; "
                "run fewer positions"
            )
        return part.total

    def tap_digests(self, rank: int, expected_keys: Sequence[TapKey], first: int = 0) -> TapRows | None:
        """Digests of the board's taps from `first` on in the order recorded, 4 bytes each over the line.

        Returns None if the board's taps are not the expected ones (then read `tap_records`).
        """
        digests: list[int] = []
        nonfinite = zero = flushed = 0
        while len(digests) < len(expected_keys):
            part = self._taps_part(rank, first + len(digests), len(expected_keys) - len(digests), full=False)
            count = len(part.data) // DIGEST_BYTES
            keys = expected_keys[len(digests) : len(digests) + count]
            packed = b"".join(struct.pack("<I", key.pack()) for key in keys)
            if not count or part.keys_crc32 != zlib.crc32(packed):
                return None
            digests += struct.unpack(f"<{count}I", part.data)
            nonfinite, zero, flushed = nonfinite + part.nonfinite, zero + part.zero, flushed + part.flushed
        return TapRows(digests, nonfinite, zero, flushed)

    def tap_records(self, rank: int, first: int = 0, count: int | None = None) -> list[TapRecord]:
        """Taps [first, first + count) in full (28 bytes each over the line); to the end without count."""
        total = self.tap_count(rank)
        wanted = total - first if count is None else min(total - first, count)
        records: list[TapRecord] = []
        while len(records) < wanted:
            part = self._taps_part(rank, first + len(records), wanted - len(records), full=True)
            records += TapRecord.unpack_each(part.data)
            if not part.data:
                break
        return records

    def _taps_part(self, rank: int, first: int, count: int, *, full: bool) -> TapsPart:
        """Up to `count` taps from `first`, as many as one answer may hold; less where the line is noisy."""
        board, shard = self.place(rank)
        each = TapRecord.fixed_size_bytes() if full else DIGEST_BYTES
        while True:
            fitting = min(count, self._taps_part_bytes // each)
            try:
                return board.command(Command.TAPS_READ, TapsRead(first, fitting, int(full), shard), TapsPart)
            except BoardError:
                if board.dead is not None or not fitting or self._taps_part_bytes <= TAPS_PART_BYTES_MIN:
                    raise
                self._taps_part_bytes //= 2

    def _read_tokens(self) -> tuple[int, ...]:
        tokens: list[int] = []
        while True:
            part = self.head.command(Command.TOKENS_READ, TokensRead(len(tokens)), TokensPart)
            tokens += struct.unpack(f"<{len(part.data) // 2}H", part.data)
            if len(tokens) >= part.total or not part.data:
                return tuple(tokens)

    def identities(self) -> list[Identity]:
        """Who the boards said they are, by rank. Raises BoardError if one has not booted."""
        found = [board.identity for board in self.boards]
        if any(identity is None for identity in found):
            raise BoardError("the ring has not booted")
        return [identity for identity in found if identity is not None]

    def _log_paths(self) -> list[str]:
        return [str(board.log.path) for board in self.boards]


def _something_happened(jobs: Sequence[tuple[Board, int]], event_count: int) -> bool:
    return sum(len(board.events) for board, _ in jobs) != event_count or any(board.dead for board, _ in jobs)


def _forward_token(noted: BoardEvent, on_token: Callable[[Token], None]) -> None:
    if isinstance(noted.message, Token):
        on_token(noted.message)
