"""Participants that are not boards: pads that Python drives, times to the picosecond, contention with boards."""

from __future__ import annotations

import pytest

from hil.sim import BoardConfig, Netlist, Simulation, SimulationError, Wire
from tests.sim.programs import BOOTED_NS, MS, make_card, word

PINS = ("A", "B", "C")
A, B, C = range(3)
BLINK = """main:
    ldr r4, =GPIO
    ldr r0, =1 << 18             @ GPIO16 is an output
    str r0, [r4, #GPFSEL1]
    ldr r5, =1 << 16
1:  str r5, [r4, #GPSET0]
    mov r0, #100
    bl delay_us
    str r5, [r4, #GPCLR0]
    mov r0, #100
    bl delay_us
    b 1b
"""
COUNT_EDGES = """main:                         @ rising edges of GPIO17 into OUT
    ldr r4, =GPIO
    ldr r5, =OUT
    ldr r7, =1 << 17
    mov r6, #0
    str r6, [r5]
1:  ldr r0, [r4, #GPLEV0]
    tst r0, r7
    beq 1b
    add r6, r6, #1
    str r6, [r5]
2:  ldr r0, [r4, #GPLEV0]
    tst r0, r7
    bne 2b
    b 1b
"""
WIRES = Netlist([Wire(0, 16, 1, A), Wire(0, 17, 1, B)])


@pytest.fixture
def simulate(tmp_path):
    opened = []

    def make(source: str, *, allow_sleep: bool = True) -> Simulation:
        board = BoardConfig(make_card(tmp_path / "card", source), ram_bytes=32 << 20)
        opened.append(Simulation([board], WIRES, 1, allow_sleep=allow_sleep, outside={"probe": PINS}))
        opened[-1].power_on(0)
        return opened[-1]

    yield make
    for sim in opened:
        sim.close()


class Echo:
    """Drives B to what A is, a delay after each change of A."""

    def __init__(self, sim: Simulation, delay_ns: int) -> None:
        (self.party,) = sim.outside
        self.sim, self.delay_ns = sim, delay_ns
        self.heard: list[int] = []
        self.level = 0
        self.party.drive(1 << B, 0)
        self.party.act = self.act
        self.party.watch(1 << A)

    def act(self) -> None:
        level = self.party.levels() >> A & 1
        if level != self.level:
            self.level = level
            self.heard.append(self.sim.time_ps)
            self.party.act_at_ns = self.sim.time_ns + self.delay_ns
        else:
            self.party.drive(1 << B, level << B)


def test_watched_pad_is_acted_on_at_the_very_time_of_its_change(simulate):
    sim = simulate(BLINK)
    echo = Echo(sim, 700)
    sim.trace_pad(0, 16, on=True)
    sim.trace_pad(0, 17, on=True)
    sim.run(BOOTED_NS + 2 * MS)
    changes = [c for c in sim.take_trace() if hasattr(c, "pin") and c.level in (0, 1)]
    source = [c.time_ps for c in changes if c.pin == 16][-len(echo.heard) :]
    echoed = [c.time_ps for c in changes if c.pin == 17]
    assert len(echo.heard) > 10
    assert echo.heard == source
    assert all(late // 1000 - early // 1000 == 700 for early, late in zip(source, echoed[-len(source) :], strict=False))


@pytest.mark.parametrize("allow_sleep", [True, False])
def test_board_that_polls_sees_every_edge_that_is_driven(simulate, allow_sleep):
    sim = simulate(COUNT_EDGES, allow_sleep=allow_sleep)
    (party,) = sim.outside
    party.drive(1 << B, 0)
    sim.run(BOOTED_NS)
    for edge in range(50):
        party.drive(1 << B, 1 << B)
        sim.run(sim.time_ns + 400)
        party.drive(1 << B, 0)
        sim.run(sim.time_ns + 400)
        assert word(sim, 0, 0) == edge + 1


def test_runs_are_the_same_however_they_are_cut(simulate):
    ends = []
    for piece_ns in (2 * MS, 37_777):
        sim = simulate(BLINK)
        echo = Echo(sim, 900)
        until_ns = BOOTED_NS + 2 * MS
        while sim.time_ns < until_ns:
            sim.run(min(until_ns, sim.time_ns + piece_ns))
        ends.append((echo.heard, sim.time_ps, sim.counters(0).gpio_writes))
    assert ends[0] == ends[1]


def test_change_between_two_runs_is_acted_on(simulate):
    """A reset, a fault or another participant may move a watched pad while nobody runs."""
    sim = simulate(BLINK)
    sim.run(BOOTED_NS)
    while sim.level(1, A) != "1":
        sim.run(sim.time_ns + 10_000)
    echo = Echo(sim, 100)
    echo.level = 1
    sim.reset(0)
    assert sim.run(sim.time_ns + 1_000, stop_on_act=True)
    assert len(echo.heard) == 1


def test_outputs_that_meet_a_boards_are_contention_with_the_pads_name(simulate):
    sim = simulate(BLINK)
    (party,) = sim.outside
    party.drive(1 << A, 0)
    sim.run(BOOTED_NS + MS)
    met = sim.contentions[0]
    assert {str(output).split(" (")[0] for output in met.outputs} == {"board 0 GPIO16=1", "probe A=0"}
    assert not met.fault


def test_pulls_and_floating_pads_are_as_on_boards(simulate):
    sim = simulate(BLINK)
    (party,) = sim.outside
    assert sim.level(1, C) == "?"
    party.drive(0, 0, pull_up=1 << C)
    assert sim.level(1, C) == "1"
    assert party.levels() >> C & 1 == 1
    party.drive(0, 0, pull_up=1 << C, pull_down=1 << C)
    assert len({party.levels() >> C & 1 for _ in range(64) if not sim.run(sim.time_ns + 1000)}) == 2


def test_one_seed_gives_the_same_noise(simulate):
    def noise() -> list[int]:
        sim = simulate(BLINK)
        return [sim.outside[0].levels() >> C & 1 for _ in range(64) if not sim.run(sim.time_ns + 1000)]

    first = noise()
    assert len(set(first)) == 2
    assert noise() == first


def test_it_is_no_board(simulate):
    sim = simulate(BLINK)
    for use in (sim.power_on, sim.reset, sim.state, sim.uart_pending, sim.counters):
        with pytest.raises(SimulationError, match=r"board 1: this simulation has boards 0\.\.0"):
            use(1)
    with pytest.raises(SimulationError, match=r"boards are 0\.\.1"):
        sim.set_wires([Wire(0, 16, 2, A)])


def test_boards_and_others_are_sixteen_at_most():
    with pytest.raises(SimulationError, match="15 boards and 2 others: a simulation has 1 to 16 of both"):
        Simulation([BoardConfig(None)] * 15, Netlist(), 1, outside={"a": PINS, "b": PINS})
    with Simulation([BoardConfig(None)] * 15, Netlist(), 1, outside={"a": PINS}) as sim:
        assert sim.outside[0].index == 15
