"""Shared by the hardware tests. The fixtures come from the plugin (hil/plugin.py)."""

from collections.abc import Callable

import pytest

from hil import attach
from hil.checks.check import Check, Left, Result, Setup
from hil.checks.wiring import WiringReport
from hil.model.bundle import Model
from hil.pictures.wiring import wiring_svg
from hil.ring.probe import Probe
from hil.ring.ring import Ring
from hil.session import Session

Passes = Callable[..., Result]


@pytest.fixture
def passes(hil: Session, golden: Model) -> Passes:
    """passes(check, ring or probe, **words): run a check of hil/checks/catalogue.py; fail with what it found wrong."""

    def run(check: Check, where: Ring | Probe, **words: object) -> Result:
        __tracebackhide__ = True
        probe = where if isinstance(where, Probe) else None
        ring = where if isinstance(where, Ring) else where.ring
        with attach.step(check.text):
            try:
                result = check(Setup(ring, golden, probe=probe), hil.settings.seed, **words)
            except Left as reason:
                pytest.skip(str(reason))
            if result.detail:
                attach.text(check.name, result.detail)
            if isinstance(result.report, WiringReport):
                attach.svg("picture of the ring", wiring_svg(result.report))
        if not result.good:
            pytest.fail(result.text, pytrace=False)
        return result

    return run
