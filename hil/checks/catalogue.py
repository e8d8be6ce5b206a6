"""The catalogue: every check of the product, described once, in the order of a round.

The tests of hil/suite call them, `hil checks` prints them, a night runs those with `night` (hil/nightly/rounds.py).
"""

from __future__ import annotations

from hil.checks import boards
from hil.checks.check import Check
from hil.checks.link import checks as link
from hil.checks.model import checks as model
from hil.checks.probe import checks as probe

CHECKS: tuple[Check, ...] = tuple(
    value for module in (boards, link, model, probe) for value in vars(module).values() if isinstance(value, Check)
)
"""As they stand in their modules."""
