"""The pipeline of a step as a Chrome trace, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

One process for each board, one track for each kind of span. Format: Trace Event Format, complete ("X") and metadata
("M") events, microseconds. Pure.
"""

from __future__ import annotations

from typing import Any

from hil.text import finite, visible
from hil.timeline.spans import Timeline

TRACKS = ("compute", "send", "receive", "wait", "host")


def chrome_trace(timeline: Timeline) -> dict[str, Any]:
    """The trace as JSON values. Spans without finite times are left out."""
    spans = [
        span for span in timeline.spans if finite(span.start_s) and finite(span.end_s) and span.end_s >= span.start_s
    ]
    zero = min((span.start_s for span in spans), default=0.0)
    tracks = list(dict.fromkeys([*TRACKS, *(span.what for span in spans)]))
    events: list[dict[str, Any]] = []
    for rank in sorted({span.rank for span in spans}):
        events.append({"ph": "M", "name": "process_name", "pid": rank, "tid": 0, "args": {"name": f"board {rank}"}})
        events.append({"ph": "M", "name": "process_sort_index", "pid": rank, "tid": 0, "args": {"sort_index": rank}})
        for track, name in enumerate(tracks):
            named = {"name": visible(name, lines=False)}
            events.append({"ph": "M", "name": "thread_name", "pid": rank, "tid": track, "args": named})
    for span in spans:
        events.append(
            {
                "ph": "X",
                "name": visible(span.label or span.what, lines=False),
                "cat": visible(span.what, lines=False),
                "pid": span.rank,
                "tid": tracks.index(span.what),
                "ts": round((span.start_s - zero) * 1e6, 3),
                "dur": round((span.end_s - span.start_s) * 1e6, 3),
            }
        )
    bound = timeline.error_s * 1e6 if finite(timeline.error_s) else None
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"title": visible(timeline.title, lines=False), "clock_error_us": bound},
    }
