"""The handshake as the probe plays it: bursts out, bursts in, and ways to break the rules on purpose.

Protocol: docs/protocol.md, section 3. C twin: firmware/link/handshake.c. A burst out is a list of steps, which the
adapter executes by itself, many to a USB transfer; whoever wants a stall or a wrong handshake changes the list. A burst
in is polled: the MPSSE can wait for ACK only. The probe drives CLK and data after a grant and until the burst's end,
ACK while it receives, and nothing else, ever; when something goes wrong it makes every pin an input.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from hil.errors import LinkError
from hil.probe.adapter import BATCH_BYTES_MAX, GET_HIGH, GET_LOW, SET_HIGH, SET_LOW, WAIT_HIGH, WAIT_LOW, Ft232hAdapter
from hil.probe.pins import ACK_BIT, CLK_BIT
from hil.protocol.link_frames import CLAIM
from hil.protocol.link_messages import Phase, Role

GRANT_READS = 3
CLAIM_READS = 2
CONTEST_READS = 4
EAGER_POLLS = 20
POLL_S = 0.001
SAMPLES = 6
"""Reads of all pins behind an edge of ours, in the same transfer: the peer's answer is mostly among them."""
STEPS_MAX = 64
"""Steps of one transfer; each gives an answer byte."""
STOP = 0
"""What `more` of Lines.receive says after the last byte of a burst."""
REFUSE = -1
"""What it says when the bytes so far cannot be the beginning of a burst."""

DATA_IN = bytes([SET_HIGH, 0, 0])
ALL_IN_LOW = bytes([SET_LOW, 0, 0])
CLK_UP = bytes([SET_LOW, CLK_BIT, CLK_BIT])
CLK_DOWN = bytes([SET_LOW, 0, CLK_BIT])
ACK_UP = bytes([SET_LOW, ACK_BIT, ACK_BIT])
ACK_DOWN = bytes([SET_LOW, 0, ACK_BIT])
READ_ALL = bytes([GET_LOW, GET_HIGH])


class ProbeFault(LinkError):
    """The probe's side of a burst gave up; every pin of it is an input."""

    def __init__(self, role: Role, phase: Phase, byte_index: int, waited_s: float) -> None:
        where = f"byte {byte_index} in phase {phase.name}"
        super().__init__(f"probe: {role.name.lower()} gave up at {where} after {waited_s * 1e3:.1f} ms")
        self.role, self.phase, self.byte_index = role, phase, byte_index


@dataclass(frozen=True, slots=True)
class LineStep:
    """One half of a byte's handshake: commands that end in a wait for ACK and one read of it.

    pause_s: the probe does nothing for so long before it.
    """

    commands: bytes
    phase: Phase
    byte: int
    pause_s: float = 0.0


def data_out(value: int) -> bytes:
    """The command that drives a byte."""
    return bytes([SET_HIGH, value, 0xFF])


def burst_steps(data: bytes) -> list[LineStep]:
    """Two steps for each byte: 2 k raises CLK of byte k, 2 k + 1 lowers it; on the last byte by release."""
    steps = []
    for at, value in enumerate(data):
        up = data_out(value) + CLK_UP + bytes([WAIT_HIGH, GET_LOW])
        down = CLK_DOWN if at + 1 < len(data) else DATA_IN + ALL_IN_LOW
        steps.append(LineStep(up, Phase.WAIT_ACK_HIGH, at))
        steps.append(LineStep(down + bytes([WAIT_LOW, GET_LOW]), Phase.WAIT_ACK_LOW, at))
    return steps


def paused(steps: Sequence[LineStep], at: int, pause_s: float) -> list[LineStep]:
    """The same steps with a stall before step `at`."""
    return [replace(step, pause_s=pause_s) if n == at else step for n, step in enumerate(steps)]


class Lines:
    """Ten wires behind an adapter.

    Args:
        wait_s: lets the rig's clock go on for so long.
        phase_limit_s: how long one phase of a byte may take.
    """

    def __init__(
        self, adapter: Ft232hAdapter, now_s: Callable[[], float], wait_s: Callable[[float], None], phase_limit_s: float
    ) -> None:
        self.adapter = adapter
        self.phase_limit_s = phase_limit_s
        self._now_s = now_s
        self.wait_s = wait_s

    def read(self) -> tuple[int, bool, bool]:
        """Data, CLK, ACK as they are."""
        low, high = self.adapter.transact(READ_ALL, 2, self.phase_limit_s)
        return high, bool(low & CLK_BIT), bool(low & ACK_BIT)

    def let_go(self) -> None:
        """Every pin an input."""
        self.adapter.let_go()

    def give_up(self, role: Role, phase: Phase, byte_index: int, since_s: float | None = None) -> ProbeFault:
        """Let go, and the fault to raise. since_s: of what was waited for."""
        waited_s = 0.0 if since_s is None else self._now_s() - since_s
        self.let_go()
        return ProbeFault(role, phase, byte_index, waited_s)

    # ---- out ----

    def send(self, steps: Iterable[LineStep], *, open_limit_s: float, claim: int = CLAIM) -> None:
        """One burst, from waiting for the grant to idle lines.

        Args:
            steps: of burst_steps, changed or not.
            open_limit_s: how long the grant may take.
            claim: the byte that claims the lines.
        Raises: ProbeFault.
        """
        self._wait_grant(open_limit_s)
        self._claim(claim)
        batch: list[LineStep] = []
        for step in steps:
            size = sum(len(s.commands) for s in batch) + len(step.commands) + 1
            if batch and (step.pause_s or len(batch) == STEPS_MAX or size > BATCH_BYTES_MAX):
                self._execute(batch)
                batch = []
            if step.pause_s:
                self.wait_s(step.pause_s)
            batch.append(step)
        self._execute(batch)

    def _wait_grant(self, limit_s: float) -> None:
        since_s = self._now_s()
        for poll in itertools.count():
            self._pace(poll)
            answers = self.adapter.transact(bytes([GET_LOW] * GRANT_READS), GRANT_READS, self.phase_limit_s)
            if len(answers) == GRANT_READS and all(low & ACK_BIT for low in answers):
                return
            if self._now_s() - since_s > limit_s:
                raise self.give_up(Role.SENDER, Phase.WAIT_GRANT, 0, since_s)

    def _claim(self, claim: int) -> None:
        """Latch before direction, data before CLK; then the receiver lowers ACK."""
        take = bytes([SET_HIGH, claim, 0]) + data_out(claim) + ALL_IN_LOW + CLK_DOWN
        self._execute([LineStep(take + bytes([WAIT_LOW, GET_LOW]), Phase.WAIT_CLAIM_TAKEN, 0)])

    def _execute(self, steps: Sequence[LineStep]) -> None:
        since_s = self._now_s()
        commands = b"".join(step.commands for step in steps)
        answers = self.adapter.transact(commands, len(steps), self.phase_limit_s)
        if len(answers) < len(steps):
            stuck = steps[len(answers)]
            raise self.give_up(Role.SENDER, stuck.phase, stuck.byte, since_s)

    # ---- in ----

    def receive(
        self,
        more: Callable[[bytes], int],
        *,
        open_limit_s: float,
        before_edge: Callable[[int, bool], None] = lambda byte, rising: None,
    ) -> bytes:
        """One burst, from the grant to idle lines.

        Args:
            more: told all bytes so far whenever those that it asked for are there, and asked with b"" at first, how
                many are to follow: a number, STOP after the last byte, or REFUSE. The last byte of those is not
                acknowledged before it has said so.
            open_limit_s: how long quiet lines and the claim may take.
            before_edge: called before ACK is raised (True) or lowered for a byte; may wait.
        Raises: ProbeFault; LinkError when `more` refuses.
        """
        self._wait_quiet(open_limit_s)
        self._grant(open_limit_s)
        data = b""
        wanted = more(data)
        lower = ACK_DOWN
        while True:
            data += bytes([self._wait_clk(lower, True, len(data))])
            wanted -= 1
            byte = len(data) - 1
            if wanted == 0:
                wanted = more(data)
            if wanted == REFUSE:
                raise self.give_up(Role.RECEIVER, Phase.DAMAGED, byte)
            before_edge(byte, True)
            self._wait_clk(ACK_UP, False, byte)
            before_edge(byte, False)
            if wanted == STOP:
                self.adapter.transact(ALL_IN_LOW, 0, self.phase_limit_s)
                return data

    def _wait_quiet(self, limit_s: float) -> None:
        since_s = self._now_s()
        for poll in itertools.count():
            self._pace(poll)
            if self.read() == (0, False, False):
                return
            if self._now_s() - since_s > limit_s:
                raise self.give_up(Role.RECEIVER, Phase.WAIT_QUIET, 0, since_s)

    def _grant(self, limit_s: float) -> None:
        """Raise ACK, and let go at once if it reads low: a board that has lost count may hold it."""
        since_s = self._now_s()
        grant = bytes([SET_LOW, ACK_BIT, 0]) + ACK_UP + bytes([GET_LOW] * CONTEST_READS)
        levels = self.adapter.transact(grant, CONTEST_READS, self.phase_limit_s)[1:]  # it takes its time to rise
        held = not all(low & ACK_BIT for low in levels)
        claims = 0
        for poll in itertools.count():
            self._pace(poll)
            high, _, ack = (0, False, False) if held else self.read()
            claims = claims + 1 if high == CLAIM else 0
            if not ack:
                raise self.give_up(Role.RECEIVER, Phase.CONTESTED, 0, since_s)
            if claims == CLAIM_READS:
                return
            if self._now_s() - since_s > limit_s:
                raise self.give_up(Role.RECEIVER, Phase.WAIT_CLAIM, 0, since_s)

    def _pace(self, poll: int) -> None:
        """A peer that is not there at once is asked every millisecond; the board's serial port is heard meanwhile."""
        if poll >= EAGER_POLLS:
            self.wait_s(POLL_S)

    def _wait_clk(self, edge: bytes, level: bool, byte: int) -> int:
        """Make an edge of ACK, then wait for CLK; the data as read after that."""
        since_s = self._now_s()
        commands = edge
        while True:
            answers = self.adapter.transact(commands + READ_ALL * SAMPLES, 2 * SAMPLES, self.phase_limit_s)
            for low, high in zip(answers[::2], answers[1::2], strict=True):
                if bool(low & CLK_BIT) == level:
                    return high
            if self._now_s() - since_s > self.phase_limit_s:
                raise self.give_up(Role.RECEIVER, Phase.WAIT_CLK_HIGH if level else Phase.WAIT_CLK_LOW, byte, since_s)
            commands = b""
