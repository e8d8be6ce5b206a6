"""What stands in the boards' memory is the model's: every parameter, and every op of a short sampled run."""

import pytest

from hil.checks.model import checks
from hil.ring.ring import Ring
from hil.suite.conftest import Passes

pytestmark = pytest.mark.layers


@pytest.mark.ring
def test_parameters_and_ops_are_the_goldens(ring: Ring, passes: Passes) -> None:
    passes(checks.parameters, ring)


@pytest.mark.loopback
def test_parameters_and_ops_of_all_ranks_on_one_board_are_the_goldens(loopback_ring: Ring, passes: Passes) -> None:
    passes(checks.parameters, loopback_ring)
