"""Is every wire where it should be? The scan drives one pad at a time, so it is safe on any wiring."""

from collections.abc import Iterator

import pytest

from hil.checks import boards
from hil.rig.needs import Need
from hil.rig.specs import sim_rig
from hil.ring.ring import Ring
from hil.session import Session
from hil.suite.conftest import Passes

pytestmark = pytest.mark.wiring


@pytest.mark.ring
def test_every_wire_of_the_ring_is_right(ring: Ring, passes: Passes) -> None:
    report = passes(boards.wiring, ring).report
    assert report.codes_sent
    assert len(report.wires) == 10 * len(ring.desk.config.links)


@pytest.mark.loopback
def test_every_jumper_of_the_one_board_is_right(loopback_ring: Ring, passes: Passes) -> None:
    report = passes(boards.wiring, loopback_ring).report
    assert report.order == (0,)
    assert len(report.wires) == 10


@pytest.fixture
def bare_ring(hil: Session) -> Iterator[Ring]:
    """One board without jumpers: the rig's own, or a simulated one on the simulated rig."""
    config = sim_rig(1, name="sim-bare") if hil.settings.rig == "sim" else hil.config
    if lack := Need.BARE.lack(config):
        pytest.skip(lack)
    ring = hil.open_ring(config, logs=hil.logs / "bare", shards=False)
    try:
        hil.boot(ring)
        yield ring
    finally:
        ring.desk.close()


def test_no_pad_of_a_board_without_jumpers_is_held_or_joined(bare_ring: Ring, passes: Passes) -> None:
    assert passes(boards.wiring, bare_ring).report.order == ()
