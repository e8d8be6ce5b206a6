"""A virtual FT232R: a serial adapter of which tests use the CBUS pins and the EEPROM that says what these are.

Sources: FTDI AN232R-01 (CBUS bit-bang: direction in bits 7:4, levels in bits 3:0), DS_FT232R (functions).
Outside CBUS mode a pin that the EEPROM calls GPIO is an input. Stricter than the chip: driving another pin raises.
"""

from __future__ import annotations

from collections.abc import Sequence

from hil.sim.ftdi_usb import Adapter, ChipError, Pads

PINS = tuple(f"CBUS{n}" for n in range(4))
MODE_RESET, MODE_CBUS = 0x00, 0x20
GPIO, TX_LED = 0x0A, 0x02
"""Two of the functions that a CBUS pin may have."""
EEPROM_BYTES = 128
_FUNCTIONS_AT = 0x14


def eeprom_of(functions: Sequence[int]) -> bytes:
    """An EEPROM in which CBUS0.. have these functions, with the checksum that makes it valid."""
    words = bytearray(EEPROM_BYTES)
    words[2:8] = bytes.fromhex("030401600006")
    for pin, function in enumerate(functions):
        words[_FUNCTIONS_AT + pin // 2] |= function << 4 * (pin % 2)
    crc = 0xAAAA
    for at in range(0, EEPROM_BYTES - 2, 2):
        crc ^= int.from_bytes(words[at : at + 2], "little")
        crc = (crc << 1 | crc >> 15) & 0xFFFF
    words[-2:] = crc.to_bytes(2, "little")
    return bytes(words)


class Ft232r(Adapter):
    """A virtual FT232R."""

    PRODUCT_ID = 0x6001
    VERSION = 0x0600
    EEPROM_BYTES = EEPROM_BYTES

    def __init__(
        self, pads: Pads, *, serial: str = "A1", product: str = "FT232R", functions: Sequence[int] = (GPIO,) * 4
    ) -> None:
        super().__init__(pads, serial=serial, product=product, eeprom=eeprom_of(functions))
        self._gpio = sum(1 << pin for pin, function in enumerate(functions) if function == GPIO)
        self.set_bitmode(MODE_RESET, 0)

    def set_bitmode(self, mode: int, mask: int) -> None:
        """Serial, or serial with CBUS pins."""
        outputs, levels = (mask >> 4, mask & 0xF) if mode == MODE_CBUS else (0, 0)
        if mode not in (MODE_RESET, MODE_CBUS):
            raise ChipError(f"{self}: mode {mode:#x} with mask {mask:#x}; modelled are 0 (UART) and 0x20 (CBUS)")
        if outputs & ~self._gpio:
            raise ChipError(
                f"{self}: drives CBUS pins {outputs:#x}, and its EEPROM makes GPIOs of {self._gpio:#x} only"
            )
        self.pads.drive(outputs, levels)

    def pins(self) -> int:
        """Those of CBUS."""
        return self.pads.levels() & 0xF
