"""sim://: the serial port of a simulated board, for pyserial.

`sim://0` is board 0 of the newest registered simulation, `sim://NAME/0` of the one called NAME. Time-outs
are virtual: a read with a time-out of 2 s advances the simulation by up to 2 virtual seconds. Writes queue
at the adapter and return at once. There are no modem lines: RUN and power belong to the simulation, not to the port.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import serial
from serial.serialutil import PortNotOpenError, SerialBase, SerialException

from hil.sim import registry
from hil.sim.simulation import Simulation, SimulationError

BLOCK_NS = 1_000_000_000
"""Step of a read without a time-out; what ends it is data."""


def parse_url(url: str) -> tuple[str | None, int]:
    """Name (None: newest) and board of a sim:// URL.

    Raises: SerialException if it is malformed.
    """
    parts = urlsplit(url)
    path = parts.path.strip("/")
    name, board = (parts.netloc, path) if path else (None, parts.netloc)
    if parts.scheme != "sim" or not board.isdigit():
        raise SerialException(f"{url}: expected sim://BOARD or sim://NAME/BOARD, for example sim://0")
    return name, int(board)


class Serial(SerialBase):
    """One simulated port. `simulation` and `board_index` tell what is behind it while it is open."""

    simulation: Simulation
    board_index: int
    is_open: bool
    # What pyserial's base class keeps; its type stubs leave these out.
    _port: str | None
    _baudrate: int
    _bytesize: int
    _parity: str
    _stopbits: float
    _timeout: float | None
    _exclusive: bool | None

    def open(self) -> None:
        """Open the port named by `port`; raises SerialException if there is none or it is taken."""
        if self._port is None:
            raise SerialException("sim://: port must be configured before it can be used")
        if self.is_open:
            raise SerialException(f"{self._port}: port is already open")
        name, self.board_index = parse_url(self._port)
        try:
            self.simulation = registry.get(name)
            self.simulation.is_powered(self.board_index)
            if self.simulation.uart_hung_up(self.board_index):
                raise SimulationError("the adapter is gone (unplugged?)")
            registry.claim(self.simulation, self.board_index, exclusive=bool(self._exclusive))
        except SimulationError as error:
            raise SerialException(f"could not open port {self._port}: {error}") from error
        self.is_open = True
        self._reconfigure_port()

    def close(self) -> None:
        """Close the port; harmless when repeated."""
        if self.is_open:
            self.is_open = False
            registry.release(self.simulation, self.board_index)

    def _reconfigure_port(self) -> None:
        if not self.is_open:
            return
        if (self._bytesize, self._parity, self._stopbits) != (8, serial.PARITY_NONE, serial.STOPBITS_ONE):
            raise ValueError(f"{self._port}: the simulated adapter speaks 8N1 only")
        try:
            self.simulation.uart_set_baud(self.board_index, int(self._baudrate))
        except SimulationError as error:
            raise ValueError(f"{self._port}: {error}") from error

    def _need_open(self) -> None:
        if not self.is_open:
            raise PortNotOpenError()

    def _need_line(self) -> None:
        """As the system's drivers do when an adapter has been pulled out."""
        self._need_open()
        if self.simulation.uart_hung_up(self.board_index):
            raise SerialException(f"{self._port}: the adapter is gone (unplugged?)")

    @property
    def in_waiting(self) -> int:
        """Bytes that read would return at once."""
        self._need_open()
        pending = self.simulation.uart_pending(self.board_index)
        if pending == 0:
            self._need_line()
        return pending

    @property
    def out_waiting(self) -> int:
        """Bytes that have not reached the board."""
        self._need_open()
        return self.simulation.uart_tx_pending(self.board_index)

    def read(self, size: int = 1) -> bytes:
        """Up to `size` bytes; runs the simulation until they are there or the virtual time-out is over."""
        self._need_open()
        sim, board = self.simulation, self.board_index
        data = sim.uart_read(board, size)
        deadline = None if self._timeout is None else sim.time_ns + int(self._timeout * 1e9)
        while len(data) < size and not sim.uart_hung_up(board) and (deadline is None or sim.time_ns < deadline):
            sim.run(sim.time_ns + BLOCK_NS if deadline is None else deadline, stop_on_rx=[board])
            data += sim.uart_read(board, size - len(data))
        if size > 0 and not data:
            self._need_line()
        return data

    def write(self, data: Any) -> int:
        """Queue bytes; takes no virtual time."""
        self._need_line()
        content = bytes(data)
        self.simulation.uart_write(self.board_index, content)
        return len(content)

    def flush(self) -> None:
        """Run the simulation until every byte has reached the board."""
        self._need_open()
        while self.simulation.uart_tx_pending(self.board_index) > 0:
            self.simulation.run(self.simulation.time_ns + 1_000_000)

    def reset_input_buffer(self) -> None:
        """Drop what the adapter has received."""
        self._need_open()
        while self.simulation.uart_read(self.board_index):
            pass

    def reset_output_buffer(self) -> None:
        """Bytes on their way cannot be called back."""
        self._need_open()

    def _update_break_state(self) -> None:
        pass

    def _update_rts_state(self) -> None:
        pass

    def _update_dtr_state(self) -> None:
        pass

    @property
    def cts(self) -> bool:
        """Not wired: always true."""
        return True

    @property
    def dsr(self) -> bool:
        """Not wired: always true."""
        return True

    @property
    def ri(self) -> bool:
        """Not wired: always false."""
        return False

    @property
    def cd(self) -> bool:
        """Not wired: always true."""
        return True
