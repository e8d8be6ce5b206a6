"""Pins by name: from GPIO numbers to what a person sees on the header.

Source: Raspberry Pi documentation, 40-pin header. Owns: the header map and wire names.
"""

from __future__ import annotations

from hil.protocol.link_messages import FIRST_PIN, Bank
from hil.rig.specs import LinkSpec

HEADER_PIN = {
    2: 3, 3: 5, 4: 7, 5: 29, 6: 31, 7: 26, 8: 24, 9: 21, 10: 19, 11: 23, 12: 32, 13: 33, 14: 8, 15: 10,
    16: 36, 17: 11, 18: 12, 19: 35, 20: 38, 21: 40, 22: 15, 23: 16, 24: 18, 25: 22, 26: 37, 27: 13,
}  # fmt: skip
"""GPIO number -> pin of the 40-pin header."""

WIRE_NAMES = ("D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "CLK", "ACK")
CLK, ACK = 8, 9


def gpio(bank: Bank, wire: int) -> int:
    """GPIO number of wire 0..9 of a bank."""
    return FIRST_PIN[bank] + wire


def pin_name(rank: int, bank: Bank, wire: int) -> str:
    """`board 1 GPIO19 (pin 35)`."""
    number = gpio(bank, wire)
    return f"board {rank} GPIO{number} (pin {HEADER_PIN[number]})"


def wire_name(link: LinkSpec, wire: int) -> str:
    """`link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2 GPIO7 (pin 26)`."""
    source = pin_name(link.source, Bank.DOWNSTREAM, wire)
    target = pin_name(link.target, Bank.UPSTREAM, wire)
    return f"link {link} {WIRE_NAMES[wire]}: {source} -> {target}"
