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

from hil.sim.simulation import Simulation

STEP_NS = 1_000_000
WAITING_BYTES_MAX = 1 << 20
READ_BYTES = 4096
IDLE_S = 0.001
LINE_QUIET_NS = 5 * STEP_NS
"""A board that has said nothing for so long is not in the middle of a message, at 2400 baud and more."""
_RATES = (9600, 115200, 230400, 460800, 921600, 1000000, 2000000, 3000000)
BAUDS = {getattr(termios, f"B{rate}"): rate for rate in _RATES if hasattr(termios, f"B{rate}")}


class _Terminal:
    """One pseudo-terminal: its two ends and the bytes that wait for its reader."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()  # theirs stays open, so that a program may come and go
        tty.setraw(self.theirs)
        attributes = termios.tcgetattr(self.theirs)
        attributes[4] = attributes[5] = termios.B115200
        termios.tcsetattr(self.theirs, termios.TCSANOW, attributes)
        os.set_blocking(self.ours, False)
        self.path = os.ttyname(self.theirs)
        self.waiting = bytearray()
        self.baud = 115200

    def baud_changed(self) -> bool:
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
        while self.waiting:
            try:
                count = os.write(self.ours, self.waiting[:READ_BYTES])
            except BlockingIOError:
                return
            del self.waiting[:count]

    def close(self) -> None:
        os.close(self.ours)
        os.close(self.theirs)


def serve(
    sim: Simulation,
    links: Sequence[Path] | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
    ready: Callable[[Sequence[str]], None] = lambda paths: None,
    paced: bool = True,
) -> None:
    """Run until `stop` says so.

    Args:
        sim: its boards should be powered on already.
        links: one symbolic link per board to make for its terminal; removed at the end.
        stop: asked between steps of a millisecond.
        ready: called once with the terminals' paths (the links' where given).
        paced: virtual time follows wall time (never faster); False: as fast as it can.
    Raises: OSError if a terminal or link cannot be made; SimulationError.
    """
    terminals = [_Terminal() for _ in sim.boards]
    made: list[Path] = []
    try:
        for link, terminal in zip(links or (), terminals, strict=False):
            link.unlink(missing_ok=True)
            link.symlink_to(terminal.path)
            made.append(link)
        ready([str(p) for p in made] if links else [t.path for t in terminals])
        _loop(sim, terminals, stop, paced)
    finally:
        for link in made:
            link.unlink(missing_ok=True)
        for terminal in terminals:
            terminal.close()


def _loop(sim: Simulation, terminals: list[_Terminal], stop: Callable[[], bool], paced: bool) -> None:
    wall_start, virtual_start = time.monotonic(), sim.time_ns
    heard_ns = virtual_start
    while not stop():
        target = sim.time_ns + STEP_NS
        ahead_s = (target - virtual_start) / 1e9 - (time.monotonic() - wall_start)
        wait_s = max(0.0, ahead_s) if paced else IDLE_S if _nothing_to_do(sim, heard_ns) else 0.0
        reading = [t.ours for t in terminals]
        writing = [t.ours for t in terminals if t.waiting]
        readable, _, _ = select.select(reading, writing, [], wait_s)
        for index, terminal in enumerate(terminals):
            if terminal.baud_changed():
                sim.uart_set_baud(index, terminal.baud)
            if terminal.ours in readable and (data := terminal.receive()):
                sim.uart_write(index, data)
        if all(len(t.waiting) < WAITING_BYTES_MAX for t in terminals):
            if paced and -ahead_s > 0.1:  # too slow a machine: fall behind, do not race later
                wall_start, virtual_start = time.monotonic(), sim.time_ns
            sim.run(target, stop_on_rx=range(len(terminals)))
        for index, terminal in enumerate(terminals):
            if data := sim.uart_read(index):
                heard_ns = sim.time_ns
                terminal.waiting += data
            terminal.send()


def _nothing_to_do(sim: Simulation, heard_ns: int) -> bool:
    """Whether every board only waits and no byte is under way; then virtual time need not be faster than the wall's."""
    boards = range(len(sim.boards))
    if sim.time_ns - heard_ns < LINE_QUIET_NS or any(sim.uart_tx_pending(i) for i in boards):
        return False
    return all(sim.state(i) in ("off", "sleeping", "halted") for i in boards)
