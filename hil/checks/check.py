"""What a check is: one function, described once, and what it gives. All of them: hil/checks/catalogue.py.

A check is called with a setup and a seed and gives a Result; a sentence in it means that it failed. It raises HilError
where the ring gave up, Left where it cannot be tried at all. Some take words of their own, such as a pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from hil.checks.link.runs import ber_limit
from hil.checks.model.mismatch import MapRow
from hil.rig.needs import Need

if TYPE_CHECKING:
    from hil.model.bundle import Model
    from hil.ring.probe import Probe
    from hil.ring.ring import Ring
    from hil.toolchain import Image


class Sign(Enum):
    """What a failed check looks like; hil/nightly/triage.py draws the conclusion."""

    LINK = "link"  # wrong bits, a link that gave up, a finding of the scan, a hop that changed values
    BOARD = "board"  # a board that died, does not answer or refuses
    VALUES = "values"  # an op gave other values than the golden
    HARNESS = "harness"  # the program itself went wrong


class Left(Exception):
    """The check cannot be tried here; the message says why."""


@dataclass(frozen=True, slots=True)
class WireFigures:
    """Errors of one wire, in one check or over many. link: `1->2`; wire: `D3`."""

    link: str
    wire: str
    bits: int
    errors: int

    @property
    def name(self) -> str:
        """`link 1->2 D3`."""
        return f"link {self.link} {self.wire}"

    @property
    def limit(self) -> float | None:
        """Its bit error rate is below this at 95 %; None where no bit was sent."""
        return ber_limit(self.bits, self.errors) if self.bits > 0 else None


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """One link in one check. phases_us: wait of a handshake phase, its 50, 90 and 99 % points, in microseconds."""

    link: str
    bytes: int
    frames: int
    resends: int
    timeouts: int
    throughput_kb_s: float
    phases_us: dict[str, list[float]] = field(default_factory=dict)


@dataclass(slots=True)
class Result:
    """What a check found. An empty sentence: all is well.

    detail: what was seen, in words, of a good check too. report: the check's own result, for whoever knows its kind.
    figures to mismatch_map: what a night keeps (docs/nightly.md).
    """

    sentence: str = ""
    sign: Sign = Sign.VALUES
    detail: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    links: list[LinkFigures] = field(default_factory=list)
    wires: list[WireFigures] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    golden_losses: list[float] = field(default_factory=list)
    mismatch_map: list[MapRow] = field(default_factory=list)
    report: Any = None

    @property
    def good(self) -> bool:
        """All is well."""
        return not self.sentence

    @property
    def text(self) -> str:
        """The sentence, and what was seen."""
        return self.detail if self.sentence in self.detail else f"{self.sentence}\n{self.detail}".strip()


@dataclass(frozen=True, slots=True)
class Size:
    """How much checks do that may do much or little.

    ber: a link is soaked until every wire's bit error rate is below this at 95 %.
    soak_frames: of 16 KiB, in one direction, between two looks at the clock.
    """

    name: str
    ber: float
    soak_frames: int
    layer_positions: int
    story_positions: int
    steps: int


QUICK = Size("quick", ber=3e-5, soak_frames=8, layer_positions=16, story_positions=64, steps=3)
LONG = Size("full", ber=1e-8, soak_frames=256, layer_positions=64, story_positions=256, steps=10)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a check works with: a booted ring (or a probe on one of its boards), the model, how much to do.

    image: what `boot` boots. progress: called with how far the check is, 0 .. 1. time_up: whether it must end.
    """

    ring: Ring
    model: Model
    image: Image | None = None
    size: Size = QUICK
    progress: Callable[[float], None] = lambda fraction: None
    time_up: Callable[[], bool] = lambda: False
    probe: Probe | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its name, the pytest marker it belongs to, what a rig must have for it, and the function.

    night: whether it is part of a night's round. each_link: whether it is run for every link by itself, as `link=`.
    all_boards: whether a board that does not answer stops it.
    """

    name: str
    marker: str
    need: Need
    work: Callable[..., Result]
    night: bool
    each_link: bool
    all_boards: bool

    @property
    def text(self) -> str:
        """What it does, in a sentence."""
        return (self.work.__doc__ or "").splitlines()[0]

    def __call__(self, setup: Setup, seed: int, **words: Any) -> Result:
        """Run it, if the rig has what it needs. Raises RigError where it does not, HilError, Left."""
        __tracebackhide__ = True
        self.need.require(setup.ring.desk.config)
        return self.work(setup, seed, **words)


def check(
    name: str, marker: str, need: Need, *, night: bool = False, each_link: bool = False, all_boards: bool = True
) -> Callable[[Callable[..., Result]], Check]:
    """Declare a function as a check; its docstring's first line is what it does. Fields as in Check."""

    def declare(work: Callable[..., Result]) -> Check:
        return Check(name, marker, need, work, night, each_link, all_boards)

    return declare
