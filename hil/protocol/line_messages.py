"""Messages about the serial line itself: its baud, and the watchdog that lives from its being served.

Part of hil/protocol/messages.py, which lists the commands. Meaning: docs/protocol.md, section 2.
"""

from __future__ import annotations

from hil.protocol.fields import U32, Message


class SetBaud(Message):
    """Answered at the old baud; then the new one is on trial until KEEP_BAUD, at most trial_ms."""

    baud: U32
    trial_ms: U32


class BaudSet(Message):
    """The baud that the board's clock really gives."""

    baud: U32


class Watchdog(Message):
    """The board resets when its own loops make no progress for limit_ms (100 to 15999); 0: it never does."""

    limit_ms: U32
