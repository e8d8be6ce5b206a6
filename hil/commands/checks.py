"""`hil checks`: print the catalogue of checks."""

from __future__ import annotations

import argparse


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil checks`."""
    parser.set_defaults(run=checks)


def checks(options: argparse.Namespace) -> int:
    """A row for each check."""
    from hil.checks.catalogue import CHECKS

    rows = [("check", "marker", "needs", "night", "does")]
    for check in CHECKS:
        name = f"{check.name} A->B" if check.each_link else check.name
        rows.append((name, check.marker, check.need.text, "yes" if check.night else "", check.text))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, (*widths, 0), strict=True)))
    return 0
