"""Boot protocol, host side: how an image gets into a board over the UART.

Format: docs/protocol.md, section 1. C twin: firmware/boot/main.c. A state machine fed with bytes;
no I/O, no clock. It interoperates with the bootloaders that existing rings have on their cards.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum

LOAD_ADDRESS = 0x8000
BOOTLOADER_ADDRESS = 0x200000
"""Where the bootloader's own code lives while it loads; images must end below."""
IMAGE_BYTES_MAX = BOOTLOADER_ADDRESS - LOAD_ADDRESS
PRINT_BYTES_MAX = 1024
_GREETING = re.compile(rb"board serial ([0-9a-f]{16}), reset status 0x([0-9a-f]{8})\n")
"""What our bootloader prints before each GET_PROG_INFO; others print nothing or something else."""


class BootWord(IntEnum):
    """Words of the protocol, little-endian on the wire."""

    GET_PROG_INFO = 0x11112222
    PUT_PROG_INFO = 0x33334444
    GET_CODE = 0x55556666
    PUT_CODE = 0x77778888
    BOOT_SUCCESS = 0x9999AAAA
    BOOT_ERROR = 0xBBBBCCCC
    PRINT_STRING = 0xDDDDEEEE


_WORDS = [re.escape(struct.pack("<I", word)) for word in BootWord]
_WORD = re.compile(
    b"|".join([*_WORDS, *(re.escape(struct.pack("<I", word)[:n]) + rb"\Z" for word in BootWord for n in (3, 2, 1))])
)
"""A word, or the beginning of one at the end of what has come."""


class BootError(Exception):
    """The boot cannot go on; the message says why."""


class WrongBoardError(BootError):
    """Another board than expected is at the port."""


class BootState(Enum):
    """Where an upload is."""

    WAITING = "waiting for the bootloader"
    OFFERED = "image offered, waiting for GET_CODE"
    SENDING = "image sent, waiting for the verdict"
    DONE = "booted"


@dataclass(frozen=True, slots=True)
class Greeting:
    """Who the bootloader says that the board is. reset_status: PM_RSTS, why it started."""

    board_serial: int
    reset_status: int


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes to write to the board now."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Print:
    """Text that the bootloader printed."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    """Bytes that belong to no word of the protocol (firmware text, noise)."""

    data: bytes


def find_greeting(data: bytes) -> Greeting | None:
    """The last greeting among bytes, if any."""
    matches = list(_GREETING.finditer(data))
    return Greeting(int(matches[-1][1], 16), int(matches[-1][2], 16)) if matches else None


BootAction = Send | Print | Skipped


def check_image(image: bytes, address: int = LOAD_ADDRESS) -> None:
    """Raise BootError if the bootloader could not take this image."""
    if not image:
        raise BootError("the image is empty; build it again")
    end = address + len(image)
    if address < LOAD_ADDRESS or end > BOOTLOADER_ADDRESS:
        raise BootError(
            f"image of {len(image)} bytes at {address:#x} ends at {end:#x}, but the bootloader sits at "
            f"{BOOTLOADER_ADDRESS:#x}: at most {BOOTLOADER_ADDRESS - address} bytes fit; make the image smaller"
        )


class BootSession:
    """One upload of one image to one board.

    Feed it what the board sends; do what it yields. `state` becomes DONE after BOOT_SUCCESS, and
    `leftover` then holds the bytes that came behind it, which belong to the image.
    Raises BootError from feed() when the board refuses, the CRC comes back wrong, or it is the wrong board.

    Args:
        board_serial: the board that must be there, where known. A bootloader that names another one gets nothing.
        hold: offer nothing before `release` is called.
    """

    def __init__(
        self, image: bytes, address: int = LOAD_ADDRESS, *, board_serial: int | None = None, hold: bool = False
    ) -> None:
        check_image(image, address)
        self._image = image
        self._address = address
        self._crc = zlib.crc32(image)
        self._buffer = bytearray()
        self._printed = b""
        self._crossed = 0
        self._board_serial = board_serial
        self._held = hold
        self.announced = False
        self.word_bytes = 0  # of words understood, their values included, texts not
        self.greeting: Greeting | None = None
        self.state = BootState.WAITING
        self.leftover = b""

    @property
    def image_bytes(self) -> int:
        """Size of the image."""
        return len(self._image)

    def release(self) -> Send | None:
        """End of the hold; the offer, if the bootloader has asked for it already."""
        if not self._held:
            return None
        self._held = False
        return self._offer_now() if self.announced else None

    def restart(self) -> None:
        """Forget what was under way: the next GET_PROG_INFO is answered with the offer again."""
        self.state = BootState.WAITING
        self._buffer.clear()
        self._crossed = 0

    def feed(self, data: bytes) -> Iterator[BootAction]:
        """Yield the actions that `data` causes, in order."""
        self._buffer += data
        skipped = bytearray()
        while self.state is not BootState.DONE:
            start = self._word_at()
            skipped += self._buffer[:start]
            del self._buffer[:start]
            action, used = self._next()
            if used == 0:
                break
            if action is None and used == 1:
                skipped.append(self._buffer[0])
            elif not isinstance(action, Print):
                self.word_bytes += used
            if skipped and used > 1:
                yield Skipped(bytes(skipped))
                skipped.clear()
            del self._buffer[:used]
            if action is not None:
                yield action
        if skipped:
            yield Skipped(bytes(skipped))
        if self.state is BootState.DONE:
            self.leftover += bytes(self._buffer)
            self._buffer.clear()

    def _next(self) -> tuple[BootAction | None, int]:
        """The next action and how many buffered bytes it takes; (None, 0): wait for more."""
        buffer = self._buffer
        if len(buffer) < 4:
            return None, 0
        (word,) = struct.unpack_from("<I", buffer)
        if word == BootWord.PRINT_STRING:
            return self._print()
        if word == BootWord.GET_PROG_INFO:
            return self._offer()
        if word == BootWord.GET_CODE and self.state is BootState.OFFERED:
            return self._send_code()
        if word == BootWord.BOOT_ERROR and self.state in (BootState.OFFERED, BootState.SENDING):
            raise BootError(self._refusal())
        if word == BootWord.BOOT_SUCCESS and self.state is BootState.SENDING:
            self.state = BootState.DONE
            return None, 4
        return None, 1

    def _word_at(self) -> int:
        """Where the first word of the protocol begins, or may begin at the buffer's end."""
        match = _WORD.search(self._buffer)
        return match.start() if match else len(self._buffer)

    def _print(self) -> tuple[BootAction | None, int]:
        if len(self._buffer) < 8:
            return None, 0
        (size,) = struct.unpack_from("<I", self._buffer, 4)
        if size > PRINT_BYTES_MAX:
            return None, 1
        if len(self._buffer) < 8 + size:
            return None, 0
        text = bytes(self._buffer[8 : 8 + size])
        greeting = find_greeting(text)
        if greeting is None:
            self._printed = text
        else:
            self.greeting = greeting
            self._check_board(greeting)
        return Print(text), 8 + size

    def _check_board(self, greeting: Greeting) -> None:
        if self._board_serial is not None and greeting.board_serial != self._board_serial:
            raise WrongBoardError(
                f"has serial number {greeting.board_serial:016x}, the rig file says {self._board_serial:016x}; "
                "two ports may be swapped; nothing was loaded"
            )

    def _offer(self) -> tuple[BootAction | None, int]:
        if self.state is BootState.SENDING:
            raise BootError(
                f"the board started again in the middle of the upload{self._last_words()}; "
                "check its power and try again"
            )
        # GET_PROG_INFO comes every 300 ms. One may have crossed the offer; a second one means that the offer was lost.
        if self.state is BootState.OFFERED and self._crossed == 0:
            self._crossed = 1
            return None, 4
        self.announced = True
        return (None if self._held else self._offer_now()), 4

    def _offer_now(self) -> Send:
        self._crossed = 0
        self.state = BootState.OFFERED
        return Send(struct.pack("<4I", BootWord.PUT_PROG_INFO, self._address, len(self._image), self._crc))

    def _send_code(self) -> tuple[BootAction | None, int]:
        if len(self._buffer) < 8:
            return None, 0
        (crc,) = struct.unpack_from("<I", self._buffer, 4)
        if crc != self._crc:
            raise BootError(
                f"the board repeats CRC {crc:#010x} for an image of CRC {self._crc:#010x}: "
                "the serial line damages bytes; check baud rate, ground and cable length"
            )
        self.state = BootState.SENDING
        return Send(struct.pack("<I", BootWord.PUT_CODE) + self._image), 8

    def _refusal(self) -> str:
        if self.state is BootState.OFFERED:
            return (
                f"the bootloader refuses an image of {len(self._image)} bytes at {self._address:#x}{self._last_words()}"
            )
        return (
            f"the image arrived damaged (the board's CRC differs from {self._crc:#010x}){self._last_words()}; "
            "check the serial cable or lower the baud rate"
        )

    def _last_words(self) -> str:
        if not self._printed:
            return ""
        return f' (the board says: "{self._printed.decode("ascii", "backslashreplace").strip()}")'
