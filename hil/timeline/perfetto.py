"""A story as Trace Event JSON, which ui.perfetto.dev and chrome://tracing open.

Format: "Trace Event Format" (Google), JSON object form: complete events (ph X), flows (s, f), metadata (M). One
process per board, threads for computing, both banks, and the host. ts and dur are microseconds.
"""

from __future__ import annotations

from typing import Any

from hil.protocol.link_messages import Bank
from hil.protocol.trace_messages import TraceKind
from hil.timeline.spans import Activity, Hop, Story, What

_COMPUTE, _DOWN, _UP, _HOST = 1, 2, 3, 4
_THREADS = {_COMPUTE: "compute", _DOWN: "link downstream (high bank)", _UP: "link upstream (low bank)", _HOST: "host"}


def perfetto(story: Story) -> dict[str, Any]:
    """The whole file's content; `json.dump` it."""
    events: list[dict[str, Any]] = []
    for rank in story.ranks:
        events.append(_meta("process_name", rank, 0, name=f"board {rank}"))
        events.append(_meta("process_sort_index", rank, 0, sort_index=rank))
        for thread, name in _THREADS.items():
            events.append(_meta("thread_name", rank, thread, name=name))
            events.append(_meta("thread_sort_index", rank, thread, sort_index=thread))
    events += [_complete(activity) for activity in story.activities if activity.end_s > activity.start_s]
    for number, hop in enumerate(story.hops, 1):
        events += _flow(number, hop)
    clocks = story.alignment.clocks
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "title": story.title,
            "clocks": f"aligned with board {story.alignment.reference}",
            "error_us": round(story.alignment.error_us, 3),
            **{f"board {rank} error_us": round(clocks[rank].error_us, 3) for rank in story.ranks},
            "dropped_events": story.dropped,
            "problems": list(story.alignment.problems),
        },
    }


def _meta(what: str, rank: int, thread: int, **args: str | int) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": rank, "tid": thread, "args": args}


def _thread(activity: Activity) -> int:
    if activity.what is What.COMPUTE:
        return _COMPUTE
    if activity.what is What.HOST:
        return _HOST
    return _bank_thread(activity.event.bank)


def _bank_thread(bank: Bank) -> int:
    return _DOWN if bank is Bank.DOWNSTREAM else _UP


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)


def _complete(activity: Activity) -> dict[str, Any]:
    event = activity.event
    waits = activity.what is What.WAIT
    args: dict[str, Any] = {"microbatch": event.microbatch, "position": event.position}
    if activity.peer is not None:
        args |= {"peer": activity.peer, "bytes": event.bytes, "sequence": event.sequence, "attempt": event.attempt}
    if event.kind is TraceKind.HOST:
        args = {"bytes": event.bytes}
    start, end = _us(activity.start_s), _us(activity.end_s)
    return {
        "ph": "X",
        "name": f"wait: {activity.label}" if waits else activity.label,
        "cat": str(activity.what),
        "ts": start,
        "dur": round(end - start, 3),
        "pid": activity.rank,
        "tid": _thread(activity),
        "args": args,
    }


def _flow(number: int, hop: Hop) -> list[dict[str, Any]]:
    """An arrow from the sender's transfer to the receiver's."""
    begin_s, (got_s, over_s) = hop.sent_s[0], hop.got_s
    end_s = min(max((got_s + over_s) / 2, begin_s), over_s)
    common = {"name": hop.label, "cat": "hop", "id": number}
    start = {"ph": "s", "pid": hop.sender, "tid": _bank_thread(hop.sent.bank), "ts": _us(begin_s), **common}
    end = {"ph": "f", "bp": "e", "pid": hop.receiver, "tid": _bank_thread(hop.got.bank), "ts": _us(end_s), **common}
    return [start, end]
