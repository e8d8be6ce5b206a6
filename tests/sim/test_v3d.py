"""What the ARM sees of the VideoCore: memory of its heap, V3D registers, the request queue, counters, time."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hil.sim import BoardConfig, Netlist, Simulation
from tests.sim.programs import MS, make_card
from tests.sim.qpu_asm import Asm, store_setup, vpm_setup
from tests.sim.qpu_bench import BOOT_NS, BUS, CODE, INPUT, OUTPUT, RAM_BYTES, UNIFORMS, epilogue, launch

V3D = 0x20C00000
SRQPC, SRQUA, SRQCS = V3D + 0x430, V3D + 0x434, V3D + 0x43C
DBQITE, DBQITC = V3D + 0xE2C, V3D + 0xE30
HEAP = RAM_BYTES - (16 << 20)
BUFFERS = 0x30000

SCRIPT = """
main:
    ldr r6, =0x20000            @ triples: what to do, an address, a value
    ldr r7, =OUT + 16
1:  ldmia r6!, {r0, r1, r2}
    cmp r0, #1                  @ write
    streq r2, [r1]
    beq 1b
    cmp r0, #2                  @ read
    ldreq r3, [r1]
    streq r3, [r7], #4
    beq 1b
    cmp r0, #3                  @ mailbox
    bne 4f
    orr r1, r1, #8
    ldr r4, =MAIL
    str r1, [r4, #0x20]
2:  ldr r3, [r4, #0x18]
    tst r3, #1 << 30
    bne 2b
    ldr r3, [r4]
    b 1b
4:  cmp r0, #4                  @ wait for completed programs
    bne 6f
5:  ldr r3, [r1]
    lsr r3, r3, #16
    and r3, r3, #0xff
    cmp r3, r2
    bne 5b
    b 1b
6:  cmp r0, #5                  @ wait for microseconds
    bne 7f
    mov r0, r2
    bl delay
    b 1b
7:  ldr r5, =OUT
    mov r0, #1
    str r0, [r5]
    b stop
delay:
    ldr r4, =TIMER
    ldr r5, [r4, #CLO]
8:  ldr r3, [r4, #CLO]
    sub r3, r3, r5
    cmp r3, r0
    blo 8b
    bx lr
"""
ENABLE = (0x30012, [1])


@cache
def script_card() -> Path:
    return make_card(Path(tempfile.mkdtemp(prefix="pi-ring-v3d-")), SCRIPT, "gpu_mem=16\n")


class Script:
    """Register accesses and property tags of the ARM, in order; QPUs are enabled first unless told otherwise."""

    def __init__(self, *, enable: bool = True) -> None:
        self._steps: list[tuple[int, int, int]] = []
        self._buffers: list[tuple[int, list[int]]] = []
        if enable:
            self.tag(*ENABLE)

    def write(self, address: int, value: int) -> None:
        self._steps.append((1, address, value & 0xFFFFFFFF))

    def read(self, address: int) -> None:
        self._steps.append((2, address, 0))

    def wait_done(self, count: int) -> None:
        self._steps.append((4, SRQCS, count))

    def wait_us(self, microseconds: int) -> None:
        self._steps.append((5, 0, microseconds))

    def start(self, code: int = BUS + CODE, uniforms: int = BUS + UNIFORMS) -> None:
        self.write(SRQUA, uniforms)
        self.write(SRQPC, code)

    def tag(self, tag: int, values: Sequence[int]) -> None:
        self._steps.append((3, BUFFERS + 64 * len(self._buffers), 0))
        self._buffers.append((tag, list(values)))

    def run(
        self,
        memory: dict[int, bytes] | None = None,
        *,
        limit_ns: int = 50 * MS,
        drift_ppm: float = 0.0,
        sleep: bool = True,
    ) -> tuple[list[int], list[list[int]], Simulation]:
        """Words that were read, values of the tags' answers, the simulation."""
        config = BoardConfig(script_card(), ram_bytes=RAM_BYTES, drift_ppm=drift_ppm)
        sim = Simulation([config], Netlist(), 1, allow_sleep=sleep)
        sim.power_on(0)
        steps = [*self._steps, (0, 0, 0)]
        sim.write_ram(0, 0x20000, struct.pack(f"<{3 * len(steps)}I", *(w for step in steps for w in step)))
        for number, (tag, values) in enumerate(self._buffers):
            room = [*values, *[0] * (3 - len(values))]
            sim.write_ram(0, BUFFERS + 64 * number, struct.pack("<9I", 36, 0, tag, 12, 0, *room, 0))
        sim.write_ram(0, 0x10000, bytes(16))
        for address, data in (memory or {}).items():
            sim.write_ram(0, address, data)
        sim.run(BOOT_NS + limit_ns)
        assert sim.read_ram(0, 0x10000, 4) == b"\x01\0\0\0", "the ARM's program has not come to its end"
        count = sum(what == 2 for what, _, _ in self._steps)
        words = list(struct.unpack(f"<{count}I", sim.read_ram(0, 0x10010, 4 * count)))
        answers = [
            list(struct.unpack("<3I", sim.read_ram(0, BUFFERS + 64 * n + 20, 12))) for n in range(len(self._buffers))
        ]
        return words, answers, sim


def findings(sim: Simulation, word: str) -> list[str]:
    return [text for text in sim.lint(0) if word in text]


def spinner(count: int) -> bytes:
    """4 * count + 6 instructions."""
    asm = Asm()
    asm.load("r1", count)
    asm.nop(2)
    asm.label("loop")
    asm.add("sub", "r1", "r1", 1, sf=True)
    asm.branch("anynz", "loop")
    asm.nop(3)
    asm.end()
    return asm.code()


# ---- memory ----


@pytest.mark.parametrize(("flags", "alias"), [(0, 0), (4, 0xC0000000), (8, 0x80000000), (0xC, 0x40000000)])
def test_allocated_memory_is_locked_at_the_alias_that_its_flags_ask_for(flags: int, alias: int) -> None:
    script = Script()
    script.tag(0x3000C, [100000, 4096, flags])
    script.tag(0x3000D, [1])
    _, answers, sim = script.run()
    assert answers[0][0] == 0
    assert answers[1][0] == 1
    assert answers[2][0] == alias | HEAP
    assert sim.read_ram(0, HEAP, 100000) == b"\xff" * 100000  # what the firmware fills memory with


def test_flags_ask_for_zeros_or_for_memory_as_it_was() -> None:
    script = Script()
    script.tag(0x3000C, [4096, 4096, 0x1C])
    script.tag(0x3000C, [4096, 4096, 0x2C])
    _, _, sim = script.run({HEAP: b"\x5a" * 8192})
    assert sim.read_ram(0, HEAP, 8192) == bytes(4096) + b"\x5a" * 4096


def test_blocks_do_not_overlap_and_are_given_again_after_free() -> None:
    script = Script()
    script.tag(0x3000C, [5000, 4096, 0xC])
    script.tag(0x3000C, [4096, 65536, 0xC])
    script.tag(0x3000D, [1])
    script.tag(0x3000D, [2])
    script.tag(0x3000E, [1])
    script.tag(0x3000F, [1])
    script.tag(0x3000C, [8192, 4096, 0xC])
    script.tag(0x3000D, [1])
    _, answers, _ = script.run()
    values = [answer[0] for answer in answers[1:]]
    assert values == [1, 2, BUS | HEAP, BUS | HEAP + 65536, 0, 0, 1, BUS | HEAP]


def test_heap_without_room_gives_handle_0_and_a_finding() -> None:
    script = Script()
    script.tag(0x3000C, [(16 << 20) + 1, 4096, 0xC])
    _, answers, sim = script.run()
    assert answers[1][0] == 0
    text = (
        f"the GPU's heap at 0x{HEAP:08x} has no room for {(16 << 20) + 1} bytes: handle 0 (see gpu_mem in config.txt)"
    )
    assert findings(sim, text)


def test_handles_that_do_not_exist_are_answered_with_failure() -> None:
    script = Script()
    for tag in (0x3000D, 0x3000E, 0x3000F):
        script.tag(tag, [9])
    _, answers, _ = script.run()
    assert [answer[0] for answer in answers[1:]] == [0, 0x80000000, 0x80000000]


# ---- registers ----


def test_block_is_off_until_the_qpus_are_enabled() -> None:
    script = Script(enable=False)
    script.read(V3D)
    script.write(SRQPC, 0)
    words, _, sim = script.run()
    assert words == [0xDEADBEEF]
    text = "used before QPU enable (mailbox tag 0x30012): reads 0xdeadbeef, writes are lost"
    assert [t for t in sim.lint(0) if text in t and f"0x{V3D:08x}" in t]
    assert [t for t in sim.lint(0) if text in t and f"0x{SRQPC:08x}" in t]


def test_disabled_again_the_block_is_off() -> None:
    script = Script()
    script.tag(0x30012, [0])
    script.read(V3D)
    words, answers, _ = script.run()
    assert words == [0xDEADBEEF]
    assert answers[1][0] == 0


def test_identity_registers_tell_the_guides_reference_configuration() -> None:
    script = Script()
    for offset in (0, 4, 8):
        script.read(V3D + offset)
    words, _, _ = script.run()
    assert words[0].to_bytes(4, "little") == b"V3D\x02"
    assert words[1] == 12 << 28 | 1 << 24 | 16 << 16 | 2 << 12 | 4 << 8 | 3 << 4 | 1
    assert words[2] == 1 << 8 | 2 << 4 | 1


@pytest.mark.parametrize(
    ("offset", "value", "kept"),
    [
        (0x010, 0x12345678, 0x12345678),
        (0x020, 1, 1),
        (0x020, 4, 0),
        (0x024, 0xFFFFFFFF, 0),
        (0x410, 0x11111111, 0x11111111),
        (0x414, 0xFFFF, 0xFFFF),
        (0x418, 0xFF, 0xF),
        (0x434, 0x40001000, 0x40001000),
        (0x438, 0xFFFFF, 0xFFF),
        (0x500, 0xFFFFF, 0x3FFF),
        (0x504, 0xFF, 31),
        (0x674, 0x1FFFF, 0xFFFF),
        (0x684, 0x30, 0x10),
        (0xE2C, 0xFFFFFFFF, 0xFFFF),
        (0x030, 0xF, 0),
        (0x034, 0xF, 0),
        (0x038, 0xF, 0),
        (0xE00, 1, 0),
    ],
)
def test_register_keeps_what_the_guide_says(offset: int, value: int, kept: int) -> None:
    script = Script()
    script.write(V3D + offset, value)
    script.read(V3D + offset)
    words, _, sim = script.run()
    assert words == [kept]
    assert not findings(sim, "unimplemented")


def test_l2_cache_enable_is_undone_by_disable() -> None:
    script = Script()
    script.write(V3D + 0x20, 1)
    script.write(V3D + 0x20, 2)
    script.read(V3D + 0x20)
    assert script.run()[0] == [0]


def test_error_registers_read_zero_and_unknown_ones_are_findings() -> None:
    script = Script()
    for offset in (0xF00, 0xF04, 0xF10, 0xF20, 0x100):
        script.read(V3D + offset)
    script.write(V3D + 0x110, 1)
    words, _, sim = script.run()
    assert words == [0] * 5
    assert findings(sim, "read of the unimplemented register 0x20c00100")
    assert findings(sim, "write of 0x00000001 to the unimplemented register 0x20c00110")


# ---- requests ----


def test_requests_are_counted_and_their_counts_reset() -> None:
    script = Script()
    for _ in range(3):
        script.start()
    script.wait_done(3)
    script.read(SRQCS)
    script.write(SRQCS, 1 << 8)
    script.read(SRQCS)
    script.write(SRQCS, 1 << 16)
    script.read(SRQCS)
    words, _, _ = script.run({CODE: spinner(10)})
    assert words == [3 << 16 | 3 << 8, 3 << 16, 0]


def test_request_when_sixteen_wait_is_lost_and_so_are_those_after_it_until_the_error_is_cleared() -> None:
    script = Script()
    for _ in range(12 + 16 + 2):
        script.start()
    script.read(SRQCS)
    script.write(SRQCS, 1)  # the queue is dropped
    script.start()
    script.read(SRQCS)
    script.write(SRQCS, 1 << 7)
    script.start()
    script.read(SRQCS)
    script.wait_done(13)
    script.read(SRQCS)
    words, _, sim = script.run({CODE: spinner(1000)})
    assert words == [30 << 8 | 1 << 7 | 16, 31 << 8 | 1 << 7, 32 << 8 | 1, 13 << 16 | 32 << 8]
    assert findings(
        sim, f"QPU program at 0x{BUS + CODE:08x} lost: the request queue holds 16, or QPURQERR is still set"
    )


def test_reserved_qpus_get_no_user_program() -> None:
    asm = Asm()
    asm.nop(100)
    asm.mov("irq", 1)
    asm.end()
    script = Script()
    script.write(DBQITE, 0xFFF)
    script.write(V3D + 0x410, 0x10111E01)  # bit 0 of each field: QPUs 0, 3, 4, 5 and 7... are taken
    for _ in range(3):
        script.start()
    script.wait_done(3)
    script.read(DBQITC)
    script.write(DBQITC, 4)
    script.read(DBQITC)
    words, _, _ = script.run({CODE: asm.code()})
    fields = [0x10111E01 >> 4 * q & 1 for q in range(8)] + [0] * 4
    free = [q for q in range(12) if not fields[q]][:3]
    assert words == [sum(1 << q for q in free), sum(1 << q for q in free) & ~4]


def test_vpm_writes_beyond_the_reserved_rows_are_masked() -> None:
    asm = Asm()
    asm.load("wr_setup", vpm_setup(7))
    asm.mov("vpm", 0)
    asm.mov("vpm", 0)
    asm.load("wr_setup", store_setup(units=2, y=7))
    asm.load("wr_setup", 3 << 30)
    asm.load("st_addr", BUS + OUTPUT)
    asm.mov("-", "st_wait")
    asm.end()
    script = Script()
    script.write(V3D + 0x504, 2)  # 512 bytes: rows 0 to 7
    script.start()
    script.wait_done(1)
    _, _, sim = script.run({CODE: asm.code()})
    rows = np.frombuffer(sim.read_ram(0, OUTPUT, 128), np.uint32).reshape(2, 16)
    assert not rows[0].any()
    assert rows[1].all()


# ---- counters ----


def test_performance_counters_count_cycles_and_lookups_while_enabled() -> None:
    asm = Asm()
    asm.load("t0s", BUS + INPUT)
    asm.nop(sig="ldtmu0")
    asm.nop(95)
    asm.end()
    script = Script()
    for number, source in enumerate((16, 13, 24, 19)):
        script.write(V3D + 0x684 + 8 * number, source)
    script.start()
    script.wait_done(1)  # not counted
    script.write(V3D + 0x674, 0xF)
    script.start()
    script.wait_done(2)
    script.write(V3D + 0x674, 0)
    script.start()
    script.wait_done(3)
    for number in range(4):
        script.read(V3D + 0x680 + 8 * number)
    script.write(V3D + 0x670, 1)
    script.read(V3D + 0x680)
    words, _, sim = script.run({CODE: asm.code()})
    assert words[0] == 100 * 4
    assert 11 * 100 * 4 <= words[1] < 40 * 100 * 4
    assert words[2] == 4
    assert words[3] == 0
    assert words[4] == 0
    assert not findings(sim, "counter")
    assert sim.counters(0).qpu_instructions == 300


def test_performance_counter_of_a_source_that_is_not_modelled_is_a_finding() -> None:
    script = Script()
    script.write(V3D + 0x68C, 28)
    _, _, sim = script.run()
    assert findings(sim, "performance counter source 28 (register 0x20c0068c) is not modelled: it counts 0")


# ---- time ----


def test_program_takes_sixteen_nanoseconds_an_instruction() -> None:
    ran = launch([(spinner(10000), [])])
    assert ran.finished
    want_us = (5 * 10000 + 6) * 16 / 1000
    assert abs(ran.microseconds - want_us) <= 2


def test_polling_arm_that_sleeps_sees_the_same_at_the_same_time() -> None:
    results = []
    for sleep in (True, False):
        asm = Asm()
        asm.mov("r0", "unif")
        asm.load("r1", 3000)
        asm.label("loop")
        asm.add("sub", "r1", "r1", 1, sf=True)
        asm.branch("anynz", "loop")
        asm.nop(3)
        epilogue(asm, ["r0"])
        ran = launch([(asm.code(), [q]) for q in range(5)], allow_sleep=sleep, interrupts=0x15)
        counters = ran.sim.counters(0)
        results.append(
            (ran.status, ran.microseconds, ran.interrupts, ran.words(OUTPUT, 16).tolist(), counters.instructions)
        )
        assert (counters.sleeps > 1) == sleep
    assert results[0] == results[1]


def test_results_are_there_for_an_arm_that_only_watches_the_clock() -> None:
    asm = Asm()
    asm.load("r0", 77)
    epilogue(asm, ["r0"])
    script = Script()
    script.start()
    script.wait_us(20)
    script.read(OUTPUT)
    words, _, _ = script.run({CODE: asm.code()})
    assert words == [77]


def test_qpus_follow_the_boards_crystal() -> None:
    times = []
    for drift in (0.0, 50000.0):
        script = Script()
        script.read(0x20003004)
        script.start()
        script.wait_done(1)
        script.read(0x20003004)
        words, _, _ = script.run({CODE: spinner(20000)}, drift_ppm=drift)
        times.append(words[1] - words[0] & 0xFFFFFFFF)
    assert abs(times[0] - times[1]) <= 1  # by the board's own clock nothing changes


def test_reset_switches_the_block_off_and_frees_its_memory() -> None:
    script = Script()
    script.tag(0x3000C, [4096, 4096, 0xC])
    script.start()
    _, _, sim = script.run({CODE: spinner(1 << 24)})
    sim.reset(0)
    sim.run(sim.time_ns + BOOT_NS + 50 * MS)
    assert struct.unpack("<I", sim.read_ram(0, BUFFERS + 64 + 20, 4)) == (1,)  # the first handle once more
    assert sim.state(0) == "sleeping"


def test_two_runs_are_equal() -> None:
    def once() -> tuple[int, list[int]]:
        asm = Asm()
        asm.mov("r0", "ra3")  # what the registers hold at first follows the seed
        asm.mov("r1", "rb9")
        epilogue(asm, ["r0", "r1"])
        ran = launch([(asm.code(), [])])
        return ran.microseconds, ran.words(OUTPUT, 32).tolist()

    first = once()
    assert first == once()
    assert len(set(first[1])) == 32
