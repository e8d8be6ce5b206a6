"""What stands in the boards' memory is the model's: every parameter, and every op of a short sampled run."""

import pytest

from hil import attach
from hil.checks.model.verify import GenerationRequest, verify_generation
from hil.model.bundle import Model
from hil.ring.ring import Ring

pytestmark = pytest.mark.layers

POSITIONS = 4


def check_layers(ring: Ring, golden: Model) -> None:
    """Every tap of a short sampled run, then every parameter and table on every board."""
    tokens = golden.encode_prompt("Once upon", POSITIONS) if golden.name == "tiny" else [1]
    request = GenerationRequest(tuple(tokens), POSITIONS, temperature=0.8)
    _, verification = verify_generation(ring, golden.weights, request, parameters=True)
    attach.text("layers", verification.summary())
    assert verification.good, verification.describe()
    assert verification.parameters > 0


@pytest.mark.ring
def test_parameters_and_ops_are_the_goldens(ring: Ring, golden: Model) -> None:
    check_layers(ring, golden)


@pytest.mark.loopback
def test_parameters_and_ops_of_all_ranks_on_one_board_are_the_goldens(loopback_ring: Ring, golden: Model) -> None:
    check_layers(loopback_ring, golden)
