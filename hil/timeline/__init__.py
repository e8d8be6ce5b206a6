"""Timelines: what each board did and when, on one clock: recorded, aligned, drawn. docs/timeline.md."""
