"""Whole trainings: every loss, activation, gradient and parameter of every step equals the golden's, bit for bit."""

import pytest

from golden.optimizer import AdamW
from hil.checks.training import windows
from hil.checks.verify_runs import VerifiedTraining
from hil.data import data_path
from hil.model.bundle import Model
from hil.report import attach
from hil.ring import Ring
from hil.training import Plan

POSITIONS = 16
STEPS = 3


def check_training(ring: Ring, golden: Model, plan: Plan) -> None:
    """Train on the corpus' first line and compare every step."""
    line = data_path("fixtures/corpus.txt").read_text().splitlines()[0]
    batches = windows(golden.tokenizer.encode(line), plan, STEPS)
    training = VerifiedTraining(ring, golden.weights, batches, plan)
    for number in range(STEPS):
        with attach.step(f"step {number + 1}"):
            result, verification = training.step(number)
            attach.text("step", f"loss {result.loss}, {verification.summary()}")
        assert verification.good, verification.describe()


@pytest.mark.ring
@pytest.mark.train
@pytest.mark.gradients
def test_adamw_equals_golden(ring: Ring, golden: Model) -> None:
    check_training(ring, golden, Plan(AdamW(1e-3, weight_decay=0.1), POSITIONS, clip=1.0))


@pytest.mark.ring
@pytest.mark.train
@pytest.mark.gradients
def test_microbatches_under_way_equal_golden(ring: Ring, golden: Model) -> None:
    check_training(ring, golden, Plan(AdamW(1e-3), POSITIONS // 2, microbatches=4, slots=4))


@pytest.mark.loopback
@pytest.mark.train
@pytest.mark.gradients
def test_one_board_trains_through_its_jumpers(loopback_ring: Ring, golden: Model) -> None:
    check_training(loopback_ring, golden, Plan(AdamW(1e-3), POSITIONS // 2, microbatches=2, slots=2))
