"""A strict reader of Trace Event JSON: what ui.perfetto.dev takes, and nothing that it would silently drop.

Written from the format's description ("Trace Event Format", JSON object form). Only the phases that the project uses.
"""

import math
from collections import defaultdict

_REQUIRED = {
    "M": {"ph", "name", "pid", "tid", "args"},
    "X": {"ph", "name", "cat", "ts", "dur", "pid", "tid", "args"},
    "s": {"ph", "name", "cat", "id", "ts", "pid", "tid"},
    "f": {"ph", "name", "cat", "id", "ts", "pid", "tid", "bp"},
}
_META = {"process_name": "name", "process_sort_index": "sort_index",
         "thread_name": "name", "thread_sort_index": "sort_index"}  # fmt: skip


def mistakes(document) -> list[str]:
    """What is wrong with a document; empty when it is right."""
    found: list[str] = []
    if not isinstance(document, dict) or not isinstance(document.get("traceEvents"), list):
        return ["not an object with a list of traceEvents"]
    found += [f"unknown member {key}" for key in document.keys() - {"traceEvents", "displayTimeUnit", "otherData"}]
    if document.get("displayTimeUnit") not in ("ms", "ns"):
        found.append("displayTimeUnit is neither ms nor ns")
    for number, event in enumerate(document["traceEvents"]):
        found += [f"event {number}: {text}" for text in _event(event)]
    if not found:
        found += _named_threads(document["traceEvents"]) + _nesting(document["traceEvents"])
        found += _flows(document["traceEvents"])
    return found


def _event(event) -> list[str]:
    phase = event.get("ph") if isinstance(event, dict) else None
    if phase not in _REQUIRED:
        return [f"phase {phase!r} is unknown"]
    if event.keys() != _REQUIRED[phase]:
        return [f"members {sorted(event)} instead of {sorted(_REQUIRED[phase])}"]
    found = [f"{key} is no whole number" for key in ("pid", "tid") if type(event[key]) is not int or event[key] < 0]
    found += [f"{key} is no text" for key in ("name", "cat") if key in event and not isinstance(event[key], str)]
    for key in {"ts", "dur"} & event.keys():
        value = event[key]
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0 or (key == "dur" and value <= 0):
            found.append(f"{key} is {value!r}")
    if phase == "M" and set(event["args"]) != {_META.get(event["name"])}:
        found.append(f"metadata {event['name']} with {event['args']}")
    if phase == "f" and event["bp"] != "e":
        found.append("bp is not e")
    return found


def _named_threads(events) -> list[str]:
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    used = {(e["pid"], e["tid"]) for e in events if e["ph"] != "M"}
    return [f"thread {thread} has no name" for thread in used - named]


def _slices(events):
    threads = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    return threads


def _nesting(events) -> list[str]:
    """Slices of a thread lie in each other or apart."""
    found = []
    for thread, slices in _slices(events).items():
        stack: list[float] = []
        for start, end in sorted(slices, key=lambda s: (s[0], -s[1])):
            while stack and stack[-1] <= start + 1e-6:
                stack.pop()
            if stack and end > stack[-1] + 1e-6:
                found.append(f"thread {thread}: a slice from {start} to {end} sticks out of another, to {stack[-1]}")
            stack.append(end)
    return found


def _flows(events) -> list[str]:
    """Each flow has one start and one end, each in a slice of its thread, in order."""
    found = []
    slices = _slices(events)
    ends = defaultdict(dict)
    for event in events:
        if event["ph"] in "sf":
            if event["ph"] in ends[event["id"]]:
                found.append(f"flow {event['id']} has two of {event['ph']}")
            ends[event["id"]][event["ph"]] = event
            inside = any(a <= event["ts"] <= b for a, b in slices[event["pid"], event["tid"]])
            if not inside:
                found.append(f"flow {event['id']}: its {event['ph']} lies in no slice")
    for number, pair in ends.items():
        if pair.keys() != {"s", "f"}:
            found.append(f"flow {number} is not whole")
        elif (pair["s"]["name"], pair["s"]["cat"]) != (pair["f"]["name"], pair["f"]["cat"]):
            found.append(f"flow {number} has two names")
        elif pair["s"]["ts"] > pair["f"]["ts"]:
            found.append(f"flow {number} ends before it begins")
    return found
