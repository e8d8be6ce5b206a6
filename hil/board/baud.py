"""Raising a board's baud after boot, where both ends can; otherwise both ends stay as they were.

The board answers SET_BAUD at the old baud, then switches on trial. The host follows, wants a pattern echoed without
one wrong byte, and confirms. When that fails the board goes back by itself, and the host waits for it.
Protocol: docs/protocol.md, section 2. C twin: firmware/ring/line.c.
"""

from __future__ import annotations

import struct

from hil.board.channel import Channel
from hil.errors import BoardError, PortError
from hil.protocol.line_messages import BaudSet, SetBaud
from hil.protocol.messages import Blob, Command, Empty

TRIAL_MS = 1500
GUARD_S = 0.005
"""For the board to switch: it does so within microseconds of its answer's last bit."""
ECHOES = 4
PATTERN_BYTES = 1024
ECHO_S = 0.25
"""For an echo beyond the time of its bytes; adapters add tens of milliseconds."""


def echo_pattern(number: int) -> bytes:
    """Every byte value, long runs of zeros and ones, and noise; another order each time. 1024 bytes."""
    word, noise = 0x9E3779B9 + number, b""
    while len(noise) < PATTERN_BYTES - 512:
        word ^= (word << 13) & 0xFFFFFFFF
        word ^= word >> 17
        word ^= (word << 5) & 0xFFFFFFFF
        noise += struct.pack("<I", word)
    return bytes(range(256)) + bytes(64) + b"\xff" * 64 + b"\x55\xaa" * 64 + noise


def raise_baud(board: Channel, baud: int) -> str | None:
    """Bring a booted board's line to `baud`; None, or one sentence on why the line stays as it was.

    Raises: BoardError when the board does not come back to the old baud either.
    """
    before = board.baud
    if baud == before:
        return None
    try:
        board.command(Command.SET_BAUD, SetBaud(baud, TRIAL_MS), BaudSet)
    except BoardError as error:
        if board.dead is not None:
            raise
        return f"{board}: stays at {before} baud: {error}"
    why = _try(board, baud)
    if why is None:
        return None
    board.set_baud(before)
    board.log.line(board.now_s(), f"baud     back to {before}: {why}")
    board.wait_until(lambda: False, TRIAL_MS / 1000 + ECHO_S)
    board.command(Command.PING, Blob(echo_pattern(0)), Blob)
    return f"{board}: stays at {before} baud: at {baud} {why}"


def _try(board: Channel, baud: int) -> str | None:
    """Follow the board to the new baud and prove it; why not, if not."""
    board.wait_until(lambda: False, GUARD_S)
    try:
        board.set_baud(baud)
    except PortError as error:
        return f"the adapter cannot: {error}"
    board.wait_until(lambda: False, GUARD_S)
    junk = board.junk_bytes
    for number in range(ECHOES):
        pattern = echo_pattern(number)
        limit_s = ECHO_S + 2 * len(pattern) * 10 / baud
        echo = board.ask_once(Command.PING, Blob(pattern), timeout_s=limit_s)
        if not isinstance(echo, Blob):
            return f"an echo of {len(pattern)} bytes did not come"
        if echo.data != pattern or board.junk_bytes != junk:
            return f"an echo of {len(pattern)} bytes came back damaged"
    try:
        board.command(Command.KEEP_BAUD, Empty(), Empty, timeout_s=TRIAL_MS / 2000)
    except BoardError as error:
        return f"it was not confirmed: {error}"
    board.log.line(board.now_s(), f"baud     {baud}")
    return None
