"""Reset lines on FTDI adapters, through pyftdi: a CBUS pin per board, or GPIO pins of one FT232H. Wiring: docs/rigs.md.

Sources: FTDI AN232R-01 (CBUS bit-bang), AN_108 (MPSSE). Owns: pulling RUN low for RUN_LOW_S on the rig's clock. While a
pulse lasts the adapter stays open in its mode: leaving the mode gives the pin back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from hil.board.board import Board
from hil.errors import ProbeError, RigError
from hil.probe.adapter import SET_HIGH, Ft232hAdapter

RUN_LOW_S = 0.05
TRANSFER_S = 1.0


class CbusReset:
    """A CBUS pin of an FTDI adapter per board: high switches a transistor that pulls RUN low."""

    def __init__(self, urls: Sequence[str], pin: int) -> None:
        self._urls = urls
        self._pin = pin
        self._pulsing: dict[int, Any] = {}

    def reset(self, board: Board) -> None:
        """Pull RUN low for RUN_LOW_S. Raises RigError if the adapter or its pin cannot do that."""
        url = self._urls[board.rank]
        if board.rank in self._pulsing:
            return
        try:
            ftdi = _open_cbus(url, self._pin)
        except (OSError, ValueError) as error:
            raise RigError(f"{board}: reset over {url} failed: {error}") from None
        try:
            self._drive(ftdi, 1)
        except OSError as error:
            ftdi.close()
            raise RigError(f"{board}: reset over {url} failed: {error}") from None

        self._pulsing[board.rank] = ftdi
        board.call_later(RUN_LOW_S, lambda: self._release(board.rank))

    def _release(self, rank: int) -> None:
        ftdi = self._pulsing.pop(rank, None)
        if ftdi is None:
            return
        with contextlib.suppress(OSError):  # adapter gone, and its pin with it; check_reset tells what came of it
            self._drive(ftdi, 0)
        ftdi.close()

    def close(self) -> None:
        """Let every RUN go."""
        for rank in list(self._pulsing):
            self._release(rank)

    def _drive(self, ftdi: Any, level: int) -> None:
        """Bit-bang mode: direction in the upper four bits, levels in the lower ones."""
        ftdi.set_bitmode((1 << self._pin) << 4 | level << self._pin, ftdi.BitMode.CBUS)

    def describe(self) -> str:
        """Which lines do it."""
        return f"CBUS{self._pin} of {', '.join(self._urls)} does it; pyftdi's ftdi_urls.py lists adapters"


def _open_cbus(url: str, pin: int) -> Any:
    """The adapter, its EEPROM asked whether the pin is one. Raises OSError or ValueError with a sentence."""
    from pyftdi.eeprom import FtdiEeprom
    from pyftdi.ftdi import Ftdi
    from pyftdi.usbtools import UsbToolsError
    from usb.core import USBError

    ftdi = Ftdi()
    try:
        ftdi.open_from_url(url)
    except (UsbToolsError, USBError) as error:
        raise OSError(str(error)) from None
    try:
        if not ftdi.has_cbus:
            raise ValueError(f"an {ftdi.ic_name} has no CBUS pins to drive; use an FT232R, FT-X or FT232H")
        eeprom = FtdiEeprom()
        eeprom.connect(ftdi)
        if not eeprom.cbus_mask >> pin & 1:
            raise ValueError(
                f"CBUS{pin} is not set to GPIO in the adapter's EEPROM; set it with pyftdi's `ftconf.py -c "
                f"cbus_func_N:GPIO -u {url}`, then plug the adapter in again"
            )
    except (OSError, ValueError):
        ftdi.close()
        raise
    return ftdi


class GpioReset:
    """Pins AC0..AC7 of one FT232H, one per board, straight to RUN: driven low or left alone, never driven high.

    Args:
        pins: number of the pin by rank.
    """

    def __init__(self, url: str, pins: Sequence[int]) -> None:
        self._url = url
        self._pins = pins
        self._adapter: Ft232hAdapter | None = None
        self._low = 0

    def reset(self, board: Board) -> None:
        """Pull RUN low for RUN_LOW_S; several boards at a time share the adapter. Raises RigError if that fails."""
        bit = 1 << self._pins[board.rank]
        try:
            if self._adapter is None:
                self._adapter = Ft232hAdapter(self._url, board.now_s)
            self._drive(self._low | bit)
        except ProbeError as error:
            self.close()
            raise RigError(f"{board}: reset over AC{self._pins[board.rank]} failed: {error}") from None

        def release() -> None:
            try:
                self._drive(self._low & ~bit)
            except ProbeError:
                self._low = 0  # the adapter is gone, and its pins with it; check_reset tells what came of it
            if self._low == 0:
                self.close()

        board.call_later(RUN_LOW_S, release)

    def _drive(self, low: int) -> None:
        self._low = low
        if self._adapter is not None:
            self._adapter.transact(bytes([SET_HIGH, 0, low]), 0, TRANSFER_S)

    def close(self) -> None:
        """Let every RUN go: closing makes all pins inputs."""
        self._low = 0
        if self._adapter is not None:
            self._adapter.close()
            self._adapter = None

    def describe(self) -> str:
        """Which lines do it."""
        pins = ", ".join(f"AC{pin}" for pin in self._pins)
        return f"{pins} of {self._url} do it, one for each board"
