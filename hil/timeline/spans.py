"""From aligned events to what each board did at any moment of a run: compute, send, receive, wait, serve the host.

Pure. Seconds are those of the common clock, from the reference board's first instant on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hil.protocol.link_messages import Bank
from hil.protocol.messages import Command
from hil.protocol.trace_messages import TraceKind
from hil.rig.specs import LinkSpec
from hil.text import finite
from hil.timeline.align import Alignment, align, link_frames
from hil.timeline.capture import BURSTS, COMPUTING, SENDING, Capture, Recorded


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a board's time in one step.

    what: compute, send, receive, wait or host. Times are on a common clock.
    """

    rank: int
    what: str
    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """The pipeline of one step: what a night's record keeps of a Story. error_s: bound of the clocks' alignment."""

    title: str
    spans: list[Span]
    error_s: float

    def sound(self) -> list[Span]:
        """The spans that have finite times, moved so that the first begins at 0."""
        good = [s for s in self.spans if finite(s.start_s) and finite(s.end_s) and s.end_s >= s.start_s]
        zero = min((span.start_s for span in good), default=0.0)
        return [Span(s.rank, s.what, s.label, s.start_s - zero, s.end_s - zero) for s in good]


class What(StrEnum):
    """What a board does. Where two things overlap, the first of these counts."""

    COMPUTE = "compute"
    HOST = "host"
    SEND = "send"
    RECEIVE = "receive"
    WAIT = "wait"


_NAMES = {
    TraceKind.CLEAR: "clear gradients",
    TraceKind.EMBED: "embedding",
    TraceKind.FORWARD: "forward",
    TraceKind.HEAD: "head",
    TraceKind.BACKWARD: "backward",
    TraceKind.EMBED_BACKWARD: "embedding, backward",
    TraceKind.OPTIMIZER: "optimizer",
}
_FRAMES = {1: "pattern", 2: "activation", 3: "end", 4: "gradient", 5: "raw pattern", 6: "squares"}
_HOPS = (2, 4)
"""Frames that belong to a position, and in a training to a microbatch."""


@dataclass(frozen=True, slots=True)
class Activity:
    """A stretch of a board's time. peer: the board at the other end of a burst, or of the wait for it."""

    rank: int
    what: What
    label: str
    start_s: float
    end_s: float
    event: Recorded
    peer: int | None = None


@dataclass(frozen=True, slots=True)
class TimedHop:
    """A frame from board to board: its transfer as the sender recorded it, and as the receiver did."""

    sender: int
    receiver: int
    label: str
    sent_s: tuple[float, float]
    got_s: tuple[float, float]
    sent: Recorded
    got: Recorded


@dataclass(frozen=True, slots=True)
class Shares:
    """What part of the window a board spent on what. over: after its job's end, while others still worked."""

    compute: float
    host: float
    send: float
    receive: float
    wait: float
    over: float

    @property
    def transfer(self) -> float:
        """Bytes on a link, either way."""
        return self.send + self.receive

    @property
    def bubble(self) -> float:
        """Standing still because of other boards."""
        return self.wait + self.over

    @property
    def rest(self) -> float:
        """Between the recorded events: copying, checksums, digests."""
        return max(0.0, 1 - self.compute - self.host - self.transfer - self.bubble)


@dataclass(frozen=True, slots=True)
class Story:
    """A run on one clock.

    start_s, end_s: the window: from when the jobs of all boards run (or the first event) to the end of the last job.
    activities: of all boards, in order of start. dropped: events that had to make room on the boards.
    """

    title: str
    ranks: tuple[int, ...]
    activities: tuple[Activity, ...]
    hops: tuple[TimedHop, ...]
    alignment: Alignment
    start_s: float
    end_s: float
    job_ends: Mapping[int, float]
    dropped: int

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.end_s - self.start_s

    @property
    def shares(self) -> Mapping[int, Shares]:
        """Of each board within the window."""
        return {rank: self._shares(rank) for rank in self.ranks}

    @property
    def bubble(self) -> float:
        """Mean over the boards."""
        shares = self.shares.values()
        return sum(share.bubble for share in shares) / len(shares) if shares else 0.0

    def of(self, rank: int) -> tuple[Activity, ...]:
        """The activities of one board, in order of start."""
        return tuple(activity for activity in self.activities if activity.rank == rank)

    def _shares(self, rank: int) -> Shares:
        spent = _spent(self.of(rank), self.start_s, self.end_s)
        length = max(self.seconds, 1e-12)
        over = self.end_s - self.job_ends.get(rank, self.end_s)
        return Shares(**{str(what): seconds / length for what, seconds in spent.items()}, over=over / length)


def tell(capture: Capture, title: str) -> Story:
    """Align a capture and say what each board did. Boards that cannot be placed are left out."""
    alignment = align(capture)
    activities: list[Activity] = []
    jobs: dict[int, tuple[float, float]] = {}
    for board in capture.boards:
        if board.rank not in alignment.clocks:
            continue
        at_s = _clock(alignment, board.rank)
        for event in board.events:
            if event.kind is TraceKind.JOB:
                jobs[board.rank] = at_s(event.begin_us), at_s(event.end_us)
            elif event.kind in BURSTS:
                activities += _burst(event, _peer(capture.links, event), at_s)
            else:
                what = What.COMPUTE if event.kind in COMPUTING else What.HOST
                times = at_s(event.begin_us), at_s(event.end_us)
                activities.append(Activity(board.rank, what, label_of(event), *times, event))
    activities.sort(key=lambda a: (a.start_s, a.rank, a.end_s))
    return Story(
        title=title,
        ranks=tuple(sorted(alignment.clocks)),
        activities=tuple(activities),
        hops=tuple(_hops(capture, alignment)),
        alignment=alignment,
        start_s=max((job[0] for job in jobs.values()), default=activities[0].start_s if activities else 0.0),
        end_s=max((job[1] for job in jobs.values()), default=max((a.end_s for a in activities), default=0.0)),
        job_ends={rank: job[1] for rank, job in jobs.items()},
        dropped=capture.dropped,
    )


def to_record(story: Story) -> Timeline:
    """The story as the nightly report keeps it: what lies in the window, whose beginning is 0 s."""
    spans = [
        Span(a.rank, str(a.what), a.label, max(a.start_s, story.start_s) - story.start_s, a.end_s - story.start_s)
        for a in story.activities
        if a.end_s > story.start_s
    ]
    return Timeline(story.title, spans, story.alignment.error_us * 1e-6)


def label_of(event: Recorded) -> str:
    """An event in words: `forward, layer 3, microbatch 1`."""
    if event.kind is TraceKind.HOST:
        return _command_name(event.code) if event.code else "event to the host"
    if event.kind in BURSTS:
        name = _FRAMES.get(event.code, f"frame of type {event.code}")
        answer = event.kind in (TraceKind.ANSWER_IN, TraceKind.ANSWER_OUT)
        where = f" {event.microbatch}:{event.position}" if event.code in _HOPS and not answer else ""
        return f"answer to {name}" if answer else f"{name}{where}"
    parts = [_NAMES.get(event.kind, event.kind.name.lower())]
    parts += [f"layer {event.layer}"] if event.layer is not None else []
    parts += [f"microbatch {event.microbatch}"] if event.microbatch else []
    parts += [f"position {event.position}"] if event.position else []
    return ", ".join(parts)


def _command_name(code: int) -> str:
    try:
        return Command(code).name
    except ValueError:
        return f"command {code:#x}"


def _clock(alignment: Alignment, rank: int) -> Callable[[int], float]:
    clock = alignment.clocks[rank]
    return lambda reading_us: clock.at_us(reading_us) * 1e-6


def _peer(links: Iterable[LinkSpec], event: Recorded) -> int | None:
    for link in links:
        if event.bank is Bank.DOWNSTREAM and link.source == event.rank:
            return link.target
        if event.bank is Bank.UPSTREAM and link.target == event.rank:
            return link.source
    return None


def _burst(event: Recorded, peer: int | None, at_s: Callable[[int], float]) -> list[Activity]:
    """The wait for the other board, and the bytes."""
    begin_s, open_s, end_s = at_s(event.begin_us), at_s(event.open_us), at_s(event.end_us)
    what = What.SEND if event.kind in SENDING else What.RECEIVE
    label, way = label_of(event), "to" if what is What.SEND else "from"
    label = f"{label} {way} board {peer}" if peer is not None else label
    label += "" if event.ok else ", broken off"
    found = [Activity(event.rank, What.WAIT, label, begin_s, open_s, event, peer)]
    if event.end_us > event.open_us:
        found.append(Activity(event.rank, what, label, open_s, end_s, event, peer))
    return found


def _hops(capture: Capture, alignment: Alignment) -> Iterable[TimedHop]:
    boards = {board.rank: board for board in capture.boards}
    for link in capture.links:
        if link.source == link.target or not {link.source, link.target} <= alignment.clocks.keys():
            continue
        for frame in link_frames(boards[link.source], boards[link.target]):
            sent, got = frame.sent, frame.got
            sent_s, got_s = _transfer(alignment, sent), _transfer(alignment, got)
            yield TimedHop(sent.rank, got.rank, label_of(sent), sent_s, got_s, sent, got)


def _transfer(alignment: Alignment, event: Recorded) -> tuple[float, float]:
    at_s = _clock(alignment, event.rank)
    return at_s(event.open_us), at_s(event.end_us)


def _spent(activities: Sequence[Activity], start_s: float, end_s: float) -> dict[What, float]:
    """Seconds of the window by what was done; where things overlap the first of What counts."""
    order = list(What)
    edges: list[tuple[float, int, int]] = []
    for activity in activities:
        begin, end = max(activity.start_s, start_s), min(activity.end_s, end_s)
        if begin < end:
            number = order.index(activity.what)
            edges += [(begin, number, 1), (end, number, -1)]
    spent = dict.fromkeys(What, 0.0)
    going = [0] * len(order)
    before = start_s
    for at, number, change in sorted(edges):
        current = next((i for i, count in enumerate(going) if count), None)
        if current is not None:
            spent[order[current]] += at - before
        going[number] += change
        before = at
    return spent
