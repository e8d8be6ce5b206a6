"""Makes `serial.serial_for_url("sim://0")` work: pyserial looks in this package for `protocol_sim`."""

from __future__ import annotations

import serial


def install() -> None:
    """Tell pyserial about sim:// URLs; may be repeated."""
    if __name__ not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.append(__name__)
