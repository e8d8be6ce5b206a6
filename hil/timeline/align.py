"""One clock for all boards, from the handshakes between them, with a bound that holds.

Each board has a timer of its own: they start at different times and run at different rates. A handshake fixes the
order of instants on both sides of a link, so each frame bounds one clock by the other from both sides. A clock as
seen from another is taken to be a straight line; the lines that obey every order form a convex polygon, and its
extremes are the bound. All of this is exact arithmetic. Derivation: docs/timeline.md. Pure; no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from hil.protocol.link_messages import Bank
from hil.protocol.trace_messages import TraceKind
from hil.rig.specs import LinkSpec
from hil.timeline.capture import BURSTS, BoardTrace, Capture, Recorded

RATE_LIMIT = Fraction(1, 1000)
"""How far two clocks' rates may differ. Crystals of a Pi are within 50 ppm; this is twenty times as much."""
_FAR_US = Fraction(1 << 80)
"""Farther apart than two timers of 64 bits can be: no bound."""
_ROUNDING_US = 1e-6
"""More than what is lost where a bound, or a place, becomes a floating-point number."""
Vertex = tuple[Fraction, Fraction]


# --- orders that the handshake fixes --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Order:
    """An instant on one board that certainly precedes one on another board; each on its own timer, in microseconds."""

    earlier: int
    earlier_us: int
    later: int
    later_us: int


@dataclass(frozen=True, slots=True)
class MatchedFrame:
    """One frame as both ends recorded it, and its answer if both recorded that."""

    sent: Recorded
    got: Recorded
    answered: Recorded | None
    heard: Recorded | None


def link_frames(source: BoardTrace, target: BoardTrace) -> list[MatchedFrame]:
    """The frames between two boards, source's high bank to target's low bank, either way, that are certainly the same.

    Those are frames that went through at the first attempt, and of which each end knows exactly one.
    """
    ends = (_certain(source, Bank.DOWNSTREAM), _certain(target, Bank.UPSTREAM))
    found: list[MatchedFrame] = []
    for sender, receiver in (ends, ends[::-1]):
        for (kind, sequence), sent in sender.items():
            got = receiver.get((TraceKind.FRAME_IN, sequence))
            if kind is not TraceKind.FRAME_OUT or got is None or (sent.code, sent.bytes) != (got.code, got.bytes):
                continue
            answered = receiver.get((TraceKind.ANSWER_OUT, sequence))
            heard = sender.get((TraceKind.ANSWER_IN, sequence))
            both = answered is not None and heard is not None
            found.append(MatchedFrame(sent, got, answered if both else None, heard if both else None))
    return found


def link_orders(source: BoardTrace, target: BoardTrace) -> list[Order]:
    """The orders that the frames of a link fix; source's high bank is wired to target's low bank."""
    found: list[Order] = []
    for frame in link_frames(source, target):
        found += [
            *_opening(frame.sent, frame.got),
            _order(frame.got, frame.got.header_us, frame.sent, frame.sent.header_us),
        ]
        if frame.answered is not None and frame.heard is not None:
            found += _opening(frame.answered, frame.heard)
    return found


def _certain(board: BoardTrace, bank: Bank) -> dict[tuple[TraceKind, int], Recorded]:
    """The bursts of a bank that cannot be mistaken for others."""
    found: dict[tuple[TraceKind, int], Recorded] = {}
    seen: set[tuple[TraceKind, int]] = set()
    for event in board.events:
        if event.kind not in BURSTS or event.bank is not bank:
            continue
        key = (event.kind, event.sequence)
        if key not in seen and event.ok and event.attempt == 1:
            found[key] = event
        elif key in seen:
            found.pop(key, None)
        seen.add(key)
    return found


def _order(first: Recorded, first_us: int, second: Recorded, second_us: int) -> Order:
    return Order(first.rank, first_us, second.rank, second_us)


def _opening(sends: Recorded, receives: Recorded) -> tuple[Order, Order]:
    """Who receives grants after it began; the grant is seen before the claim is made, the claim is seen after."""
    return (
        _order(receives, receives.begin_us, sends, sends.open_us),
        _order(sends, sends.open_us, receives, receives.open_us),
    )


# --- two clocks -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClockMap:
    """All straight lines from one board's clock to another's that obey every order between them.

    vertices: of the polygon of lines, each as its values at x0_us and x1_us.
    """

    x0_us: int
    x1_us: int
    vertices: tuple[Vertex, ...]

    def low_us(self, x_us: Fraction) -> Fraction:
        """The least value that such a line has at x_us."""
        return min(self._values(x_us))

    def high_us(self, x_us: Fraction) -> Fraction:
        """The greatest value that such a line has at x_us."""
        return max(self._values(x_us))

    @property
    def bounded(self) -> bool:
        """Whether there are orders both ways."""
        return all(abs(value) < _FAR_US / 2 for vertex in self.vertices for value in vertex)

    def _values(self, x_us: Fraction) -> Iterator[Fraction]:
        part = (x_us - self.x0_us) / (self.x1_us - self.x0_us)
        return (at0 + (at1 - at0) * part for at0, at1 in self.vertices)


def clock_map(orders: Iterable[Order], of: int, to: int, span_us: tuple[int, int]) -> ClockMap | None:
    """The lines from the clock of board `of` to that of board `to`; None if no line obeys all orders.

    A reading of n microseconds is an instant in [n, n + 1).

    Args:
        span_us: two different instants of `of`, between which it recorded.
    """
    x0_us, x1_us = span_us
    floors, ceilings = [], []
    for order in orders:
        if (order.earlier, order.later) == (to, of):
            floors.append((order.later_us + 1, order.earlier_us))
        elif (order.earlier, order.later) == (of, to):
            ceilings.append((order.earlier_us, order.later_us + 1))
    length = x1_us - x0_us
    near, far = 1 - RATE_LIMIT, 1 + RATE_LIMIT
    lines: Sequence[Vertex] = ((-_FAR_US, -_FAR_US + near * length), (-_FAR_US, -_FAR_US + far * length),
                               (_FAR_US, _FAR_US + far * length), (_FAR_US, _FAR_US + near * length))  # fmt: skip
    for points, sign in ((floors, 1), (ceilings, -1)):
        for x_us, y_us in _outermost(points, sign):
            part = Fraction(x_us - x0_us, length)
            lines = _clip(lines, part, Fraction(y_us), sign)
    return ClockMap(x0_us, x1_us, tuple(lines)) if lines else None


def _outermost(points: Sequence[tuple[int, int]], sign: int) -> list[tuple[int, int]]:
    """The corners of the points' hull, seen from above (sign 1) or from below (-1): the others bind no line."""
    hull: list[tuple[int, int]] = []
    best: dict[int, int] = {}
    for x, y in points:
        best[x] = max(best.get(x, y * sign), y * sign)
    for x, y in sorted(best.items()):
        while len(hull) > 1 and _turn(hull[-2], hull[-1], (x, y)) >= 0:
            hull.pop()
        hull.append((x, y))
    return [(x, y * sign) for x, y in hull]


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _clip(lines: Sequence[Vertex], part: Fraction, y_us: Fraction, sign: int) -> list[Vertex]:
    """The part of the polygon whose lines are not below (sign 1) or not above (-1) y_us at that part of the span."""

    def side(line: Vertex) -> Fraction:
        return (line[0] + (line[1] - line[0]) * part - y_us) * sign

    kept: list[Vertex] = []
    for i, line in enumerate(lines):
        before, here, there = lines[i - 1], side(line), side(lines[i - 1])
        if (here >= 0) != (there >= 0):
            share = there / (there - here)
            kept.append((before[0] + (line[0] - before[0]) * share, before[1] + (line[1] - before[1]) * share))
        if here >= 0:
            kept.append(line)
    return kept


# --- all clocks -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BoardClock:
    """A board's clock as seen from the reference: a straight line, and how far any instant may be off.

    x0_us, x1_us: of the board's timer, from its first burst to the end of its last; there the reference's clock shows
    y0_us and y1_us, give or take half0_us and half1_us.
    """

    rank: int
    x0_us: int
    x1_us: int
    y0_us: Fraction
    y1_us: Fraction
    half0_us: Fraction
    half1_us: Fraction

    def at_us(self, reading_us: int) -> float:
        """A reading of this board's timer on the reference's clock, the middle of the microsecond."""
        return float(self.y0_us + (self.y1_us - self.y0_us) * self._part(reading_us))

    def error_at_us(self, reading_us: int) -> float:
        """How far from at_us(reading_us) the instant may be at which the board read its timer so."""
        part = self._part(reading_us)
        outside = max(-part, part - 1, Fraction(0))
        half = max(self.half0_us, self.half1_us) if not outside else self.half0_us if part < 0 else self.half1_us
        half += outside * (self.half0_us + self.half1_us)
        return float(half + self._slope / 2) + _ROUNDING_US

    @property
    def error_us(self) -> float:
        """The same for any instant from the first burst to the last."""
        return self.error_at_us(self.x0_us)

    @property
    def rate_ppm(self) -> float:
        """How much faster than the reference's this clock runs."""
        return float(1 / self._slope - 1) * 1e6

    @property
    def rate_error_ppm(self) -> float:
        """How far from the truth rate_ppm may be."""
        return float((self.half0_us + self.half1_us) / (self.x1_us - self.x0_us)) * 1e6

    @property
    def _slope(self) -> Fraction:
        return (self.y1_us - self.y0_us) / (self.x1_us - self.x0_us)

    def _part(self, reading_us: int) -> Fraction:
        return (reading_us + Fraction(1, 2) - self.x0_us) / (self.x1_us - self.x0_us)


@dataclass(frozen=True, slots=True)
class LinkClocks:
    """What a link gave. error_us: of one end's clock against the other's by this link alone; None: no bound."""

    link: LinkSpec
    orders: int
    error_us: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Alignment:
    """One clock for all boards: that of board `reference`, from zero_us of its timer on, when the first event began.

    clocks: of the boards that could be placed. problems: sentences; without any, all that was seen fits together,
    both ways round the ring.
    """

    reference: int
    zero_us: Fraction
    clocks: Mapping[int, BoardClock]
    links: tuple[LinkClocks, ...]
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Nothing contradicts anything."""
        return not self.problems

    @property
    def error_us(self) -> float:
        """Of any instant of any board that could be placed, from its first burst to its last."""
        return max((clock.error_us for clock in self.clocks.values()), default=math.inf)


def align(capture: Capture) -> Alignment:
    """Align all boards of a capture with the first that recorded something on a link, or the first at all."""
    return _Aligner(capture).run()


@dataclass(frozen=True, slots=True)
class _Way:
    """One way from the reference to a board: the boards on it, and the maps, each from a board to the one before."""

    boards: tuple[int, ...]
    maps: tuple[ClockMap, ...]

    def range_us(self, x_us: int) -> tuple[Fraction, Fraction]:
        low = high = Fraction(x_us)
        for step in reversed(self.maps):
            low, high = step.low_us(low), step.high_us(high)
        return low, high


class _Aligner:
    def __init__(self, capture: Capture) -> None:
        self._traces = {board.rank: board for board in capture.boards}
        self._spans = {rank: _span(board) for rank, board in self._traces.items() if board.events}
        self._by_link = [
            (link, link_orders(self._traces[link.source], self._traces[link.target]))
            for link in capture.links
            if link.source != link.target
        ]
        self._orders: dict[frozenset[int], list[Order]] = {}
        for link, orders in self._by_link:
            if orders:
                self._orders.setdefault(frozenset((link.source, link.target)), []).extend(orders)
        self._maps: dict[tuple[int, int], ClockMap | None] = {}
        self._problems: list[str] = []
        self._broken: set[frozenset[int]] = set()

    def run(self) -> Alignment:
        links = tuple(self._link(link, orders) for link, orders in self._by_link)
        joined = sorted(rank for pair in self._orders for rank in pair)
        reference = joined[0] if joined else min(self._spans, default=0)
        clocks: dict[int, BoardClock] = {}
        for rank in self._spans:
            ways = [way for way in self._ways(reference, rank) if all(step.bounded for step in way.maps)]
            clock = self._clock(rank, ways) if ways else None
            if clock is not None:
                clocks[rank] = clock
            if not ways:
                self._problems.append(
                    f"board {rank}: nothing that it exchanged with others bounds its clock; it cannot be placed"
                )
        zero_us = self._zero_us(clocks)
        placed = {
            rank: replace(clock, y0_us=clock.y0_us - zero_us, y1_us=clock.y1_us - zero_us)
            for rank, clock in clocks.items()
        }
        return Alignment(reference, zero_us, placed, links, tuple(self._problems))

    def _zero_us(self, clocks: Mapping[int, BoardClock]) -> Fraction:
        """When the first event of all began, on the reference's clock."""
        firsts = [
            Fraction(clock.at_us(min(event.begin_us for event in self._traces[rank].events)))
            for rank, clock in clocks.items()
        ]
        return min(firsts, default=Fraction(0))

    def _link(self, link: LinkSpec, orders: Sequence[Order]) -> LinkClocks:
        count = len(orders)
        if not orders:
            return LinkClocks(link, 0, None, "carried nothing that both ends recorded")
        pair = frozenset((link.source, link.target))
        if self._map(link.target, link.source) is None:
            if pair not in self._broken:
                self._broken.add(pair)
                self._problems.append(
                    f"link {link}: the {count} orders of its frames contradict each other; no two clocks of constant "
                    "rate can have recorded them"
                )
            return LinkClocks(link, count, None, "contradicts itself")
        alone = clock_map(orders, link.target, link.source, self._spans[link.target])
        if alone is None or not alone.bounded:
            return LinkClocks(link, count, None, "its frames bound the clocks from one side only")
        error_us = float(max(_half(alone, x) for x in self._spans[link.target]))
        return LinkClocks(link, count, error_us, f"{count} orders, within {error_us:.2f} us")

    def _map(self, of: int, to: int) -> ClockMap | None:
        if (of, to) not in self._maps:
            self._maps[of, to] = clock_map(self._orders[frozenset((of, to))], of, to, self._spans[of])
        return self._maps[of, to]

    def _ways(self, reference: int, rank: int) -> Iterator[_Way]:
        """Every way that meets no board twice; in a ring there are two."""
        waiting = [_Way((reference,), ())]
        while waiting:
            way = waiting.pop()
            here = way.boards[-1]
            if here == rank:
                yield way
                continue
            for pair in self._orders:
                if here in pair and pair not in self._broken:
                    (other,) = pair - {here}
                    step = self._map(other, here) if other not in way.boards else None
                    if step is not None:
                        waiting.append(_Way((*way.boards, other), (*way.maps, step)))

    def _clock(self, rank: int, ways: Sequence[_Way]) -> BoardClock | None:
        span_us = self._spans[rank]
        ends = []
        for x_us in span_us:
            ranges = [way.range_us(x_us) for way in ways]
            low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
            if low > high:
                round_ = " and ".join("-".join(map(str, way.boards)) for way in ways)
                apart = f"contradict each other by {float(low - high):.1f} us"
                self._problems.append(f"board {rank}: the ways {round_} {apart}; it cannot be placed")
                return None
            ends.append((low, high))
        (low0, high0), (low1, high1) = ends
        return BoardClock(
            rank=rank,
            x0_us=span_us[0],
            x1_us=span_us[1],
            y0_us=(low0 + high0) / 2,
            y1_us=(low1 + high1) / 2,
            half0_us=(high0 - low0) / 2,
            half1_us=(high1 - low1) / 2,
        )


def _span(board: BoardTrace) -> tuple[int, int]:
    """From the opening of the first burst to the end of the last; of all events where there is no burst."""
    bursts = [event for event in board.events if event.kind in BURSTS]
    first = min([event.open_us for event in bursts] or [event.begin_us for event in board.events])
    return first, max(event.end_us for event in bursts or board.events) + 1


def _half(line: ClockMap, x_us: int) -> Fraction:
    return (line.high_us(Fraction(x_us)) - line.low_us(Fraction(x_us))) / 2
