"""The ten wires between a board and a probe, each driven from either end. Pins: docs/probe.md. One driver at a time."""

from __future__ import annotations

from dataclasses import dataclass

from hil.probe.adapter import SET_HIGH, SET_LOW
from hil.probe.pins import WIRE_PINS, adapter_pin
from hil.protocol.link_messages import LinkBank, PinDrive, PinLevels
from hil.protocol.messages import Command, Empty
from hil.rig.pins import WIRE_NAMES, gpio, pin_name
from hil.ring.probe import Probe

PROBE_DRIVE_MA = 2


@dataclass(frozen=True, slots=True)
class ProbedWire:
    """One wire between board and adapter. problem: empty if it is sound."""

    wire: int
    name: str
    problem: str

    def describe(self) -> str:
        """`D3   board 0 GPIO19 (pin 35) - FT232H AC3 (C3)   ok`."""
        return f"{WIRE_NAMES[self.wire]:<4} {self.name}   {self.problem or 'ok'}"


def scan_wires(probe: Probe) -> list[ProbedWire]:
    """Each wire, driven high from either end while nobody else drives anything.

    Returns: a verdict for each of the ten wires.
    """
    probe.reset()
    probe.ring.quiet()
    held = _seen_by_probe(probe) | _seen_by_board(probe)
    to_probe, to_board, pads = [], [], []
    for wire in range(len(WIRE_NAMES)):
        seen, own = (set(), False) if wire in held else _drive_from_board(probe, wire)
        to_probe.append(seen - held)
        pads.append(own)
        to_board.append(_drive_from_probe(probe, wire) - held if own else set())  # a short is driven once only
    names = [f"{pin_name(probe.board.rank, probe.bank, w)} - {adapter_pin(w)}" for w in range(len(WIRE_NAMES))]
    return [
        ProbedWire(w, names[w], _wire_problem(w, held, to_probe[w], to_board[w], high_at_board=pads[w]))
        for w in range(len(WIRE_NAMES))
    ]


def _wire_problem(wire: int, held: set[int], to_probe: set[int], to_board: set[int], *, high_at_board: bool) -> str:
    if wire in held:
        return "high although nobody drives it: shorted to 3.3 V, or its resistor to ground is missing"
    if to_probe == to_board == {wire}:
        return ""
    if not to_probe and not to_board:
        return "open" if high_at_board else "shorted to ground"
    if to_probe == to_board and wire in to_probe:
        return f"touches {_names(to_probe - {wire})}"
    if not {wire} & (to_probe | to_board):
        return f"exchanged with {_names(to_probe | to_board)}"
    return f"from the board it reaches {_names(to_probe)}, from the adapter {_names(to_board)}"


def _names(wires: set[int]) -> str:
    return ", ".join(WIRE_NAMES[wire] for wire in sorted(wires)) or "nothing"


def _seen_by_probe(probe: Probe) -> set[int]:
    data, clk, ack = probe.lines.read()
    return {wire for wire, level in enumerate([*(data >> n & 1 for n in range(8)), clk, ack]) if level}


def _seen_by_board(probe: Probe) -> set[int]:
    levels = probe.board.command(Command.LINK_RESET, LinkBank(probe.bank), PinLevels).gplev0
    return {wire for wire in range(len(WIRE_NAMES)) if levels >> gpio(probe.bank, wire) & 1}


def _drive_from_board(probe: Probe, wire: int) -> tuple[set[int], bool]:
    """What the probe sees of it, and whether the board's own pad went high."""
    pin = gpio(probe.bank, wire)
    levels = probe.board.command(Command.PIN_DRIVE, PinDrive(pin, 1, 1, PROBE_DRIVE_MA), PinLevels)
    seen = _seen_by_probe(probe)
    probe.board.command(Command.PIN_DRIVE, PinDrive(pin, 0, 0, PROBE_DRIVE_MA), PinLevels)
    return seen, bool(levels.gplev0 >> pin & 1)


def _drive_from_probe(probe: Probe, wire: int) -> set[int]:
    pin = WIRE_PINS[wire]
    code, bit = (SET_LOW, 1 << pin) if pin < 8 else (SET_HIGH, 1 << pin - 8)
    probe.lines.adapter.transact(bytes([code, bit, 0, code, bit, bit]), 0, probe.lines.phase_limit_s)
    levels = probe.board.command(Command.PIN_READ, Empty(), PinLevels).gplev0
    probe.lines.let_go()
    return {other for other in range(len(WIRE_NAMES)) if levels >> gpio(probe.bank, other) & 1}
