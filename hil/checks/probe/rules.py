"""Wrong handshakes, played by a probe: what the board must report, or that it must not be bothered.

Protocol: docs/protocol.md, section 3. Whatever the probe does wrong, it drives only what a peer in its role may, so
outputs never meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hil.checks.probe.runs import OPEN_LIMIT_MS, PAYLOAD_BYTES, Told, begin, board_resends, end, recover, told
from hil.errors import LinkError
from hil.probe.lines import CLK_UP, LineStep, burst_steps, data_out
from hil.probe.patterns import pattern_frames
from hil.protocol import link_frames as link
from hil.protocol.link_messages import Pattern, Phase, Role
from hil.protocol.messages import JobResult
from hil.ring.probe import SOURCE, Probe

HEADER_LAST = link.HEADER_BYTES - 1
DAMAGED_BYTE = link.HEADER_BYTES + 5
Play = Callable[[Probe], None]


@dataclass(frozen=True, slots=True)
class Case:
    """A wrong handshake.

    play: what the probe does while the board's job runs; before: what it does just before that starts.
    expect: the board's report, or None: the frame must arrive all the same, with as many resends as it says.
    """

    name: str
    play: Play
    expect: Told | None = None
    board_sends: bool = False
    attempts: int = 1
    frames: int = 1
    before: Play | None = None
    resends: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of it. problems: empty when all is as it must be."""

    name: str
    reports: tuple[Told, ...]
    problems: tuple[str, ...]

    def describe(self) -> str:
        """One line."""
        reports = ", ".join(map(str, self.reports)) or "no fault"
        return f"{self.name}: board told {reports}; {'; '.join(self.problems) or 'ok'}"


def check_case(probe: Probe, case: Case, *, seed: int) -> CaseResult:
    """Play a wrong handshake, hear what the board says, and see that the link carries frames again."""
    resends_before = board_resends(probe)
    job = begin(
        probe, board_sends=case.board_sends, attempts=case.attempts, frames=case.frames, seed=seed, prepare=case.before
    )
    problems = []
    try:
        case.play(probe)
    except LinkError as error:
        if case.expect is None:
            problems.append(str(error))
    finally:
        state = end(probe, job)
        probe.lines.let_go()
    reports = told(probe)
    if case.expect is not None:
        if reports != [case.expect] or state.result != JobResult.LINK_FAILED:
            problems.append(f"the board was to report {case.expect} and nothing else, and to give up")
    else:
        resends = board_resends(probe) - resends_before if case.board_sends else probe.resends
        done = state.result == JobResult.DONE and state.detail == 0
        problems += _not_delivered(case, reports, resends, done=done)
    problems += recover(probe, board_sends=case.board_sends, seed=seed)
    return CaseResult(case.name, tuple(reports), tuple(problems))


def _not_delivered(case: Case, reports: Sequence[Told], resends: int, *, done: bool) -> list[str]:
    if not done or reports:
        return ["the frame did not arrive as it was sent"]
    return [] if resends in case.resends else [f"{resends} resends, not {' or '.join(map(str, case.resends))}"]


# ---- what can be done wrong --------------------------------------------------------------------------


def _payload() -> bytes:
    return pattern_frames(Pattern.COUNT, 0, 1, PAYLOAD_BYTES)[0]


def _hold_clk(probe: Probe) -> None:
    probe.lines.adapter.transact(CLK_UP, 0, probe.lines.phase_limit_s)


def _outwait(probe: Probe) -> None:
    """Until the board has given up opening."""
    probe.lines.wait_s(1.5 * OPEN_LIMIT_MS / 1000)


def _send_claim(claim: int) -> Play:
    def play(probe: Probe) -> None:
        probe.lines.send(burst_steps(b"x"), open_limit_s=1.0, claim=claim)

    return play


def _send_header(length: int, *, wrong_crc: bool) -> Play:
    """A header of a frame of that length and no more."""

    def play(probe: Probe) -> None:
        head = link.pack_frame(link.FrameType.PATTERN, SOURCE, 1, bytes(length))[: link.HEADER_BYTES]
        if wrong_crc:
            head = head[:-1] + bytes([head[-1] ^ 1])
        probe.lines.send(burst_steps(head + b"x"), open_limit_s=1.0)

    return play


def _send_changed(change: Callable[[list[LineStep]], list[LineStep]]) -> Play:
    """A frame whose first attempt is disturbed."""

    def play(probe: Probe) -> None:
        probe.send_frame(_payload(), change=lambda attempt, steps: change(steps) if attempt == 1 else steps)

    return play


def _damaged(steps: list[LineStep]) -> list[LineStep]:
    return _with(steps, 2 * DAMAGED_BYTE, lambda old: data_out(old[1] ^ 0x08) + old[3:])


def _changed_behind_clk(steps: list[LineStep]) -> list[LineStep]:
    """Another byte until CLK is up, then the right one."""
    return _with(steps, 2 * DAMAGED_BYTE, lambda old: data_out(old[1] ^ 0x08) + old[3:6] + old[:3] + old[6:])


def _changed_behind_ack(steps: list[LineStep]) -> list[LineStep]:
    """The byte is read, and data moves while CLK is still up."""
    return _with(steps, 2 * DAMAGED_BYTE + 1, lambda old: data_out(0xFF) + data_out(0x00) + old)


def _with(steps: list[LineStep], at: int, change: Callable[[bytes], bytes]) -> list[LineStep]:
    return [replace(step, commands=change(step.commands)) if n == at else step for n, step in enumerate(steps)]


def _keep_grant(probe: Probe) -> None:
    """ACK is raised as grant and stays so."""

    def hold(data: bytes) -> int:
        del data
        probe.lines.wait_s(3 * probe.lines.phase_limit_s)
        return link.HEADER_BYTES

    probe.lines.receive(hold, open_limit_s=1.0)


def _answer_changed(change: Callable[[bytes], bytes]) -> Play:
    """Take a frame, give it an answer that is wrong, then take it again and answer well."""

    def play(probe: Probe) -> None:
        first = probe.receive_frame(answer=change)
        again = probe.receive_frame(fresh=False)
        if (first.payload, again.payload) != (_payload(), _payload()):
            raise LinkError("the board sent another payload the second time")

    return play


def _bad_instead(answer: bytes) -> bytes:
    return link.pack_answer(link.BAD, link.LinkAnswer.unpack(answer))


CASES: tuple[Case, ...] = (
    Case("CLK raised without a grant", _outwait, Told(Role.RECEIVER, Phase.WAIT_QUIET, 0), before=_hold_clk),
    Case("claim byte 0x5A", _send_claim(0x5A), Told(Role.RECEIVER, Phase.WAIT_CLAIM, 0)),
    Case("header with a wrong CRC", _send_header(PAYLOAD_BYTES, wrong_crc=True),
         Told(Role.RECEIVER, Phase.DAMAGED, HEADER_LAST)),
    Case("header of a frame that is too long", _send_header(link.PAYLOAD_BYTES_MAX, wrong_crc=False),
         Told(Role.RECEIVER, Phase.DAMAGED, HEADER_LAST)),
    Case("payload with a wrong bit", _send_changed(_damaged), attempts=8, resends=(1,)),
    Case("data changed while CLK is high, before ACK", _send_changed(_changed_behind_clk), attempts=8, resends=(0, 1)),
    Case("data changed while CLK is high, after ACK", _send_changed(_changed_behind_ack)),
    Case("no grant", _outwait, Told(Role.SENDER, Phase.WAIT_GRANT, 0), board_sends=True),
    Case("ACK stays high after the claim", _keep_grant, Told(Role.SENDER, Phase.WAIT_CLAIM_TAKEN, 0), board_sends=True),
    Case("answer with a wrong CRC", _answer_changed(lambda answer: answer[:-1] + bytes([answer[-1] ^ 1])),
         board_sends=True, attempts=8, resends=(1,)),
    Case("answer that says bad", _answer_changed(_bad_instead),
         board_sends=True, attempts=8, resends=(1,)),
)  # fmt: skip
"""Every wrong handshake that is played. On silicon the sixth may be read before or after the change."""
