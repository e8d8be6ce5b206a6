"""Makes `serial.serial_for_url("sim://0")` work. The handler itself: hil/sim/handlers/protocol_sim.py."""

from __future__ import annotations

import serial

PACKAGE = "hil.sim.handlers"


def install() -> None:
    """Tell pyserial about sim:// URLs; may be repeated."""
    if PACKAGE not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.append(PACKAGE)
