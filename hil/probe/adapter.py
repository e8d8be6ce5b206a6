"""The FT232H of a probe or a reset line: MPSSE commands in, levels out, through pyftdi.

Commands: FTDI AN_108. Owns: one open adapter, its errors in words. Waits with the rig's clock; a transfer itself waits
for the USB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hil.errors import ProbeError

SET_LOW, GET_LOW, SET_HIGH, GET_HIGH = 0x80, 0x81, 0x82, 0x83
SEND_NOW, WAIT_HIGH, WAIT_LOW = 0x87, 0x88, 0x89
# Commands of AN_108. WAIT_HIGH and WAIT_LOW look at AD5; while they wait the chip does nothing else.
BATCH_BYTES_MAX = 900
"""Commands of one transfer; the chip holds 1024 bytes, and as many answers."""


class Ft232hAdapter:
    """An FT232H in MPSSE mode, all sixteen pins inputs at first.

    Args:
        url: pyftdi's, such as `ftdi://ftdi:232h/1`.
        now_s: the rig's clock.
    Raises: ProbeError if there is no such adapter or it is another chip.
    """

    def __init__(self, url: str, now_s: Callable[[], float]) -> None:
        from pyftdi.ftdi import Ftdi
        from pyftdi.usbtools import UsbToolsError

        self.url = url
        self.transfers = 0
        self._now_s = now_s
        self._mpsse, self._reset = Ftdi.BitMode.MPSSE, Ftdi.BitMode.RESET
        self._ftdi: Any = Ftdi()
        try:
            self._ftdi.open_mpsse_from_url(url)
        except (OSError, ValueError, UsbToolsError) as error:
            raise ProbeError(f"adapter {url}: cannot be opened: {error}; {_advice(str(error))}") from None
        if self._ftdi.ic_name != "ft232h":
            name = self._ftdi.ic_name
            self._ftdi.close()
            raise ProbeError(
                f"adapter {url}: is an {name}; a probe needs an FT232H, which has eight pins beside AD0..AD7"
            )

    def transact(self, commands: bytes, answers: int, patience_s: float) -> bytes:
        """Have commands executed and give their answers.

        Args:
            commands: at most BATCH_BYTES_MAX.
            answers: bytes that the commands give when all are executed.
            patience_s: how long nothing new may come before this gives up.
        Returns: the answers; fewer when a wait among the commands goes on. Then `let_go` is the only way on.
        Raises: ProbeError if the adapter fails.
        """
        assert len(commands) <= BATCH_BYTES_MAX
        heard = b""
        try:
            self.transfers += 1
            self._ftdi.write_data(commands + (bytes([SEND_NOW]) if answers else b""))
            deadline_s = self._now_s() + patience_s
            while len(heard) < answers:
                part = bytes(self._ftdi.read_data_bytes(answers - len(heard)))
                heard += part
                if part:
                    deadline_s = self._now_s() + patience_s
                elif self._now_s() >= deadline_s:
                    break
        except OSError as error:
            raise ProbeError(f"adapter {self.url}: failed: {error}; was it unplugged?") from None
        return heard

    def let_go(self) -> None:
        """Every pin an input, whatever was going on; waits that do not end are broken off."""
        try:
            self._ftdi.set_bitmode(0, self._reset)
            self._ftdi.purge_buffers()
            self._ftdi.set_bitmode(0, self._mpsse)
        except OSError as error:
            raise ProbeError(f"adapter {self.url}: failed: {error}; was it unplugged?") from None

    def close(self) -> None:
        """Let go of the pins and of the adapter; harmless when repeated or when it is gone."""
        if self._ftdi is not None:
            ftdi, self._ftdi = self._ftdi, None
            ftdi.close()


def _advice(problem: str) -> str:
    """What to do about an adapter that cannot be opened."""
    if "backend" in problem:
        return "pyusb needs the library libusb-1.0 (docs/probe.md)"
    if "ccess" in problem or "permission" in problem:
        return "give yourself the right to use USB devices of vendor 0403 (docs/probe.md)"
    return "`ftdi_urls.py` lists those that are plugged in"
