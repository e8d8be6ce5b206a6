"""Is every wire where it should be? The scan drives one pad at a time, so it is safe on any wiring."""

from collections.abc import Iterator

import pytest

from hil import attach
from hil.checks.wiring import WiringReport, scan_wiring
from hil.pictures.wiring import wiring_svg
from hil.rig.specs import sim_rig
from hil.ring.ring import Ring
from hil.session import Session

pytestmark = pytest.mark.wiring


def check_wiring(ring: Ring) -> WiringReport:
    """Scan; attach the verdict and the picture; fail with the verdict if a wire is wrong."""
    __tracebackhide__ = True
    with attach.step("scan the wires"):
        report = scan_wiring(ring)
        attach.text("wiring", report.text())
        attach.svg("picture of the ring", wiring_svg(report))
    if not report.good:
        pytest.fail(report.text(), pytrace=False)
    return report


@pytest.mark.ring
def test_every_wire_of_the_ring_is_right(ring: Ring) -> None:
    report = check_wiring(ring)
    assert report.codes_sent
    assert len(report.wires) == 10 * len(ring.desk.config.links)


@pytest.mark.loopback
def test_every_jumper_of_the_one_board_is_right(loopback_ring: Ring) -> None:
    report = check_wiring(loopback_ring)
    assert report.order == (0,)
    assert len(report.wires) == 10


@pytest.fixture
def bare_ring(hil: Session) -> Iterator[Ring]:
    """One board without jumpers: the rig's own, or a simulated one on the simulated rig."""
    config = sim_rig(1, name="sim-bare") if hil.settings.rig == "sim" else hil.config
    if config.world_size > 1 or config.links:
        pytest.skip(f"rig {config.name} has links; give --hil-rig a rig of one board without [[link]]")
    ring = hil.open_ring(config, logs=hil.settings.logs / "bare", shards=False)
    try:
        hil.boot(ring)
        yield ring
    finally:
        ring.desk.close()


def test_no_pad_of_a_board_without_jumpers_is_held_or_joined(bare_ring: Ring) -> None:
    assert check_wiring(bare_ring).order == ()
