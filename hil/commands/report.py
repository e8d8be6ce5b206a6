"""`hil report`: what the history of nights has: list, compare, export as CSV, pages made again."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from hil.commands.options import at_least_one
from hil.errors import HilError
from hil.nightly.history import HISTORY_NAME, History
from hil.nightly.record import Night


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil report` and its own verbs."""
    parser.add_argument("--out", type=Path, default=Path("nightly"), metavar="DIR",
                        help="folder that `hil nightly --out` filled (default: nightly)")  # fmt: skip
    parts = parser.add_subparsers(dest="part", required=True, metavar="WHAT", parser_class=argparse.ArgumentParser)

    nights = parts.add_parser("list", help="the nights, and how often each check was flaky")
    nights.add_argument("--last", type=at_least_one, default=30, metavar="N", help="the latest N (default: 30)")
    nights.set_defaults(run=_with_history(list_nights))

    compare = parts.add_parser("compare", help="what is different between two nights")
    compare.add_argument("a", metavar="A", help="id of a night, as `hil report list` shows it, or the beginning of one")
    compare.add_argument("b", metavar="B", help="id of the later one; `last` is the latest night")
    compare.set_defaults(run=_with_history(compare_nights))

    export = parts.add_parser("export", help="figures of every check, link and wire, a row each")
    export.add_argument("--csv", type=Path, metavar="FILE", help="default: to the terminal")
    export.set_defaults(run=_with_history(export_csv))

    page = parts.add_parser("page", help="make the pages again")
    page.set_defaults(run=_with_history(make_pages))
    for part in (nights, export):
        part.add_argument("--rig", metavar="NAME", help="of the rig of this name only")
    for part in (nights, compare, export, page):  # before or behind what is asked for
        part.add_argument("--out", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="as above")


def _with_history(work: Callable[[History, argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        path = options.out / HISTORY_NAME
        if not path.is_file():
            raise HilError(f"history {path}: there is none; give the folder of `hil nightly --out` as --out")
        with History(path) as history:
            if history.set_aside is not None:
                print(history.set_aside, file=sys.stderr)
            return work(history, options)

    return run


# --- list ------------------------------------------------------------------------------------------


def list_nights(history: History, options: argparse.Namespace) -> int:
    """A line for each night, then the flake rates."""
    from hil.nightly.series import flake_rates
    from hil.nightly.verdict import tally

    for night in history.nights(options.rig, options.last):
        marks = "".join(f", marked: {mark.name}" for mark in night.marks)
        print(f"{night.id:36} {_word(night):9} {tally(night)}{marks}")
    for rig in [options.rig] if options.rig is not None else history.rigs():
        for rate in flake_rates(history.nights(rig, options.last)):
            print(
                f"rig {rig}: {rate.name} was flaky in {rate.flaky} of {rate.runs} runs, "
                f"{rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%} at 95 %)"
            )
    return 0


def _word(night: Night) -> str:
    if night.ended is None:
        return "no end"
    return "partial" if night.stopped is not None else "good" if night.good else "NOT GOOD"


# --- compare ---------------------------------------------------------------------------------------


def find_night(history: History, text: str) -> Night:
    """A night by its id, by the beginning of it, or `last`. Raises HistoryError or HilError."""
    nights = history.ids()
    if text == "last" and nights:
        return history.night(nights[-1])
    found = [night for night in nights if night.startswith(text)]
    if len(found) > 1 and text not in found:
        raise HilError(
            f"night {text}: {len(found)} nights begin so, {found[0]} and {found[1]} among them; give more of it"
        )
    return history.night(text if text in found or not found else found[0])


def compare_nights(history: History, options: argparse.Namespace) -> int:
    """What changed from A to B: what ran, outcomes, figures, wires; 1 if B is not good."""
    from hil.nightly.compare import changes

    a, b = find_night(history, options.a), find_night(history, options.b)
    print(f"A {a.id}: {_word(a)}\nB {b.id}: {_word(b)}")
    for line in changes(a, b) or ["nothing changed"]:
        print(f"  {line}")
    rows = [("figure", "A", "B", "B/A")]
    before, after = countable(a), countable(b)
    for name in before | after:
        old, new = before.get(name), after.get(name)
        ratio = f"{new / old:.3f}" if old and new is not None else ""
        rows.append((name, _number(old), _number(new), ratio))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print(f"  {row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}".rstrip())
    return 0 if b.good else 1


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def countable(night: Night) -> dict[str, float]:
    """The figures of a night by name: medians of the checks', sums over links and wires, boards."""
    from hil.nightly.series import figures_of

    found = figures_of(night)
    figures = {f"{check}: {name}": value for (check, name), value in found.figures.items()}
    for link in found.links.values():
        figures |= {f"link {link.link}: {what}": getattr(link, what) for what in ("bytes", "resends", "timeouts")}
    figures |= {f"{wire.name}: errors": wire.errors for wire in found.wires.values() if wire.errors}
    boards = {f"board {b.rank}: {what}": float(getattr(b, what)) for b in night.boards for what in ("boot_s", "resets")}
    return figures | boards


# --- export ----------------------------------------------------------------------------------------

COLUMNS = ("night", "started", "rig", "round", "number", "check", "kind", "outcome", "subject", "figure", "value")


def csv_rows(nights: Iterable[Night]) -> Iterable[tuple[Any, ...]]:
    """A row for each figure of each check, link and wire; columns as in COLUMNS."""
    for night in nights:
        for check in night.checks:
            place = (check.round, check.number, check.name, check.kind, check.outcome)
            head = (night.id, night.started, night.rig, *place)
            yield (*head, "check", "seconds", check.seconds)
            for name, value in check.figures.items():
                yield (*head, "check", name, value)
            for link in check.links:
                for name in ("bytes", "frames", "resends", "timeouts", "throughput_kb_s"):
                    yield (*head, f"link {link.link}", name, getattr(link, name))
                for phase, points in link.phases_us.items():
                    for share, value in zip(("p50", "p90", "p99"), points, strict=False):
                        yield (*head, f"link {link.link}", f"{phase} {share} us", value)
            for wire in check.wires:
                yield (*head, f"wire {wire.link} {wire.wire}", "bits", wire.bits)
                yield (*head, f"wire {wire.link} {wire.wire}", "errors", wire.errors)
        for board in night.boards:
            blank = (night.id, night.started, night.rig, "", "", "", "", "")
            for name in ("serial", "boot_s", "temperature_c", "throttled", "resets", "retries"):
                value = getattr(board, name)
                yield (*blank, f"board {board.rank}", name, "" if value is None else value)


def export_csv(history: History, options: argparse.Namespace) -> int:
    """All figures as CSV (RFC 4180) with a header."""

    def write(stream: TextIO) -> None:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for night_id in history.ids(options.rig):
            writer.writerows(csv_rows([history.night(night_id)]))

    if options.csv is None:
        write(sys.stdout)
        return 0
    try:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            write(file)
    except OSError as error:
        raise HilError(f"{options.csv}: cannot be written: {error.strerror}; check the folder and its space") from None
    return 0


# --- pages -----------------------------------------------------------------------------------------


def make_pages(history: History, options: argparse.Namespace) -> int:
    """Every page of the nights that the index shows, and the index."""
    from hil.nightly.page.files import write_pages
    from hil.nightly.reports import beside_of

    print(write_pages(history, options.out, partial(beside_of, options.out), every=True))
    return 0
