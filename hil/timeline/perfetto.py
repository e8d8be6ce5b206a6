"""What boards did over time as Trace Event JSON, which ui.perfetto.dev and chrome://tracing open.

Format: "Trace Event Format" (Google), JSON object form: complete events (ph X), flows (s, f), metadata (M). One
process for each board. ts and dur are microseconds. A Story has threads for computing, both banks and the host, and
arrows along the hops; a night's Timeline has a thread for each kind of span.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hil.protocol.link_messages import Bank
from hil.protocol.trace_messages import TraceKind
from hil.text import finite, one_line, visible
from hil.timeline.spans import Activity, Story, TimedHop, Timeline, What

_COMPUTE, _DOWN, _UP, _HOST = 1, 2, 3, 4
_THREADS = {_COMPUTE: "compute", _DOWN: "link downstream (high bank)", _UP: "link upstream (low bank)", _HOST: "host"}
Event = dict[str, Any]


def perfetto(story: Story) -> dict[str, Any]:
    """The whole file's content; `json.dump` it."""
    events = _boards(story.ranks, _THREADS)
    events += [_activity(activity) for activity in story.activities if activity.end_s > activity.start_s]
    for number, hop in enumerate(story.hops, 1):
        events += _flow(number, hop)
    clocks = story.alignment.clocks
    return _document(
        events,
        title=story.title,
        clocks=f"aligned with board {story.alignment.reference}",
        error_us=round(story.alignment.error_us, 3),
        **{f"board {rank} error_us": round(clocks[rank].error_us, 3) for rank in story.ranks},
        dropped_events=story.dropped,
        problems=list(story.alignment.problems),
    )


def perfetto_of_timeline(timeline: Timeline) -> dict[str, Any]:
    """The same of a night's timeline. Spans without finite times are left out."""
    spans = timeline.sound()
    threads = list(dict.fromkeys([*What, *(span.what for span in spans)]))
    events = _boards(sorted({span.rank for span in spans}), {at: visible(kind) for at, kind in enumerate(threads)})
    for span in spans:
        name = one_line(span.label or span.what)
        thread = threads.index(span.what)
        events.append(_complete(name, visible(span.what), span.rank, thread, span.start_s, span.end_s))
    error_us = timeline.error_s * 1e6 if finite(timeline.error_s) else None
    return _document(events, title=one_line(timeline.title), error_us=error_us)


def _document(events: list[Event], **other: Any) -> dict[str, Any]:
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}


def _boards(ranks: Iterable[int], threads: Mapping[int, str]) -> list[Event]:
    """Names of boards and threads, and their order."""
    events = []
    for rank in ranks:
        events.append(_meta("process_name", rank, 0, name=f"board {rank}"))
        events.append(_meta("process_sort_index", rank, 0, sort_index=rank))
        for thread, name in threads.items():
            events.append(_meta("thread_name", rank, thread, name=name))
            events.append(_meta("thread_sort_index", rank, thread, sort_index=thread))
    return events


def _meta(what: str, rank: int, thread: int, **args: str | int) -> Event:
    return {"ph": "M", "name": what, "pid": rank, "tid": thread, "args": args}


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)


def _complete(
    name: str, kind: str, rank: int, thread: int, start_s: float, end_s: float, args: Event | None = None
) -> Event:
    start, end = _us(start_s), _us(end_s)
    event = {"ph": "X", "name": name, "cat": kind, "ts": start, "dur": round(end - start, 3), "pid": rank}
    return {**event, "tid": thread, "args": args or {}}


def _activity(activity: Activity) -> Event:
    event = activity.event
    args: Event = {"microbatch": event.microbatch, "position": event.position}
    if activity.peer is not None:
        args |= {"peer": activity.peer, "bytes": event.bytes, "sequence": event.sequence, "attempt": event.attempt}
    if event.kind is TraceKind.HOST:
        args = {"bytes": event.bytes}
    name = f"wait: {activity.label}" if activity.what is What.WAIT else activity.label
    thread = {What.COMPUTE: _COMPUTE, What.HOST: _HOST}.get(activity.what) or _bank_thread(event.bank)
    return _complete(name, str(activity.what), activity.rank, thread, activity.start_s, activity.end_s, args)


def _bank_thread(bank: Bank) -> int:
    return _DOWN if bank is Bank.DOWNSTREAM else _UP


def _flow(number: int, hop: TimedHop) -> list[Event]:
    """An arrow from the sender's transfer to the receiver's."""
    begin_s, (got_s, over_s) = hop.sent_s[0], hop.got_s
    end_s = min(max((got_s + over_s) / 2, begin_s), over_s)
    common = {"name": hop.label, "cat": "hop", "id": number}
    start = {"ph": "s", "pid": hop.sender, "tid": _bank_thread(hop.sent.bank), "ts": _us(begin_s), **common}
    end = {"ph": "f", "bp": "e", "pid": hop.receiver, "tid": _bank_thread(hop.got.bank), "ts": _us(end_s), **common}
    return [start, end]
