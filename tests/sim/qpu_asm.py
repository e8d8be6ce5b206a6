"""A small assembler for QPU programs: the tests' own, written from the guide's encoding tables.

Source: VideoCore IV 3D Architecture Reference Guide, figures 3 to 7 and tables 1 to 14. Python calls give instructions:

    asm = Asm()
    asm.add("fadd", "r0", "ra1", "r2", mul=("fmul", "r1", "r3", 2.0), sf=True)
    asm.branch("anynz", "loop")
    code = asm.code()

An operand is r0..r5, ra0..ra31, rb0..rb31, an I/O name of READS, an int or float that fits a small immediate, or
`rot(n)` / `rot("r5")`: after a mul's operands it rotates its output. A target is one of WRITES, with `@a` or `@b` to
choose the register file. Nothing is checked that the guide leaves to the programmer: tests break rules on purpose.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field


def _codes(names: str) -> dict[str, int]:
    return {name: code for code, name in enumerate(names.split())}


ADD = _codes(
    "nop fadd fsub fmin fmax fminabs fmaxabs ftoi itof r9 r10 r11 add sub shr asr ror shl min max and or xor not clz "
    "r25 r26 r27 r28 r29 v8adds v8subs"
)
MUL = _codes("nop fmul mul24 v8muld v8min v8max v8adds v8subs")
CONDITIONS = _codes("never always zs zc ns nc cs cc")
BRANCHES = _codes("allz allnz anyz anynz alln allnn anyn anynn allc allnc anyc anync r12 r13 r14 always")
SIGNALS = _codes(
    "breakpoint none thrsw end sbwait sbdone lthrsw loadcv loadc ldcend ldtmu0 ldtmu1 loadam small ldi branch"
)
UNPACKS = _codes("32 16a 16b 8dr 8a 8b 8c 8d")
PACKS = _codes("32 16a 16b 8888 8a 8b 8c 8d 32s 16as 16bs 8888s 8as 8bs 8cs 8ds")
READS = {
    "unif": (32, "ab"),
    "vary": (35, "ab"),
    "nothing": (39, "ab"),
    "elem_num": (38, "a"),
    "qpu_num": (38, "b"),
    "x_coord": (41, "a"),
    "vpm": (48, "ab"),
    "ld_busy": (49, "a"),
    "st_busy": (49, "b"),
    "ld_wait": (50, "a"),
    "st_wait": (50, "b"),
    "mutex": (51, "ab"),
}
WRITES = {
    **{f"r{n}": (32 + n, "") for n in range(4)},
    "noswap": (36, ""),
    "r5": (37, ""),
    "irq": (38, ""),
    "-": (39, ""),
    "unif_addr": (40, ""),
    "stencil": (43, ""),
    "tlb_z": (44, ""),
    "vpm": (48, ""),
    "rd_setup": (49, "a"),
    "wr_setup": (49, "b"),
    "ld_addr": (50, "a"),
    "st_addr": (50, "b"),
    "mutex": (51, ""),
    "recip": (52, ""),
    "rsqrt": (53, ""),
    "exp": (54, ""),
    "log": (55, ""),
    **{f"t{u}{c}": (56 + 4 * u + i, "") for u in range(2) for i, c in enumerate("strb")},
}
NOP = 39


class AsmError(ValueError):
    """The instruction cannot be encoded; the message says why."""


@dataclass(frozen=True)
class Rot:
    """Rotation of a mul's output: upward by n, or by r5's element 0 ("r5")."""

    by: int | str

    @property
    def code(self) -> int:
        """Its six bits of a small immediate."""
        return 48 if self.by == "r5" else 48 + int(self.by)


def rot(by: int | str) -> Rot:
    """For a mul's operands."""
    return Rot(by)


def small(value: float | int) -> int:
    """The six bits of a small immediate."""
    if isinstance(value, int):
        if -16 <= value <= 15:
            return value & 31
    else:
        for exponent in range(-8, 8):
            if value == 2.0**exponent:
                return 32 + exponent if exponent >= 0 else 48 + exponent
    raise AsmError(f"{value!r} is not a small immediate")


@dataclass
class _Reads:
    """What one instruction reads from its files: at most one address each."""

    a: int | None = None
    b: int | None = None
    immediate: int | None = None

    def mux(self, operand: object) -> int:
        if isinstance(operand, Rot):
            return self._immediate(operand.code)
        if isinstance(operand, int | float):
            return self._immediate(small(operand))
        assert isinstance(operand, str)
        if operand in ("r0", "r1", "r2", "r3", "r4", "r5"):
            return int(operand[1])
        if operand[:2] in ("ra", "rb") and operand[2:].isdigit():
            return self._take(int(operand[2:]), operand[1])
        name, _, side = operand.partition("@")
        if name not in READS:
            raise AsmError(f"{operand}: not an operand")
        address, sides = READS[name]
        if side:
            return self._take(address, side)
        if len(sides) == 1:
            return self._take(address, sides)
        free = "a" if self.a in (None, address) else "b"
        return self._take(address, free)

    def _immediate(self, code: int) -> int:
        if self.b is not None or self.immediate not in (None, code):
            raise AsmError("a small immediate and another read of file B")
        self.immediate = code
        return 7

    def _take(self, address: int, side: str) -> int:
        if side == "a":
            if self.a not in (None, address):
                raise AsmError("two reads of file A")
            self.a = address
            return 6
        if self.immediate is not None or self.b not in (None, address):
            raise AsmError("two reads of file B")
        self.b = address
        return 7


def _target(text: str) -> tuple[int, str]:
    """Address and the file that it must go by way of ("": either)."""
    name, _, side = text.partition("@")
    if name[:2] in ("ra", "rb") and name[2:].isdigit():
        return int(name[2:]), name[1]
    if name not in WRITES:
        raise AsmError(f"{text}: not a target")
    address, needed = WRITES[name]
    return address, side or needed


def _swap(add_side: str, mul_side: str) -> int:
    """ws: 0 lets add write file A and mul file B."""
    if add_side and mul_side and add_side == mul_side:
        raise AsmError("both pipes write the same file")
    return int(add_side == "b" or mul_side == "a")


@dataclass
class Asm:
    """A program under construction."""

    words: list[int] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    _fixups: list[tuple[int, str]] = field(default_factory=list)

    def label(self, name: str) -> None:
        """The next instruction's name, for branches."""
        self.labels[name] = len(self.words)

    def word(self, value: int) -> None:
        """An instruction as it is."""
        self.words.append(value)

    def add(
        self,
        op: str = "nop",
        to: str = "-",
        *operands: object,
        mul: Sequence[object] = ("nop",),
        cond: str = "always",
        mul_cond: str = "always",
        sf: bool = False,
        sig: str = "none",
        pack: str = "32",
        unpack: str = "32",
        pm: bool = False,
    ) -> None:
        """One ALU instruction: the add pipe's operation and, in `mul`, (operation, target, operands...)."""
        reads = _Reads()
        mul_op, mul_to, *mul_operands = mul if len(mul) > 1 else (*mul, "-")
        assert isinstance(mul_op, str)
        assert isinstance(mul_to, str)
        rotations = [o for o in mul_operands if isinstance(o, Rot)]
        add_mux = [reads.mux(o) for o in operands]
        mul_mux = [reads.mux(o) for o in mul_operands if not isinstance(o, Rot)]
        for rotation in rotations:
            reads.immediate = rotation.code
        if reads.immediate is not None:
            sig = "small"
        add_mux += add_mux[-1:] * (2 - len(add_mux)) or [0] * (2 - len(add_mux))
        mul_mux += mul_mux[-1:] * (2 - len(mul_mux)) or [0] * (2 - len(mul_mux))
        add_to, add_side = _target(to)
        mul_at, mul_side = _target(mul_to)
        high = self._high(sig, pack, pm, sf, _swap(add_side, mul_side), add_to, mul_at)
        high |= UNPACKS[unpack] << 25 | CONDITIONS[cond if op != "nop" else "never"] << 17
        high |= CONDITIONS[mul_cond if mul_op != "nop" else "never"] << 14
        read_b = reads.immediate if reads.immediate is not None else reads.b
        low = MUL[mul_op] << 29 | ADD[op] << 24 | (NOP if reads.a is None else reads.a) << 18
        low |= (NOP if read_b is None else read_b) << 12
        low |= add_mux[0] << 9 | add_mux[1] << 6 | mul_mux[0] << 3 | mul_mux[1]
        self.word(high << 32 | low)

    @staticmethod
    def _high(sig: str, pack: str, pm: bool, sf: bool, swap: int, add_to: int, mul_to: int) -> int:
        bits = SIGNALS[sig] << 28 | pm << 24 | PACKS[pack] << 20 | sf << 13 | swap << 12
        return bits | add_to << 6 | mul_to

    def mul(self, op: str, to: str, *operands: object, **options: object) -> None:
        """One instruction of the mul pipe alone."""
        self.add(mul=(op, to, *operands), **options)  # type: ignore[arg-type]

    def mov(self, to: str, operand: object, **options: object) -> None:
        """By way of the add pipe."""
        self.add("or", to, operand, operand, **options)  # type: ignore[arg-type]

    def nop(self, count: int = 1, **options: object) -> None:
        """Nothing, or a signal."""
        for _ in range(count):
            self.add(**options)  # type: ignore[arg-type]

    def load(
        self,
        to: str,
        value: int | float | Sequence[int],
        *,
        mul_to: str = "-",
        kind: int | None = None,
        cond: str = "always",
        mul_cond: str = "always",
        sf: bool = False,
        pack: str = "32",
        pm: bool = False,
    ) -> None:
        """A load immediate; a sequence of 16 gives each lane its own 0..3 or -2..1."""
        if isinstance(value, float):
            value = struct.unpack("<I", struct.pack("<f", value))[0]
        if isinstance(value, int):
            kind, low = kind or 0, value & 0xFFFFFFFF
        else:
            kind = kind if kind is not None else (1 if min(value) < 0 else 3)
            low = sum((v >> 1 & 1) << (16 + k) | (v & 1) << k for k, v in enumerate(value))
        add_to, add_side = _target(to)
        mul_at, mul_side = _target(mul_to)
        high = self._high("ldi", pack, pm, sf, _swap(add_side, mul_side), add_to, mul_at) | kind << 25
        high |= CONDITIONS[cond if to != "-" or sf else "never"] << 17
        high |= CONDITIONS[mul_cond if mul_to != "-" else "never"] << 14
        self.word(high << 32 | low)

    def semaphore(self, number: int, *, down: bool) -> None:
        """Count a semaphore up, or down (which waits for a count above 0)."""
        self.word((0xE8 << 24 | NOP << 6 | NOP) << 32 | down << 4 | number)

    def branch(
        self, cond: str, target: str | int, *, relative: bool = True, register: int | None = None, link: str = "-"
    ) -> None:
        """Branch to a label (relative) or by a number; three delay slots follow."""
        if isinstance(target, str):
            self._fixups.append((len(self.words), target))
            target = 0
        address, side = _target(link)
        high = 0xF << 28 | BRANCHES[cond] << 20 | relative << 19 | (register is not None) << 18
        high |= (register or 0) << 13 | (side == "b") << 12 | address << 6 | NOP
        self.word(high << 32 | (target & 0xFFFFFFFF))

    def end(self) -> None:
        """Program end and its two delay slots."""
        self.nop(sig="end")
        self.nop(2)

    def code(self) -> bytes:
        """The program, 8 bytes an instruction."""
        words = list(self.words)
        for at, name in self._fixups:
            words[at] |= (self.labels[name] - at - 4) * 8 & 0xFFFFFFFF
        return struct.pack(f"<{len(words)}Q", *words)


# ---- setups of the VPM and its DMA (the guide's tables 32 to 37) ----


def vpm_setup(
    address: int, *, size: int = 2, stride: int = 1, count: int = 1, vertical: bool = False, laned: bool = False
) -> int:
    """Generic block read or write; size 0, 1, 2: 8, 16, 32 bits."""
    return (count & 15) << 20 | (stride & 63) << 12 | (not vertical) << 11 | laned << 10 | size << 8 | address


def store_setup(
    *, units: int = 1, depth: int = 16, y: int = 0, x: int = 0, mode: int = 0, vertical: bool = False
) -> int:
    """DMA store, basic."""
    return 2 << 30 | (units & 127) << 23 | (depth & 127) << 16 | (not vertical) << 14 | y << 7 | x << 3 | mode


def store_stride(stride: int, *, packed: bool = False) -> int:
    """DMA store: bytes from the end of a row in memory to the next."""
    return 3 << 30 | packed << 16 | stride


def load_setup(
    *,
    rows: int = 1,
    length: int = 16,
    y: int = 0,
    x: int = 0,
    mode: int = 0,
    pitch: int = 3,
    vpm_pitch: int = 1,
    vertical: bool = False,
) -> int:
    """DMA load, basic; pitch: 8 * 2**pitch bytes in memory, or 0 for that of load_pitch."""
    bits = 1 << 31 | mode << 28 | pitch << 24 | (length & 15) << 20 | (rows & 15) << 16 | (vpm_pitch & 15) << 12
    return bits | vertical << 11 | y << 4 | x


def load_pitch(pitch_bytes: int) -> int:
    """DMA load: bytes from the start of a row in memory to the next."""
    return 9 << 28 | pitch_bytes
