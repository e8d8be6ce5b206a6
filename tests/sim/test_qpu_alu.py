"""The two pipes of a QPU, opcode by opcode, against exact arithmetic written anew here, edge values included."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from tests.sim.qpu_asm import ADD, MUL, Asm, rot
from tests.sim.qpu_bench import Lanes, compute

NAN, INF, MAX, TINY = 0x7FC00001, 0x7F800000, 0x7F7FFFFF, 0x00800000
SIGN = 0x80000000
EDGES = [
    0,
    SIGN,
    1,
    0x007FFFFF,
    SIGN | 5,
    TINY,
    SIGN | TINY,
    0x3F800000,
    0xBF800000,
    0x3F800001,
    0x4B800001,
    0x7EFFFFFF,
]
EDGES += [MAX, SIGN | MAX, INF, SIGN | INF, NAN, SIGN | NAN, 0x4F000000, 0xCF000000, 0x34000000, 0x33800000, 0x7FFFFFFF]
EDGES += [0xFFFFFFFF, 0x4EFFFFFF, 0xBF000000, 31, 32, 33, 0x00FFFFFF, 0x01000000, 0x80808080, 0x7F7F7F7F, 0x00FF80FE]


def pairs(seed: int) -> tuple[Lanes, Lanes]:
    """Every edge with every edge, then random words and floats of near and far exponents: (n, 16) each."""
    rng = np.random.default_rng(seed)
    a, b = (g.ravel() for g in np.meshgrid(np.array(EDGES, np.uint32), np.array(EDGES, np.uint32)))
    words = rng.integers(0, 1 << 32, (2, 512), dtype=np.uint32)
    near = rng.normal(0, 1, (2, 512)).astype(np.float32).view(np.uint32)
    a, b = np.concatenate([a, words[0], near[0]]), np.concatenate([b, words[1], near[1]])
    room = -len(a) % 16
    return np.pad(a, (0, room)).reshape(-1, 16), np.pad(b, (0, room)).reshape(-1, 16)


# ---- exact arithmetic ----


def value(bits: int) -> Fraction:
    """A finite float's value, subnormals as 0."""
    exponent = bits >> 23 & 255
    if exponent == 0:
        return Fraction(0)
    magnitude = Fraction((bits & 0x7FFFFF) | 0x800000) * Fraction(2) ** (exponent - 150)
    return -magnitude if bits & SIGN else magnitude


def rounded(x: Fraction, *, nearest: bool) -> int:
    """The float of a number: to nearest even, or toward zero; subnormals and zeros are +0."""
    if x == 0:
        return 0
    sign, x = (SIGN, -x) if x < 0 else (0, x)
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > x
    exponent = max(exponent, -126)
    scaled = x / Fraction(2) ** (exponent - 23)
    mantissa = round(scaled) if nearest else scaled.numerator // scaled.denominator
    if mantissa == 1 << 24:
        exponent, mantissa = exponent + 1, 1 << 23
    if mantissa < 1 << 23:
        return 0
    if exponent > 127:
        return sign | (INF if nearest else MAX)
    return sign | (exponent + 127) << 23 | (mantissa & 0x7FFFFF)


def special(bits: int) -> bool:
    """Exponent 255."""
    return bits & INF == INF


def fadd(a: int, b: int) -> int:
    for x in (b, a):
        if special(x):
            return (x & SIGN) | INF
    return rounded(value(a) + value(b), nearest=False)


def fmul(a: int, b: int) -> int:
    if not a & INF or not b & INF:
        return 0
    if special(a) or special(b):
        return ((a ^ b) & SIGN) | INF
    return rounded(value(a) * value(b), nearest=True)


def greater(a: int, b: int) -> bool:
    """-NaN < -inf < ... < NaN; tiny ones by magnitude."""
    if not a & INF and not b & INF:
        return a & ~SIGN > b & ~SIGN

    def rank(x: int) -> int:
        return -(x & ~SIGN) - 1 if x & SIGN else x

    return rank(a) > rank(b)


def ftoi(a: int, _: int) -> int:
    if a & ~SIGN in (0x4F000000, MAX):
        return SIGN
    if special(a) or abs(value(a)) >= 1 << 31:
        return 0
    return int(value(a)) & 0xFFFFFFFF


def signed(x: int) -> int:
    return x - (1 << 32) if x & SIGN else x


def by_bytes(f: Callable[[int, int], int]) -> Callable[[int, int], int]:
    return lambda a, b: sum(f(a >> s & 255, b >> s & 255) << s for s in (0, 8, 16, 24))


ADD_OPS: dict[str, Callable[[int, int], int]] = {
    "fadd": fadd,
    "fsub": lambda a, b: fadd(a, b ^ SIGN),
    "fmin": lambda a, b: b if greater(a, b) else a,
    "fmax": lambda a, b: a if greater(a, b) else b,
    "fminabs": lambda a, b: min(a & ~SIGN, b & ~SIGN),
    "fmaxabs": lambda a, b: max(a & ~SIGN, b & ~SIGN),
    "ftoi": ftoi,
    "itof": lambda a, _: rounded(Fraction(signed(a)), nearest=False),
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "shr": lambda a, b: a >> (b & 31),
    "asr": lambda a, b: signed(a) >> (b & 31),
    "ror": lambda a, b: a >> (b & 31) | a << (-b & 31),
    "shl": lambda a, b: a << (b & 31),
    "min": lambda a, b: min(signed(a), signed(b)),
    "max": lambda a, b: max(signed(a), signed(b)),
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "not": lambda a, _: ~a,
    "clz": lambda a, _: 32 - a.bit_length(),
    "v8adds": by_bytes(lambda x, y: min(x + y, 255)),
    "v8subs": by_bytes(lambda x, y: max(x - y, 0)),
}
MUL_OPS: dict[str, Callable[[int, int], int]] = {
    "fmul": fmul,
    "mul24": lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF),
    "v8muld": by_bytes(lambda x, y: (x * y + 127) // 255),
    "v8min": by_bytes(min),
    "v8max": by_bytes(max),
    "v8adds": ADD_OPS["v8adds"],
    "v8subs": ADD_OPS["v8subs"],
}
CARRIES: dict[str, Callable[[int, int], bool]] = {
    **{name: lambda a, b, f=ADD_OPS[name]: 0 < f(a, b) < SIGN for name in ("fadd", "fsub", "itof")},
    **dict.fromkeys(("fmin", "fmax"), greater),
    **dict.fromkeys(("fminabs", "fmaxabs"), lambda a, b: a & ~SIGN > b & ~SIGN),
    **dict.fromkeys(("min", "max"), lambda a, b: signed(a) > signed(b)),
    "add": lambda a, b: a + b > 0xFFFFFFFF,
    "sub": lambda a, b: a < b,
    **dict.fromkeys(("shr", "asr"), lambda a, b: b & 31 != 0 and bool(a >> ((b & 31) - 1) & 1)),
    "shl": lambda a, b: bool(a << (b & 31) >> 32 & 1),
    "mul24": lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF) > 0xFFFFFFFF,
}


def expected(f: Callable[[int, int], int], a: Lanes, b: Lanes) -> Lanes:
    return np.array([f(int(x), int(y)) & 0xFFFFFFFF for x, y in zip(a.ravel(), b.ravel(), strict=True)], np.uint32)


def run_op(op: str, *, mul: bool, a: Lanes, b: Lanes) -> tuple[Lanes, Lanes, Lanes, Lanes]:
    """Result, Z, N, C of an operation on (n, 16) vectors, in as many programs as it takes."""
    found: list[list[Lanes]] = [[], [], [], []]
    for first in range(0, len(a), 7):
        x, y = a[first : first + 7], b[first : first + 7]
        outputs: list[str] = []

        def body(asm: Asm, count: int = len(x), names: list[str] = outputs) -> None:
            for k in range(count):
                asm.mov("r1", f"ra{1 + count + k}")
                operands = (f"ra{1 + k}", "r1")
                if mul:
                    asm.mul(op, f"rb{4 * k}", *operands, sf=True)
                else:
                    asm.add(op, f"rb{4 * k}", *operands, sf=True)
                for number, condition in enumerate(("zs", "ns", "cs"), 1):
                    asm.mov("r0", 0)
                    asm.mov("r0", 1, cond=condition)
                    asm.mov(f"rb{4 * k + number}", "r0")
                names += [f"rb{4 * k + i}" for i in range(4)]

        rows = compute(body, [*x, *y], outputs)
        for number, row in enumerate(rows):
            found[number % 4].append(row)
    result, zero, negative, carry = (np.concatenate(part) for part in found)
    return result, zero, negative, carry


def check(op: str, *, mul: bool) -> None:
    a, b = pairs(ADD[op] if not mul else 100 + MUL[op])
    f = (MUL_OPS if mul else ADD_OPS)[op]
    result, zero, negative, carry = run_op(op, mul=mul, a=a, b=b)
    want = expected(f, a, b)
    wrong = np.flatnonzero(result != want)
    assert not len(wrong), [
        (hex(a.ravel()[i]), hex(b.ravel()[i]), hex(result[i]), hex(want[i])) for i in wrong[:5].tolist()
    ]
    assert np.array_equal(zero, want == 0)
    assert np.array_equal(negative, want >> 31)
    carries = CARRIES.get(op, lambda _a, _b: False)
    want_carry = [carries(int(x), int(y)) for x, y in zip(a.ravel(), b.ravel(), strict=True)]
    assert np.array_equal(carry.astype(bool), want_carry)


@pytest.mark.parametrize("op", ADD_OPS)
def test_add_pipe_operation_equals_exact_arithmetic_and_sets_flags(op: str) -> None:
    check(op, mul=False)


@pytest.mark.parametrize("op", MUL_OPS)
def test_mul_pipe_operation_equals_exact_arithmetic_and_sets_flags(op: str) -> None:
    check(op, mul=True)


def test_every_opcode_of_the_guide_has_a_test() -> None:
    assert set(ADD_OPS) == {name for name in ADD if (name != "nop" and not name.startswith("r")) or name == "ror"}
    assert set(MUL_OPS) == set(MUL) - {"nop"}


def test_the_reference_itself_is_no_copy_of_float32() -> None:
    """Truncation and rounding differ where they must: the negative twin of the comparisons above."""
    one, half_ulp = 0x3F800000, 0x33C00000  # 1.5 * 2**-24
    assert fadd(one, half_ulp) == one
    assert rounded(value(one) + value(half_ulp), nearest=True) == one + 1


def floats(*values: float) -> Lanes:
    return np.resize(np.array(values, np.float32).view(np.uint32), 16)


# ---- both pipes at once, conditions, immediates ----


def test_both_pipes_work_in_one_instruction_and_may_swap_their_files() -> None:
    a, b = np.arange(16, dtype=np.uint32), np.arange(16, dtype=np.uint32) + 7

    def body(asm: Asm) -> None:
        asm.mov("r1", "ra2")
        asm.add("add", "ra5", "ra1", "r1", mul=("mul24", "rb5", "ra1", "r1"))
        asm.add("sub", "rb6", "ra1", "r1", mul=("mul24", "ra6", "r1", "r1"))
        asm.add("add", "r2", "ra1", "r1", mul=("mul24", "r3", "ra1", "ra1"))

    ra5, rb5, ra6, rb6, r2, r3 = compute(body, [a, b], ["ra5", "rb5", "ra6", "rb6", "r2", "r3"])
    assert np.array_equal(ra5, a + b)
    assert np.array_equal(rb5, a * b)
    assert np.array_equal(rb6, a - b)
    assert np.array_equal(ra6, b * b)
    assert np.array_equal(r2, a + b)
    assert np.array_equal(r3, a * a)


CONDITIONS = {
    "zs": lambda x: x == 0,
    "zc": lambda x: x != 0,
    "ns": lambda x: x < 0,
    "nc": lambda x: x >= 0,
    "never": lambda x: x != x,
    "always": lambda x: x == x,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_condition_writes_only_its_lanes_in_either_pipe(condition: str) -> None:
    lanes = np.arange(16) - 8

    def body(asm: Asm) -> None:
        asm.mov("r1", 0)
        asm.mov("r2", 0)
        asm.mov("-", "ra1", sf=True)
        asm.mov("r1", 1, cond=condition)
        asm.mul("v8min", "r2", 1, 1, mul_cond=condition)

    added, multiplied = compute(body, [lanes.astype(np.int32).view(np.uint32)], ["r1", "r2"])
    want = CONDITIONS[condition](lanes)
    assert np.array_equal(added.astype(bool), want)
    assert np.array_equal(multiplied.astype(bool), want)


@pytest.mark.parametrize(("condition", "want"), [("cs", 1), ("cc", 0)])
def test_condition_on_carry_follows_the_last_setter(condition: str, want: int) -> None:
    def body(asm: Asm) -> None:
        asm.add("sub", "-", 0, "ra1", sf=True)
        asm.mov("r1", 1 - want)
        asm.mov("r1", want, cond=condition)

    (found,) = compute(body, [np.ones(16, np.uint32)], ["r1"])
    assert set(found) == {1}  # there was a borrow


def test_flags_come_from_mul_when_add_does_nothing_or_never() -> None:
    def body(asm: Asm) -> None:
        for number, cond in enumerate(("always", "never")):
            op = "nop" if number == 0 else "add"
            asm.add(op, "-", *(("ra1", "ra1") if op == "add" else ()), cond=cond, sf=True, mul=("v8min", "-", 0, 0))
            asm.mov(f"r{number}", 0)
            asm.mov(f"r{number}", 1, cond="zs")

    for found in compute(body, [np.ones(16, np.uint32)], ["r0", "r1"]):
        assert set(found) == {1}


def test_conditional_setter_leaves_the_flags_of_other_lanes() -> None:
    def body(asm: Asm) -> None:
        asm.mov("-", "ra1", sf=True)
        asm.mov("-", 1, cond="zs", sf=True)
        asm.mov("r1", 0)
        asm.mov("r1", 1, cond="zs")

    (found,) = compute(body, [np.arange(16) % 2], ["r1"])
    assert not found.any()


@pytest.mark.parametrize("group", [range(-16, 0), range(16), [2.0**e for e in range(-8, 8)]])
def test_small_immediates_are_integers_and_powers_of_two(group: list[float]) -> None:
    for number in group:

        def body(asm: Asm, number: float = number) -> None:
            asm.mov("r1", number)

        (found,) = compute(body, [], ["r1"])
        bits = struct.unpack(
            "<I", struct.pack("<f", number) if isinstance(number, float) else struct.pack("<i", number)
        )
        assert set(found) == set(bits)


@pytest.mark.parametrize("by", [*range(1, 16), "r5"])
def test_rotation_moves_the_mul_result_upward(by: int | str) -> None:
    lanes = np.arange(16, dtype=np.uint32) * 3 + 1

    def body(asm: Asm) -> None:
        asm.mov("r1", "ra1")
        asm.load("r5@b", 0xFFFFFFF5)  # the low four bits count: 5
        asm.nop()
        asm.mul("v8min", "r2", "r1", "r1", rot(by))

    (found,) = compute(body, [lanes], ["r2"])
    assert np.array_equal(found, np.roll(lanes, 5 if by == "r5" else int(by)))


@pytest.mark.parametrize("by", [1, 2, 3, 4, 7, 15, "r5"])
def test_rotation_of_r4_or_file_a_stays_within_quads(by: int | str) -> None:
    lanes = np.arange(16, dtype=np.uint32) * 3 + 1

    def body(asm: Asm) -> None:
        asm.load("r5@b", 6)
        asm.add("shl", "r1", "elem_num", 2)
        asm.load("r0", 0x40300000)
        asm.add("add", "t0s", "r0", "r1")
        asm.nop(sig="ldtmu0")
        asm.mul("v8min", "r2", "ra1", "ra1", rot(by))
        asm.mul("v8min", "r3", "r4", "r4", rot(by))

    steps = 6 if by == "r5" else int(by)
    for found in compute(body, [lanes], ["r2", "r3"]):
        assert np.array_equal(found, np.roll(lanes.reshape(4, 4), steps % 4, axis=1).ravel())


def test_rotation_reads_as_a_small_immediate_too() -> None:
    lanes = np.arange(16, dtype=np.uint32) + 9

    def body(asm: Asm) -> None:
        asm.mov("r1", "ra1")
        asm.nop()
        asm.add("or", "r2", rot(5), rot(5), mul=("v8min", "r3", "r1", "r1", rot(5)))

    value, rotated = compute(body, [lanes], ["r2", "r3"])
    assert set(value.view(np.int32)) == {5 - 16}
    assert np.array_equal(rotated, np.roll(lanes, 5))


def test_both_pipes_may_give_one_accumulator_the_same_value_or_write_it_in_different_lanes() -> None:
    def body(asm: Asm) -> None:
        asm.mov("r1", "ra1")
        asm.add("or", "r2", "r1", "r1", mul=("v8min", "r2", "r1", "r1"))
        asm.add("and", "-", "r1", 1, sf=True)
        asm.add("or", "r3", 3, 3, cond="zs", mul=("v8min", "r3", "r1", "r1"), mul_cond="zc")

    lanes = np.arange(16, dtype=np.uint32)
    same, mixed = compute(body, [lanes], ["r2", "r3"])
    assert np.array_equal(same, lanes)
    assert np.array_equal(mixed, np.where(lanes % 2, lanes, 3))


def test_r5_replicates_a_quads_first_lane_by_file_a_and_lane_0_by_file_b() -> None:
    lanes = np.arange(16, dtype=np.uint32) + 40

    def body(asm: Asm) -> None:
        asm.mov("r5@a", "ra1")
        asm.mov("r1", "r5")
        asm.mov("r5@b", "ra1")
        asm.mov("r2", "r5")

    by_a, by_b = compute(body, [lanes], ["r1", "r2"])
    assert np.array_equal(by_a, np.repeat(lanes[::4], 4))
    assert set(by_b) == {40}


# ---- load immediate ----


def test_load_immediate_fills_every_lane_of_two_targets() -> None:
    def body(asm: Asm) -> None:
        asm.load("ra9", 0xDEADBEEF, mul_to="rb9")
        asm.load("r1", 1.5)

    ra9, rb9, r1 = compute(body, [], ["ra9", "rb9", "r1"])
    assert set(ra9) == set(rb9) == {0xDEADBEEF}
    assert set(r1) == {0x3FC00000}


@pytest.mark.parametrize(("kind", "low"), [(1, -2), (3, 0)])
def test_load_immediate_per_lane_is_signed_or_unsigned(kind: int, low: int) -> None:
    lanes = [low + (7 * k) % 4 for k in range(16)]

    def body(asm: Asm) -> None:
        asm.load("r1", lanes, kind=kind)

    (found,) = compute(body, [], ["r1"])
    assert found.view(np.int32).tolist() == lanes


def test_load_immediate_obeys_conditions_and_sets_flags() -> None:
    def body(asm: Asm) -> None:
        asm.load("r1", [0, 1] * 8, kind=3, sf=True)
        asm.load("r2", 5)
        asm.load("r2", 9, cond="zs")

    _, r2 = compute(body, [], ["r1", "r2"])
    assert r2.tolist() == [9, 5] * 8


# ---- pack and unpack ----


def half_floats(rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    return np.concatenate(
        [
            np.array([0, 0x8000, 0x3C00, 0x7C00, 0xFC00, 0x0001, 0x83FF, 0x7BFF], np.uint16),
            rng.integers(0, 1 << 16, 24, dtype=np.uint16),
        ]
    )


def half_value(half: int) -> int:
    """A half's float; a subnormal keeps its mantissa bits without a new exponent, as silicon does."""
    if half & 0x7C00 == 0:
        return (half & 0x8000) << 16 | (half & 0x3FF) << 13
    return int(np.uint16(half).view(np.float16).astype(np.float32).view(np.uint32)) | (half & 0x3FF) << 13


def test_unpack_of_halves_gives_floats_to_float_operations_and_signed_integers_to_others() -> None:
    halves = half_floats(np.random.default_rng(5))
    low, high = halves[:16].astype(np.uint32), halves[16:].astype(np.uint32)

    def body(asm: Asm) -> None:
        asm.add("fmin", "r1", "ra1", "ra1", unpack="16a")
        asm.add("fmin", "r2", "ra1", "ra1", unpack="16b")
        asm.mov("r3", "ra1", unpack="16b")
        asm.add("or", "rb1", "ra1", "ra1", unpack="16a")

    words = low | high << 16
    r1, r2, r3, rb1 = compute(body, [words], ["r1", "r2", "r3", "rb1"])
    assert r1.tolist() == [half_value(int(h)) for h in low]
    assert r2.tolist() == [half_value(int(h)) for h in high]
    assert np.array_equal(r3.view(np.int32), high.astype(np.uint16).view(np.int16))
    assert np.array_equal(rb1.view(np.int32), low.astype(np.uint16).view(np.int16))


def color(c: int) -> int:
    return rounded(Fraction(c, 255), nearest=False)


@pytest.mark.parametrize("part", range(4))
def test_unpack_of_bytes_gives_colors_or_unsigned_integers(part: int) -> None:
    words = np.random.default_rng(part).integers(0, 1 << 32, 16, dtype=np.uint32)
    words[:2] = 0, 0xFFFFFFFF
    mode = "8" + "abcd"[part]

    def body(asm: Asm) -> None:
        asm.add("fmin", "r1", "ra1", "ra1", unpack=mode)
        asm.mov("r2", "ra1", unpack=mode)
        asm.add("or", "r3", "ra1", "ra1", mul=("fmul", "rb1", "ra1", 1.0), unpack=mode)
        asm.mov("rb2", "ra1", unpack="8dr")

    colors, bytes_, shared, replicated = compute(body, [words], ["r1", "r2", "r3", "rb2"])
    parts = words >> (8 * part) & 255
    want = [color(int(c)) for c in parts]
    assert colors.tolist() == want
    assert np.array_equal(bytes_, parts)
    assert shared.tolist() == want  # a float operation takes part, so both get floats
    assert np.array_equal(replicated, (words >> 24) * 0x01010101)


@pytest.mark.parametrize("mode", ["16a", "16b", "8dr", "8a", "8b", "8c", "8d"])
def test_unpack_of_r4_is_always_a_float(mode: str) -> None:
    words = np.random.default_rng(9).integers(0, 1 << 32, 16, dtype=np.uint32)

    def body(asm: Asm) -> None:
        asm.load("r0", 0x40300000)
        asm.add("shl", "r1", "elem_num", 2)
        asm.add("add", "t0s", "r0", "r1")
        asm.nop(sig="ldtmu0")
        asm.mov("r1", "r4", unpack=mode, pm=True)

    (found,) = compute(body, [words], ["r1"])
    if mode == "8dr":
        want = [int(w >> 24) * 0x01010101 for w in words]
    elif mode.startswith("16"):
        want = [half_value(int(w >> (16 if mode == "16b" else 0) & 0xFFFF)) for w in words]
    else:
        want = [color(int(w >> (8 * "abcd".index(mode[1])) & 255)) for w in words]
    assert found.tolist() == want


def half_of(bits: int) -> int:
    """Away from zero; subnormal halves are 0; NaN is infinite."""
    sign = bits >> 16 & 0x8000
    if special(bits):
        return sign | 0x7C00
    magnitude = abs(value(bits))
    if magnitude == 0:
        return 0
    exponent = -14
    while Fraction(2) ** (exponent + 1) <= magnitude:
        exponent += 1
    if magnitude < Fraction(2) ** -14:
        exponent = -15
        while Fraction(2) ** exponent > magnitude:
            exponent -= 1
    mantissa = -(-magnitude // Fraction(2) ** (exponent - 10))
    if mantissa == 2048:
        exponent, mantissa = exponent + 1, 1024
    if exponent < -14:
        return 0
    return sign | (0x7C00 if exponent > 15 else (exponent + 15) << 10 | int(mantissa) & 0x3FF)


def clamp(x: int, low: int, high: int) -> int:
    return max(low, min(high, signed(x)))


PACKS: dict[str, Callable[[int], tuple[int, int]]] = {
    "16a": lambda x: (x & 0xFFFF, 0xFFFF),
    "16b": lambda x: (x << 16, 0xFFFF0000),
    "8888": lambda x: ((x & 255) * 0x01010101, 0xFFFFFFFF),
    "16as": lambda x: (clamp(x, -32768, 32767), 0xFFFF),
    "16bs": lambda x: (clamp(x, -32768, 32767) << 16, 0xFFFF0000),
    "8888s": lambda x: (clamp(x, 0, 255) * 0x01010101, 0xFFFFFFFF),
    **{f"8{c}": lambda x, s=8 * i: (x << s, 255 << s) for i, c in enumerate("abcd")},
    **{f"8{c}s": lambda x, s=8 * i: (clamp(x, 0, 255) << s, 255 << s) for i, c in enumerate("abcd")},
}
INTEGERS = [
    0,
    1,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    0x7FFFFFFF,
    SIGN,
    0xFFFFFFFF,
    0xFFFFFF00,
    0xFFFF8000,
    0xFFFF7FFF,
]


@pytest.mark.parametrize("mode", PACKS)
@pytest.mark.parametrize("pipe", ["add", "mul"])
def test_pack_of_integers_writes_its_part_of_file_a_only(mode: str, pipe: str) -> None:
    before = np.uint32(0xA5A5A5A5)

    def body(asm: Asm) -> None:
        asm.load("ra9", int(before))
        if pipe == "add":
            asm.mov("ra9", "ra1", pack=mode)
        else:
            asm.mul("v8min", "ra9", "ra1", "ra1", pack=mode)
        asm.mov("rb9", "ra1", pack=mode)  # file B has no pack unit

    packed, plain = compute(body, [INTEGERS], ["ra9", "rb9"])
    for x, found in zip(INTEGERS, packed.tolist(), strict=True):
        part, mask = PACKS[mode](x)
        assert found == (part & mask) | (int(before) & ~mask), hex(x)
    assert plain.tolist() == INTEGERS


@pytest.mark.parametrize("mode", ["16a", "16b", "16as", "16bs"])
def test_pack_of_float_results_gives_halves(mode: str) -> None:
    rng = np.random.default_rng(3)
    lanes = np.concatenate(
        [
            floats(0.0, -0.0, 1.0, 1.0001, -65504.0, 65505.0, 6e-5, 6.103515625e-05)[:8],
            rng.normal(0, 9, 8).astype(np.float32).view(np.uint32),
        ]
    )
    lanes[5:7] = INF, SIGN | NAN

    def body(asm: Asm) -> None:
        asm.load("ra9", 0)
        asm.add("fmax", "ra9", "ra1", "ra1", pack=mode)

    (found,) = compute(body, [lanes], ["ra9"])
    shift = 16 if "b" in mode else 0
    assert [x >> shift for x in found.tolist()] == [half_of(int(x)) for x in lanes]


def test_saturation_to_32_bits_follows_the_overflow_of_a_sum() -> None:
    a = np.resize(np.array([0x7FFFFFFF, SIGN, 5, 0xFFFFFFFF], np.uint32), 16)

    def body(asm: Asm) -> None:
        asm.mov("r1", "ra1")
        asm.add("add", "ra8", "ra1", "r1", pack="32s")
        asm.add("sub", "ra9", 0, "r1", pack="32s")

    added, negated = compute(body, [a], ["ra8", "ra9"])
    assert added[:4].tolist() == [0x7FFFFFFF, SIGN, 10, 0xFFFFFFFE]
    assert negated[:4].tolist() == [0x80000001, 0x7FFFFFFF, 0xFFFFFFFB, 1]


COLORS = [
    0.0,
    -1.0,
    1.0,
    2.0,
    0.5,
    1 / 255,
    0.4999 / 255,
    0.5001 / 255,
    254.49 / 255,
    254.51 / 255,
    1e30,
    -1e30,
    0.25,
    0.75,
    0.1,
    0.9,
]


@pytest.mark.parametrize("mode", ["8888", "8a", "8b", "8c", "8d"])
def test_color_pack_of_the_mul_pipe_rounds_and_saturates_into_any_register(mode: str) -> None:
    def body(asm: Asm) -> None:
        for target in ("r1", "ra9", "rb9"):
            asm.load(target, 0x5A5A5A5A)
        asm.nop()
        asm.mul("fmul", "r1", "ra1", 1.0, pack=mode, pm=True)
        asm.mul("v8min", "ra9", "ra1", "ra1", pack=mode, pm=True)
        asm.mul("fmul", "rb9", "ra1", 1.0, pack=mode, pm=True)

    rows = compute(body, [np.array(COLORS, np.float32).view(np.uint32)], ["r1", "ra9", "rb9"])
    want = []
    for x in COLORS:
        c = max(0, min(255, int(float(np.float32(x)) * 255 + 0.5)))
        shift = 0 if mode == "8888" else 8 * "abcd".index(mode[1])
        want.append(c * 0x01010101 if mode == "8888" else (0x5A5A5A5A & ~(255 << shift)) | c << shift)
    for row in rows:
        assert row.tolist() == want
