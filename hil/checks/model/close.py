"""Close: another project's firmware, which does not follow the arithmetic contract, checked op by op within bounds.

Every op is computed in float64 from the tensors that the firmware itself reported for its inputs, so errors do not add
up. The bound of an op follows from the length of its longest sum, in whatever order that is done, and stands beside the
op in golden/reference.py and golden/reference_backward.py. A NaN, an infinity, a wrong size or a missing tensor is a
failure. For users: docs/close.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from golden.backward import Piece, pieces
from golden.reference import Deviation, any_order, deviations
from golden.reference_backward import backward_deviations, gradient_deviations
from golden.taps import NO_LAYER, Op, TapKey
from golden.tensors import stored
from golden.weights import Config, F32Array, Weights
from hil.checks.model.replays import BACKWARD_GROUPS
from hil.checks.model.tensor_text import read_tensors

TRUNCATING = 2.0
"""units of hardware that cuts results off instead of rounding them to nearest, as the VideoCore's QPU does."""
UNITS_MAX = 65536.0
"""A rounding of so many units is 2^-8: beyond it a check says nothing."""
WEAK_SHARE = 0.01
"""A bound beyond this share of a value is weak: the value would pass although it is visibly wrong."""
Units = float | Mapping[str, float]
"""Size of a rounding in units of 2^-24: for all ops, or by their names; `*` stands for all others (1 if not given)."""
_LAYER_OPS = tuple(op for op in Op if Op.ATT_NORM <= op <= Op.FFN_RES)
_HEAD_OPS = (Op.FINAL_NORM, Op.LOGITS)
_BACKWARD_HEAD = (Op.LOSS, Op.D_LOGITS, Op.D_FINAL_NORM, Op.D_HEAD)
FAILURES_SHOWN = 10


@dataclass
class ReportedTensors:
    """What a firmware reports: fill it from whatever it prints, then check it.

    tensors: of each microbatch by tap (a generation is microbatch 0). gradients: of whole parameters, by name and
    layer.
    """

    tensors: dict[int, dict[TapKey, F32Array]] = field(default_factory=dict)
    gradients: dict[Piece, F32Array] = field(default_factory=dict)

    def add(
        self, op: Op | str, values: ArrayLike, *, layer: int | None = None, position: int = 0, microbatch: int = 0
    ) -> None:
        """Report the tensor of an op (golden/taps.py) at a position. Raises ValueError where there is no such op."""
        key = TapKey(position, NO_LAYER if layer is None else layer, _op(op))
        self.tensors.setdefault(microbatch, {})[key] = np.asarray(values, np.float32).reshape(-1)

    def add_gradient(self, name: str, values: ArrayLike, *, layer: int | None = None) -> None:
        """Report the gradient of a parameter, summed over all microbatches, before clipping."""
        self.gradients[name, NO_LAYER if layer is None else layer] = np.asarray(values, np.float32)

    def read(self, text: str) -> int:
        """Report what a text says in the format of docs/close.md; how many lines did. Raises TensorTextError."""
        found = read_tensors(text)
        for microbatch, taps in found.tensors.items():
            self.tensors.setdefault(microbatch, {}).update(taps)
        self.gradients.update(found.gradients)
        return found.lines


@dataclass(frozen=True, slots=True)
class CloseFailure:
    """One tensor that fails. why: in words, with the limit."""

    key: TapKey
    microbatch: int
    why: str

    def __str__(self) -> str:
        where = f", microbatch {self.microbatch}" if self.microbatch else ""
        return f"{self.key}{where}: {self.why}"


@dataclass(frozen=True, slots=True)
class CloseResult:
    """compared: tensors. failures in the order of execution. worst: for each op, the largest share of its bound.

    units: for each op that was compared. weak: for each op with some, how many of how many values have a bound beyond
    WEAK_SHARE of them.
    """

    compared: int
    failures: tuple[CloseFailure, ...]
    worst: Mapping[Op, float]
    units: Mapping[Op, float] = field(default_factory=dict)
    weak: Mapping[Op, tuple[int, int]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Everything there and within its bound, and there was something."""
        return self.compared > 0 and not self.failures

    def describe(self) -> str:
        """One line, then the first failures, then how near to its bound every op came, and which bounds are weak."""
        lines = [f"{self.compared} tensors compared, {len(self.failures)} fail"]
        lines += [f"  {failure}" for failure in self.failures[:FAILURES_SHOWN]]
        more = len(self.failures) - FAILURES_SHOWN
        lines += [f"  and {more} more"] if more > 0 else []
        lines += ["  share of the bound: " + ", ".join(f"{op.name} {worst:.2g}" for op, worst in self.worst.items())]
        wide = {op: units for op, units in self.units.items() if units != 1}
        lines += ["  units: " + ", ".join(f"{op.name} {units:g}" for op, units in wide.items())] if wide else []
        if self.weak:
            shares = ", ".join(f"{op.name} {many:,} of {all:,}" for op, (many, all) in self.weak.items())
            lines.append(f"  bounds beyond {WEAK_SHARE:.0%} of the value, where passing says little: {shares}")
        return "\n".join(lines)


def close_generation(
    weights: Weights,
    reported: ReportedTensors,
    tokens: Sequence[int],
    *,
    temperature: float = 0.0,
    units: Units = 1.0,
) -> CloseResult:
    """Check the forward pass of every position.

    Args:
        reported: all ops of all layers at every position.
        tokens: that entered at each position.
        temperature: where PROBS is reported, what it was made with.
        units: size of a rounding in units of 2^-24; TRUNCATING for hardware that cuts off. By op where some of the
            firmware's functions are coarser, as {"ATT_PROB": 64, "Q_ROPE": 1024, "K_ROPE": 1024}.
    Raises: ValueError for units that cannot be.
    """
    judge = _Judge(units)
    found = reported.tensors.get(0, {})
    wanted = list(_forward_keys(weights.config, len(tokens)))
    optional = [key for key in found if key.op is Op.PROBS]
    failures, usable = _usable(weights.config, found, [*wanted, *optional], 0)
    if set(wanted) <= set(usable):
        entering = dict(enumerate(tokens))
        for one in _safely(deviations(weights, usable, entering, temperature, any_order)):
            failures += judge.judged(one, 0, found)
    return judge.result(len(wanted) + len(optional), failures, [*wanted, *optional])


def close_step(
    weights: Weights, reported: ReportedTensors, tokens: Sequence[Sequence[int]], *, units: Units = 1.0
) -> CloseResult:
    """Check one step of training: forward, backward, and the gradient of every parameter.

    Args:
        tokens: of each microbatch, one more than it has positions.
        units: as for close_generation.
    Raises: ValueError for units that cannot be.
    """
    judge = _Judge(units)
    failures: list[CloseFailure] = []
    order: list[TapKey] = []
    usable = []
    count = 0
    for number, sequence in enumerate(tokens):
        found = reported.tensors.get(number, {})
        wanted = [*_forward_keys(weights.config, len(sequence) - 1), *_backward_keys(weights.config, len(sequence) - 1)]
        bad, there = _usable(weights.config, found, wanted, number)
        failures += bad
        usable.append(there)
        count += len(wanted)
        order = order or wanted
    gradients, bad = _gradients(weights, reported)
    failures += bad
    count += len(pieces(weights.config))
    if not failures:
        for number, there in enumerate(usable):
            forward = {key: x for key, x in there.items() if key.op < Op.LOSS}
            for one in deviations(weights, forward, dict(enumerate(tokens[number][:-1])), chain=any_order):
                failures += judge.judged(one, number, there)
        for number, one in backward_deviations(weights, usable, tokens, any_order):
            failures += judge.judged(one, number, usable[number])
        for one in gradient_deviations(weights, usable, tokens, gradients, any_order):
            failures += judge.judged(one, 0, {})
    return judge.result(count, failures, order)


@dataclass(frozen=True, slots=True)
class CloseCheck:
    """The checks for one model; `fail` is called with the text of a result that is not good."""

    weights: Weights
    fail: Callable[[str], object]
    units: Units = 1.0

    def generation(
        self, reported: ReportedTensors, tokens: Sequence[int], *, temperature: float = 0.0, units: Units | None = None
    ) -> CloseResult:
        """close_generation, which must be good. units: instead of the check's own."""
        units = self.units if units is None else units
        return self._must(close_generation(self.weights, reported, tokens, temperature=temperature, units=units))

    def step(
        self, reported: ReportedTensors, tokens: Sequence[Sequence[int]], *, units: Units | None = None
    ) -> CloseResult:
        """close_step, which must be good. units: instead of the check's own."""
        units = self.units if units is None else units
        return self._must(close_step(self.weights, reported, tokens, units=units))

    def _must(self, result: CloseResult) -> CloseResult:
        if not result.good:
            self.fail(result.describe())
        return result


# --- what must be there ------------------------------------------------------------------------


def _forward_keys(config: Config, positions: int) -> Iterator[TapKey]:
    for position in range(positions):
        yield TapKey(position, NO_LAYER, Op.EMBED)
        yield from (TapKey(position, layer, op) for layer in range(config.n_layers) for op in _LAYER_OPS)
        yield from (TapKey(position, NO_LAYER, op) for op in _HEAD_OPS)


def _backward_keys(config: Config, positions: int) -> Iterator[TapKey]:
    for position in range(positions):
        yield from (TapKey(position, NO_LAYER, op) for op in _BACKWARD_HEAD)
    for layer in reversed(range(config.n_layers)):
        for group in BACKWARD_GROUPS:
            yield from (TapKey(position, layer, op) for position in range(positions) for op in group)


def _size(config: Config, key: TapKey) -> int:
    name = key.op.name.removeprefix("D_")
    if name in ("ATT_PROB", "ATT_SCORE"):
        return config.n_heads * (key.position + 1)
    if name in ("K", "V", "K_ROPE"):
        return config.kv_dim
    if name in ("GATE", "UP", "SWIGLU"):
        return config.hidden_dim
    if name in ("LOGITS", "PROBS"):
        return config.vocab_size
    return 1 if key.op is Op.LOSS else config.dim


def _usable(
    config: Config, found: Mapping[TapKey, F32Array], wanted: Iterable[TapKey], microbatch: int
) -> tuple[list[CloseFailure], dict[TapKey, F32Array]]:
    """What is missing, of a wrong size or not finite; and the tensors that can be computed with."""
    failures, usable = [], {}
    for key in wanted:
        problem = _problem(found.get(key), _size(config, key))
        if problem:
            failures.append(CloseFailure(key, microbatch, problem))
        if key in found and found[key].size == _size(config, key):
            usable[key] = found[key]
    return failures, usable


def _problem(values: F32Array | None, size: int) -> str:
    if values is None:
        return "missing: report the tensor of every op"
    if values.size != size:
        return f"{values.size} values, it has {size}"
    bad = np.flatnonzero(~np.isfinite(values.reshape(-1)))
    return f"value [{bad[0]}] is {values.reshape(-1)[bad[0]]}; {len(bad)} of {size} are not finite" if len(bad) else ""


def _gradients(weights: Weights, reported: ReportedTensors) -> tuple[dict[Piece, F32Array], list[CloseFailure]]:
    usable, failures = {}, []
    for piece in pieces(weights.config):
        values = reported.gradients.get(piece)
        problem = _problem(values, stored(weights, piece).size)
        if problem:
            failures.append(CloseFailure(TapKey(0, piece[1], Op[f"GRAD_{piece[0].upper()}"]), 0, problem))
        elif values is not None:
            usable[piece] = values
    return usable, failures


# --- judging -----------------------------------------------------------------------------------


def _safely(found: Iterator[Deviation]) -> Iterator[Deviation]:
    """With tensors that are not finite NumPy has things to say; the failures say them already."""
    with np.errstate(all="ignore"):
        yield from found


def units_of(units: Units) -> dict[Op, float]:
    """The units of every op. Raises ValueError for a name that is no op's and for a size that cannot be."""
    by_name = dict(units) if isinstance(units, Mapping) else {"*": units}
    for name, size in by_name.items():
        if name != "*":
            _op(name)
        if not 1 <= size <= UNITS_MAX:
            raise ValueError(f"units of {name}: {size:g}; give 1 (rounded to nearest) to {UNITS_MAX:g}")
    rest = by_name.get("*", 1.0)
    return {op: by_name.get(op.name, rest) for op in Op}


def read_units(texts: Sequence[str]) -> dict[str, float]:
    """Units from texts such as `Q_ROPE=1024`. Raises ValueError."""
    units = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            units[name.strip()] = float(number)
        except ValueError:
            raise ValueError(f"{text!r}: give OP=N, as Q_ROPE=1024") from None
    units_of(units)
    return units


class _Judge:
    """Judges deviations by the units of their ops and keeps what there is to say of all of them."""

    def __init__(self, units: Units) -> None:
        self._units = units_of(units)
        self._worst: dict[Op, float] = {}
        self._weak: dict[Op, tuple[int, int]] = {}

    def judged(self, one: Deviation, microbatch: int, found: Mapping[TapKey, F32Array]) -> list[CloseFailure]:
        """The failure of a tensor, if it is one."""
        op, units = one.key.op, self._units[one.key.op]
        share = one.worst / units
        self._worst[op] = max(share, self._worst.get(op, 0.0))
        weak, values_seen = self._weak.get(op, (0, 0))
        self._weak[op] = (weak + int(np.count_nonzero(one.room * units > WEAK_SHARE)), values_seen + one.room.size)
        values = found.get(one.key)
        if share <= 1 or (values is not None and not np.isfinite(values).all()):
            return []  # what is not finite has been told
        return [CloseFailure(one.key, microbatch, f"value [{one.index}] is {share:.3g} times its bound off")]

    def result(self, compared: int, failures: Sequence[CloseFailure], order: Sequence[TapKey]) -> CloseResult:
        """Failures in the order of execution, and what was seen of every op."""
        place = {key: i for i, key in enumerate(order)}
        ordered = sorted(failures, key=lambda one: (one.key not in place, one.microbatch, place.get(one.key, 0)))
        weak = {op: counts for op, counts in self._weak.items() if counts[0]}
        return CloseResult(compared, tuple(ordered), self._worst, {op: self._units[op] for op in self._worst}, weak)


def _op(op: Op | str) -> Op:
    if isinstance(op, Op):
        return op
    try:
        return Op[op]
    except KeyError:
        raise ValueError(f"there is no op {op!r}; golden/taps.py lists them: {', '.join(o.name for o in Op)}") from None
