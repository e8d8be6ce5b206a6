"""`hil ports`: the serial ports of this computer."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from hil.line.names import plugged_in


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil ports`."""
    parser.add_argument("--all", action="store_true", help="also ports that are not on USB")
    parser.add_argument("--json", action="store_true", help="one JSON list")
    parser.set_defaults(run=ports)


def ports(options: argparse.Namespace) -> int:
    """Print them; the name is what belongs into a rig file."""
    found = [port for port in plugged_in() if port.is_usb or options.all]
    if options.json:
        print(json.dumps([asdict(port) for port in found]))
        return 0
    if not found:
        print("no USB serial adapter is plugged in (--all lists other ports)")
        return 0
    rows = [("port", "usb", "serial", "what", "name for a rig file")]
    rows += [(port.device, port.usb or "-", port.serial or "-", port.description, port.name) for port in found]
    widths = [max(len(_shown(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(_shown(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _shown(text: str) -> str:
    """An adapter's own words are data."""
    return text.encode("unicode_escape").decode("ascii")
