"""How a board starts: what its bootloader says unasked, the upload of an image, and whether the right one runs.

The protocol itself: hil/protocol/boot.py. Who owns the port and feeds these: hil/board/board.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hil.errors import BoardError
from hil.line.log import BoardLog
from hil.protocol.boot import (
    LOAD_ADDRESS,
    BootAction,
    BootError,
    BootSession,
    BootState,
    BootWord,
    Greeting,
    Print,
    Send,
    find_greeting,
)
from hil.protocol.messages import PROTOCOL_VERSION, Identity
from hil.text import printable

GET_PROG_INFO_BYTES = BootWord.GET_PROG_INFO.to_bytes(4, "little")
RECENT_BYTES = 128
"""Kept to find words and the greeting across reads."""
RESET_BY_WATCHDOG = 0x70
"""Bits of PM_RSTS: HADWRQ, HADWRF, HADWRH."""
BITS_PER_BYTE = 10


class Announcements:
    """A bootloader asks for an image every 300 ms: when it did last, and who it said it is.

    Attributes:
        latest_s: on the rig's clock; None as long as no bootloader has asked.
        gap_s: how long it had been quiet before that.
    """

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

    def since(self, time_s: float) -> bool:
        """Whether a bootloader has asked after a time."""
        return self.latest_s is not None and self.latest_s > time_s

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


ELF_MAGIC = b"\x7fELF"


def open_image(path: Path, address: int = LOAD_ADDRESS, *, board_serial: int | None, hold: bool = False) -> BootSession:
    """The session that gives an image to a board. Raises BoardError if the file cannot be read or cannot fit."""
    try:
        image = path.read_bytes()
    except OSError as error:
        raise BoardError(f"{path}: cannot read the image: {error.strerror}; check the path") from None
    if image.startswith(ELF_MAGIC):
        raise BoardError(f"{path}: is an ELF file; a board takes its bytes alone: make them with objcopy -O binary")
    try:
        return BootSession(image, address, board_serial=board_serial, hold=hold)
    except BootError as error:
        raise BoardError(f"{path}: {error}") from None


class Upload:
    """One upload: a session of the boot protocol with its log lines and its times.

    Feed it what the board sends until `state` is DONE.

    Args:
        session: the image, and what the bootloader may say.
        write: sends bytes to the board.
        log: takes a line for everything understood.
        now_s: the rig's clock.
    """

    def __init__(
        self, session: BootSession, write: Callable[[bytes], None], log: BoardLog, now_s: Callable[[], float]
    ) -> None:
        self._session = session
        self._write = write
        self._log = log
        self._now_s = now_s
        self._sent_s: float | None = None
        self._done_s: float | None = None
        self._word_bytes = 0
        self.skipped_bytes = 0
        self.interrupted = False
        """The port was away while the image was being sent."""

    @property
    def state(self) -> BootState:
        """How far it is."""
        return self._session.state

    @property
    def greeting(self) -> Greeting | None:
        """Who the bootloader says the board is; None for bootloaders that do not."""
        return self._session.greeting

    def release(self) -> None:
        """Offer the image that was held back."""
        self._do(self._session.release())

    def restart(self) -> None:
        """The port was away: the board gives up what it was receiving, and will ask again."""
        self.interrupted = self.interrupted or self.state is BootState.SENDING
        self._session.restart()
        self._sent_s = None

    def feed(self, data: bytes) -> bytes:
        """Take bytes; those behind BOOT_SUCCESS, which belong to the image, are returned.

        Raises: BootError when the board refuses or something is wrong.
        """
        before = self.state
        try:
            for action in self._session.feed(data):
                self._do(action)
        except BootError as error:
            self._log.line(self._now_s(), f"boot     failed: {error}")
            raise
        explained = self._session.word_bytes - self._word_bytes
        self._word_bytes += explained
        if explained:
            text = self.state.value if self.state is not before else "asks for an image"
            self._log.line(self._now_s(), f"boot     {text}", size_bytes=explained)
        if self.state is not BootState.DONE:
            return b""
        self._done_s = self._now_s()
        return self._session.leftover

    def _do(self, action: BootAction | None) -> None:
        now_s = self._now_s()
        if isinstance(action, Send):
            if action.data.startswith(BootWord.PUT_CODE.to_bytes(4, "little")):
                self._sent_s = now_s
            self._write(action.data)
        elif isinstance(action, Print):
            self._log.line(now_s, f"boot     says: {printable(action.text)}", size_bytes=len(action.text) + 8)
        elif action is not None:
            self.skipped_bytes += len(action.data)
            self._log.line(now_s, f"skipped  {printable(action.data)}", size_bytes=len(action.data))

    def line_share(self, baud: int) -> float | None:
        """Time that the image's bits take at a baud, over the time from the first byte to the verdict; 1.0 is best."""
        if self._sent_s is None or self._done_s is None or self._done_s <= self._sent_s:
            return None
        bits = (self._session.image_bytes + 4) * BITS_PER_BYTE
        return bits / baud / (self._done_s - self._sent_s)


def identity_problem(identity: Identity, build_id: bytes | None, board_serial: int | None) -> str | None:
    """What is wrong with the board that has booted; None if it is the right one with the right image.

    Args:
        build_id: of the image that was sent, where known.
        board_serial: what the rig file says. Our bootloader was asked before; others cannot be.
    """
    if identity.protocol != PROTOCOL_VERSION:
        return f"speaks protocol {identity.protocol}, this harness {PROTOCOL_VERSION}; boot a matching image"
    if build_id is not None and identity.build_id != build_id:
        return f"runs build {identity.build_id.hex()[:12]}, but {build_id.hex()[:12]} was sent"
    if board_serial is not None and identity.board_serial != board_serial:
        return (
            f"has serial number {identity.board_serial:016x}, the rig file says {board_serial:016x}; "
            "two ports may be swapped"
        )
    return None
