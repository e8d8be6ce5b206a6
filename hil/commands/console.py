"""`hil console N`: an interactive terminal to one board. The terminal is a port of the loop like the board's."""

from __future__ import annotations

import argparse
import os
import sys
import termios
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hil.commands.options import add_run_options, settings_of
from hil.desk.desk import hold_ports
from hil.errors import PortError, RigError
from hil.line.log import BoardLog
from hil.line.loop import RECONNECT_S, Loop, WallWaiter
from hil.line.port import Port
from hil.rig.config import load_rig
from hil.rig.specs import RigConfig
from hil.runs import Run
from hil.text import printable

END_KEY = b"\x1d"
"""Ctrl-]. Every other key goes to the board, Ctrl-C too."""
_PLAIN = frozenset(range(0x20, 0x7F)) | frozenset(b"\r\t\b")
_DAY_S = 86400.0


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil console`."""
    parser.add_argument("rank", type=int, metavar="N", help="rank of the board")
    parser.add_argument("--raw", action="store_true", help="let the board's control characters through")
    add_run_options(parser, "rig", "logs", "keep")
    parser.set_defaults(run=console)


def console(options: argparse.Namespace) -> int:
    """Talk until Ctrl-]."""
    settings = settings_of(options)
    config = load_rig(settings.rig)
    if settings.logs is not None:
        run_console(config, options.rank, settings.logs, terminal=_own_terminal(), raw=options.raw)
    else:
        run = Run("console", keep=settings.keep)
        run_console(config, options.rank, run.folder, terminal=_own_terminal(), raw=options.raw)
    return 0


def _own_terminal() -> str:
    """By its own name where stdin has one: macOS cannot wait for /dev/tty."""
    try:
        return os.ttyname(sys.stdin.fileno())
    except (OSError, ValueError):
        return "/dev/tty"


def run_console(config: RigConfig, rank: int, logs: Path, *, terminal: str, raw: bool = False) -> None:
    """Connect a terminal to a board until Ctrl-] or until one of them is gone.

    Args:
        terminal: its device.
        raw: show control characters as they are instead of escaped.
    Raises: RigError for a rank or rig that cannot be; PortError if the port or the terminal is missing or fails.
    """
    if config.sim is not None:
        raise RigError(
            f"rig {config.name} is simulated in this process; serve it with `hil sim --pty DIR` and use DIR/rig.toml"
        )
    if not 0 <= rank < config.world_size:
        raise RigError(f"board {rank}: rig {config.name} has boards 0 to {config.world_size - 1}")
    with ExitStack() as held:
        alone, _ = hold_ports(replace(config, boards=(config.boards[rank],)), held)
        before = _attributes(terminal)
        try:
            _talk(alone.boards[0].port, config.baud_at_boot, BoardLog(logs, rank), terminal, raw)
        finally:
            _restore(terminal, before)


def shown(data: bytes) -> bytes:
    """A board's bytes as a terminal may see them: lines, and everything else that is not printable escaped."""
    parts = (bytes([b]) if b in _PLAIN else b"\r\n" if b == 10 else b"\\x%02x" % b for b in data)
    return b"".join(parts)


def _talk(url: str, baud: int, log: BoardLog, terminal: str, raw: bool) -> None:
    loop = Loop(WallWaiter(), reconnect_s=RECONNECT_S)
    ports: dict[str, Port] = {}
    ended = []

    def said(data: bytes) -> None:
        log.received(data)
        log.line(loop.now_s(), f"console  {printable(data)}", size_bytes=len(data))
        if "terminal" in ports:
            ports["terminal"].write(data if raw else shown(data))

    def typed(data: bytes) -> None:
        keys, end, _ = data.partition(END_KEY)
        ports["board"].write(keys)
        ended.extend([True] if end else [])

    def noted(sentence: str) -> None:
        log.line(loop.now_s(), f"port     {sentence}")
        if "terminal" in ports:
            ports["terminal"].write(f"\r\n{sentence}\r\n".encode("ascii", "backslashreplace"))

    def over() -> bool:
        return bool(ended) or any(port.failure for port in ports.values())

    try:
        ports["board"] = loop.open_port(url, baud, said)
        ports["board"].on_lost = ports["board"].on_back = noted
        ports["terminal"] = loop.open_port(terminal, 115200, typed)
        ports["terminal"].write(f"{url} at {baud} baud; Ctrl-] ends\r\n".encode())
        while not over():
            loop.run_until(over, _DAY_S)
        loop.run_until(lambda: not any(port.outgoing for port in ports.values() if not port.failure), 1.0)
    finally:
        loop.close()
        log.close()
    if ports["board"].failure is not None:
        raise PortError(ports["board"].failure)


def _attributes(terminal: str) -> list[object]:
    """The terminal's settings, to be put back: a port is opened raw. Raises PortError if there is no terminal."""
    try:
        descriptor = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        raise PortError(
            f"{terminal}: hil console needs a terminal: {error.strerror}; use `hil run` in scripts"
        ) from None
    try:
        return list(termios.tcgetattr(descriptor))
    except termios.error:
        raise PortError(f"{terminal}: hil console needs a terminal, this is none; use `hil run` in scripts") from None
    finally:
        os.close(descriptor)


def _restore(terminal: str, attributes: list[object]) -> None:
    descriptor = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    try:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)  # type: ignore[arg-type]
    finally:
        os.close(descriptor)
