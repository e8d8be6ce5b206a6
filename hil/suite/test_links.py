"""Does every link carry every bit: each link alone in both directions, then all links at once?"""

import pytest

from hil.checks.link import checks
from hil.protocol.link_messages import Pattern
from hil.ring.ring import Ring
from hil.suite.conftest import Passes

pytestmark = [pytest.mark.ring, pytest.mark.link]

directions = pytest.mark.parametrize("reverse", [False, True], ids=["downstream", "upstream"])
patterns = pytest.mark.parametrize("pattern", Pattern, ids=lambda pattern: pattern.name)


@directions
@pytest.mark.parametrize("length_bytes", [1, 255, 4096])
def test_every_link_carries_frames(ring: Ring, passes: Passes, reverse: bool, length_bytes: int) -> None:
    passes(checks.frames, ring, length_bytes=length_bytes, reverse=reverse)


@directions
@patterns
def test_pattern_on_each_link_alone(ring: Ring, passes: Passes, pattern: Pattern, reverse: bool) -> None:
    passes(checks.pattern, ring, pattern=pattern, reverse=reverse)


@directions
@pytest.mark.parametrize("length_bytes", [1, 2, 3, 4, 5, 31, 255, 256, 257, 65535, 65536])
def test_length_on_each_link_alone(ring: Ring, passes: Passes, length_bytes: int, reverse: bool) -> None:
    passes(checks.length, ring, length_bytes=length_bytes, reverse=reverse)


@directions
@pytest.mark.parametrize("pattern", [Pattern.ZEROS_ONES, Pattern.PRBS31], ids=lambda pattern: pattern.name)
def test_all_links_at_once(ring: Ring, passes: Passes, pattern: Pattern, reverse: bool) -> None:
    passes(checks.together, ring, pattern=pattern, reverse=reverse)


@directions
def test_thousand_turnarounds(ring: Ring, passes: Passes, reverse: bool) -> None:
    passes(checks.turnarounds, ring, reverse=reverse)


def test_frames_in_alternating_directions(ring: Ring, passes: Passes) -> None:
    passes(checks.alternating, ring)


@directions
@patterns
def test_one_wrong_bit_is_counted_on_its_wire(ring: Ring, passes: Passes, pattern: Pattern, reverse: bool) -> None:
    passes(checks.one_wrong_bit, ring, pattern=pattern, reverse=reverse)


def test_phases_are_timed_on_both_sides(ring: Ring, passes: Passes) -> None:
    passes(checks.phases_timed, ring)


def test_links_had_nothing_to_mend(ring: Ring, passes: Passes) -> None:
    passes(checks.nothing_to_mend, ring)
