"""Taps: are those that the boards recorded the golden's, digest by digest? Of generations and of steps of training.

4 bytes per tensor cross the UART while all is well. The first difference in execution order is named with op, layer,
rank, position and microbatch; whether the op or the link is to blame follows from the hop before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from golden.generate import GenerationRequest, expected_taps, generate
from golden.taps import NO_LAYER, Oddity, Op, RankTap, TapKey
from golden.weights import Weights
from hil.protocol.messages import TapFlag, TapRecord
from hil.ring.ring import DIGEST_BYTES, Ring, TapRows

Expected = Sequence[Sequence[RankTap]]
"""By rank: the taps that it must record, in its order."""
_AFTER_ALL = 1 << 30
"""Stage of a tap that stands behind all that the golden has."""


@dataclass(frozen=True, slots=True)
class GoldenRun:
    """A generation as the golden does it: tokens, and the taps that each rank must record.

    odd: tensors of it that are not finite or all zero, by digest.
    """

    tokens: tuple[int, ...]
    by_rank: Expected
    odd: Mapping[int, Oddity] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TapDifference:
    """A tap that differs. record is what the board holds; golden is None for a tap that should not be there.

    last: the golden's last tap on that rank.
    """

    rank: int
    index: int
    golden: RankTap | None
    record: TapRecord | None
    source_rank: int | None = None
    microbatch: int | None = None
    last: TapKey | None = None

    @property
    def key(self) -> TapKey:
        """The tap that was expected, or the one found instead of nothing."""
        if self.golden is not None:
            return self.golden.key
        if self.record is None:
            raise ValueError("a difference without golden and record")
        try:
            return TapKey.unpack(self.record.key)
        except ValueError:
            return self.last if self.last is not None else TapKey(0, NO_LAYER, Op.EMBED)

    @property
    def kind(self) -> str:
        """`op`, `link`, or `missing` when the board has no such tap."""
        if self.record is None or self.golden is None or self.record.key != self.golden.key.pack():
            return "missing"
        return "link" if self.key.op in (Op.HOP_RECEIVE, Op.D_HOP_RECEIVE) else "op"

    def _place(self) -> str:
        """Where in the run; gradients and parameters belong to a step of training as a whole."""
        if self.microbatch is None:
            return f"position {self.key.position}"
        whole = self.key.op >= Op.GRAD_TOK_EMB
        return "after all microbatches" if whole else f"microbatch {self.microbatch}, position {self.key.position}"

    def describe(self) -> str:
        """Op, layer, rank, position, digests, and what the board saw of the tensor."""
        key, record = self.key, self.record
        layer = "" if key.layer == NO_LAYER else f" of layer {key.layer}"
        head = f"first difference: {key.op.name}{layer} on rank {self.rank}, {self._place()} (tap {self.index})"
        if self.kind == "missing" or record is None or self.golden is None:
            found = "nothing" if record is None else tap_in_words(record.key)
            wanted = "nothing" if self.golden is None else str(key)
            return f"{head}\n  golden: {wanted}\n  board:  {found}; the board runs other ops than the golden"
        if self.kind == "link":
            so = f"rank {self.source_rank} sent the right values; the link to rank {self.rank} changed them"
        else:
            so = f"every tap before it is equal, so {key.op.name} itself is wrong on rank {self.rank}"
        flushed = ", some flushed to zero" if record.flags & TapFlag.FLUSHED else ""
        return (
            f"{head}\n"
            f"  golden: digest {self.golden.crc:08x}\n"
            f"  board:  digest {record.crc32:08x}, {record.count} values in "
            f"[{record.minimum:.6g}, {record.maximum:.6g}], {record.nonfinite} not finite{flushed}\n"
            f"  so:      {so}"
        )


@dataclass(frozen=True, slots=True)
class TapComparison:
    """Expected taps beside what was found.

    cells: for each rank one character per expected tap: `=` equal, `x` different, `?` missing.
    line_bytes: of digests. first: in the order of execution. rows: for each rank what the board says of these taps;
    None where its log is not the golden's.
    """

    expected: Expected
    cells: tuple[str, ...]
    line_bytes: int
    first: TapDifference | None
    rows: tuple[TapRows | None, ...] = ()

    @property
    def compared(self) -> int:
        """The golden's taps."""
        return sum(map(len, self.expected))

    @property
    def equal(self) -> int:
        """Those that the boards have with the same digest."""
        return sum(row.count("=") for row in self.cells)

    @property
    def good(self) -> bool:
        """Everything compared and equal, and there was something to compare."""
        return self.first is None and self.compared == self.equal and self.compared > 0


def tap_in_words(word: int) -> str:
    """A tap's key as a board sent it, which may be anything."""
    try:
        return str(TapKey.unpack(word))
    except ValueError:
        return f"a tap of op {word >> 24:#04x}, which there is not (key {word:#010x})"


def golden_run(weights: Weights, request: GenerationRequest, world_size: int) -> GoldenRun:
    """Do a generation in NumPy. world_size decides who records what."""
    generation = generate(weights, request)
    by_rank = expected_taps(generation.taps, weights.config.n_layers, world_size)
    return GoldenRun(tuple(generation.tokens), by_rank, generation.odd)


def compare_taps(ring: Ring, expected: Expected, *, since: Expected | None = None) -> TapComparison:
    """Read the digests of every rank's last run and compare them with the golden's.

    Args:
        since: taps that stand before the expected ones in the boards' logs and have been compared already.
    """
    line_bytes = 0
    cells: list[str] = []
    rows: list[TapRows | None] = []
    found: list[tuple[tuple[int, int, int], TapDifference]] = []
    for rank, taps in enumerate(expected):
        skip = len(since[rank]) if since is not None else 0
        count = ring.tap_count(rank)
        row = ring.tap_digests(rank, [tap.key for tap in taps], skip) if count == skip + len(taps) else None
        rows.append(row)
        if row is None:
            records = ring.tap_records(rank, skip)
            cells.append(_aligned(taps, records))
            at = _parting(taps, records)
            record = records[at] if at < len(records) else None
        else:
            line_bytes += DIGEST_BYTES * len(row.digests)
            cells.append("".join("=" if crc == tap.crc else "x" for crc, tap in zip(row.digests, taps, strict=True)))
            if "x" not in cells[-1]:
                continue
            wrong = (i for i, cell in enumerate(cells[-1]) if cell == "x")
            at = min(wrong, key=lambda i: (taps[i].order, i))
            record = ring.tap_records(rank, skip + at, 1)[0]
        found.append((_place(taps, at), _difference(ring, rank, taps, at, skip, record)))
    first = min(found, key=lambda pair: pair[0])[1] if found else None
    return TapComparison(expected, tuple(cells), line_bytes, first, tuple(rows))


def _aligned(expected: Sequence[RankTap], records: Sequence[TapRecord]) -> str:
    """A cell for each expected tap, found by its key: of taps with the same key the n-th stands for the n-th."""
    found: dict[int, list[int]] = {}
    for record in reversed(records):
        found.setdefault(record.key, []).append(record.crc32)
    cells = ""
    for tap in expected:
        left = found.get(tap.key.pack())
        cells += "?" if not left else "=" if left.pop() == tap.crc else "x"
    return cells


def _parting(taps: Sequence[RankTap], records: Sequence[TapRecord]) -> int:
    """The first place where the rank's taps are not the golden's, by key or by digest."""
    for at, (tap, record) in enumerate(zip(taps, records, strict=False)):
        if (record.key, record.crc32) != (tap.key.pack(), tap.crc):
            return at
    return min(len(taps), len(records))


def _place(taps: Sequence[RankTap], at: int) -> tuple[int, int, int]:
    """Order over the ring, then over the rank's own taps; what the golden does not have comes last in its turn."""
    if at < len(taps):
        return (*taps[at].order, at)
    return (taps[-1].order[0] if taps else 0, _AFTER_ALL, at)


def _difference(
    ring: Ring, rank: int, taps: Sequence[RankTap], at: int, skip: int, record: TapRecord | None
) -> TapDifference:
    if at >= len(taps):
        last = taps[-1] if taps else None
        microbatch, key = (last.microbatch, last.key) if last is not None else (None, None)
        return TapDifference(rank, skip + at, None, record, None, microbatch, key)
    tap = taps[at]
    step = 1 if tap.key.op.name.startswith("D_") else -1
    return TapDifference(rank, skip + at, tap, record, (rank + step) % ring.world_size, tap.microbatch)
