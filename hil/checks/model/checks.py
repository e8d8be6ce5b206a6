"""Checks of the model on the boards: generations and trainings, every number compared with the golden's."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator, Sequence

from golden.generate import GenerationRequest
from golden.optimizer import AdamW, Sgd
from hil.checks.check import Left, Result, Setup, Sign, check
from hil.checks.model.taps import golden_run
from hil.checks.model.training import windows
from hil.checks.model.verify import Verification, VerifiedTraining, verify_generation
from hil.data import data_path
from hil.errors import BoardError
from hil.model.bundle import Model
from hil.protocol.messages import Status
from hil.rig.needs import Need
from hil.ring.ring import Ring
from hil.ring.training import Plan, RingStep, RingTraining
from hil.timeline.capture import start_tracing, stop_tracing
from hil.timeline.spans import Story, tell

LAYERS_POSITIONS = 4
GRADIENT_POSITIONS, GRADIENT_MICROBATCHES = 8, 2
ADAMW = Plan(AdamW(1e-3, weight_decay=0.1), 16, clip=1.0)
TEMPERATURE, TOPP = 0.8, 0.9
LEARNING_STEPS = 10
LEARNED = 0.1
"""Nats per token; an untrained model has 6.2, the shipped one 10 on a text of another kind."""


# --- generation ----------------------------------------------------------------------------------


@check("parameters", "layers", Need.WIRED_RANKS)
def parameters(setup: Setup, seed: int) -> Result:
    """Every parameter in the boards' memory is the model's, and so is every op of a short sampled run."""
    model = setup.model
    tokens = model.encode_prompt("Once upon", LAYERS_POSITIONS) if model.name == "tiny" else [1]
    request = GenerationRequest(tokens, LAYERS_POSITIONS, TEMPERATURE)
    _, verification = verify_generation(setup.ring, model.weights, request)
    return _verified([verification])


@check("layers", "layers", Need.WIRED_RANKS, night=True)
def layers(setup: Setup, seed: int, *, request: GenerationRequest | None = None) -> Result:
    """A generation with every activation compared.

    Args:
        request: instead of the beginning of a line of the corpus, which goes on greedily.
    """
    if request is None:
        positions = min(setup.size.layer_positions, setup.model.weights.config.seq_len)
        request = GenerationRequest(_prompt(setup.model, positions, seed), positions)
    result, verification = verify_generation(setup.ring, setup.model.weights, request)
    found = _verified([verification])
    found.figures["traced_tokens_s"] = len(result.tokens) / result.rig_s
    found.report = result.tokens
    return found


# --- training ------------------------------------------------------------------------------------


@check("gradients", "gradients", Need.WIRED_RANKS, night=True)
def gradients(setup: Setup, seed: int) -> Result:
    """One training step with every gradient compared; its learning rate is 0, so the weights stay."""
    plan = Plan(Sgd(0.0), GRADIENT_POSITIONS, GRADIENT_MICROBATCHES, slots=GRADIENT_MICROBATCHES)
    found, steps, _ = _trained(setup, plan, windows(corpus(setup.model, seed), plan, 1))
    found.figures["gradients_s"] = steps[0].rig_s
    return found


@check("generation", "generate", Need.WIRED_RANKS, night=True)
def generation(setup: Setup, seed: int) -> Result:
    """A long story with sampling, its tokens compared."""
    positions = min(setup.size.story_positions, setup.model.weights.config.seq_len)
    request = GenerationRequest(_prompt(setup.model, positions, seed), positions, TEMPERATURE, TOPP, seed)
    golden = golden_run(setup.model.weights, request, setup.ring.world_size)
    result, verification = verify_generation(setup.ring, setup.model.weights, request, taps=False, golden=golden)
    equal = sum(a == b for a, b in zip(result.tokens, golden.tokens, strict=False))
    figures = {"tokens": len(golden.tokens), "tokens_equal": equal, "tokens_s": len(result.tokens) / result.rig_s}
    found = Result(figures=figures)
    found.detail = verification.describe()
    if not verification.good:
        found.sentence = f"{verification.why}; `layers` with the same seed names the op"
    return found


@check("training", "train", Need.WIRED_RANKS, night=True)
def training(setup: Setup, seed: int, *, plan: Plan = ADAMW, tokens: Sequence[int] | None = None) -> Result:
    """Steps of AdamW with every loss, activation, gradient and parameter compared."""
    batches = windows(tokens or corpus(setup.model, seed), plan, setup.size.steps)
    found, steps, trainer = _trained(setup, plan, batches)
    if found.sentence:
        found.sentence = f"step {len(steps)}: {found.sentence}"
    found.losses = [step.loss for step in steps]
    found.golden_losses = [step.loss for step in trainer.golden.steps[: len(steps)]]
    found.figures["step_s"] = sum(step.rig_s for step in steps) / len(steps)
    return found


@check("learning", "train", Need.WIRED_RANKS)
def learning(setup: Setup, seed: int) -> Result:
    """The model learns a paragraph that it has never seen: the loss falls with every step, then it is told by heart."""
    model = setup.model
    if model.name != "tiny":
        raise Left(f"the settings are for the model tiny, this is {model.name}: leave out --hil-model")
    paragraph = data_path("fixtures/paragraph.txt").read_text(encoding="utf-8").strip()
    tokens = model.tokenizer.encode(paragraph)
    plan = Plan(AdamW(3e-3), len(tokens) - 1, clip=1.0)
    found, steps, trainer = _trained(setup, plan, [[tokens]] * LEARNING_STEPS)
    found.losses = [step.loss for step in steps]
    if not found.good:
        return found
    request = GenerationRequest((tokens[0],), plan.positions)
    result, verification = verify_generation(setup.ring, trainer.golden.weights, request)
    told = model.tokenizer.decode_all([tokens[0], *result.tokens])
    if not verification.good:
        return _verified([verification])
    if found.losses[-1] >= LEARNED or any(later >= earlier for earlier, later in itertools.pairwise(found.losses)):
        found.sentence = f"the losses do not fall with every step to below {LEARNED}: {found.losses}"
    elif told != paragraph:
        found.sentence = f"after training it tells {told!r}, not {paragraph!r}"
    return found


def _trained(
    setup: Setup, plan: Plan, batches: Sequence[Sequence[Sequence[int]]]
) -> tuple[Result, list[RingStep], VerifiedTraining]:
    """A training up to its first step that differs. Raises Left where a board has no memory for it."""
    steps, verifications = list[RingStep](), list[Verification]()
    with _memory_for_training():
        trainer = VerifiedTraining(setup.ring, setup.model.weights, batches, plan)
    for step, verification in trainer.steps():
        steps.append(step)
        verifications.append(verification)
        setup.progress(len(steps) / len(batches))
    return _verified(verifications), steps, trainer


@contextlib.contextmanager
def _memory_for_training() -> Iterator[None]:
    """A model that is too large to be trained on these boards is no failure."""
    try:
        yield
    except BoardError as error:
        if Status.OUT_OF_MEMORY.name not in str(error):
            raise
        raise Left(f"no memory for training: {error}") from None


def _verified(verifications: Sequence[Verification]) -> Result:
    """What is kept of verified runs, of which only the last may have gone wrong."""
    figures = {"taps": float(sum(one.taps for one in verifications)),
               "taps_equal": float(sum(one.equal for one in verifications))}  # fmt: skip
    figures["not_finite"] = float(sum(one.health.nonfinite + one.health.zero for one in verifications))
    detail = [line for one in verifications for line in (one.summary(), *one.scope.lines())]
    found = Result(figures=figures, detail="\n".join(detail))
    last = verifications[-1]
    if not last.good:
        found.sentence = last.why
        found.sign = Sign.LINK if last.finding is not None and last.finding.kind == "link" else Sign.VALUES
        found.detail, found.mismatch_map = last.describe(), list(last.mismatches.rows)
    return found


def traced_step(ring: Ring, model: Model, plan: Plan, tokens: Sequence[int], title: str) -> Story:
    """One step of training on a text, with its timeline; the boards hold other weights afterwards.

    Raises: ModelError, BoardError, LinkError.
    """
    batch = windows(tokens, plan, 1)[0]
    trainer = RingTraining(ring, model.weights.config, plan)
    start_tracing(ring)
    trainer.step(batch, taps=False)
    return tell(stop_tracing(ring), title)


# --- texts ---------------------------------------------------------------------------------------


def first_line(model: Model) -> list[int]:
    """The tokens of the shipped corpus' first line."""
    return model.tokenizer.encode(_lines()[0])


def corpus(model: Model, seed: int) -> list[int]:
    """The tokens of the shipped corpus, from a line of it on."""
    lines = _lines()
    first = random.Random(seed).randrange(len(lines))
    return model.tokenizer.encode(" ".join(lines[first:] + lines[:first]))


def _lines() -> list[str]:
    return data_path("fixtures/corpus.txt").read_text(encoding="utf-8").splitlines()


def _prompt(model: Model, positions: int, seed: int) -> list[int]:
    """The beginning of a line of the shipped corpus, at most half of the positions."""
    rng = random.Random(seed)
    tokens = model.tokenizer.encode(rng.choice(_lines()))
    return tokens[: rng.randint(1, max(1, positions // 2))]
