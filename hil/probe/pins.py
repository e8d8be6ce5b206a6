"""Pins of the FT232H: which one carries which wire of a link. Table with the places on a breakout: docs/probe.md.

The eight data wires are the port AC0..AC7, written and read in one step. ACK is AD5 (GPIOL1), the one pin whose level
the MPSSE can wait for by itself. CLK is AD6. None of the ten is an output of the adapter before a program asks for
that: as a serial adapter, which it is when it is plugged in, it drives AD0, AD2 and AD4.
"""

from __future__ import annotations

from hil.rig.pins import ACK, CLK

CLK_PIN, ACK_PIN = 6, 5
CLK_BIT, ACK_BIT = 1 << CLK_PIN, 1 << ACK_PIN
WIRE_PINS = (*range(8, 16), CLK_PIN, ACK_PIN)
"""Pin of wire 0..9, as hil/sim/ft232h.py counts: AD0..AD7, then AC0..AC9."""
WIRE_MASK = sum(1 << pin for pin in WIRE_PINS)


def adapter_pin(wire: int) -> str:
    """`FT232H AC3 (C3)`: FTDI's name and the one printed on breakouts."""
    if wire in (CLK, ACK):
        return f"FT232H AD{WIRE_PINS[wire]} (D{WIRE_PINS[wire]})"
    return f"FT232H AC{wire} (C{wire})"
