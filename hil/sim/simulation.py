"""Simulation: boards, the nets between them, and a virtual clock. The Python face of the C core.

Single-threaded and deterministic: the same boards, netlist, seed and calls give the same run, byte for byte.
Times are virtual nanoseconds since the simulation was made.
"""

from __future__ import annotations

import ctypes
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from types import TracebackType
from typing import Any

from hil.sim import core
from hil.sim.card import read_card
from hil.sim.faults import Fault
from hil.sim.netlist import PINS, Netlist, Wire
from hil.sim.records import (
    BOARD_LIMITS,
    CONFLICTS,
    RAM_BYTES_MAX,
    BoardConfig,
    Change,
    Contention,
    Counters,
    Mark,
    Output,
    lint_text,
)

BOARDS_MAX = 16
RAM_BYTES_MIN = 16 << 20
SLICE_NS = 20_000_000
"""Longest stretch of virtual time without a chance for Ctrl-C; slicing changes nothing else."""
TIMER_START_US = 0xFFFF_F000
"""What a board's system timer shows at its first instruction. Twin: TIMER_START in core/timer.c."""
STATES = ("off", "booting", "running", "sleeping", "halted")
TRACE_PART = 65536
"""Changes fetched from the core at a time."""
MARKS = ("power on", "power off", "reset", "watchdog reset", "starts", "halted")
"""Twin: SIM_MARK_."""
LEVELS = ("0", "1", "?", "!")
"""Level of a net: low, high, undefined (reads as noise), contention."""


class SimulationError(Exception):
    """The simulation was set up or used in a way that cannot work."""


class Outside:
    """A participant that is no board, with pads to drive. Made by Simulation; `simulation.outside[0]` is the first.

    index: its number among the boards, for `Wire`. pins: names of its pads; pad n is called pins[n].
    act: called when act_at_ns has come or a watched pad has changed; it may drive pads and set both again.
    """

    def __init__(self, simulation: Simulation, index: int, name: str, pins: Sequence[str]) -> None:
        self.index = index
        self.name = name
        self.pins = tuple(pins)
        self.act: Callable[[], None] = _nothing
        self.act_at_ns: int | None = None
        self._simulation = simulation
        self._watched = 0

    @property
    def simulation(self) -> Simulation:
        """Whose wires it is on."""
        return self._simulation

    def drive(self, outputs: int, levels: int, *, pull_up: int = 0, pull_down: int = 0) -> None:
        """What it does to its pads from now on; a bit per pad in each mask. Levels of inputs are kept, not seen."""
        self._simulation._call("sim_outside_drive", self.index, outputs, levels, pull_up, pull_down)

    def watch(self, pads: int) -> None:
        """Act when one of these pads changes, the present moment excluded."""
        self._watched = pads
        self._simulation._call("sim_outside_watch", self.index, pads)

    @property
    def watched(self) -> int:
        """The pads of `watch`."""
        return self._watched

    def levels(self) -> int:
        """Its pads as they are now, a bit per pad. Undefined and contended ones read as seeded noise."""
        levels = 0
        for pad in range(len(self.pins)):
            level = self._simulation.level(self.index, pad)
            if level not in ("0", "1"):
                seed = f"{self._simulation.seed} {self._simulation.time_ps} {self.index} {pad}"
                level = str(random.Random(seed).getrandbits(1))
            levels |= int(level) << pad
        return levels


def _nothing() -> None:
    pass


class Simulation:
    """Boards on a netlist, all powered off at first."""

    def __init__(
        self,
        boards: Sequence[BoardConfig],
        netlist: Netlist,
        seed: int,
        *,
        allow_sleep: bool = True,
        outside: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Set up the boards and wires.

        Args:
            boards: 1 to 16.
            netlist: wires between their pads.
            seed: for RAM's first contents, noise on floating nets and serial faults.
            allow_sleep: False makes polling boards execute every poll; same results, slower (for tests).
            outside: participants that are not boards, by name, each with the names of its pads.
                In wires they have the numbers after the boards'.
        Raises: SimulationError; hil.sim.build.BuildError.
        """
        self.boards = tuple(boards)
        self.netlist = netlist
        self.seed = seed
        self._check(boards, len(outside or ()))
        self.outside = tuple(
            Outside(self, len(boards) + number, name, pins)
            for number, (name, pins) in enumerate((outside or {}).items())
        )
        self._core = core.load()
        self._notes: list[list[str]] = [[] for _ in boards]
        self._boot_error: BaseException | None = None
        self._callback = core.BOOT_CALLBACK(self._boot)  # must live as long as the core may call it
        self._sim: Any = self._core.sim_new(self._members, seed & ((1 << 64) - 1), self._callback)
        if not self._sim:
            raise SimulationError(
                "the simulator could not allocate its state (4 MB in the temporary folder are needed)"
            )
        self._core.sim_allow_sleep(self._sim, int(allow_sleep))
        for index, board in enumerate(boards):
            self._setup(index, board)
        for party in self.outside:
            self._core.sim_outside(self._sim, party.index)
        self._faults: tuple[Fault, ...] = ()
        self._marks: list[Mark] | None = None
        try:
            self.set_wires(netlist.wires)
        except SimulationError:
            self.close()
            raise

    @staticmethod
    def _check(boards: Sequence[BoardConfig], others: int) -> None:
        if not 1 <= len(boards) <= BOARDS_MAX:
            raise SimulationError(f"{len(boards)} boards: a simulation has 1 to {BOARDS_MAX}")
        if len(boards) + others > BOARDS_MAX:
            raise SimulationError(
                f"{len(boards)} boards and {others} others: a simulation has 1 to {BOARDS_MAX} of both"
            )
        for index, board in enumerate(boards):
            if not RAM_BYTES_MIN <= board.ram_bytes <= RAM_BYTES_MAX or board.ram_bytes % (1 << 20):
                raise SimulationError(
                    f"board {index}: ram_bytes {board.ram_bytes} is not a whole number of MiB, 16 to 512"
                )
            for what, (low, high) in BOARD_LIMITS.items():
                value = getattr(board, what)
                if value is not None and not low <= value <= high:
                    raise SimulationError(f"board {index}: {what} {value} is outside {low:.12g} to {high:.12g}")

    def _setup(self, index: int, board: BoardConfig) -> None:
        setup = core.BoardSetup(
            ram_bytes=board.ram_bytes,
            serial=board.serial,
            start_delay_ps=board.start_delay_ns * 1000,
            drift_ppm=board.drift_ppm,
            revision=board.revision,
            temperature_mc=board.temperature_mc,
        )
        self._core.sim_board_setup(self._sim, index, ctypes.byref(setup))

    def _boot(self, index: int, plan: Any) -> None:
        """Called by the core at power on and at every reset: plays the GPU."""
        try:
            config = self.boards[index]
            boot = read_card(config.card, ram_bytes=config.ram_bytes)
            self._notes[index] += [note for note in boot.notes if note not in self._notes[index]]
            for load in boot.loads:
                ctypes.memmove(self._ram(index, load.address, len(load.data)), load.data, len(load.data))
            out = plan.contents
            out.delay_ps = boot.delay_ns * 1000
            out.pull_up_mask = boot.pull_up_mask
            out.pull_down_mask = boot.pull_down_mask
            out.pull_none_mask = boot.pull_none_mask
            out.has_kernel = int(boot.entry is not None)
            out.entry = boot.entry or 0
            out.r2 = boot.r2
            out.arm_hz = boot.arm_hz
            out.arm_hz_max = boot.arm_hz_max
            out.core_hz = config.core_clock_hz or boot.core_hz
            out.uart_hz = config.uart_clock_hz or boot.uart_hz
            out.gpu_mem_bytes = boot.gpu_mem_bytes
            out.mini_uart_baud = 115200 if boot.enable_uart and config.has_bluetooth else 0
        except BaseException as error:  # an exception cannot cross the C core; raised again by _after
            self._boot_error = error

    def _after(self) -> None:
        if self._boot_error is not None:
            error, self._boot_error = self._boot_error, None
            raise error

    def _board(self, index: int) -> int:
        if not self._sim:
            raise SimulationError("the simulation is closed")
        if not 0 <= index < len(self.boards):
            raise SimulationError(f"board {index}: this simulation has boards 0..{len(self.boards) - 1}")
        return index

    @property
    def _members(self) -> int:
        return len(self.boards) + len(self.outside)

    def _member(self, index: int) -> int:
        """A board or who is outside."""
        return index if len(self.boards) <= index < self._members else self._board(index)

    # ---- wires and what is wrong with them ----

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that are set."""
        return self._faults

    def set_wires(self, wires: Iterable[Wire], faults: Sequence[Fault] = ()) -> None:
        """Replace the netlist and the faults, at any time; levels follow at once.

        Raises: SimulationError if a wire leads nowhere or a fault's wire is none of them; then nothing has changed.
        """
        netlist = Netlist(wires)
        self._check_wires(netlist.wires, faults)
        self.netlist, self._faults = netlist, tuple(faults)
        cut = {wire for fault in faults if fault.CUTS for wire in fault.wires}
        self._call("sim_nets_clear")
        for wire in netlist.wires:
            if wire not in cut:
                near, far = wire.pads
                self._call("sim_wire", *near, *far)
        for index, board in enumerate(self.boards):
            self._call("sim_drift", index, board.drift_ppm)
        for fault in faults:
            fault.set(self._call)
        self._call("sim_nets_commit")

    def _call(self, function: str, *arguments: float) -> None:
        """Call a function of core/sim.h whose result is 0 or nothing."""
        if not self._sim:
            raise SimulationError("the simulation is closed")
        if getattr(self._core, function)(self._sim, *arguments):
            raise SimulationError(f"{function} failed with {arguments}: out of range, or the memory is used up")

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Replace all faults, at any time; () repairs everything.

        Raises: SimulationError if a fault's wire is not in the netlist; then nothing has changed.
        """
        self.set_wires(self.netlist.wires, faults)

    def _check_wires(self, wires: Sequence[Wire], faults: Sequence[Fault]) -> None:
        if not self._sim:
            raise SimulationError("the simulation is closed")
        for wire in wires:
            ends = ((wire.board_a, wire.pin_a), (wire.board_b, wire.pin_b))
            if not all(0 <= board < self._members and 0 <= pin < PINS for board, pin in ends):
                raise SimulationError(f"{wire}: boards are 0..{self._members - 1}, pins 0..{PINS - 1}")
        known = set(wires)
        for fault in faults:
            for wire in fault.wires:
                if wire not in known:
                    raise SimulationError(f"{fault}: the netlist of {len(known)} wires has no such wire")
            if (board := getattr(fault, "board", None)) is not None:
                self._board(board)
        counts: Counter[type[Fault]] = Counter(type(fault) for fault in faults)
        for kind, count in counts.items():
            if kind.COUNT_MAX is not None and count > kind.COUNT_MAX:
                raise SimulationError(f"{count} faults of kind {kind.__name__}: at most {kind.COUNT_MAX} at a time")

    # ---- power and time ----

    @property
    def time_ps(self) -> int:
        """Virtual time, exact."""
        return int(self._core.sim_time_ps(self._sim))

    @property
    def time_ns(self) -> int:
        """Virtual time."""
        return self.time_ps // 1000

    def power_on(self, index: int) -> None:
        """Apply power: RAM holds noise, the card is read, the ARM starts after the boot delay."""
        if self._core.sim_power_on(self._sim, self._board(index)) != 0:
            raise SimulationError(self._core.sim_error(self._sim).decode())
        self._after()

    def power_off(self, index: int) -> None:
        """Remove power: pads neither drive nor pull, RAM is lost."""
        self._core.sim_power_off(self._sim, self._board(index))

    def reset(self, index: int) -> None:
        """Pulse RUN: peripherals reset, RAM kept, boot again from the card. No effect without power."""
        self._core.sim_reset(self._sim, self._board(index))
        self._after()

    def is_powered(self, index: int) -> bool:
        """Whether the board has power."""
        return int(self._core.sim_state(self._sim, self._board(index))) != 0

    def state(self, index: int) -> str:
        """`off`, `booting`, `running`, `sleeping` (polls something that does not change) or `halted`."""
        return STATES[self._core.sim_state(self._sim, self._board(index))]

    def start_ps(self, index: int) -> int:
        """When the board executed its first instruction since the last reset; its timer showed TIMER_START_US then."""
        return int(self._core.sim_start_ps(self._sim, self._board(index)))

    def run(self, until_ns: int, *, stop_on_rx: Iterable[int] = (), stop_on_act: bool = False) -> bool:
        """Advance virtual time.

        Args:
            stop_on_act: also stop after an act of somebody outside.
        Returns: True as soon as one of the boards in stop_on_rx has bytes for the host, or its line has hung up
        (at once if so already), or after such an act; else False, and time_ns is until_ns.
        """
        mask = sum(1 << self._board(i) for i in set(stop_on_rx))
        while True:
            step = min(
                until_ns, self.time_ns + SLICE_NS, *(p.act_at_ns for p in self.outside if p.act_at_ns is not None)
            )
            result = self._core.sim_run(self._sim, step * 1000, mask)
            self._after()
            if result < 0:
                raise SimulationError(self._core.sim_error(self._sim).decode())
            if result == 1:
                return True
            acted = self._let_act(changed=result == 2)
            if acted and stop_on_act:
                return True
            if step >= until_ns and not acted and result == 0:
                return False

    def _let_act(self, *, changed: bool) -> bool:
        """Give those outside their turn; True if one of them took it."""
        acted = False
        for party in self.outside:
            due = party.act_at_ns is not None and party.act_at_ns <= self.time_ns
            if due or (changed and party.watched):
                party.act_at_ns = None if due else party.act_at_ns
                party.act()
                acted = True
        return acted

    # ---- serial ----

    def uart_write(self, index: int, data: bytes) -> None:
        """Queue bytes at the host's adapter; they leave at the host's baud."""
        self._core.sim_uart_write(self._sim, self._board(index), bytes(data), len(data))

    def uart_read(self, index: int, limit: int = 65536) -> bytes:
        """Take up to `limit` bytes that the adapter has handed to the host."""
        size = min(limit, self.uart_pending(index))
        if size <= 0:
            return b""
        buffer = ctypes.create_string_buffer(size)
        count = self._core.sim_uart_read(self._sim, index, buffer, size)
        return buffer.raw[:count]

    def uart_pending(self, index: int) -> int:
        """Bytes that uart_read would give."""
        return int(self._core.sim_uart_pending(self._sim, self._board(index)))

    def uart_tx_pending(self, index: int) -> int:
        """Bytes of uart_write that have not reached the board yet."""
        return int(self._core.sim_uart_tx_pending(self._sim, self._board(index)))

    def uart_set_baud(self, index: int, baud: int) -> None:
        """Set the host side's baud; bytes already queued keep theirs."""
        if not 50 <= baud <= 12_000_000:
            raise SimulationError(f"board {index}: baud {baud} is outside 50..12000000")
        self._core.sim_uart_set_baud(self._sim, self._board(index), baud)

    def uart_overruns(self, index: int) -> int:
        """Bytes lost because the board's receive FIFO was full."""
        return self.counters(index).uart_overruns

    def uart_hung_up(self, index: int) -> bool:
        """Whether the host's adapter has been pulled out (UartHangUp); what it had received can still be read."""
        return bool(self._core.sim_uart_hung_up(self._sim, self._board(index)))

    # ---- looking inside ----

    @property
    def contentions(self) -> list[Contention]:
        """Every time outputs disagreed, in order, since the start or forget_contentions."""
        records = ctypes.POINTER(core.ContentionRecord)()
        count = self._core.sim_contentions(self._sim, ctypes.byref(records))
        return [
            Contention(
                r.start_ps // 1000,
                None if r.end_ps == core.NEVER else r.end_ps // 1000,
                tuple(
                    Output(d.board, d.pin, d.level, d.pc, self._pad_name(d.board, d.pin)) for d in r.driver[: r.count]
                ),
                CONFLICTS[r.kind - 1],
            )
            for r in records[:count]
        ]

    def _pad_name(self, member: int, pin: int) -> str:
        if member < len(self.boards):
            return ""
        party = self.outside[member - len(self.boards)]
        return f"{party.name} {party.pins[pin]}"

    def forget_contentions(self) -> None:
        """Drop those that are over: for runs that set thousands of faults."""
        self._core.sim_contentions_forget(self._sim)

    def lint(self, index: int) -> list[str]:
        """What a real board would have punished, and what the card's config.txt got wrong."""
        records = ctypes.POINTER(core.LintRecord)()
        count = self._core.sim_lints(self._sim, self._board(index), ctypes.byref(records))
        return self._notes[index] + [lint_text(r) for r in records[:count]]

    def counters(self, index: int) -> Counters:
        """Instruction and access counts of a board."""
        record = core.CounterRecord()
        self._core.sim_counters(self._sim, self._board(index), ctypes.byref(record))
        return Counters(**{field.name: int(getattr(record, field.name)) for field in fields(Counters)})

    def read_ram(self, index: int, address: int, size_bytes: int) -> bytes:
        """RAM as it is now."""
        return ctypes.string_at(self._ram(index, address, size_bytes), size_bytes)

    def write_ram(self, index: int, address: int, data: bytes) -> None:
        """Change RAM behind the board's back."""
        ctypes.memmove(self._ram(index, address, len(data)), bytes(data), len(data))
        self._core.sim_ram_changed(self._sim, index, address, len(data))

    def _ram(self, index: int, address: int, size_bytes: int) -> int:
        ram = self._core.sim_ram(self._sim, self._board(index))
        limit = self.boards[index].ram_bytes
        if ram is None:
            raise SimulationError(f"board {index} has no power, so it has no RAM contents")
        if not 0 <= address <= address + size_bytes <= limit:
            raise SimulationError(f"board {index}: 0x{address:x}+{size_bytes} is outside its RAM of {limit} bytes")
        return int(ram) + address

    def registers(self, index: int) -> dict[str, int]:
        """r0..r12, sp, lr, pc (start of the current block while it runs), cpsr. Empty before the start."""
        values = (core.u32 * 17)()
        if self._core.sim_registers(self._sim, self._board(index), values) != 0:
            return {}
        names = [f"r{i}" for i in range(13)] + ["sp", "lr", "pc", "cpsr"]
        return dict(zip(names, values, strict=True))

    def levels(self) -> dict[tuple[int, int], str]:
        """Level of every pad by (board, pin): one of LEVELS."""
        return {(board, pin): self.level(board, pin) for board in range(self._members) for pin in range(PINS)}

    def level(self, board: int, pin: int) -> str:
        """Level of a pad: one of LEVELS."""
        return LEVELS[self._core.sim_level(self._sim, self._member(board), pin)]

    def trace_pad(self, board: int, pin: int, *, on: bool) -> None:
        """Record every change of a pad's level (its level now comes first), or stop."""
        self._core.sim_trace_pad(self._sim, self._member(board), pin, int(on))
        self._marks = self._marks or []

    def mark(self, text: str) -> None:
        """Note a text at the present time, for the trace; without effect where no pad has been traced."""
        if self._marks is not None:
            self._marks.append(Mark(self.time_ps, text))

    def keep_trace(self, latest: int) -> None:
        """Forget recorded changes but for the latest; after some millions the older ones are forgotten anyway."""
        self._core.sim_trace_keep(self._sim, latest)

    def take_trace(self) -> list[Change | Mark]:
        """Take the recorded changes and marks, in order of time. Boards' starts and stops are marks."""
        trace: list[Change | Mark] = list(self._marks or ())
        self._marks = None if self._marks is None else []
        buffer = (core.TraceRecord * TRACE_PART)()
        while count := self._core.sim_trace_take(self._sim, buffer, TRACE_PART):
            trace += [_traced(record) for record in buffer[:count]]
        return sorted(trace, key=lambda entry: entry.time_ps)

    # ---- life ----

    def close(self) -> None:
        """Free everything; harmless when repeated."""
        if self._sim:
            self._core.sim_free(self._sim)
            self._sim = None

    def __enter__(self) -> Simulation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_sim", None):
            self.close()


def _traced(record: core.TraceRecord) -> Change | Mark:
    if record.pad & core.TRACE_MARK:
        return Mark(record.time_ps, f"board {record.pad & ~core.TRACE_MARK} {MARKS[record.level]}")
    return Change(record.time_ps, record.pad // PINS, record.pad % PINS, record.level)
