"""Power: making a board start anew. What a serial port cannot do. Lines of FTDI adapters: hil/desk/power_ftdi.py.

Owns: the Power interface, its implementations, and the check that a board really went away.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Protocol

from hil.board.board import BY_HAND, Board
from hil.desk.power_ftdi import CbusReset, GpioReset
from hil.errors import BoardError
from hil.rig.power_spec import PowerSpec
from hil.text import printable

if TYPE_CHECKING:
    from hil.sim import Simulation

LISTEN_S = 0.7
"""A bootloader announces itself every 300 ms: it is heard within this time, and a gap as long means it was away."""
RESET_TIMEOUT_S = 40.0
"""Slow cards take 30 s."""


class Power(Protocol):
    """How boards of a rig are reset."""

    def reset(self, board: Board) -> None:
        """Make the board start from its card. Returns at once; the boot is seen on the port."""

    def describe(self) -> str:
        """For messages: what a person must do if a board does not start."""

    def close(self) -> None:
        """Let go of every line; harmless when repeated. Most hold none."""
        return None


class CallReset(Power):
    """A call starts a board anew, or asks somebody to do it.

    Args:
        reset: returns at once.
        words: for `describe`.
    """

    def __init__(self, reset: Callable[[Board], None], words: str) -> None:
        self._reset = reset
        self._words = words

    def reset(self, board: Board) -> None:
        """Call."""
        self._reset(board)

    def describe(self) -> str:
        """The words."""
        return self._words


def sim_power(simulation: Simulation) -> Power:
    """The simulator's RUN pin, and its power switch for a board that is off."""

    def reset(board: Board) -> None:
        start = simulation.reset if simulation.is_powered(board.rank) else simulation.power_on
        start(board.rank)

    return CallReset(reset, "the simulator resets its boards itself")


def person(say: Callable[[str], None]) -> Power:
    """Somebody at the desk, who is asked to press RUN."""
    return CallReset(
        lambda board: say(f"press RUN on board {board.rank} ({board.spec.port})"),
        "somebody must press RUN (short it to ground) on the boards that were named",
    )


def _sim_desk(address: str) -> Power:
    """The simulated rig of another process. Its reset raises RigError if nobody is there."""

    def reset(board: Board) -> None:
        from hil.desk.sim_desk import control

        control(address, f"reset {board.rank}")

    return CallReset(reset, f"`hil sim --pty`, which listens at {address}, does it")


class CommandReset(Power):
    """A program of the user's (or uhubctl) that takes a board's power away for a moment.

    Args:
        line: the shell command for a board.
        name: for messages.
    """

    def __init__(self, line: Callable[[Board], str], name: str) -> None:
        self._line = line
        self._name = name
        self._runs: dict[int, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def reset(self, board: Board) -> None:
        """Start the command; the loop goes on meanwhile, so nothing that the board says is lost."""
        if board.rank in self._runs and self._runs[board.rank][0].poll() is None:
            return
        output = tempfile.TemporaryFile()  # noqa: SIM115 - read by _problem, closed with the object
        process = subprocess.Popen(
            self._line(board), shell=True, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        self._runs[board.rank] = process, output

    def describe(self) -> str:
        """The command, and how it went where it went wrong."""
        problems = [text for rank in self._runs if (text := self._problem(rank))]
        return "; ".join([f"{self._name} does it", *problems])

    def _problem(self, rank: int) -> str:
        process, output = self._runs[rank]
        code = process.poll()
        if code == 0:
            return ""
        if code is None:
            return f"for board {rank} it has not ended yet"
        output.seek(0)
        lines = output.read().strip().splitlines()
        said = f": {printable(lines[-1])}" if lines else ""
        return f"for board {rank} it ended with {code}{said}"


def make_power(spec: PowerSpec | None) -> Power:
    """The back end of a real rig. Without a spec: firmware that runs is asked to reboot."""
    if spec is None:
        return CallReset(Board.expect_bootloader, BY_HAND)
    if spec.kind == "person":
        return person(lambda text: print(text, file=sys.stderr, flush=True))
    if spec.kind == "cbus":
        return CbusReset(spec.urls, spec.pin)
    if spec.kind == "gpio":
        return GpioReset(spec.urls[0], spec.pins)
    if spec.kind == "sim":
        return _sim_desk(spec.address)
    if spec.kind == "uhubctl":
        hub, ports = shlex.quote(spec.hub), spec.ports
        return CommandReset(lambda board: f"uhubctl -l {hub} -p {ports[board.rank]} -a cycle -d 2", "uhubctl")
    return CommandReset(lambda board: _fill(spec.command, board), f"the reset command `{spec.command}`")


def _fill(command: str, board: Board) -> str:
    serial = f"{board.spec.serial:016x}" if board.spec.serial is not None else ""
    return command.format(rank=board.rank, port=shlex.quote(board.spec.port), serial=serial)


def check_reset(board: Board, power: Power, *, timeout_s: float = RESET_TIMEOUT_S) -> float:
    """Reset a board and see it go: its bootloader must ask for an image that it did not ask for before.

    Returns: seconds on the rig's clock until the bootloader asked.
    Raises: BoardError if the board did not go away or did not come back.
    """
    board.stand_by()
    started_s = board.now_s()
    asks = board.announcements
    waited_already = board.wait_until(lambda: asks.since(started_s), LISTEN_S)
    reset_s, heard_before = board.now_s(), board.log.size_bytes
    power.reset(board)

    def came_back() -> bool:
        return asks.since(reset_s) and (not waited_already or asks.gap_s >= LISTEN_S)

    if board.wait_until(came_back, timeout_s) and asks.latest_s is not None:
        return asks.latest_s - reset_s
    heard = board.log.size_bytes - heard_before
    if board.dead:
        what = f"its port failed: {board.dead}"
    elif waited_already and heard:
        what = "it did not go away: its bootloader went on asking"
    else:
        what = f"{heard} bytes came, but its bootloader did not ask for an image"
    raise BoardError(f"{board}: reset, and within {timeout_s:g} s {what}; {power.describe()}; log: {board.log.path}")
