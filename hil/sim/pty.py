"""A simulation behind pseudo-terminals, one per board, free-running: for any serial program.

The terminals are raw and 8-bit clean. A reader that is slow, or has not come yet, loses nothing: bytes wait
here, and the simulation pauses when too many do. The baud set on a terminal is the host's baud.
"""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hil.sim.control import ControlServer
from hil.sim.simulation import Simulation

STEP_NS = 1_000_000
WAITING_BYTES_MAX = 1 << 20
READ_BYTES = 4096
IDLE_S = 0.001
LINE_QUIET_NS = 5 * STEP_NS
"""A line on which nothing has moved for so long is not in the middle of a message, at 2400 baud and more."""
_RATES = (9600, 115200, 230400, 460800, 921600, 1000000, 2000000, 3000000)
BAUDS = {getattr(termios, f"B{rate}"): rate for rate in _RATES if hasattr(termios, f"B{rate}")}


class _Terminal:
    """One pseudo-terminal: its two ends, the bytes that wait for its reader, a symbolic link to it if wanted.

    Like an adapter it can be unplugged, and plugged in again under the same link.
    """

    def __init__(self, link: Path | None) -> None:
        self.link = link
        self.baud = 115200
        self.plug()

    def plug(self) -> None:
        """Make the terminal. The bytes of one before are gone."""
        self.ours, self.theirs = os.openpty()  # theirs stays open, so that a program may come and go
        tty.setraw(self.theirs)
        attributes = termios.tcgetattr(self.theirs)
        attributes[4] = attributes[5] = getattr(termios, f"B{self.baud}")
        termios.tcsetattr(self.theirs, termios.TCSANOW, attributes)
        os.set_blocking(self.ours, False)
        self.path = os.ttyname(self.theirs)
        self.waiting = bytearray()
        self.plugged = True
        if self.link is not None:
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(self.path)

    def unplug(self) -> None:
        """Take terminal and link away; whoever has it open is told by the system. Harmless when repeated."""
        if not self.plugged:
            return
        self.plugged = False
        if self.link is not None:
            self.link.unlink(missing_ok=True)
        os.close(self.ours)
        os.close(self.theirs)
        self.ours = self.theirs = -1

    def follow(self, *, hung_up: bool) -> None:
        """Be there exactly when the board's adapter is."""
        if hung_up and self.plugged:
            self.unplug()
        elif not hung_up and not self.plugged:
            self.plug()

    def baud_changed(self) -> bool:
        if not self.plugged:
            return False
        speed = BAUDS.get(termios.tcgetattr(self.theirs)[5], self.baud)
        changed = speed != self.baud
        self.baud = speed
        return changed

    def receive(self) -> bytes:
        try:
            return os.read(self.ours, READ_BYTES)
        except (BlockingIOError, OSError):
            return b""

    def send(self) -> None:
        while self.waiting and self.plugged:
            try:
                count = os.write(self.ours, self.waiting[:READ_BYTES])
            except BlockingIOError:
                return
            del self.waiting[:count]


def serve(
    sim: Simulation,
    links: Sequence[Path] | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
    ready: Callable[[Sequence[str]], None] = lambda paths: None,
    paced: bool = True,
    control: ControlServer | None = None,
) -> None:
    """Run until `stop` says so.

    Args:
        sim: its boards should be powered on already.
        links: a symbolic link for each board to make for its terminal; removed at the end.
        stop: asked between steps of a millisecond.
        ready: called once with the terminals' paths (the links' where given).
        paced: virtual time follows wall time (never faster); False: as fast as it can while there is anything to do.
        control: answered between steps.
    Raises: OSError if a terminal or link cannot be made; SimulationError.
    """
    terminals: list[_Terminal] = []
    try:
        for link in links if links is not None else [None] * len(sim.boards):
            terminals.append(_Terminal(link))
        ready([str(terminal.link or terminal.path) for terminal in terminals])
        _loop(sim, terminals, stop, paced, control)
    finally:
        for terminal in terminals:
            terminal.unplug()


def _loop(
    sim: Simulation,
    terminals: list[_Terminal],
    stop: Callable[[], bool],
    paced: bool,
    control: ControlServer | None,
) -> None:
    wall_start, virtual_start = time.monotonic(), sim.time_ns
    moved_ns = virtual_start
    while not stop():
        target = sim.time_ns + STEP_NS
        ahead_s = (target - virtual_start) / 1e9 - (time.monotonic() - wall_start)
        wait_s = max(0.0, ahead_s) if paced else IDLE_S if _nothing_to_do(sim, moved_ns) else 0.0
        reading: list[Any] = [t.ours for t in terminals if t.plugged]
        reading += [control] if control is not None else []
        writing = [t.ours for t in terminals if t.plugged and t.waiting]
        readable, _, _ = select.select(reading, writing, [], wait_s)
        if control is not None and control in readable:
            control.serve_one()
        for index, terminal in enumerate(terminals):
            terminal.follow(hung_up=sim.uart_hung_up(index))
            if terminal.baud_changed():
                sim.uart_set_baud(index, terminal.baud)
            if terminal.ours in readable and (data := terminal.receive()):
                sim.uart_write(index, data)
                moved_ns = sim.time_ns
        if all(len(t.waiting) < WAITING_BYTES_MAX for t in terminals):
            if paced and -ahead_s > 0.1:  # too slow a machine: fall behind, do not race later
                wall_start, virtual_start = time.monotonic(), sim.time_ns
            sim.run(target, stop_on_rx=[i for i, terminal in enumerate(terminals) if terminal.plugged])
        for index, terminal in enumerate(terminals):
            if data := sim.uart_read(index):
                moved_ns = sim.time_ns
                terminal.waiting += data
            terminal.send()


def _nothing_to_do(sim: Simulation, moved_ns: int) -> bool:
    """Whether every board only waits and no byte is under way; then virtual time need not be faster than the wall's."""
    boards = range(len(sim.boards))
    if sim.time_ns - moved_ns < LINE_QUIET_NS or any(sim.uart_tx_pending(i) for i in boards):
        return False
    return all(sim.state(i) in ("off", "sleeping", "halted") for i in boards)
