"""QPU programs: register latency, branches, uniforms, memory lookups, special functions, and several QPUs together."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from hil.sim import SimulationError
from tests.sim.programs import MS
from tests.sim.qpu_asm import READS, WRITES, Asm, rot, store_setup, vpm_setup
from tests.sim.qpu_bench import BUS, CODE, INPUT, OUTPUT, Lanes, Ran, compute, epilogue, launch

QPUS = 12
SIGN, INF, NAN = 0x80000000, 0x7F800000, 0x7FC00000


def run_one(asm: Asm, uniforms: list[int] | None = None, **options: object) -> Ran:
    return launch([(asm.code(), uniforms or [])], **options)  # type: ignore[arg-type]


def refusal(asm: Asm, uniforms: list[int] | None = None, **options: object) -> str:
    """What the run's end says about a program that must not get through."""
    asm.end()
    with pytest.raises(SimulationError) as caught:
        run_one(asm, uniforms, **options)
    return str(caught.value)


# ---- register files and accumulators ----


@pytest.mark.parametrize("file", ["ra", "rb"])
def test_register_shows_its_old_value_to_the_next_instruction_only(file: str) -> None:
    asm = Asm()
    asm.load(f"{file}7", 1)
    asm.nop()
    asm.load(f"{file}7", 2)
    asm.mov("r0", f"{file}7")
    asm.mov("r1", f"{file}7")
    epilogue(asm, ["r0", "r1"])
    ran = run_one(asm)
    assert set(ran.words(OUTPUT, 16)) == {1}
    assert set(ran.words(OUTPUT + 64, 16)) == {2}
    number = 7 if file == "ra" else 39
    at = BUS + CODE + 3 * 8
    text = f"QPU instruction at 0x{at:08x} reads register {number} (file B: 32 on) that the last one wrote: old value"
    assert text in ran.lint()[0]


def test_accumulators_show_the_new_value_at_once() -> None:
    def body(asm: Asm) -> None:
        asm.load("r0", 5)
        asm.add("add", "r1", "r0", "r0")
        asm.add("add", "r1", "r1", "r1")

    (found,) = compute(body, [], ["r1"])
    assert set(found) == {20}


def test_element_and_qpu_number_are_read_by_files_a_and_b() -> None:
    asm = Asm()
    asm.mov("r0", "elem_num")
    asm.mov("r1", "qpu_num")
    asm.mov("r2", "nothing@a")  # what has no data of its own gives the same
    asm.mov("r3", "nothing@b")
    epilogue(asm, ["r0", "r1", "r2", "r3"])
    rows = run_one(asm).words(OUTPUT, 64).reshape(4, 16)
    assert rows[0].tolist() == rows[2].tolist() == list(range(16))
    assert set(rows[1]) == set(rows[3]) == {0}


@pytest.mark.parametrize("gap", [0, 1])
def test_rotation_right_after_a_write_to_its_accumulator_is_a_finding(gap: int) -> None:
    asm = Asm()
    asm.mov("r1", 3)
    asm.nop(gap)
    asm.mul("v8min", "r2", "r1", "r1", rot(1))
    asm.end()
    at = BUS + CODE + 8 * (1 + gap)
    text = f"QPU instruction at 0x{at:08x} rotates r1, which the last one wrote: the guide forbids it"
    assert [text in line for line in run_one(asm).lint()] == [True] * (1 - gap)


# ---- branches ----


def counted_branch(cond: str, setter: Lanes) -> bool:
    """Whether a branch with this condition is taken after flags of these lanes."""

    def body(asm: Asm) -> None:
        asm.load("ra9", 1)
        asm.mov("-", "ra1", sf=True)
        asm.branch(cond, "over")
        asm.nop(3)
        asm.load("ra9", 0)
        asm.label("over")

    (found,) = compute(body, [setter], ["ra9"])
    return bool(found[0])


@pytest.mark.parametrize(
    ("flag", "none", "some", "every"),
    [("z", [1] * 16, [0] + [1] * 15, [0] * 16), ("n", [1] * 16, [SIGN] + [1] * 15, [SIGN] * 16)],
)
def test_branch_conditions_look_at_all_lanes(flag: str, none: list[int], some: list[int], every: list[int]) -> None:
    want = {"all{}": "001", "all{}n": "", "any{}": "011", "anyn{}": "110", "alln{}": "100"}
    for form, taken in want.items():
        if taken:
            cond = form.format(flag)
            found = "".join(str(int(counted_branch(cond, np.array(x, np.uint32)))) for x in (none, some, every))
            assert found == taken, cond


@pytest.mark.parametrize(("cond", "want"), [("allc", "001"), ("allnc", "100"), ("anyc", "011"), ("anync", "110")])
def test_branch_conditions_on_carry(cond: str, want: str) -> None:
    found = ""
    for lanes in ([0] * 16, [1] + [0] * 15, [1] * 16):

        def body(asm: Asm) -> None:
            asm.load("ra9", 1)
            asm.add("sub", "-", 0, "ra1", sf=True)  # a borrow where the lane is not 0
            asm.branch(cond, "over")
            asm.nop(3)
            asm.load("ra9", 0)
            asm.label("over")

        (ra9,) = compute(body, [lanes], ["ra9"])
        found += str(ra9[0])
    assert found == want


def test_three_delay_slots_run_whether_the_branch_is_taken_or_not() -> None:
    def body(asm: Asm) -> None:
        asm.mov("r1", 0)
        asm.mov("-", 1, sf=True)
        for cond in ("allz", "allnz"):
            asm.branch(cond, cond)
            for _ in range(3):
                asm.add("add", "r1", "r1", 1)
            asm.add("add", "r1", "r1", 8)
            asm.label(cond)

    (found,) = compute(body, [], ["r1"])
    assert set(found) == {3 + 8 + 3}


def test_loop_runs_as_often_as_it_counts() -> None:
    def body(asm: Asm) -> None:
        asm.load("r1", 1000)
        asm.mov("r2", 0)
        asm.label("loop")
        asm.add("add", "r2", "r2", 3)
        asm.add("sub", "r1", "r1", 1, sf=True)
        asm.branch("anynz", "loop")
        asm.nop(3)

    (found,) = compute(body, [], ["r2"])
    assert set(found) == {3000}


def test_branch_with_link_and_return_by_register() -> None:
    def body(asm: Asm) -> None:
        asm.mov("r1", 0)
        asm.branch("always", "routine", link="ra20")
        asm.nop(3)
        asm.add("add", "r1", "r1", 1)
        asm.branch("always", "end")
        asm.nop(3)
        asm.label("routine")
        asm.add("add", "r1", "r1", 4)
        asm.branch("always", 0, relative=False, register=20)
        asm.nop(3)
        asm.load("r1", 999)
        asm.label("end")

    (found,) = compute(body, [], ["r1"])
    assert set(found) == {5}


def test_absolute_branch_goes_to_its_immediate() -> None:
    asm = Asm()
    asm.load("r0", 1)
    asm.branch("always", BUS + CODE + 8 * 7, relative=False)
    asm.nop(3)
    asm.load("r0", 2)
    asm.nop()
    epilogue(asm, ["r0"])
    ran = run_one(asm)
    assert set(ran.words(OUTPUT, 16)) == {1}


# ---- uniforms ----


def test_uniforms_come_in_order_and_from_a_new_address() -> None:
    def body(asm: Asm) -> None:
        asm.mov("r0", "unif@a")
        asm.mov("r1", "unif@b")
        asm.add("add", "r2", "unif@a", "unif@b")  # both files: one uniform
        asm.load("unif_addr", BUS + INPUT + 64)
        asm.nop(2)
        asm.mov("ra9", "unif")

    rows = compute(body, [range(16), range(100, 116)], ["r0", "r1", "r2", "ra9"], uniforms=[7, 8, 9, 10])
    assert [set(row.tolist()) for row in rows] == [{7}, {8}, {18}, {100}]


@pytest.mark.parametrize(("length", "uniforms", "reads"), [(0, [1], 1), (2, [1, 2, 3], 3)])
def test_uniform_beyond_the_length_of_the_stream_is_refused(length: int, uniforms: list[int], reads: int) -> None:
    asm = Asm()
    for _ in range(reads):
        asm.mov("r0", "unif")
    assert "a uniform is read past the end of the stream" in refusal(asm, uniforms, length=length)


def test_uniforms_up_to_the_length_and_without_a_limit_are_given() -> None:
    for length, count in ((2, 2), (1024, 1500)):
        asm = Asm()
        for _ in range(count):
            asm.mov("r0", "unif")
        epilogue(asm, ["r0"])
        ran = launch([(asm.code(), list(range(count)))], length=length)
        assert set(ran.words(OUTPUT, 16)) == {count - 1}


# ---- memory lookups ----


def test_tmu_results_come_back_in_order_eight_deep_from_both_units() -> None:
    rows = [np.arange(16, dtype=np.uint32) + 100 * k for k in range(8)]

    def body(asm: Asm) -> None:
        asm.load("r0", BUS + INPUT)
        asm.add("shl", "r1", "elem_num", 2)
        asm.add("add", "r0", "r0", "r1")
        asm.load("r2", 64)
        for k in range(8):
            asm.mov("t0s", "r0")
            asm.mov("t1s", "r0")
            asm.add("add", "r0", "r0", "r2")
            if k == 3:
                asm.nop(sig="ldtmu1")
                asm.mov("rb30", "r4")
        for k in range(8):
            asm.nop(sig="ldtmu0")
            asm.mov(f"rb{k}", "r4")
        for k in range(1, 8):
            asm.nop(sig="ldtmu1")
            asm.mov(f"rb{10 + k}", "r4")

    found = compute(body, rows, [f"rb{k}" for k in range(8)] + ["rb30"] + [f"rb{10 + k}" for k in range(1, 8)])
    for got, want in zip(found, rows + rows, strict=True):
        assert np.array_equal(got, want)


def test_tmu_gathers_a_word_per_lane_by_every_alias_and_ignores_two_bits() -> None:
    words = np.arange(16, dtype=np.uint32) ^ 0x1234

    def body(asm: Asm) -> None:
        asm.mov("t0s", "ra2")
        asm.nop(sig="ldtmu0")
        asm.mov("r1", "r4")

    order = np.array([5, 3, 15, 0, 1, 2, 9, 9, 8, 7, 6, 4, 14, 13, 12, 11], np.uint32)
    alias = np.array([0, 0x40000000, 0x80000000, 0xC0000000] * 4, np.uint32)
    (found,) = compute(body, [words, alias + INPUT + order * 4 + order % 4], ["r1"])
    assert np.array_equal(found, words[order])


def test_r4_holds_the_value_from_the_instruction_after_the_signal_on() -> None:
    def body(asm: Asm) -> None:
        asm.load("r0", BUS + INPUT)
        asm.mov("t0s", "r0")
        asm.load("r1", BUS + INPUT + 4)
        asm.mov("t0s", "r1")
        asm.nop(sig="ldtmu0")
        asm.mov("r1", "r4", sig="ldtmu0")
        asm.mov("r2", "r4")

    r1, r2 = compute(body, [[3, 5] + [0] * 14], ["r1", "r2"])
    assert set(r1) == {3}
    assert set(r2) == {5}


def test_tmu_results_left_at_the_end_are_a_finding() -> None:
    asm = Asm()
    asm.load("t0s", BUS + INPUT)
    asm.end()
    ran = run_one(asm)
    assert ran.finished
    assert any("leaves 1 TMU results unread" in text for text in ran.lint())


# ---- special functions ----


def as_float(x: Lanes) -> np.ndarray:
    return x.view(np.float32)


@pytest.mark.parametrize(
    ("unit", "function"),
    [
        ("recip", lambda x: 1 / x),
        ("rsqrt", lambda x: 1 / np.sqrt(np.abs(x))),
        ("exp", np.exp2),
        ("log", lambda x: np.log2(np.abs(x))),
    ],
)
def test_special_functions_are_the_nearest_floats_in_the_third_instruction(unit: str, function: object) -> None:
    rng = np.random.default_rng(8)
    rows = [
        rng.uniform(-100, 100, 16).astype(np.float32),
        (2.0 ** rng.uniform(-100, 100, 16)).astype(np.float32) if unit != "exp" else rng.normal(0, 1, 16),
        np.array([1, 2, 4, 0.5, 3, -1, -2, 10, 7, 5, 1.5, 0.7071, 1.4142, 100, 1e-3, 126], np.float32),
    ]
    for row in rows:
        lanes = np.asarray(row, np.float32)

        def body(asm: Asm) -> None:
            asm.mov(unit, "ra1")
            asm.nop(2)
            asm.mov("r1", "r4")

        (found,) = compute(body, [lanes.view(np.uint32)], ["r1"])
        want = function(lanes.astype(np.float64)).astype(np.float32)  # type: ignore[operator]
        ulps = found.view(np.int32).astype(np.int64) - want.view(np.int32)
        assert np.abs(ulps).max() == 0, (lanes, as_float(found), want)


SFU_EDGES = {
    "recip": [INF, INF, INF, 0, 0, 0],
    "rsqrt": [INF, INF, INF, 0, 0, 0x1F800000],
    "exp": [0x3F800000] * 3 + [INF, 0, INF],
    "log": [SIGN | INF] * 3 + [INF, INF, 0x43000000],
}


@pytest.mark.parametrize("unit", SFU_EDGES)
def test_special_functions_at_zero_subnormal_infinity_and_large(unit: str) -> None:
    lanes = [0, SIGN, 1, INF, SIGN | INF, 0x7F7FFFFF] + [0x3F800000] * 10

    def body(asm: Asm) -> None:
        asm.mov(unit, "ra1")
        asm.nop(2)
        asm.mov("r1", "r4")

    (found,) = compute(body, [lanes], ["r1"])
    assert found[:6].tolist() == SFU_EDGES[unit]


# ---- several QPUs ----


def test_twelve_programs_run_on_twelve_qpus_in_order() -> None:
    asm = Asm()
    asm.nop(300)  # all twelve have begun before the first has ended
    asm.mov("r0", "unif")
    asm.mov("r1", "qpu_num")
    asm.load("r2", vpm_setup(0))
    asm.add("add", "wr_setup", "r2", "r1")
    asm.mov("vpm", "r0")
    asm.load("r2", 7)
    asm.add("shl", "r3", "r1", "r2")
    asm.load("r2", store_setup())
    asm.add("add", "wr_setup", "r2", "r3")
    asm.mov("st_addr", "unif")
    asm.mov("-", "st_wait")
    asm.nop(sig="end")
    asm.mov("irq", 1)
    asm.nop()
    programs = [(asm.code(), [1000 + q, BUS + OUTPUT + 64 * q]) for q in range(QPUS)]
    ran = launch(programs, interrupts=0x0FF0)
    assert ran.finished
    assert ran.interrupts == 0x0FF0
    assert ran.status == 12 << 16 | 12 << 8
    assert [set(row) for row in ran.words(OUTPUT, 16 * QPUS).reshape(QPUS, 16)] == [{1000 + q} for q in range(QPUS)]


def counter_program(rounds: int, guard: str) -> bytes:
    """Adds 1 to VPM row 0 `rounds` times, read and write far apart, under the mutex or a semaphore."""
    asm = Asm()
    asm.load("ra0", rounds)
    asm.nop()
    asm.label("loop")
    if guard == "mutex":
        asm.mov("-", "mutex")
    elif guard == "semaphore":
        asm.semaphore(3, down=True)
    asm.load("rd_setup", vpm_setup(0, count=1))
    asm.nop(3)
    asm.mov("r0", "vpm")
    asm.nop(5)
    asm.load("wr_setup", vpm_setup(0))
    asm.add("add", "vpm", "r0", 1)
    if guard == "mutex":
        asm.mov("mutex", 0)
    elif guard == "semaphore":
        asm.semaphore(3, down=False)
    asm.mov("r0", "ra0")
    asm.add("sub", "r0", "r0", 1, sf=True)
    asm.mov("ra0", "r0")
    asm.branch("anynz", "loop")
    asm.nop(3)
    asm.semaphore(5, down=False)
    asm.end()
    return asm.code()


def collector(workers: int, guard: str) -> bytes:
    """Clears row 0, lets the workers go, waits for them, stores the row."""
    asm = Asm()
    asm.load("wr_setup", vpm_setup(0))
    asm.mov("vpm", 0)
    asm.load("rd_setup", vpm_setup(0, count=1))
    asm.nop(3)
    asm.mov("-", "vpm")
    if guard == "semaphore":
        asm.semaphore(3, down=False)
    for _ in range(workers):
        asm.semaphore(5, down=True)
    asm.load("wr_setup", store_setup())
    asm.load("st_addr", BUS + OUTPUT)
    asm.mov("-", "st_wait")
    asm.end()
    return asm.code()


@pytest.mark.parametrize(("guard", "kept"), [("mutex", True), ("semaphore", True), ("none", False)])
def test_mutex_and_semaphore_guard_what_qpus_share(guard: str, kept: bool) -> None:
    """Without a guard counts are lost: the QPUs really run interleaved."""
    workers, rounds = 4, 25
    programs = [(collector(workers, guard), [])] + [(counter_program(rounds, guard), [])] * workers
    ran = launch(programs)
    assert ran.finished
    counts = set(ran.words(OUTPUT, 16).tolist())
    assert (counts == {workers * rounds}) == kept, counts


def test_semaphore_stops_at_fifteen_and_at_zero_until_another_qpu_moves_it() -> None:
    fill = Asm()
    for _ in range(17):
        fill.semaphore(0, down=False)
    fill.semaphore(1, down=False)
    fill.end()
    drain = Asm()
    drain.nop(200)
    for _ in range(17):
        drain.semaphore(0, down=True)
    drain.semaphore(1, down=True)
    drain.end()
    ran = launch([(fill.code(), []), (drain.code(), [])])
    assert ran.finished
    assert ran.lint() == []


@pytest.mark.parametrize("what", ["semaphore", "mutex"])
def test_programs_that_wait_for_ever_are_a_finding(what: str) -> None:
    asm = Asm()
    if what == "semaphore":
        asm.semaphore(2, down=True)
    else:
        asm.mov("-", "mutex")
        asm.mov("-", "mutex")
    asm.end()
    ran = run_one(asm)
    assert not ran.finished
    at = BUS + CODE + (8 if what == "mutex" else 0)
    assert any(f"QPU 0 waits at 0x{at:08x} as all others do" in text for text in ran.lint())


def test_host_interrupt_is_latched_only_where_enabled() -> None:
    asm = Asm()
    asm.mov("irq", 1)
    asm.end()
    assert launch([(asm.code(), [])], interrupts=1).interrupts == 1
    assert launch([(asm.code(), [])], interrupts=2).interrupts == 0


# ---- what is refused ----


def put(asm: Asm, what: str) -> None:
    """One thing that is not modelled, or against the guide's rules."""
    tests: dict[str, object] = {
        "breakpoint": lambda: asm.nop(sig="breakpoint"),
        "thrsw": lambda: asm.nop(sig="thrsw"),
        "lthrsw": lambda: asm.nop(sig="lthrsw"),
        "sbwait": lambda: asm.nop(sig="sbwait"),
        "sbdone": lambda: asm.nop(sig="sbdone"),
        "loadc": lambda: asm.nop(sig="loadc"),
        "loadcv": lambda: asm.nop(sig="loadcv"),
        "loadam": lambda: asm.nop(sig="loadam"),
        "ldcend": lambda: asm.nop(sig="ldcend"),
        "vary": lambda: asm.mov("r0", "vary"),
        "x_coord": lambda: asm.mov("r0", "x_coord"),
        "tlb_z": lambda: asm.mov("tlb_z", 0),
        "texture": lambda: asm.mov("t0t", 0),
        "add opcode": lambda: asm.add("r9", "r0", "r1", "r2"),
        "branch condition": lambda: asm.branch("r12", 0),
        "load type": lambda: asm.load("r0", 0, kind=5),
        "mul pack": lambda: asm.mul("fmul", "r0", "r1", "r2", pack="16a", pm=True),
        "byte pack": lambda: asm.mul("fmul", "vpm", "r1", "r2", pack="8a", pm=True),
        "saturated shift": lambda: asm.add("shl", "ra0", "r1", "r2", pack="32s"),
        "rotation of r5": lambda: asm.mul("v8min", "r0", "r5", "r5", rot(3)),
        "both write": lambda: asm.add("or", "vpm", "r1", "r1", mul=("v8min", "vpm", "r1", "r1")),
        "two units": lambda: asm.add("or", "recip", "r1", "r1", mul=("v8min", "t0s", "r2", "r2")),
        "unpack of I/O": lambda: asm.mov("r0", "unif@a", unpack="16a"),
        "ldtmu of nothing": lambda: asm.nop(sig="ldtmu0"),
        "vpm beyond": lambda: asm.mov("r0", "vpm"),
        "mutex of nobody": lambda: asm.mov("mutex", 0),
        "load without setup": lambda: (asm.load("rd_setup", 0), asm.load("ld_addr", BUS)),
    }
    tests[what]()  # type: ignore[operator]


REFUSALS = {
    "breakpoint": "the software breakpoint is not modelled",
    "thrsw": "a thread switch is not modelled: user programs have one thread",
    "lthrsw": "a thread switch is not modelled: user programs have one thread",
    "sbwait": "the scoreboard is not modelled: it serves fragment shaders",
    "sbdone": "the scoreboard is not modelled: it serves fragment shaders",
    "loadc": "the tile buffer is not modelled (color load)",
    "loadcv": "the tile buffer is not modelled (coverage load)",
    "loadam": "the tile buffer is not modelled (alpha-mask load)",
    "ldcend": "the tile buffer is not modelled (color load and program end)",
    "vary": "varyings are not modelled: they serve fragment shaders",
    "x_coord": "pixel coordinates and flags are not modelled: they serve fragment shaders",
    "tlb_z": "the tile buffer is not modelled",
    "texture": "texture lookups (TMU t, r, b) are not modelled: only direct memory lookups are",
    "add opcode": "a reserved opcode of the add pipe",
    "branch condition": "a reserved branch condition",
    "load type": "a load immediate of reserved type",
    "mul pack": "a reserved pack mode of the mul pipe",
    "byte pack": "a byte pack of the mul pipe into an I/O register",
    "saturated shift": "saturation of mul24 or shl is not modelled",
    "rotation of r5": "a rotation of anything but r0 to r3, or but r4 and file A, is not modelled",
    "both write": "both pipes write one accumulator or I/O register, which the guide calls undefined",
    "two units": "two of TMU, SFU, mutex and semaphore in one instruction, which the guide forbids",
    "unpack of I/O": "an unpack of anything but a register of file A or r4",
    "ldtmu of nothing": "a load from a TMU that has no request: the QPU would wait for ever",
    "vpm beyond": "a VPM read beyond the vectors that its setup asked for",
    "mutex of nobody": "a release of the mutex by a QPU that does not hold it",
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_not_modelled_ends_the_run_by_name_and_place(what: str) -> None:
    asm = Asm()
    asm.nop(2)
    put(asm, what)
    word = struct.unpack_from("<Q", asm.code(), 16)[0]
    text = refusal(asm, [1])
    at = BUS + CODE + 16
    assert text.startswith(f"board 0: QPU 0, instruction 0x{word:016x} at 0x{at:08x}: {REFUSALS[what]}"), text


RULES = {
    "rotate r5": (
        lambda asm: (asm.load("r5@b", 3), asm.mul("v8min", "r2", "r1", "r1", rot("r5"))),
        "a rotation by r5 right after a write to r5",
    ),
    "sfu": (lambda asm: (asm.mov("recip", 1.0), asm.nop(), asm.mov("r0", "r4")), "r4 is touched within two"),
    "uniforms": (
        lambda asm: (asm.load("unif_addr", BUS + INPUT), asm.nop(), asm.mov("r0", "unif")),
        "a uniform is read within two instructions of a new uniforms address",
    ),
    "branch in slot": (lambda asm: (asm.branch("always", 0), asm.branch("always", 0)), "a branch in the delay slots"),
    "end in slot": (lambda asm: (asm.branch("always", 0), asm.nop(sig="end")), "a program end in the delay slots"),
    "end writes": (lambda asm: asm.mov("ra0", 1, sig="end"), None),
    "uniform at end": (lambda asm: (asm.nop(sig="end"), asm.mov("r0", "unif")), "a uniform read among the last three"),
    "vpm at end": (
        lambda asm: (asm.nop(sig="end"), asm.nop(), asm.load("vpm", 1)),
        "a VPM or DMA access among the last three",
    ),
    "r14 at end": (lambda asm: (asm.nop(sig="end"), asm.mov("r0", "ra14")), "register 14 of a file among the last"),
    "branch at end": (lambda asm: (asm.nop(sig="end"), asm.branch("always", 0)), "a branch among the last three"),
    "ninth": (
        lambda asm: [asm.load("t0s", BUS + INPUT) for _ in range(9)],
        "a ninth request to a TMU whose results are not taken: its queue holds eight",
    ),
    "no ram": (lambda asm: asm.load("t0s", 0x7E200000), "a TMU lookup where there is no RAM"),
    "condition": (
        lambda asm: (asm.mov("-", "elem_num", sf=True), asm.mov("vpm", 1, cond="zs")),
        "an I/O write whose condition does not hold in all lanes is not modelled",
    ),
    "overflow": (
        lambda asm: (asm.load("r1", 0x7FFFFFFF), asm.add("add", "ra0", "r1", "r1", pack="16a")),
        "a pack of a sum that leaves 32 bits is not modelled",
    ),
    "color": (
        lambda asm: (asm.load("r1", NAN), asm.mul("v8min", "r0", "r1", "r1", pack="8a", pm=True)),
        "the 8-bit color of a NaN is not modelled",
    ),
    "sfu nan": (lambda asm: asm.load("recip", NAN), "a special function of a NaN is not modelled"),
    "both write": (
        lambda asm: (asm.load("r1", 1), asm.add("or", "r0", "r1", "r1", mul=("v8min", "r0", "elem_num", "elem_num"))),
        "both pipes write one accumulator, with different values, which the guide calls undefined",
    ),
    "setup": (lambda asm: asm.load("wr_setup", 1 << 30), "a VPM setup of reserved type"),
    "size": (lambda asm: asm.load("wr_setup", vpm_setup(0, size=3)), "a VPM setup of reserved size"),
    "runs away": (lambda asm: (asm.branch("always", 0x7E000000, relative=False), asm.nop(3)), "no RAM there to fetch"),
    "odd": (
        lambda asm: (asm.branch("always", BUS + CODE + 4, relative=False), asm.nop(3)),
        "the program counter is not a multiple of 8",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_broken_rule_ends_the_run_by_name(rule: str) -> None:
    asm = Asm()
    build, text = RULES[rule]
    if text is None:
        asm.word((0x3 << 28 | 1 << 17 | 0 << 6 | 39) << 32 | 21 << 24 | 39 << 18 | 39 << 12)  # or ra0, r0, r0; end
        text = "a program end that writes a register file"
    else:
        build(asm)
    assert text in refusal(asm, [1, 2, 3])


def test_refused_board_halts_and_the_others_go_on() -> None:
    asm = Asm()
    asm.nop(sig="breakpoint")
    ran = launch([(asm.code(), [])], limit_ns=0)
    with pytest.raises(SimulationError, match="breakpoint"):
        ran.sim.run(ran.sim.time_ns + 10 * MS)
    assert ran.sim.state(0) == "halted"
    assert any("it does what is not modelled" in text for text in ran.sim.lint(0))
    ran.sim.run(ran.sim.time_ns + 10 * MS)


def word_of(*, sig: int = 1, add: int = 0, to: int = 39, read_a: int = 39, read_b: int = 39, unpack: int = 0) -> int:
    """One instruction by its numbers; the add pipe works on r0."""
    high = sig << 28 | unpack << 25 | (1 << 17 if add else 0) | to << 6 | 39
    return high << 32 | add << 24 | read_a << 18 | read_b << 12


def is_refused(word: int) -> bool:
    """Whether a program of this instruction, which must not do anything at its own cost, is refused."""
    asm = Asm()
    asm.word(word)
    asm.end()
    ran = launch([(asm.code(), [0])], limit_ns=0)
    try:
        ran.sim.run(ran.sim.time_ns + 2 * MS)
    except SimulationError:
        return True
    finally:
        ran.sim.close()
    return False


def test_table_of_docs_counts_what_is_refused() -> None:
    """docs/videocore.md, What is modelled: opcodes, signals, register addresses."""
    assert [op for op in range(32) if is_refused(word_of(add=op))] == [9, 10, 11, 25, 26, 27, 28, 29]
    assert [s for s in range(14) if s not in (10, 11) and is_refused(word_of(sig=s))] == [0, 2, 4, 5, 6, 7, 8, 9, 12]
    refused_reads = [at for at in range(32, 64) if at not in (48, 49, 50) and is_refused(word_of(read_a=at))]
    assert refused_reads == [33, 34, 35, 36, 37, 40, 41, 42, 43, 44, 45, 46, 47, *range(52, 64)]
    refused_writes = [at for at in range(32, 64) if at not in (50, 51) and is_refused(word_of(add=22, to=at))]
    assert refused_writes == [*range(41, 48), 57, 58, 59, 61, 62, 63]


def test_assembler_knows_every_register_of_the_guide_that_programs_use() -> None:
    assert len(WRITES) >= 27
    assert {address for address, _ in READS.values()} == {32, 35, 38, 39, 41, 48, 49, 50, 51}
