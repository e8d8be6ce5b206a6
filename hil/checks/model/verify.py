"""Verified runs: a generation, or a training step by step, with every tap compared and the first difference explained.

All verified runs of commands, suite and nightly are done here. On a run that is right nothing crosses the serial lines
but 4 bytes for each tap (and, if asked for, for each parameter). Owns: Verification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from golden.generate import GenerationRequest
from golden.taps import Op
from golden.train import Step, Training
from golden.weights import Weights
from hil.checks.model.explain import Finding, find_cause, finding_of_parameter, line_bytes, wrong_parameters
from hil.checks.model.mismatch import MismatchMap, mismatch_map
from hil.checks.model.replays import GenerationSource, GoldenSource, StepSource
from hil.checks.model.taps import GoldenRun, TapComparison, compare_taps, golden_run
from hil.checks.model.training import expected_step, golden_training, same_losses
from hil.protocol.messages import Token
from hil.ring.ring import Ring, RingGeneration
from hil.ring.tensors import RankTensors
from hil.ring.training import Plan, RingStep, RingTraining


@dataclass(frozen=True, slots=True)
class Verification:
    """A run that was compared with the golden.

    what: in words. parts: the comparisons of taps, one after the other; none of a generation whose tokens alone were
    compared. parameters: tensors of parameters compared beside the taps. line_bytes: what comparing took on the serial
    lines, both ways. surprise: something else that is not the golden's (tokens, losses); empty if nothing.
    """

    what: str
    parts: tuple[TapComparison, ...]
    parameters: int
    line_bytes: int
    finding: Finding | None
    surprise: str

    @property
    def taps(self) -> int:
        """Taps compared."""
        return sum(part.compared for part in self.parts)

    @property
    def equal(self) -> int:
        """Taps that are equal."""
        return sum(part.equal for part in self.parts)

    @property
    def good(self) -> bool:
        """Everything compared and equal."""
        return self.finding is None and not self.surprise and all(part.good for part in self.parts)

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
        """The summary and, where something differs, what it is, with the map."""
        lines = [self.summary()]
        if self.finding is not None:
            lines += [self.finding.describe()]
            lines += [f"  bytes:   {self.finding.line_bytes:,} over the serial lines to find that out"]
        lines += [self.surprise] if self.surprise else []
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
    parameters: bool = False,
    golden: GoldenRun | None = None,
    source: GenerationSource | None = None,
    on_token: Callable[[Token], None] | None = None,
) -> tuple[RingGeneration, Verification]:
    """Run a generation and compare every tap; explain the first difference.

    Args:
        taps: record and compare taps; without, tokens alone.
        parameters: compare all parameters as well.
        golden, source: what the golden did, if known already.
    Raises: ModelError, LinkError, BoardError.
    """
    __tracebackhide__ = True
    result = ring.run_generation(request, taps=taps, on_token=on_token)
    if golden is None:
        golden = golden_run(weights, request, ring.world_size)
    if not taps:
        return result, Verification(_what(golden), (), 0, 0, None, _tokens(result, golden))
    return result, compare_generation(
        ring, weights, request, result, golden, parameters=parameters, source=source, on_token=on_token
    )


def compare_generation(
    ring: Ring,
    weights: Weights,
    request: GenerationRequest,
    result: RingGeneration,
    golden: GoldenRun,
    *,
    parameters: bool = False,
    source: GenerationSource | None = None,
    on_token: Callable[[Token], None] | None = None,
) -> Verification:
    """Compare every tap of the generation that a ring has just done; explain the first difference.

    Args:
        result: what the ring gave.
        on_token: what is done at each token where the generation must be done again.
    """
    before = line_bytes(ring)
    comparison = compare_taps(ring, golden.by_rank)
    if source is None:
        entering = (request.prompt[0], *golden.tokens)[: len(golden.tokens)]
        source = GenerationSource(weights, entering, request.temperature, ring.world_size)
    wrong, count = _check_parameters(ring, source) if parameters else ([], 0)
    spent = line_bytes(ring) - before

    def again(rank: int, first: int) -> None:
        RankTensors(ring, rank).keep(first)
        ring.run_generation(request, on_token=on_token)

    finding = wrong[0] if wrong else None
    if comparison.first is not None:
        finding = find_cause(ring, comparison.first, source, again)
    return Verification(_what(golden), (comparison,), count, spent, finding, _tokens(result, golden))


def first_other(tokens: Sequence[int], golden: Sequence[int]) -> int:
    """The first position at which tokens are not the golden's."""
    pairs = enumerate(zip(tokens, golden, strict=False))
    return next((i for i, (mine, theirs) in pairs if mine != theirs), min(len(tokens), len(golden)))


def _what(golden: GoldenRun) -> str:
    return f"generation of {len(golden.tokens)} positions"


def _tokens(result: RingGeneration, golden: GoldenRun) -> str:
    if result.tokens == golden.tokens:
        return ""
    equal = sum(mine == theirs for mine, theirs in zip(result.tokens, golden.tokens, strict=False))
    at = first_other(result.tokens, golden.tokens)
    return (
        f"the story differs from the golden's from position {at} on, {equal} of {len(golden.tokens)} tokens are equal"
    )


def _check_parameters(ring: Ring, source: GoldenSource) -> tuple[list[Finding], int]:
    """What is wrong with the parameters of all ranks, and how many tensors were looked at."""
    count, found = 0, []
    for rank in range(ring.world_size):
        pieces = source.pieces(rank)
        count += len(pieces)
        shared = all(name != "wcls" for name, _ in pieces)
        found += [finding_of_parameter(one, shared=shared) for one in wrong_parameters(ring, source, rank)]
    return found, count


# --- training ----------------------------------------------------------------------------------


class VerifiedTraining:
    """A training whose every step is compared before the parameters change, and again after.

    Args:
        batches: of all steps.
        parameters: compare all parameters before they change as well.
        golden: what the golden did, if known already.
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
    ) -> None:
        self.ring, self.weights, self.batches, self.plan = ring, weights, batches, plan
        self.golden = golden if golden is not None else golden_training(weights, batches, plan)
        self._parameters = parameters
        self.training = RingTraining(ring, weights.config, plan)

    def steps(self) -> Iterator[tuple[RingStep, Verification]]:
        """Step by step; ends after the first that differs, because what follows differs as well."""
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
        expected = expected_step(step, ring, self.weights.config.n_layers, self.plan)
        held, changed = ([[tap for tap in taps if (tap.key.op > Op.GRAD_NORM) is late] for taps in expected]
                         for late in (False, True))  # fmt: skip
        parts = [compare_taps(ring, held)]
        source = StepSource(self.weights, self.batches[: number + 1], self.plan, ring.world_size, self.training)
        wrong, count = _check_parameters(ring, source) if self._parameters else ([], 0)
        if parts[0].first is None and not wrong:
            result = self.training.apply(result)
            parts.append(compare_taps(ring, changed, since=held))
        spent = line_bytes(ring) - before

        def again(rank: int, first: int) -> None:
            RankTensors(ring, rank).keep(first)
            self.training.step(batch, hold=True)

        first = next((part.first for part in parts if part.first is not None), None)
        finding = find_cause(ring, first, source, again) if first is not None else wrong[0] if wrong else None
        what = f"step {number + 1}"
        return result, Verification(what, tuple(parts), count, spent, finding, _losses(result, step))


def _losses(result: RingStep, step: Step) -> str:
    if same_losses(result, step):
        return ""
    golden = f"the golden's {step.loss:.9g} ({step.gradient_norm:.9g})"
    return f"the loss is {result.loss:.9g} (norm of gradients {result.norm:.9g}), {golden}"
