"""A virtual FT232H: its modes, and the commands of its MPSSE that move pins.

Sources: FTDI AN_108 (commands), AN_135 (modes), DS_FT232H (pins, FIFOs of 1 KiB, pull-ups of 75 kilohm on inputs).
Assumed: the MPSSE takes 100 ns for each byte of a command. Stricter than the chip: see `complaints`.
In UART mode, which it is in until a program chooses another, TXD, RTS# and DTR# (AD0, AD2, AD4) are driven high.
"""

from __future__ import annotations

from hil.sim.ftdi_usb import MICROFRAME_NS, Adapter, ChipError, Pads

PINS = (*(f"AD{n}" for n in range(8)), *(f"AC{n}" for n in range(10)))
"""Pin n of its masks. AC8 and AC9 are out of the MPSSE's reach."""
GPIOL1 = 5  # the pin that WAIT_HIGH and WAIT_LOW look at
COMMAND_BYTE_NS = 100
FIFO_BYTES = 1024
UART_OUTPUTS = 1 << 0 | 1 << 2 | 1 << 4
MODE_RESET, MODE_MPSSE = 0x00, 0x02

SET_LOW, GET_LOW, SET_HIGH, GET_HIGH = 0x80, 0x81, 0x82, 0x83
LOOPBACK_OFF, DIVISOR, SEND_NOW, WAIT_HIGH, WAIT_LOW = 0x85, 0x86, 0x87, 0x88, 0x89
DIV5_OFF, DIV5_ON, THREE_PHASE_OFF, ADAPTIVE_OFF = 0x8A, 0x8B, 0x8D, 0x97
BAD_COMMAND = 0xFA
_SIZES = {
    SET_LOW: 3, GET_LOW: 1, SET_HIGH: 3, GET_HIGH: 1, LOOPBACK_OFF: 1, DIVISOR: 3, SEND_NOW: 1, WAIT_HIGH: 1,
    WAIT_LOW: 1, DIV5_OFF: 1, DIV5_ON: 1, THREE_PHASE_OFF: 1, ADAPTIVE_OFF: 1,
}  # fmt: skip
"""Commands that are modelled, with their sizes. The serial engine and the CPU bus are not."""


class Ft232h(Adapter):
    """A virtual FT232H. complaints: unknown commands, of which the chip itself only says 0xFA and the code."""

    PRODUCT_ID = 0x6014
    VERSION = 0x0900
    PACKET_BYTES = 512
    TRANSFER_NS = MICROFRAME_NS
    SPEED = 3

    def __init__(self, pads: Pads, *, serial: str = "PROBE", product: str = "FT232H", eeprom: bytes = b"") -> None:
        super().__init__(pads, serial=serial, product=product, eeprom=eeprom)
        self._mode = MODE_RESET
        self._commands = bytearray()
        self._outputs = self._levels = 0
        self._wait: int | None = None
        self._free_ns = 0
        pads.act = self._act
        self.set_bitmode(MODE_RESET, 0)

    def set_bitmode(self, mode: int, mask: int) -> None:
        """UART (RESET) or MPSSE. A wait that never ends is left this way, and every pin but the UART's is an input."""
        if mode not in (MODE_RESET, MODE_MPSSE):
            raise ChipError(f"{self}: mode {mode:#x} with mask {mask:#x}; modelled are 0 (UART) and 2 (MPSSE)")
        self._mode = mode
        self._commands.clear()
        self.to_host.clear()
        self.flush = False
        self._wait = None
        self.pads.watch(0)
        self.pads.act_at_ns = None
        if mode == MODE_MPSSE:
            self._outputs = mask
            self._levels &= 0xFF
        else:
            self._outputs = self._levels = UART_OUTPUTS
        self.pads.drive(self._outputs, self._levels)

    def pins(self) -> int:
        """The low byte."""
        return self.pads.levels() & 0xFF

    def purge(self, *, received: bool) -> None:
        """Either FIFO. A wait under way goes on."""
        super().purge(received=received)
        if received:
            self._commands.clear()

    def receive(self, data: bytes, deadline_ns: int) -> int:
        """Commands; the chip takes no more than its FIFO holds."""
        if self._mode != MODE_MPSSE:
            return super().receive(data, deadline_ns)
        taken = 0
        while taken < len(data) and self.pads.now_ns() < deadline_ns:
            part = data[taken : taken + FIFO_BYTES - len(self._commands)]
            self._commands += part
            taken += len(part)
            self._schedule()
            if taken < len(data):
                self.pads.run(deadline_ns)
        return taken

    def drained(self) -> None:
        """There is room for answers again."""
        self._schedule()

    def _schedule(self) -> None:
        if self._wait is None and self._commands and self.pads.act_at_ns is None:
            self.pads.act_at_ns = max(self._free_ns, self.pads.now_ns())

    def _act(self) -> None:
        """Execute one command, or see whether a wait is over."""
        now_ns = self.pads.now_ns()
        if self._wait is not None:
            if self.pads.levels() >> GPIOL1 & 1 != self._wait:
                return
            self._wait = None
            self.pads.watch(0)
            self._free_ns = now_ns + COMMAND_BYTE_NS
            self._schedule()
            return
        if not self._commands or now_ns < self._free_ns or len(self.to_host) >= FIFO_BYTES:
            if len(self.to_host) < FIFO_BYTES:
                self._schedule()
            return
        size = _SIZES.get(self._commands[0], 1)
        if len(self._commands) < size:
            return
        command = bytes(self._commands[:size])
        del self._commands[:size]
        self._free_ns = now_ns + COMMAND_BYTE_NS * size
        self._execute(command)
        self._schedule()

    def _execute(self, command: bytes) -> None:
        code = command[0]
        if code in (SET_LOW, SET_HIGH):
            shift = 0 if code == SET_LOW else 8
            keep = ~(0xFF << shift)
            self._levels = self._levels & keep | command[1] << shift
            self._outputs = self._outputs & keep | command[2] << shift
            self.pads.drive(self._outputs, self._levels)
        elif code in (GET_LOW, GET_HIGH):
            self.to_host.append(self.pads.levels() >> (0 if code == GET_LOW else 8) & 0xFF)
        elif code == SEND_NOW:
            self.flush = True
        elif code in (WAIT_HIGH, WAIT_LOW):
            self._wait = int(code == WAIT_HIGH)
            self.pads.watch(1 << GPIOL1)
            self._act()
        elif code not in _SIZES:
            self.complaints.append(f"{self}: {code:#x} is no MPSSE command that is known here")
            self.to_host += bytes([BAD_COMMAND, code])
