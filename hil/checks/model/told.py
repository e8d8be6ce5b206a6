"""Told: what boards say of a run beside their taps, compared with the golden's. Tokens, losses, figures of a step.

Pure functions; they give Troubles (hil/checks/model/scope.py). Floats are compared bit for bit, any NaN being one.
"""

from __future__ import annotations

from collections.abc import Sequence

from golden.generate import GenerationRequest
from golden.taps import Op
from golden.train import Step
from hil.checks.model.scope import Told, Trouble
from hil.checks.model.taps import GoldenRun, TapDifference
from hil.checks.model.values import same_bits
from hil.protocol.training_messages import TrainResult
from hil.ring.ring import RingGeneration
from hil.ring.training import RingStep


def first_other(tokens: Sequence[int], golden: Sequence[int]) -> int:
    """The first position at which tokens are not the golden's."""
    pairs = enumerate(zip(tokens, golden, strict=False))
    return next((i for i, (mine, theirs) in pairs if mine != theirs), min(len(tokens), len(golden)))


# --- tokens --------------------------------------------------------------------------------------


def token_troubles(
    request: GenerationRequest, result: RingGeneration, golden: GoldenRun, first: TapDifference | None, head: int
) -> list[Trouble]:
    """Tokens as read and as shown that are not the golden's.

    Args:
        first: the first tap that differs, which tells where a wrong token comes from.
        head: rank of the head.
    """
    found = []
    if result.tokens != golden.tokens:
        at = first_other(result.tokens, golden.tokens)
        equal = sum(mine == theirs for mine, theirs in zip(result.tokens, golden.tokens, strict=False))
        part, why = _source_of_token(request, result, golden, first, at)
        found.append(Trouble(part, head, (
            f"the story differs from the golden's from position {at} on, {equal} of {len(golden.tokens)} tokens are "
            f"equal: {why}"
        )))  # fmt: skip
    return found + _shown_troubles(request, result, head)


def _source_of_token(
    request: GenerationRequest, result: RingGeneration, golden: GoldenRun, first: TapDifference | None, at: int
) -> tuple[Told, str]:
    """Who made the token at `at` what it is, and a sentence on it."""
    if at >= min(len(result.tokens), len(golden.tokens)):
        return Told.STORY, f"it has {len(result.tokens)} tokens, the golden's {len(golden.tokens)}"
    both = f"token {result.tokens[at]} instead of {golden.tokens[at]}"
    if first is not None and first.key.position <= at and first.kind != "missing":
        return Told.STORY, f"{both}, which follows from the first wrong tensor"
    if first is not None and first.kind == "missing" and first.key.position < at:
        return Told.STORY, f"{both}; ops are missing before it"
    last = at == len(golden.tokens) - 1
    shown = next((one.token for one in result.shown if one.position == at), None)
    if (first is None and not last) or (last and shown == golden.tokens[at]):
        return Told.TOKEN_LOG, f"the board went on with the right one and tells {both} when it is asked"
    if at + 1 < len(request.prompt):
        return Told.PROMPT, f"{both}: this one is the prompt's, the board took another"
    what = Op.PROBS.name if request.temperature > 0 else Op.LOGITS.name
    return Told.SAMPLER, f"{what} of position {at} is right and the sampler chose {both} from it"


def _shown_troubles(request: GenerationRequest, result: RingGeneration, head: int) -> list[Trouble]:
    """Events that are not what the board tells when it is asked; events that a line lost are no trouble."""
    found = []
    before = -1
    for one in result.shown:
        at = one.position
        forced = at + 1 < len(request.prompt)
        if at >= len(result.tokens) or at <= before:
            found.append(f"position {at} was shown; the run has {len(result.tokens)} positions, one after the other")
        elif one.token != result.tokens[at]:
            found.append(f"position {at} was shown as token {one.token}, the run has {result.tokens[at]} there")
        elif bool(one.forced) != forced:
            said, is_ = ("the prompt's", "chosen") if one.forced else ("chosen", "the prompt's")
            found.append(f"the token of position {at} was shown as {said}, it is {is_}")
        before = max(at, before)
    if not found:
        return []
    more = f"; {len(found) - 1} more like it" if len(found) > 1 else ""
    return [Trouble(Told.TOKEN_EVENT, head, f"what was shown while it ran is not what ran: {found[0]}{more}")]


def shown_count(result: RingGeneration) -> int:
    """Positions of the run that were shown."""
    return len({one.position for one in result.shown})


# --- steps ---------------------------------------------------------------------------------------


def step_troubles(
    result: RingStep, golden: Step, told: Sequence[TrainResult], number: int, microbatches: int
) -> list[Trouble]:
    """Losses of the head, norm and factor of every board, and their counts of steps.

    Args:
        told: of every board, while the step is held.
        number: steps that were done before it.
    """
    head = len(told) - 1
    found = []
    if len(result.losses) != microbatches:
        text = f"{len(result.losses)} losses of {microbatches} microbatches came"
        found.append(Trouble(Told.MICROBATCH_LOSS, head, text))
    for i, (mine, theirs) in enumerate(zip(result.losses, golden.losses, strict=False)):
        if not same_bits(mine, theirs):
            text = f"the loss of microbatch {i} is {mine:.9g}, the golden's {theirs:.9g}"
            found.append(Trouble(Told.MICROBATCH_LOSS, head, text))
    if not same_bits(result.loss, golden.loss):
        found.append(Trouble(Told.LOSS, head, f"the loss is {result.loss:.9g}, the golden's {golden.loss:.9g}"))
    for rank, one in enumerate(told):
        for part, mine, theirs in (
            (Told.NORM, one.norm, golden.gradient_norm), (Told.FACTOR, one.factor, golden.factor),
        ):  # fmt: skip
            if not same_bits(mine, theirs):
                found.append(
                    Trouble(part, rank, f"the {part} on board {rank} is {mine:.9g}, the golden's {theirs:.9g}")
                )
        if one.steps != number:
            found.append(Trouble(Told.STEPS, rank, f"board {rank} counts {one.steps} steps, {number} were done"))
    return found
