"""Checks with a probe: one board's bank by patterns and by stalls, from outside. Wires: probe_wires.py; wrong
handshakes: probe_rules.py.

The board must say of every stall in which phase and at which byte it was, and carry frames again afterwards without a
reboot. Rules: docs/protocol.md, section 3. Limits: docs/probe.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil.checks.link.stalls import burst_bytes
from hil.errors import LinkError
from hil.probe.lines import paused
from hil.probe.patterns import pattern_frames
from hil.protocol import link_frames as link
from hil.protocol.link_messages import Edge, LinkBank, LinkResult, LinkRun, Pattern, Phase, Role, RunFlag
from hil.protocol.messages import Command, JobResult, JobStarted, JobState
from hil.rig.pins import WIRE_NAMES
from hil.ring.probe import Probe

PAYLOAD_BYTES = 64
OPEN_LIMIT_MS = 400
END_LIMIT_S = 10.0
LONG_STALL, SHORT_STALL = 2.5, 0.5
"""In phase limits."""
SENDER_EDGES = (Edge.CLK_RAISE, Edge.CLK_LOWER)


def begin(
    probe: Probe,
    *,
    board_sends: bool,
    pattern: Pattern = Pattern.COUNT,
    frames: int = 1,
    length_bytes: int = PAYLOAD_BYTES,
    seed: int = 0,
    attempts: int = 1,
    raw: bool = False,
    prepare: Callable[[Probe], None] | None = None,
) -> int:
    """Idle lines and sequences from 1 on both sides, then a LINK_RUN of the board; its job number.

    Args:
        prepare: what the probe does to the idle lines before the board's job starts.
    """
    probe.reset()
    probe.ring.quiet()
    probe.ring.fault_reports()
    if prepare is not None:
        prepare(probe)
    bank = 1 << probe.bank
    request = LinkRun(
        bank if board_sends else 0,
        0 if board_sends else bank,
        pattern,
        RunFlag.RAW if raw else 0,
        frames,
        length_bytes,
        seed,
        OPEN_LIMIT_MS,
        phase_limit_us=round(probe.lines.phase_limit_s * 1e6),
        attempts=attempts,
    )
    return probe.board.command(Command.LINK_RUN, request, JobStarted).job


def end(probe: Probe, job: int) -> JobState:
    """How the board's job ended. Raises BoardError if it has not in END_LIMIT_S."""
    (state,) = probe.ring.end_jobs([(probe.board, job)], timeout_s=END_LIMIT_S)
    return state


# ---- patterns ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PatternResult:
    """A pattern in one direction. wrong: bits by data wire, counted by the receiver. resends: by the sender."""

    pattern: Pattern
    board_sends: bool
    bytes: int
    wrong: tuple[int, ...]
    resends: int
    problem: str

    @property
    def good(self) -> bool:
        """Every byte came, and came right at once."""
        return not self.problem and not any(self.wrong) and self.resends == 0

    def describe(self) -> str:
        """One line."""
        way = "board to probe" if self.board_sends else "probe to board"
        wrong = ", ".join(f"{WIRE_NAMES[w]}: {n}" for w, n in enumerate(self.wrong) if n) or "no wrong bit"
        return f"{self.pattern.name} {way}: {self.bytes} bytes, {wrong}, {self.resends} resends {self.problem}".rstrip()


def check_pattern(
    probe: Probe, pattern: Pattern, *, board_sends: bool, frames: int = 2, length_bytes: int = 128, seed: int
) -> PatternResult:
    """Frames of a pattern over the link, each payload compared with what it must be."""
    resends_before = board_resends(probe)
    job = begin(
        probe, board_sends=board_sends, pattern=pattern, frames=frames, length_bytes=length_bytes, seed=seed,
        attempts=8, raw=True,
    )  # fmt: skip
    wrong, problem = [0] * 8, ""
    try:
        for expected in pattern_frames(pattern, seed, frames, length_bytes):
            if board_sends:
                _count(wrong, expected, probe.receive_frame().payload)
            else:
                probe.send_frame(expected, type=link.FrameType.RAW)
    except LinkError as error:
        problem = str(error)
    state = end(probe, job)
    if state.result != JobResult.DONE or state.progress != frames:
        problem = problem or f"the board's job ended with {JobResult(state.result).name} after {state.progress} frames"
    result = probe.board.command(Command.LINK_RESULT, LinkBank(probe.bank), LinkResult)
    if not board_sends:
        wrong = list(result.wire_errors)
        if result.frames_wrong and not any(wrong):
            problem = problem or f"{result.frames_wrong} frames of another type or length"
    resends = board_resends(probe) - resends_before if board_sends else probe.resends
    return PatternResult(pattern, board_sends, frames * length_bytes, tuple(wrong), resends, problem)


def board_resends(probe: Probe) -> int:
    """Frames that the board has sent again on this bank since it booted."""
    return probe.ring.link_counters(probe.board.rank, probe.bank).resends


def _count(wrong: list[int], expected: bytes, payload: bytes) -> None:
    if len(payload) != len(expected):
        raise LinkError(f"a frame of {len(payload)} bytes came, not {len(expected)}")
    for a, b in zip(expected, payload, strict=True):
        for wire in range(8):
            wrong[wire] += (a ^ b) >> wire & 1


# ---- stalls ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What a board reported when it gave up."""

    role: Role
    phase: Phase
    byte_index: int

    def __str__(self) -> str:
        return f"{self.role.name} {self.phase.name} at byte {self.byte_index}"


def told(probe: Probe) -> list[Told]:
    """The faults that the board has reported since `begin`."""
    return [
        Told(Role(report.fault.role), Phase(report.fault.phase), report.fault.byte_index)
        for report in probe.ring.fault_reports()
        if report.rank == probe.board.rank and report.fault.bank == probe.bank
    ]


def expected_of(edge: Edge, byte: int, *, last: int) -> Told:
    """What the board must report when the probe does nothing at an edge of a byte. last: the burst's last byte.

    A sender that waits for ACK low has put the next byte already, so it names that.
    """
    match edge:
        case Edge.CLK_RAISE:
            return Told(Role.RECEIVER, Phase.WAIT_CLK_HIGH, byte)
        case Edge.CLK_LOWER:
            return Told(Role.RECEIVER, Phase.WAIT_CLK_LOW, byte)
        case Edge.ACK_RAISE:
            return Told(Role.SENDER, Phase.WAIT_ACK_HIGH, byte)
        case _:
            return Told(Role.SENDER, Phase.WAIT_ACK_LOW, min(byte + 1, last))


@dataclass(frozen=True, slots=True)
class ProbedStall:
    """What a stall of the probe did. problems: empty when all is as it must be."""

    edge: Edge
    byte: int
    reports: tuple[Told, ...]
    problems: tuple[str, ...]

    def describe(self) -> str:
        """One line."""
        reports = ", ".join(map(str, self.reports)) or "nothing"
        return f"{self.edge.name} of byte {self.byte}: board told {reports}; {'; '.join(self.problems) or 'ok'}"


def check_stall(probe: Probe, edge: Edge, byte: int, *, phase_limits: float = LONG_STALL, seed: int) -> ProbedStall:
    """Stall at one edge of one byte of a frame's burst; then a frame that must arrive.

    Args:
        phase_limits: how long. Below one the frame must arrive; beyond, the board must tell phase and byte.
    """
    board_sends = edge not in SENDER_EDGES
    pause_s = phase_limits * probe.lines.phase_limit_s
    job = begin(probe, board_sends=board_sends, seed=seed)
    failed = ""
    try:
        if board_sends:
            probe.receive_frame(attempts=1, before_edge=_stalling(probe, edge, byte, pause_s))
        else:
            _send_stalling(probe, edge, byte, pause_s)
    except LinkError as error:
        failed = str(error)
    state = end(probe, job)
    reports = told(probe)
    problems = []
    if phase_limits < 1:
        if failed or state.result != JobResult.DONE or state.detail or reports:
            problems.append(f"the frame did not arrive: {failed or JobResult(state.result).name}")
    else:
        expected = expected_of(edge, byte, last=burst_bytes(PAYLOAD_BYTES) - 1)
        if reports != [expected]:
            problems.append(f"the board was to report {expected} and nothing else")
        if state.result != JobResult.LINK_FAILED:
            problems.append(f"the board's job ended with {JobResult(state.result).name}")
    problems += recover(probe, board_sends=board_sends, seed=seed)
    return ProbedStall(edge, byte, tuple(reports), tuple(problems))


def _send_stalling(probe: Probe, edge: Edge, byte: int, pause_s: float) -> None:
    (payload,) = pattern_frames(Pattern.COUNT, 0, 1, PAYLOAD_BYTES)
    step = 2 * byte + (edge is Edge.CLK_LOWER)
    probe.send_frame(payload, attempts=1, change=lambda attempt, steps: paused(steps, step, pause_s))


def _stalling(probe: Probe, edge: Edge, byte: int, pause_s: float) -> Callable[[int, bool], None]:
    def before_edge(at: int, rising: bool) -> None:
        if at == byte and rising == (edge is Edge.ACK_RAISE):
            probe.lines.wait_s(pause_s)

    return before_edge


def recover(probe: Probe, *, board_sends: bool, seed: int) -> list[str]:
    """Whether the bank carries frames without a reboot; what is wrong, empty when nothing is."""
    result = check_pattern(probe, Pattern.PRBS15, board_sends=board_sends, frames=1, length_bytes=16, seed=seed)
    return [] if result.good else [f"the link did not carry frames again: {result.describe()}"]
