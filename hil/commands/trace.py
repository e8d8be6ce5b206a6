"""`hil trace`: record what every board does in a training step or a generation; draw it on one clock."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from golden.optimizer import AdamW
from hil.checks.model.checks import first_line, traced_step
from hil.commands.booting import boot, opened
from hil.commands.options import add_shared, on_rig, slots_of
from hil.errors import HilError
from hil.files import write_atomically
from hil.nightly.record import to_json
from hil.pictures.timeline import bound_text, timeline_svg
from hil.rig.needs import Need
from hil.ring.ring import Ring
from hil.ring.training import Plan
from hil.session import Session
from hil.timeline.capture import start_tracing, stop_tracing
from hil.timeline.perfetto import perfetto
from hil.timeline.spans import Story, tell, to_record

RATE = 3e-4


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil trace`."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--train", action="store_true", help="one step of training for each M (default)")
    what.add_argument("--generate", action="store_true", help="a generation")
    parser.add_argument(
        "--microbatches", type=_counts, default=(4,), metavar="M", help="of a step; several as 1,2,4,8 (default: 4)"
    )
    add_shared(parser, "slots", "positions", "prompt", positions=8)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    on_rig(parser, trace)


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: give a number, or several as 1,2,4,8") from None
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give 1 or more")
    return counts


def trace(session: Session, options: argparse.Namespace) -> int:
    """Run it; the exit code is 1 if the clocks' alignment contradicts itself."""
    Need.RANKS.require(session.config)
    out: Path = options.out
    if options.generate:
        session.check_memory()
    else:
        for microbatches in options.microbatches:
            session.check_memory(step_plan(options, microbatches).size)
    _make_folder(out)
    with opened(session) as ring:
        boot(session, ring)
        print()
        stories = _stories(session, ring, options)
    for story in stories:
        print("\n".join(summary(story)), end="\n\n")
    if len(stories) > 1:
        print("\n".join(bubble_rows(stories)), end="\n\n")
    for path in write_files(out, stories, _title(session, options)):
        print(f"  wrote {path}")
    return 0 if all(story.alignment.good for story in stories) else 1


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HilError(f"cannot make the folder {out}: {error.strerror}; give another --out") from None


def _title(session: Session, options: argparse.Namespace) -> str:
    what = "generation" if options.generate else "training"
    return f"{what} on rig {session.config.name}, model {session.settings.model}"


def _stories(session: Session, ring: Ring, options: argparse.Namespace) -> list[Story]:
    if options.generate:
        prompt = session.model.encode_prompt(options.prompt, options.positions)
        start_tracing(ring)
        ring.generate(prompt, options.positions, taps=False)
        return [tell(stop_tracing(ring), f"generation, {options.positions} positions")]
    return [_step(session, ring, step_plan(options, microbatches)) for microbatches in options.microbatches]


def step_plan(options: argparse.Namespace, microbatches: int) -> Plan:
    """The step of AdamW that is traced."""
    return Plan(AdamW(RATE), options.positions, microbatches, slots_of(options, microbatches))


def _step(session: Session, ring: Ring, plan: Plan) -> Story:
    positions, microbatches = plan.positions, plan.microbatches
    title = f"one step, {microbatches} microbatch{'es' * (microbatches > 1)} of {positions} positions"
    title += "" if plan.slots == microbatches else f", {plan.slots} under way"
    return traced_step(ring, session.model, plan, first_line(session.model), title)


def summary(story: Story) -> list[str]:
    """A story as a table: what each board spent its time on, and its clock."""
    alignment = story.alignment
    lines = [story.title, f"  {'board':>5} {'compute':>8} {'transfer':>9} {'wait':>7} {'host':>6} {'bubble':>7}  clock"]
    for rank, share in story.shares.items():
        clock = alignment.clocks[rank]
        text = "reference" if rank == alignment.reference else f"{clock.rate_ppm:+.0f} ppm ± {clock.rate_error_ppm:.0f}"
        numbers = (share.compute, share.transfer, share.wait, share.host, share.bubble)
        cells = " ".join(f"{value:{width}.1%}" for value, width in zip(numbers, (8, 9, 7, 6, 7), strict=True))
        lines.append(f"  {rank:5} {cells}  {text}, ± {clock.error_us:.1f} us")
    lines += [f"  link {link.link}: {link.sentence}" for link in alignment.links if link.error_us is None]
    lines += [f"  {problem}" for problem in alignment.problems]
    if story.dropped:
        lines.append(f"  {story.dropped} older events were dropped; trace less at a time")
    lines.append(f"  {story.seconds * 1e3:.3f} ms, bubble {story.bubble:.1%}, {bound_text(story)}")
    return lines


def bubble_rows(stories: list[Story]) -> list[str]:
    """The bubble of every story, a row each."""
    return [f"bubble {story.bubble:6.1%}  {story.seconds * 1e3:8.3f} ms  {story.title}" for story in stories]


def write_files(out: Path, stories: list[Story], title: str) -> list[Path]:
    """Write trace.json (Perfetto; numbered if there are several), timeline.json and timeline.svg; their paths."""
    files: dict[str, str] = {}
    for number, story in enumerate(stories, 1):
        files[f"trace{number if len(stories) > 1 else ''}.json"] = json.dumps(perfetto(story)) + "\n"
    files["timeline.json"] = json.dumps({"title": title, "stories": [as_json(story) for story in stories]}) + "\n"
    files["timeline.svg"] = timeline_svg(stories, title)
    written = []
    for name, text in files.items():
        path = out / name
        try:
            write_atomically(path, text)
        except OSError as error:
            raise HilError(f"cannot write {path}: {error.strerror}; give another --out") from None
        written.append(path)
    return written


def as_json(story: Story) -> dict[str, Any]:
    """A story as JSON values: figures, clocks, links, spans."""
    alignment = story.alignment
    boards = []
    for rank, share in story.shares.items():
        clock = alignment.clocks[rank]
        figures = {**asdict(share), "transfer": share.transfer, "bubble": share.bubble}
        clock_figures = {"error_us": clock.error_us, "rate_ppm": clock.rate_ppm, "rate_error_ppm": clock.rate_error_ppm}
        boards.append({"rank": rank, "shares": figures, "clock": clock_figures})
    links = [{"link": str(at.link), "orders": at.orders, "error_us": at.error_us} for at in alignment.links]
    return {
        "seconds": story.seconds,
        "bubble": story.bubble,
        "reference": alignment.reference,
        "problems": list(alignment.problems),
        "dropped": story.dropped,
        "boards": boards,
        "links": links,
        "timeline": to_json(to_record(story)),
    }
