"""Forward check: are the taps that the boards recorded the golden's, digest by digest?

4 bytes per tensor cross the UART while all is well. The first difference in execution order is named with
op, layer, rank and position; whether the op or the link is to blame follows from the hop before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from golden.generate import expected_taps, generate
from golden.taps import NO_LAYER, Op, TapKey
from golden.weights import Weights
from hil.protocol.messages import TapFlag, TapRecord
from hil.ring.ring import DIGEST_BYTES, Ring

TapDigest = tuple[TapKey, int]


@dataclass(frozen=True, slots=True)
class GoldenRun:
    """A generation as the golden does it: tokens, and the taps that each rank must record."""

    tokens: tuple[int, ...]
    by_rank: tuple[tuple[TapDigest, ...], ...]


@dataclass(frozen=True, slots=True)
class TapDifference:
    """A tap that differs. record is what the board holds; golden is None for a tap that should not be there."""

    rank: int
    index: int
    golden: TapDigest | None
    record: TapRecord | None
    source_rank: int | None = None
    microbatch: int | None = None

    @property
    def key(self) -> TapKey:
        """The tap that was expected, or the one found instead of nothing."""
        if self.golden is not None:
            return self.golden[0]
        if self.record is None:
            raise ValueError("a difference without golden and record")
        return TapKey.unpack(self.record.key)

    @property
    def kind(self) -> str:
        """`op`, `link`, or `missing` when the board has no such tap."""
        if self.record is None or self.golden is None or self.record.key != self.golden[0].pack():
            return "missing"
        return "link" if self.key.op in (Op.HOP_RECEIVE, Op.D_HOP_RECEIVE) else "op"

    def _place(self, key: TapKey) -> str:
        """Where in a step of training; gradients and parameters belong to the step as a whole."""
        whole = key.op >= Op.GRAD_TOK_EMB
        return "after all microbatches" if whole else f"microbatch {self.microbatch}, position {key.position}"

    def describe(self) -> str:
        """Op, layer, rank, position, digests, and what the board saw of the tensor."""
        key = self.key
        layer = "" if key.layer == NO_LAYER else f" of layer {key.layer}"
        place = f"position {key.position}" if self.microbatch is None else self._place(key)
        head = f"first difference: {key.op.name}{layer} on rank {self.rank}, {place} (tap {self.index})"
        if self.kind == "missing":
            found = "nothing" if self.record is None else str(TapKey.unpack(self.record.key))
            return f"{head}\n  golden: {key}\n  board:  {found}; the board runs other ops than the golden"
        record = self.record
        golden_crc = self.golden[1] if self.golden is not None else 0
        if record is None:
            return head
        lines = [
            head,
            f"  golden: digest {golden_crc:08x}",
            f"  board:  digest {record.crc32:08x}, "
            f"{record.count} values in [{record.minimum:.6g}, {record.maximum:.6g}], "
            f"{record.nonfinite} not finite{', some flushed to zero' if record.flags & TapFlag.FLUSHED else ''}",
        ]
        if self.kind == "link":
            lines.append(
                f"  so:      rank {self.source_rank} sent the right values; the link to rank {self.rank} changed them"
            )
        else:
            lines.append(
                f"  so:      every tap before it is equal, so {key.op.name} itself is wrong on rank {self.rank}"
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class TapComparison:
    """compared counts the golden's taps, equal those that the boards have with the same digest."""

    compared: int
    equal: int
    line_bytes: int
    first: TapDifference | None
    cells: tuple[str, ...] = ()
    """For each rank one character per expected tap: `=` equal, `x` different, `?` missing."""

    @property
    def good(self) -> bool:
        """Everything compared and equal, and there was something to compare."""
        return self.first is None and self.compared == self.equal and self.compared > 0


def golden_run(
    weights: Weights,
    prompt: Sequence[int],
    positions: int,
    temperature: float,
    topp: float,
    rng_seed: int,
    world_size: int,
) -> GoldenRun:
    """Do the same generation in NumPy. Arguments as in Ring.generate; world_size decides who records what."""
    generation = generate(weights, prompt, positions, temperature, topp, rng_seed)
    by_rank = expected_taps(generation.taps, weights.config.n_layers, world_size)
    return GoldenRun(tuple(generation.tokens), tuple(tuple(taps) for taps in by_rank))


def compare_taps(ring: Ring, golden: GoldenRun) -> TapComparison:
    """Read the digests of every board's last run and compare them with the golden's."""
    line_bytes = 0
    cells: list[str] = []
    differences: list[tuple[tuple[int, int, int], TapDifference]] = []
    for rank, expected in enumerate(golden.by_rank):
        count = ring.tap_count(rank)
        digests = ring.tap_digests(rank, [key for key, _ in expected]) if count == len(expected) else None
        if digests is None:
            records = ring.tap_records(rank)
            cells.append(aligned(expected, records))
            difference = _missing(ring, rank, expected, records)
            differences.append((_order(difference, ring.world_size), difference))
            continue
        line_bytes += DIGEST_BYTES * len(digests)
        cells.append("".join("=" if digests[i] == crc else "x" for i, (_, crc) in enumerate(expected)))
        if "x" in cells[-1]:
            difference = _difference(ring, rank, expected, cells[-1].index("x"))
            differences.append((_order(difference, ring.world_size), difference))
    first = min(differences, key=lambda pair: pair[0])[1] if differences else None
    equal = sum(row.count("=") for row in cells)
    return TapComparison(sum(map(len, golden.by_rank)), equal, line_bytes, first, tuple(cells))


def aligned(expected: Sequence[TapDigest], records: Sequence[TapRecord]) -> str:
    """A cell for each expected tap, found by its key: of taps with the same key the n-th stands for the n-th."""
    found: dict[int, list[int]] = {}
    for record in reversed(records):
        found.setdefault(record.key, []).append(record.crc32)
    cells = ""
    for key, crc in expected:
        left = found.get(key.pack())
        cells += "?" if not left else "=" if left.pop() == crc else "x"
    return cells


def _order(difference: TapDifference, world_size: int) -> tuple[int, int, int]:
    """Execution order over the ring: the head's rank comes first with EMBED and last with the head's ops."""
    key = difference.key
    last = difference.rank == world_size - 1
    opening = last and world_size > 1 and key.op in (Op.EMBED, Op.HOP_SEND)
    stage = -1 if opening else difference.rank
    return key.position, stage, difference.index


def _difference(ring: Ring, rank: int, expected: Sequence[TapDigest], index: int) -> TapDifference:
    record = ring.tap_records(rank, index, 1)[0]
    return TapDifference(rank, index, expected[index], record, source_rank=(rank - 1) % ring.world_size)


def _missing(ring: Ring, rank: int, expected: Sequence[TapDigest], records: Sequence[TapRecord]) -> TapDifference:
    """The first place where the board's taps are not the golden's, by key or by digest."""
    for index, (golden, record) in enumerate(zip(expected, records, strict=False)):
        if record.key != golden[0].pack() or record.crc32 != golden[1]:
            return TapDifference(rank, index, golden, record, source_rank=(rank - 1) % ring.world_size)
    at = min(len(expected), len(records))
    golden_here = expected[at] if at < len(expected) else None
    record_here = records[at] if at < len(records) else None
    return TapDifference(rank, at, golden_here, record_here)
