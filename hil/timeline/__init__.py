"""Timelines: what each board did and when, on one clock: recorded, aligned, drawn. docs/timeline.md."""

from hil.timeline.align import align
from hil.timeline.capture import start_tracing, stop_tracing
from hil.timeline.spans import tell, to_record

__all__ = ["align", "start_tracing", "stop_tracing", "tell", "to_record"]
