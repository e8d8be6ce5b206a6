"""Verified runs: a generation, or a training step by step, with everything compared and the first difference explained.

All verified runs of commands, suite and nightly are done here. On a run that is right nothing crosses the serial lines
but 4 bytes for each tap, and for each parameter, table and moment as it stands when the run is over.
Owns: Verification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from golden.backward import Piece
from golden.generate import GenerationRequest
from golden.optimizer import AdamW, Settings
from golden.taps import Op, RankTap
from golden.train import Step, Training
from golden.weights import F32Array, Weights
from hil.checks.model.explain import (
    Again,
    Finding,
    WrongValue,
    find_cause,
    finding_of_parameter,
    line_bytes,
    wrong_moments,
    wrong_parameters,
)
from hil.checks.model.mismatch import MismatchMap, mismatch_map
from hil.checks.model.replays import GenerationSource, GoldenSource, StepSource
from hil.checks.model.rerun import Recurrence, rerun, with_recurrence
from hil.checks.model.scope import Health, Scope, Told, Trouble, Verdict, health_of, odd_parameter
from hil.checks.model.shards import check_shards
from hil.checks.model.taps import Expected, GoldenRun, TapComparison, TapDifference, compare_taps, golden_run
from hil.checks.model.told import shown_count, step_troubles, token_troubles
from hil.checks.model.training import expected_step, golden_training
from hil.protocol.messages import Token
from hil.protocol.tensor_messages import Source
from hil.ring.ring import Ring, RingGeneration
from hil.ring.tensors import RankTensors
from hil.ring.training import Plan, RingStep, RingTraining


@dataclass(frozen=True, slots=True)
class Verification:
    """A run that was compared with the golden.

    what: in words. parts: the comparisons of taps, one after the other; none of a generation without taps.
    parameters: tensors compared beside the taps, moments among them. line_bytes: what comparing took on the serial
    lines, both ways. findings: the first wrong tap with its cause, then every other wrong parameter. troubles: what
    boards told or kept that is not the golden's. health: what is odd though equal. allowed: odd values count as good.
    """

    what: str
    parts: tuple[TapComparison, ...]
    parameters: int
    line_bytes: int
    findings: tuple[Finding, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    scope: Scope = field(default_factory=Scope)
    health: Health = field(default_factory=Health)
    recurrence: Recurrence | None = None
    allowed: bool = False

    @property
    def finding(self) -> Finding | None:
        """The first thing wrong with a tensor."""
        return self.findings[0] if self.findings else None

    @property
    def surprise(self) -> str:
        """What is wrong beside tensors, a line each; empty if nothing is."""
        return "\n".join(one.text for one in self.troubles)

    @property
    def taps(self) -> int:
        """Taps compared."""
        return sum(part.compared for part in self.parts)

    @property
    def equal(self) -> int:
        """Taps that are equal."""
        return sum(part.equal for part in self.parts)

    @property
    def verdict(self) -> Verdict:
        """Equal, equal but meaningless, or different."""
        if self.findings or self.troubles or not all(part.good for part in self.parts):
            return Verdict.DIFFERENT
        return Verdict.EQUAL if self.health.sound else Verdict.DEGENERATE

    @property
    def good(self) -> bool:
        """Everything compared and equal, and finite, unless the user allows what is not."""
        return self.verdict is Verdict.EQUAL or (self.allowed and self.verdict is Verdict.DEGENERATE)

    @property
    def why(self) -> str:
        """Why it is not good, in short; empty where it is."""
        if self.good:
            return ""
        if self.finding is not None:
            return self.finding.describe()
        return self.surprise or self.health.sentence() or self.summary()

    @property
    def bytes_per_tensor(self) -> float:
        """On the serial lines, for each tensor compared."""
        compared = self.taps + self.parameters
        return self.line_bytes / compared if compared else 0.0

    @property
    def mismatches(self) -> MismatchMap:
        """The map of all taps."""
        return mismatch_map(self.parts)

    def summary(self) -> str:
        """One line: how many taps were equal and what that took."""
        return (
            f"{self.what}: {self.taps:,} taps compared, {self.equal:,} equal; {self.parameters} parameters compared; "
            f"{self.line_bytes:,} bytes over the serial lines, {self.bytes_per_tensor:.1f} for each tensor"
        )

    def describe(self) -> str:
        """The summary with its scope and, where something is not right, what it is, with the map."""
        lines = [self.summary(), *self.scope.lines(), f"  values: {self.health.figures()}"]
        if self.verdict is Verdict.DEGENERATE:
            lines += [f"  {'allowed' if self.allowed else 'NOT FINITE'}: {self.health.sentence()}"]
        for one in self.findings:
            lines += [one.describe()]
            lines += [f"  bytes:   {one.line_bytes:,} over the serial lines to find that out"] if one.line_bytes else []
        lines += [f"{one.part}: {one.text}" for one in self.troubles]
        lines += [f"  tried again: {self.recurrence.text()}"] if self.recurrence is not None else []
        if self.mismatches.wrong:
            lines += ["", self.mismatches.text()]
        return "\n".join(lines)


# --- generation --------------------------------------------------------------------------------


def verify_generation(
    ring: Ring,
    weights: Weights,
    request: GenerationRequest,
    *,
    taps: bool = True,
    golden: GoldenRun | None = None,
    source: GenerationSource | None = None,
    on_token: Callable[[Token], None] | None = None,
    on_end: Callable[[RingGeneration], None] | None = None,
    allowed: bool = False,
) -> tuple[RingGeneration, Verification]:
    """Run a generation and compare it; explain the first difference.

    Args:
        taps: record and compare taps; without, tokens and what is at rest alone.
        golden, source: what the golden did, if known already.
        on_token: also called where the generation must be done again.
        on_end: called when the run is over and before it is compared.
        allowed: values that are not finite, or zero throughout, count as good where the golden has them too.
    Raises: ModelError, LinkError, BoardError.
    """
    __tracebackhide__ = True
    shards = check_shards(ring, weights)
    result = ring.run_generation(request, taps=taps, on_token=on_token)
    if on_end is not None:
        on_end(result)
    if golden is None:
        golden = golden_run(weights, request, ring.world_size)
    if source is None:
        entering = (request.prompt[0], *golden.tokens)[: len(golden.tokens)]
        source = GenerationSource(weights, entering, request.temperature, ring.world_size)
    generation = _Generation(ring, weights, request, golden, source, taps, on_token)
    return result, generation.compare(result, shards, allowed)


@dataclass(frozen=True, slots=True)
class _Generation:
    """A generation that a ring has just done, beside the golden's."""

    ring: Ring
    weights: Weights
    request: GenerationRequest
    golden: GoldenRun
    source: GenerationSource
    taps: bool
    on_token: Callable[[Token], None] | None

    def compare(self, result: RingGeneration, shards: list[Trouble], allowed: bool) -> Verification:
        before = line_bytes(self.ring)
        parts = (compare_taps(self.ring, self.golden.by_rank),) if self.taps else ()
        wrong, count = _check_parameters(self.ring, self.source)
        spent = line_bytes(self.ring) - before
        first = parts[0].first if parts else None
        troubles = token_troubles(self.request, result, self.golden, first, self.ring.world_size - 1)
        chosen = any(one.part in (Told.SAMPLER, Told.PROMPT) for one in troubles)
        explained = None if chosen else first  # what comes after another token is no fault of its own
        findings = _findings(self.ring, explained, self.source, self._again, wrong)
        recurrence = None
        if first is not None or any(one.part is not Told.SHARD for one in troubles):
            recurrence = rerun(self._once)
            findings = with_recurrence(findings, recurrence)
        health, figures = health_of(parts, self.golden.odd, odd_parameter(self.weights), len(self.golden.tokens))
        return Verification(
            f"generation of {len(self.golden.tokens)} positions", parts, count, spent, findings,
            (*shards, *troubles, *figures), self._scope(result, count), health, recurrence, allowed,
        )  # fmt: skip

    def _again(self, rank: int, first: int) -> None:
        RankTensors(self.ring, rank).keep(first)
        self.ring.run_generation(self.request, on_token=self.on_token)

    def _once(self, taps: bool) -> str:
        """Do it again: what differs first, in words; empty where nothing does."""
        result = self.ring.run_generation(self.request, taps=taps, on_token=self.on_token)
        first = compare_taps(self.ring, self.golden.by_rank).first if taps else None
        if first is not None:
            return first.describe().splitlines()[0]
        return "".join(
            one.text for one in token_troubles(self.request, result, self.golden, None, self.ring.world_size - 1)
        )

    def _scope(self, result: RingGeneration, count: int) -> Scope:
        shown, tokens = shown_count(result), len(result.tokens)
        compared = [f"{tokens} tokens as read", f"{shown} as shown", f"{count} parameters and tables at rest"]
        left = [] if shown >= tokens else [f"{tokens - shown} tokens that the line lost while they were shown"]
        if self.taps:
            compared.insert(0, f"{sum(map(len, self.golden.by_rank)):,} tensors of {len(self.golden.tokens)} positions")
        else:
            left.insert(0, "tensors, which were not recorded")
        return Scope(tuple(compared), (*left, "link counters and times, which boards tell alone"))


def _findings(
    ring: Ring, first: TapDifference | None, source: GoldenSource, again: Again, wrong: Sequence[WrongValue]
) -> tuple[Finding, ...]:
    """The first wrong tap with its cause, then the wrong parameters that are not among its causes."""
    found = [] if first is None else [find_cause(ring, first, source, again, wrong)]
    named = {(one.rank, one.name, one.layer) for finding in found for one in finding.culprits}
    for one in wrong:
        if (one.rank, one.name, one.layer) not in named:
            shared = all(name != "wcls" for name, _ in source.pieces(one.rank))
            found.append(finding_of_parameter(one, shared=shared, alone=first is None))
    return tuple(found)


def _check_parameters(ring: Ring, source: GoldenSource) -> tuple[list[WrongValue], int]:
    """What is wrong with the parameters of all ranks, and how many tensors were looked at."""
    count, found = 0, list[WrongValue]()
    for rank in range(ring.world_size):
        count += len(source.pieces(rank))
        found += wrong_parameters(ring, source, rank)
    return found, count


# --- training ----------------------------------------------------------------------------------


class VerifiedTraining:
    """A training whose every step is compared before the parameters change and after, and at rest after the last.

    Args:
        batches: of all steps.
        parameters: compare all parameters before they change as well, in every step.
        golden: what the golden did, if known already.
        allowed: values that are not finite, or zero throughout, count as good where the golden has them too.
    Raises: ModelError, BoardError.
    """

    def __init__(
        self,
        ring: Ring,
        weights: Weights,
        batches: Sequence[Sequence[Sequence[int]]],
        plan: Plan,
        *,
        parameters: bool = False,
        golden: Training | None = None,
        allowed: bool = False,
    ) -> None:
        self.ring, self.weights, self.batches, self.plan = ring, weights, batches, plan
        self._shards = check_shards(ring, weights)
        self.golden = golden if golden is not None else golden_training(weights, batches, plan)
        self._parameters, self._allowed, self._odd = parameters, allowed, odd_parameter(weights)
        self.training = RingTraining(ring, weights.config, plan)

    def steps(self) -> Iterator[tuple[RingStep, Verification]]:
        """Step by step; ends after the first that is not good, because what follows differs as well."""
        for number in range(len(self.batches)):
            result, verification = self.step(number)
            yield result, verification
            if not verification.good:
                return

    def step(self, number: int) -> tuple[RingStep, Verification]:
        """Run and compare step `number`, which must be the next. Raises LinkError, BoardError."""
        __tracebackhide__ = True
        ring, batch, step = self.ring, self.batches[number], self.golden.steps[number]
        result = self.training.step(batch, hold=True)
        before = line_bytes(ring)
        held, changed = self._expected(step)
        parts = [compare_taps(ring, held)]
        source = StepSource(self.weights, self.batches[: number + 1], self.plan, ring.world_size, self.training)
        troubles = list(self._shards) if number == 0 else []
        told = step_troubles(result, step, self.training.told(), number, self.plan.microbatches)
        troubles += told
        wrong, count = list[WrongValue](), 0
        if self._parameters or parts[0].first is not None:
            wrong, count = _check_parameters(ring, source)
        last = number == len(self.batches) - 1
        if parts[0].first is None and not wrong and not told:
            result = self.training.apply(result)
            parts.append(compare_taps(ring, changed, since=held))
            if last:
                rest, more = self._at_rest()
                troubles, count = troubles + rest, count + more
        spent = line_bytes(ring) - before
        first = next((part.first for part in parts if part.first is not None), None)
        findings = _findings(ring, first, source, self._again(batch), wrong)
        recurrence = None
        if len(parts) == 1 and (first is not None or told):
            recurrence = rerun(lambda taps: self._once(number, held, taps))
            findings = with_recurrence(findings, recurrence)
        health, figures = health_of(parts, step.odd, self._odd, self.plan.positions)
        verification = Verification(
            f"step {number + 1}", tuple(parts), count, spent, findings, (*troubles, *figures),
            self._scope(parts, count, last), health, recurrence, self._allowed,
        )  # fmt: skip
        return result, verification

    def _expected(self, step: Step) -> tuple[list[list[RankTap]], list[list[RankTap]]]:
        """Taps before and after the parameters change."""
        expected = expected_step(step, self.ring, self.weights.config.n_layers, self.plan)
        held, changed = ([[tap for tap in taps if (tap.key.op > Op.GRAD_NORM) is late] for taps in expected]
                         for late in (False, True))  # fmt: skip
        return held, changed

    def _again(self, batch: Sequence[Sequence[int]]) -> Again:
        def again(rank: int, first: int) -> None:
            RankTensors(self.ring, rank).keep(first)
            self.training.step(batch, hold=True)

        return again

    def _once(self, number: int, held: Expected, taps: bool) -> str:
        """Do the step again while its parameters have not changed: what differs first, in words."""
        result = self.training.step(self.batches[number], taps=taps, hold=True)
        first = compare_taps(self.ring, held).first if taps else None
        if first is not None:
            return first.describe().splitlines()[0]
        step, told = self.golden.steps[number], self.training.told()
        return "".join(one.text for one in step_troubles(result, step, told, number, self.plan.microbatches))

    def _at_rest(self) -> tuple[list[Trouble], int]:
        """Parameters, tables and moments after the last step, and the boards' count of steps."""
        states: list[tuple[Source, Mapping[Piece, F32Array]]] = []
        first, second = self.golden.state
        if has_moment(self.plan.optimizer):
            states.append((Source.FIRST, first))
        if isinstance(self.plan.optimizer, AdamW):
            states.append((Source.SECOND, second))
        source = _AtRest(self.golden.weights, self.ring.world_size)
        wrong, count = _check_parameters(self.ring, source)
        troubles = [Trouble(Told.PARAMETER, one.rank, f"after the last step {one.describe()}") for one in wrong]
        for kind, state in states:
            for rank in range(self.ring.world_size):
                pieces = [piece for piece in source.pieces(rank) if piece in state]
                count += len(pieces)
                moments = wrong_moments(self.ring, rank, kind, pieces, state)
                troubles += [Trouble(Told.MOMENT, rank, f"after the last step {one.describe()}") for one in moments]
        for rank, one in enumerate(self.training.told()):
            if one.steps != len(self.batches):
                text = f"board {rank} counts {one.steps} steps, {len(self.batches)} were done"
                troubles.append(Trouble(Told.STEPS, rank, text))
        return troubles, count

    def _scope(self, parts: Sequence[TapComparison], count: int, last: bool) -> Scope:
        plan, o = self.plan, self.plan.optimizer
        tensors = sum(part.compared for part in parts)
        compared = [
            f"{tensors:,} tensors of {plan.microbatches} x {plan.positions} positions",
            f"with {optimizer_in_words(o, plan.clip)}",
            "losses, norm and factor of every board",
        ]
        left = []
        if last and len(parts) > 1:
            compared.append(f"{count} parameters, tables and moments at rest")
        elif last:
            left.append("parameters after the step, which was not applied")
        else:
            left.append("parameters, tables and moments at rest, which are compared after the last step")
        return Scope(tuple(compared), (*left, "link counters and times, which boards tell alone"))


class _AtRest(GenerationSource):
    """The golden's weights after a training."""

    def __init__(self, weights: Weights, world_size: int) -> None:
        super().__init__(weights, (), 0.0, world_size)


def has_moment(optimizer: Settings) -> bool:
    """Whether the optimiser keeps a momentum or first moment."""
    return isinstance(optimizer, AdamW) or optimizer.momentum != 0


def optimizer_in_words(optimizer: Settings, clip: float) -> str:
    """`AdamW, rate 0.001, decay 0.1, clipped at 1`."""
    parts = ["AdamW" if isinstance(optimizer, AdamW) else "SGD", f"rate {optimizer.learning_rate:g}"]
    if not isinstance(optimizer, AdamW) and optimizer.momentum:
        parts.append(f"momentum {optimizer.momentum:g}")
    parts += [f"decay {optimizer.weight_decay:g}"] if optimizer.weight_decay else []
    return ", ".join(parts + ([f"clipped at {clip:g}"] if clip else []))
