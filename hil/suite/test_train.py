"""Whole trainings: every loss, activation, gradient and parameter of every step equals the golden's, bit for bit."""

import itertools

import pytest

from golden.optimizer import AdamW
from golden.weights import Weights
from hil import attach
from hil.checks.model.training import windows
from hil.checks.model.verify import GenerationRequest, VerifiedTraining, verify_generation
from hil.data import data_path
from hil.model.bundle import Model
from hil.ring.ring import Ring
from hil.ring.training import Plan, RingStep

POSITIONS = 16
STEPS = 3
LEARNING_STEPS = 10
LEARNED = 0.1
"""Nats per token; an untrained model has 6.2, the shipped one 10 on a text of another kind."""


def check_training(
    ring: Ring, golden: Model, plan: Plan, batches: list[list[list[int]]]
) -> tuple[list[RingStep], Weights]:
    """Train one step per batch and compare everything; the steps, and the golden's weights after them."""
    training = VerifiedTraining(ring, golden.weights, batches, plan)
    steps = []
    for number in range(len(batches)):
        with attach.step(f"step {number + 1}"):
            result, verification = training.step(number)
            steps.append(result)
            attach.text("step", f"loss {result.loss}, {verification.summary()}")
        assert verification.good, verification.describe()
    return steps, training.golden.weights


def check_line(ring: Ring, golden: Model, plan: Plan) -> None:
    """Train on the corpus' first line and compare every step."""
    line = data_path("fixtures/corpus.txt").read_text(encoding="utf-8").splitlines()[0]
    check_training(ring, golden, plan, windows(golden.tokenizer.encode(line), plan, STEPS))


@pytest.mark.ring
@pytest.mark.train
@pytest.mark.gradients
def test_adamw_equals_golden(ring: Ring, golden: Model) -> None:
    check_line(ring, golden, Plan(AdamW(1e-3, weight_decay=0.1), POSITIONS, clip=1.0))


@pytest.mark.ring
@pytest.mark.train
@pytest.mark.gradients
def test_microbatches_under_way_equal_golden(ring: Ring, golden: Model) -> None:
    check_line(ring, golden, Plan(AdamW(1e-3), POSITIONS // 2, microbatches=4, slots=4))


@pytest.mark.train
@pytest.mark.gradients
def test_tiny_model_learns_a_paragraph_and_tells_it(ring: Ring, golden: Model) -> None:
    """A paragraph that it has never seen: the loss falls with every step, then the model knows it by heart."""
    if golden.name != "tiny":
        pytest.skip(f"the settings are for the model tiny, this is {golden.name}: leave out --hil-model")
    paragraph = data_path("fixtures/paragraph.txt").read_text(encoding="utf-8").strip()
    tokens = golden.tokenizer.encode(paragraph)
    plan = Plan(AdamW(3e-3), len(tokens) - 1, clip=1.0)
    steps, trained = check_training(ring, golden, plan, [[tokens]] * LEARNING_STEPS)
    losses = [step.loss for step in steps]
    assert all(later < earlier for earlier, later in itertools.pairwise(losses)), losses
    assert losses[-1] < LEARNED, losses
    request = GenerationRequest((tokens[0],), plan.positions)
    result, verification = verify_generation(ring, trained, request)
    assert verification.good, verification.describe()
    assert golden.tokenizer.decode_all([tokens[0], *result.tokens]) == paragraph


@pytest.mark.loopback
@pytest.mark.train
@pytest.mark.gradients
def test_one_board_trains_through_its_jumpers(loopback_ring: Ring, golden: Model) -> None:
    check_line(loopback_ring, golden, Plan(AdamW(1e-3), POSITIONS // 2, microbatches=2, slots=2))
