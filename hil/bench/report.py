"""What all benches have in common: how figures are told, and the machine that they come from."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path


def tell(figures: Mapping[str, object], options: argparse.Namespace, notes: Mapping[str, str] | None = None) -> None:
    """A line for each figure, with its note; with --json all of them as JSON on the last line."""
    width = max(map(len, figures))
    for name, value in figures.items():
        shown = ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else str(value)
        print(f"{name:{width}} {shown:>10}  {(notes or {}).get(name, '')}".rstrip())
    if options.json:
        print(json.dumps(figures))


def share(count: int, of: int) -> float:
    """The part that so many are of so many; 1 of nothing."""
    return round(count / of, 6) if of else 1.0


def host_cpu() -> str:
    """Processor and how many of it, as far as the system tells."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
