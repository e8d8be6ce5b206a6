"""Power: making a board start anew. What a serial port cannot do. Lines of FTDI adapters: hil/desk/power_ftdi.py.

Owns: the Power interface, its implementations, and the check that a board really went away.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from hil.desk.power_ftdi import CbusReset, GpioReset
from hil.errors import BoardError
from hil.rig.power_spec import PowerSpec
from hil.text import printable

if TYPE_CHECKING:
    from hil.board.board import Board
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
        """Let go of every line; harmless when repeated."""


class SimPower:
    """The simulator's RUN pin and power switch."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def reset(self, board: Board) -> None:
        """Power the board on, or pull RUN if it is on."""
        if self._simulation.is_powered(board.rank):
            self._simulation.reset(board.rank)
        else:
            self._simulation.power_on(board.rank)

    def describe(self) -> str:
        """Nobody has to do anything."""
        return "the simulator resets its boards itself"

    def close(self) -> None:
        """Nothing is held."""


class FirmwareReset:
    """No reset line: firmware that runs is asked to reboot, otherwise a person presses RUN."""

    def reset(self, board: Board) -> None:
        """Ask firmware that may be running; a board in its bootloader ignores the bytes."""
        board.expect_bootloader()

    def describe(self) -> str:
        """What to do by hand."""
        return "short RUN to ground, or unplug the board and plug it in again"

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class _Run:
    rank: int
    process: subprocess.Popen[bytes]
    output: IO[bytes]


class CommandReset:
    """A program of the user's (or uhubctl) that takes a board's power away for a moment.

    Args:
        line: the shell command for a board.
        name: for messages.
    """

    def __init__(self, line: Callable[[Board], str], name: str) -> None:
        self._line = line
        self._name = name
        self._runs: dict[int, _Run] = {}

    def reset(self, board: Board) -> None:
        """Start the command; the loop goes on meanwhile, so nothing that the board says is lost."""
        last = self._runs.get(board.rank)
        if last is not None and last.process.poll() is None:
            return
        output = tempfile.TemporaryFile()  # noqa: SIM115 - read by _problem, closed with the object
        process = subprocess.Popen(
            self._line(board), shell=True, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        self._runs[board.rank] = _Run(board.rank, process, output)

    def describe(self) -> str:
        """The command, and how it went where it went wrong."""
        problems = [text for run in self._runs.values() if (text := self._problem(run))]
        return "; ".join([f"{self._name} does it", *problems])

    @staticmethod
    def _problem(run: _Run) -> str:
        code = run.process.poll()
        if code == 0:
            return ""
        if code is None:
            return f"for board {run.rank} it has not ended yet"
        run.output.seek(0)
        lines = run.output.read().strip().splitlines()
        said = f": {printable(lines[-1])}" if lines else ""
        return f"for board {run.rank} it ended with {code}{said}"

    def close(self) -> None:
        """Nothing is held."""


class Person:
    """Somebody at the desk, who is asked."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def reset(self, board: Board) -> None:
        """Ask."""
        self._say(f"press RUN on board {board.rank} ({board.spec.port})")

    def describe(self) -> str:
        """What to do by hand."""
        return "somebody must press RUN (short it to ground) on the boards that were named"

    def close(self) -> None:
        """Nothing is held."""


class SimDeskReset:
    """The simulated rig of another process, which pulls RUN or switches on when it is asked.

    Args:
        address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def reset(self, board: Board) -> None:
        """Done when this returns. Raises RigError if nobody is there."""
        from hil.desk.sim_desk import control

        control(self._address, f"reset {board.rank}")

    def describe(self) -> str:
        """Who does it."""
        return f"`hil sim --pty`, which listens at {self._address}, does it"

    def close(self) -> None:
        """Nothing is held."""


def make_power(spec: PowerSpec | None) -> Power:
    """The back end of a real rig. Without a spec: firmware that runs is asked to reboot."""
    if spec is None:
        return FirmwareReset()
    if spec.kind == "person":
        return Person(lambda text: print(text, file=sys.stderr, flush=True))
    if spec.kind == "cbus":
        return CbusReset(spec.urls, spec.pin)
    if spec.kind == "gpio":
        return GpioReset(spec.urls[0], spec.pins)
    if spec.kind == "sim":
        return SimDeskReset(spec.address)
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
    board.wait_until(
        lambda: board.announcements.latest_s is not None and board.announcements.latest_s > started_s, LISTEN_S
    )
    waited_already = board.announcements.latest_s is not None and board.announcements.latest_s >= started_s
    started_s, heard_before = board.now_s(), board.log.size_bytes
    power.reset(board)

    def came_back() -> bool:
        asked = board.announcements.latest_s is not None and board.announcements.latest_s > started_s
        return asked and (not waited_already or board.announcements.gap_s >= LISTEN_S)

    if board.wait_until(came_back, timeout_s) and board.announcements.latest_s is not None:
        return board.announcements.latest_s - started_s
    heard = board.log.size_bytes - heard_before
    if board.dead:
        what = f"its port failed: {board.dead}"
    elif waited_already and heard:
        what = "it did not go away: its bootloader went on asking"
    else:
        what = f"{heard} bytes came, but its bootloader did not ask for an image"
    raise BoardError(f"{board}: reset, and within {timeout_s:g} s {what}; {power.describe()}; log: {board.log.path}")
