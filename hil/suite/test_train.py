"""Whole trainings: every loss, activation, gradient and parameter of every step equals the golden's, bit for bit."""

import pytest

from golden.optimizer import AdamW
from hil.checks.model import checks
from hil.model.bundle import Model
from hil.ring.ring import Ring
from hil.ring.training import Plan
from hil.suite.conftest import Passes

POSITIONS = 16


@pytest.mark.ring
@pytest.mark.train
@pytest.mark.gradients
def test_adamw_equals_golden(ring: Ring, golden: Model, passes: Passes) -> None:
    plan = Plan(AdamW(1e-3, weight_decay=0.1), POSITIONS, clip=1.0)
    passes(checks.training, ring, plan=plan, tokens=checks.first_line(golden))


@pytest.mark.ring
@pytest.mark.train
@pytest.mark.gradients
def test_microbatches_under_way_equal_golden(ring: Ring, golden: Model, passes: Passes) -> None:
    plan = Plan(AdamW(1e-3), POSITIONS // 2, microbatches=4, slots=4)
    passes(checks.training, ring, plan=plan, tokens=checks.first_line(golden))


@pytest.mark.train
@pytest.mark.gradients
def test_tiny_model_learns_a_paragraph_and_tells_it(ring: Ring, passes: Passes) -> None:
    """A paragraph that it has never seen: the loss falls with every step, then the model knows it by heart."""
    passes(checks.learning, ring)


@pytest.mark.loopback
@pytest.mark.train
@pytest.mark.gradients
def test_one_board_trains_through_its_jumpers(loopback_ring: Ring, golden: Model, passes: Passes) -> None:
    plan = Plan(AdamW(1e-3), POSITIONS // 2, microbatches=2, slots=2)
    passes(checks.training, loopback_ring, plan=plan, tokens=checks.first_line(golden))
