"""Verify: from a digest that differs to the number that is wrong, and to what made it so.

The boards keep copies of their tensors, so only the wrong blocks are fetched after a difference. Then the board does
the op again on the golden's inputs: still wrong, it is the op; right now, its input was corrupted. Which input, the
digests of parameters and of the cache tell; a hop whose two ends differ is the link's. Plain words: docs/verify.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from golden.backward import Piece
from golden.taps import NO_LAYER, Op, TapKey, digest
from golden.tensors import piece_of
from golden.weights import F32Array
from hil.checks.model.replays import GoldenSource, StepSource
from hil.checks.model.taps import TapDifference
from hil.checks.model.values import ValueDifference, compare_values, same_bits, shown
from hil.errors import BoardError
from hil.protocol.tensor_messages import Source
from hil.ring.ring import Ring
from hil.ring.tensors import BLOCK, RankTensors

BLOCKS_READ_MAX = 8
"""Wrong blocks of a tensor whose values are fetched: 2 KiB."""
KINDS = {"op": "op", "order": "op", "squares": "op", "link": "link", "squares hop": "link", "weights": "input",
         "cache": "input", "memory": "input", "state": "input", "stale gradient": "input", "digest": "digest",
         "transient": "transient", "unknown": "unknown"}  # fmt: skip
"""Kind of every cause."""
Again = Callable[[int, int], None]
"""Do the run again with the tensors of a rank kept from a tap on: (rank, first)."""
_HEAD_MATRIX = ("tok_emb", "wcls")
READS: dict[Op, tuple[str, ...]] = {
    Op.EMBED: ("tok_emb",), Op.ATT_NORM: ("rms_att",), Op.Q: ("wq",), Op.K: ("wk",), Op.V: ("wv",),
    Op.Q_ROPE: ("freq_cos", "freq_sin"), Op.K_ROPE: ("freq_cos", "freq_sin"), Op.ATT_OUT: ("wo",),
    Op.FFN_NORM: ("rms_ffn",), Op.GATE: ("w1",), Op.UP: ("w3",), Op.FFN_OUT: ("w2",), Op.FINAL_NORM: ("rms_final",),
    Op.LOGITS: _HEAD_MATRIX, Op.D_FINAL_NORM: _HEAD_MATRIX, Op.D_HEAD: ("rms_final",), Op.D_SWIGLU: ("w2",),
    Op.D_FFN_NORM: ("w1", "w3"), Op.D_ATT_RES: ("rms_ffn",), Op.D_ATT_MIX: ("wo",), Op.D_Q: ("freq_cos", "freq_sin"),
    Op.D_K: ("freq_cos", "freq_sin"), Op.D_ATT_NORM: ("wq", "wk", "wv"), Op.D_LAYER: ("rms_att",),
}  # fmt: skip
"""The parameters that an op reads."""


@dataclass(frozen=True, slots=True)
class WrongValue:
    """One value that is not the golden's, where it stands: `wq of layer 2`, index, bits."""

    rank: int
    name: str
    layer: int
    index: int
    board: int
    golden: int
    count: int = 1
    """Values of the same tensor that are known to be wrong."""

    def describe(self) -> str:
        """The tensor, the index, both values, and the bit if it is one."""
        layer = "" if self.layer == NO_LAYER else f" of layer {self.layer}"
        flipped = self.board ^ self.golden
        bit = f", bit {flipped.bit_length() - 1} is flipped" if flipped.bit_count() == 1 else ""
        more = f"; {self.count} values of it are wrong" if self.count > 1 else ""
        return (
            f"{self.name}{layer} on rank {self.rank}, value [{self.index}]: board {shown(self.board)}, "
            f"golden {shown(self.golden)}{bit}{more}"
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong in a run.

    op, layer, rank, microbatch, position: where it shows first. cause: a key of KINDS. difference: None where only a
    parameter differs and no tap does. replayed: what doing the op again gave. culprits: the wrong inputs that were
    found. line_bytes: what looking into it took, both ways. alone: no tap differs in the whole run.
    """

    op: Op
    layer: int
    rank: int
    position: int
    microbatch: int | None
    cause: str
    difference: TapDifference | None = None
    values: ValueDifference | None = None
    replayed: str = "not done again"
    culprits: tuple[WrongValue, ...] = ()
    line_bytes: int = 0
    alone: bool = True

    @property
    def kind(self) -> str:
        """`op`, `input`, `link`, `digest`, `transient` or `unknown`."""
        return KINDS[self.cause]

    def describe(self) -> str:
        """Everything known, for a person."""
        if self.difference is None:
            lines = ["every tap is the golden's, and yet:" if self.alone else "wrong as well:"]
        else:
            lines = [line for line in self.difference.describe().splitlines() if "  so: " not in line]
        if self.values is not None:
            lines += [f"  {line}" for line in self.values.describe()]
        if self.difference is not None and self.cause not in _NOT_AGAIN:
            lines.append(f"  again:   {self.replayed}")
        lines += [f"  wrong:   {one.describe()}" for one in self.culprits]
        lines.append(f"  kind:    {self.kind}{'' if self.kind == self.cause else f' ({self.cause})'}")
        lines.append(f"  so:      {self._so()}")
        return "\n".join(lines)

    def _so(self) -> str:
        op, rank = self.op.name, f"rank {self.rank}"
        source = self.difference.source_rank if self.difference is not None else None
        return {
            "op": f"every input of {op} is right, so {op} itself is wrong on {rank}",
            "squares": f"the sum of squares that came to {rank} is right and the one that it passes on is not",
            "squares hop": f"the sum of squares was right before it went to {rank} and is wrong there",
            "digest": f"the values of {op} on {rank} are the golden's bit for bit; the digest of them is wrong",
            "transient": f"it came and went: {op} on {rank} is right on the golden's inputs and was right again when "
            "the run was done again; an upset of memory or of the processor does that, and what it was is gone",
            "unknown": f"{op} cannot be done again alone, so whether it or its input is wrong on {rank} is not known",
            "order": f"the firmware of {rank} runs other ops, or in another order, from here on",
            "link": f"rank {source} handed over the right values; what {rank} took from the link is not that",
            "weights": f"{op} is right and a parameter on {rank} is wrong: its memory, its card or an earlier step",
            "cache": f"{op} is right and the cache that it reads on {rank} has changed since it was written",
            "memory": f"{op} is right on the golden's inputs; one of them changed in {rank}'s memory after its tap",
            "state": f"{op} is right; the optimiser's state on {rank} was wrong before this step",
            "stale gradient": f"{rank} went on from the gradient of the step before instead of from zero",
        }[self.cause]


_NOT_AGAIN = ("link", "order", "squares", "squares hop", "digest")
"""Causes that are told without doing the op again."""


def line_bytes(ring: Ring) -> int:
    """Bytes of frames over all serial lines of a ring so far, both ways."""
    return sum(board.line_bytes for board in ring.boards)


def wrong_parameters(ring: Ring, golden: GoldenSource, rank: int) -> list[WrongValue]:
    """The first wrong value of every parameter and table of a rank that is not the golden's."""
    tensors = RankTensors(ring, rank)
    pieces = golden.pieces(rank)
    found = tensors.parameters()
    found += [0] * (len(pieces) - len(found))
    wrong = []
    for index, piece in enumerate(pieces):
        expected = golden.parameter(piece)
        if found[index] != digest(expected):
            wrong += _wrong_values(tensors, Source.VALUE, index, piece, expected)
    return wrong


def wrong_moments(
    ring: Ring, rank: int, source: Source, pieces: Sequence[Piece], state: Mapping[Piece, F32Array]
) -> list[WrongValue]:
    """The first wrong value of every moment (or momentum) of a rank that is not the golden's. pieces: in its order."""
    tensors = RankTensors(ring, rank)
    found = tensors.parameters(source)
    found += [0] * (len(pieces) - len(found))
    wrong = []
    for index, piece in enumerate(pieces):
        if found[index] != digest(state[piece]):
            wrong += _wrong_values(tensors, source, index, piece, state[piece].reshape(-1))
    return wrong


def reader_of(name: str, *, shared: bool) -> Op:
    """The first op that reads a parameter."""
    if name == "tok_emb" and not shared:
        return Op.EMBED
    return next(op for op, names in READS.items() if name in names)


def finding_of_parameter(wrong: WrongValue, *, shared: bool, alone: bool = True) -> Finding:
    """A wrong parameter that the first wrong tap does not show. alone: there is no wrong tap."""
    op = reader_of(wrong.name, shared=shared)
    return Finding(op, wrong.layer, wrong.rank, 0, None, "weights", culprits=(wrong,), alone=alone)


def find_cause(
    ring: Ring, difference: TapDifference, golden: GoldenSource, again: Again, wrong: Sequence[WrongValue]
) -> Finding:
    """Look into the first difference of a run: values, cause, culprits.

    Args:
        again: called when the memory of a board did not suffice to keep the tensor.
        wrong: parameters of all ranks that are known to be wrong.
    """
    before = line_bytes(ring)
    key = difference.key
    finding = Finding(
        key.op, key.layer, difference.rank, key.position, difference.microbatch, difference.kind, difference
    )
    if difference.kind == "missing":
        return replace(finding, cause="order", line_bytes=line_bytes(ring) - before)
    tensors = RankTensors(ring, difference.rank)
    values, seen = _values(tensors, difference, golden, again)
    finding = replace(finding, values=values)
    if seen and values is None:
        finding = replace(finding, cause="digest")
    elif difference.key.op is Op.GRAD_NORM and isinstance(golden, StepSource):
        finding = _cause_of_norm(finding, golden)
    elif difference.kind != "link":
        finding = _cause(tensors, finding, golden, [one for one in wrong if one.rank == difference.rank])
    return replace(finding, line_bytes=line_bytes(ring) - before)


# --- values ------------------------------------------------------------------------------------


def _values(
    tensors: RankTensors, difference: TapDifference, golden: GoldenSource, again: Again
) -> tuple[ValueDifference | None, bool]:
    """How the values differ, and whether they could be looked at."""
    key = difference.key
    expected = golden.tensor(difference.rank, key, difference.microbatch)
    source, index = Source.TAP, difference.index
    if key.op is Op.GRAD_NORM:
        return None, False  # TRAIN_RESULT tells them
    if key.op > Op.D_LAYER:
        kind, piece = piece_of(key)
        source = Source.GRADIENT if kind == "GRAD" else Source.VALUE
        index = golden.pieces(difference.rank).index(piece)
    else:
        kept = tensors.keep()
        if not kept.first <= index < kept.first + kept.count:
            again(difference.rank, index)
    try:
        board, unseen = _fetch(tensors, source, index, expected)
    except BoardError:
        return None, False  # no memory is left for a copy of this one
    return compare_values(expected, board, unseen=unseen), True


def _fetch(tensors: RankTensors, source: Source, index: int, golden: F32Array) -> tuple[F32Array, int]:
    """The board's tensor with only the wrong blocks fetched, and how many values were left as the golden's."""
    board = golden.reshape(-1).copy()
    wrong = tensors.wrong_blocks(source, index, golden)
    for block in wrong[:BLOCKS_READ_MAX]:
        part = slice(block * BLOCK, min((block + 1) * BLOCK, len(board)))
        board[part] = tensors.read(source, index, part.start, part.stop - part.start)
    left = wrong[BLOCKS_READ_MAX:]
    return board, sum(min(BLOCK, len(board) - block * BLOCK) for block in left)


def _wrong_values(tensors: RankTensors, source: Source, index: int, piece: Piece, golden: F32Array) -> list[WrongValue]:
    board, _ = _fetch(tensors, source, index, golden)
    difference = compare_values(golden, board)
    if difference is None:
        return []
    name = piece[0] if source is Source.VALUE else f"{source.name.lower()} of {piece[0]}"
    return [
        WrongValue(
            tensors.rank, name, piece[1], difference.index, difference.board, difference.golden, difference.differing
        )
    ]


# --- causes ------------------------------------------------------------------------------------


def _cause(tensors: RankTensors, finding: Finding, golden: GoldenSource, parameters: list[WrongValue]) -> Finding:
    key, op = TapKey(finding.position, finding.layer, finding.op), finding.op
    if op > Op.D_LAYER:
        return _cause_of_whole(tensors, finding, golden, key)
    weights = [one for one in parameters if one.name in READS.get(op, ()) and one.layer in (key.layer, NO_LAYER)]
    cache = _wrong_cache(tensors, golden, key)
    with _Mended(tensors, golden, weights, parameters):
        for source, local, rows in golden.cache(finding.rank, key) if cache else ():
            tensors.write(source, local, rows)
        right = golden.replay(tensors, key, finding.microbatch)
    culprits = (*weights, *cache)
    if weights and right is not False:
        cause, with_what = "weights", "the golden's inputs and parameter"
    elif cache and right is not False:
        cause, with_what = "cache", "the golden's inputs and cache"
    else:
        cause, with_what = {True: "memory", False: "op", None: "unknown"}[right], "the golden's inputs"
    return replace(finding, cause=cause, culprits=culprits, replayed=_replayed(op, right, with_what))


def _replayed(op: Op, right: bool | None, with_what: str) -> str:
    if right is None:
        return f"{op.name} is no op that can be done again alone"
    return f"on {with_what} {op.name} is {'right' if right else 'still wrong'}"


def _cause_of_norm(finding: Finding, golden: StepSource) -> Finding:
    """Which board's part of the sum of squares is wrong first: its own, or what the link brought."""
    told, sums = golden.told(), golden.squares
    for board, one in enumerate(told):
        rank = board if len(told) > 1 else len(sums) - 1
        came = sums[board - 1] if board else 0.0
        for cause, mine, theirs in (("squares hop", one.squares_in, came), ("squares", one.squares_out, sums[rank])):
            if not same_bits(mine, theirs):
                replayed = f"the sum of squares is {mine:.9g}, the golden's {theirs:.9g}"
                return replace(finding, cause=cause, rank=rank if len(told) > 1 else finding.rank, replayed=replayed)
    norm, factor = (float(x) for x in golden.step.norm_and_factor)
    one = told[finding.rank if len(told) > 1 else 0]
    what = f"norm {one.norm:.9g} and factor {one.factor:.9g}, the golden's {norm:.9g} and {factor:.9g}"
    return replace(finding, cause="op", replayed=f"not needed: every board's sum of squares is right; {what}")


class _Mended:
    """Parameters of a rank as the golden has them, as long as it lasts; then the wrong values are put back.

    Values that no wrong tap needs are left alone.
    """

    def __init__(
        self, tensors: RankTensors, golden: GoldenSource, weights: list[WrongValue], found: list[WrongValue]
    ) -> None:
        self._tensors, self._golden = tensors, golden
        self._weights = [one for one in found if one in weights]
        self._saved: list[tuple[int, int, F32Array]] = []

    def __enter__(self) -> None:
        pieces = self._golden.pieces(self._tensors.rank)
        for one in self._weights:
            index = pieces.index((one.name, one.layer))
            expected = self._golden.parameter((one.name, one.layer))
            for block in self._tensors.wrong_blocks(Source.VALUE, index, expected):
                part = slice(block * BLOCK, min((block + 1) * BLOCK, len(expected)))
                held = self._tensors.read(Source.VALUE, index, part.start, part.stop - part.start)
                self._saved.append((index, part.start, held))
                self._tensors.write(Source.VALUE, index, expected[part], part.start)

    def __exit__(self, *_: object) -> None:
        for index, first, held in self._saved:
            self._tensors.write(Source.VALUE, index, held, first)


def _wrong_cache(tensors: RankTensors, golden: GoldenSource, key: TapKey) -> list[WrongValue]:
    """The first wrong value in each row of the cache that the op reads."""
    found = []
    for source, local, rows in golden.cache(tensors.rank, key):
        width = rows.shape[1]
        name = "cached key" if source is Source.KEYS else "cached value"
        for row in tensors.wrong_blocks(source, local, rows, width)[:BLOCKS_READ_MAX]:
            difference = compare_values(rows[row], tensors.read(source, local, row * width, width))
            if difference is not None:
                place = (key.layer, difference.index, difference.board, difference.golden, difference.differing)
                found.append(WrongValue(tensors.rank, f"{name} of position {row}", *place))
    return found


def _cause_of_whole(tensors: RankTensors, finding: Finding, golden: GoldenSource, key: TapKey) -> Finding:
    """Of a gradient, or of a parameter after the step. Its taps before are all right."""
    kind, piece = piece_of(key)
    index = golden.pieces(finding.rank).index(piece)
    if not isinstance(golden, StepSource):
        return replace(finding, cause="op")
    if kind == "GRAD" and not tensors.wrong_blocks(Source.GRADIENT, index, golden.step.stale[piece]):
        return replace(finding, cause="stale gradient", replayed="not needed: it is the sum of two steps, bit for bit")
    culprits: list[WrongValue] = []
    if kind == "PARAM":
        if not tensors.wrong_blocks(Source.VALUE, index, golden.step.before[piece]):
            return replace(finding, cause="op", replayed="not needed: it is what it was before the step, bit for bit")
        for source, state in ((Source.FIRST, golden.step.state_after[0]), (Source.SECOND, golden.step.state_after[1])):
            try:
                culprits += _wrong_values(tensors, source, index, piece, state[piece].reshape(-1))
            except BoardError:
                continue  # this optimiser has no such state
    right = golden.replay(tensors, key, finding.microbatch)
    cause = "op" if right is False else "state" if culprits else "memory"
    replayed = _replayed(finding.op, right, "the golden's inputs")
    return replace(finding, cause=cause, culprits=tuple(culprits) if cause == "state" else (), replayed=replayed)
