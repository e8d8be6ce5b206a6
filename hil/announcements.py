"""A bootloader that asks for an image, heard in whatever a board says. No I/O; the caller tells the time."""

from __future__ import annotations

from hil.protocol.boot import BootWord, Greeting, find_greeting

GET_PROG_INFO_BYTES = BootWord.GET_PROG_INFO.to_bytes(4, "little")
RECENT_BYTES = 128
"""Kept to find words and the greeting across reads."""
RESET_BY_WATCHDOG = 0x70
"""Bits of PM_RSTS: HADWRQ, HADWRF, HADWRH."""


class Announcements:
    """When a bootloader asked for an image last, how long it was quiet before, and who it said it is."""

    def __init__(self) -> None:
        self.latest_s: float | None = None
        self.gap_s = 0.0
        self.greeting: Greeting | None = None
        self._recent = b""

    def hear(self, data: bytes, now_s: float) -> None:
        """Take bytes as they arrive."""
        window = self._recent + data
        self._recent = window[-RECENT_BYTES:]
        if GET_PROG_INFO_BYTES not in window[-len(data) - 3 :]:
            return
        self.greeting = find_greeting(window) or self.greeting
        self.gap_s = now_s - (self.latest_s if self.latest_s is not None else now_s)
        self.latest_s = now_s

    def forget_greeting(self) -> None:
        """Another start of the board begins."""
        self.greeting = None
        self._recent = b""

    def restart_reason(self, *, asked: bool) -> str:
        """Why a board that ran is in its bootloader. asked: it was told to reboot."""
        status = self.greeting.reset_status if self.greeting is not None else 0
        if asked or not status & RESET_BY_WATCHDOG:
            return "restarted by itself"
        return "reset itself: watchdog (its program made no progress)"
