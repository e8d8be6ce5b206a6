"""`hil train`: boot the ring, train it on a text, prove every step, print what was seen."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from golden.train import Step, Training
from hil.checks.model.scope import Told, Verdict
from hil.checks.model.training import same_parameters, windows
from hil.checks.model.verify import Verification, VerifiedTraining
from hil.commands.booting import boot, logs_of, opened, serial_rows
from hil.commands.generate import scope_rows
from hil.commands.options import TRAINING, add_shared, need_free, on_rig, plan_of
from hil.commands.screen import BoardLines
from hil.data import data_path
from hil.errors import ModelError
from hil.protocol.link_messages import Bank
from hil.rig.needs import Need
from hil.ring.boot import BootTimes
from hil.ring.ring import Ring
from hil.ring.saving import check_target, line_seconds, read_weights, save_model
from hil.ring.training import Plan, RingStep, RingTraining
from hil.session import Session


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil train`."""
    add_shared(parser, *TRAINING, "no-verify", "allow-degenerate", "verbose", "force", steps=3, positions=16)
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the trained weights as a llama2.c checkpoint")
    on_rig(parser, _train)


def _train(session: Session, options: argparse.Namespace) -> int:
    request = Request(
        plan_of(options), options.steps, options.text, not options.no_verify, options.save, options.verbose,
        options.allow_degenerate, options.force,
    )  # fmt: skip
    return train(session, request)


@dataclass(frozen=True, slots=True)
class Request:
    """One training: what, on which text (None: the corpus' first line), whether to compare, where to save it
    and whether over a file that is there."""

    plan: Plan
    steps: int
    text: Path | None = None
    verify: bool = True
    save: Path | None = None
    verbose: bool = False
    allowed: bool = False
    force: bool = False


@dataclass(slots=True)
class _Tally:
    """What was seen over all steps."""

    steps: int = 0
    taps: int = 0
    equal: int = 0
    digest_bytes: int = 0
    good_losses: int = 0
    rig_s: float = 0.0
    wall_s: float = 0.0
    last: Verification | None = None

    def add(self, result: RingStep, verification: Verification | None) -> None:
        self.steps += 1
        self.rig_s += result.rig_s
        self.wall_s += result.wall_s
        if verification is not None:
            self.taps += verification.taps
            self.equal += verification.equal
            self.digest_bytes += sum(part.line_bytes for part in verification.parts)
            self.good_losses += not verification.troubles
            self.last = verification


def train(session: Session, request: Request) -> int:
    """Run it; returns the exit code: 1 if a loss, a tap or a saved parameter differs from the golden's."""
    Need.RANKS.require(session.config)
    if request.save is not None:
        check_target(request.save)
        need_free(request.save, force=request.force)
    batches = windows(text_tokens(session, request.text), request.plan, request.steps)
    session.check_memory(request.plan.size)
    weights = session.model.weights
    with opened(session) as ring:
        BoardLines(ring, verbose=request.verbose)
        times = boot(session, ring)
        verified = (
            VerifiedTraining(ring, weights, batches, request.plan, allowed=request.allowed) if request.verify else None
        )
        training = verified.training if verified is not None else RingTraining(ring, weights.config, request.plan)
        tally = _run(training, verified, batches)
        saved = _save(session, request, ring, verified.golden if verified is not None else None)
        _table(ring, times, request, training, tally, saved)
        good = verified is None or (tally.last is not None and tally.last.good and tally.steps == request.steps)
        good = good and saved.good
        return 0 if good and not ring.desk.contentions() else 1


def text_tokens(session: Session, text: Path | None) -> list[int]:
    """The tokens of a text file, or of the shipped corpus' first line. Raises ModelError if it cannot be read."""
    try:
        written = (text or data_path("fixtures/corpus.txt")).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the text {text}: {error}; give a text file in UTF-8") from None
    return session.model.tokenizer.encode(written if text is not None else written.splitlines()[0])


def _run(training: RingTraining, verified: VerifiedTraining | None, batches: list[list[list[int]]]) -> _Tally:
    """All steps; ends with the first that differs from the golden's, because what follows differs as well."""
    tally = _Tally()
    print("\n  step        loss       norm    factor")
    for number, batch in enumerate(batches):
        if verified is None:
            result, verification, verdict = training.step(batch, taps=False), None, "  told by the boards alone"
        else:
            result, verification = verified.step(number)
            verdict = _verdict(verification, verified.golden.steps[number])
        tally.add(result, verification)
        print(f"  {result.number:4}  {result.loss:10.7f} {result.norm:10.5g} {result.factor:9.4g}{verdict}", flush=True)
        if verification is not None and not verification.good:
            break
    print()
    return tally


def _verdict(verification: Verification, golden: Step) -> str:
    """What to say about a step, behind its figures."""
    wrong = verification.taps - verification.equal
    taps = f", {wrong} taps DIFFERENT" if wrong else ""
    if any(one.part is Told.LOSS for one in verification.troubles):
        return f"  DIFFERENT: the golden's is {golden.loss:.7f}{taps}"
    if verification.troubles:
        return f"  DIFFERENT: {verification.troubles[0].text}{taps}"
    if verification.verdict is Verdict.DEGENERATE:
        return "  equal, but NOT FINITE or zero throughout"
    return f"  equal{taps}"


@dataclass(frozen=True, slots=True)
class _SaveReport:
    """What to say about the saved weights, and whether they are the golden's."""

    text: str = ""
    good: bool = True


def _save(session: Session, request: Request, ring: Ring, golden: Training | None) -> _SaveReport:
    """Read the weights from the boards and write them, if that is asked for."""
    if request.save is None:
        return _SaveReport()
    print(f"  reading the weights, about {line_seconds(ring):.0f} s at {ring.boards[0].baud} baud", flush=True)
    saved = read_weights(ring, session.model.weights.config)
    how = save_model(saved.weights, session.model, request.save)
    clock = "virtual" if ring.desk.simulation is not None else "on the boards"
    same = golden is None or same_parameters(saved.weights, golden.weights)
    verdict = "" if golden is None else ", equal to the golden's" if same else ", DIFFERENT from the golden's"
    text = (
        f"{request.save.stat().st_size:,} bytes{verdict}; {saved.bytes_read:,} read in {saved.rig_s:.3f} s {clock}, "
        f"{saved.wall_s:.2f} s wall; every shard's CRC-32 equal before and after; hil generate {how}"
    )
    return _SaveReport(text, same)


def _table(
    ring: Ring, times: BootTimes, request: Request, training: RingTraining, tally: _Tally, saved: _SaveReport
) -> None:
    plan = request.plan
    needed = max(memory.needed_bytes for memory in training.memory)
    losses = f", {tally.good_losses} losses equal to the golden's" if request.verify else ""
    taps = f"{tally.taps:,} compared, {tally.equal:,} equal, {tally.digest_bytes:,} bytes over the serial lines"
    rows = [
        ("boards", f"{len(ring.boards)} booted, {max(times.seconds):.3f} s, skew {times.skew_s * 1000:.1f} ms"),
        *serial_rows(times),
        ("steps", f"{tally.steps} of {plan.microbatches} x {plan.positions} positions{losses}"),
        ("taps", taps if request.verify else "not recorded"),
        *scope_rows(tally.last),
        ("memory", f"{needed:,} bytes for training on the fullest board"),
    ]
    for link in ring.desk.config.links:
        there = ring.link_counters(link.source, Bank.DOWNSTREAM)
        back = ring.link_counters(link.target, Bank.UPSTREAM)
        resends = there.resends + back.resends
        rows.append((f"link {link}", f"{there.bytes_sent:,} bytes out, {back.bytes_sent:,} back, {resends} resends"))
    clock = "virtual" if ring.desk.simulation is not None else "on the boards"
    rows.append(("time", f"{tally.rig_s:.3f} s {clock}, {tally.wall_s:.2f} s wall for the steps"))
    if ring.desk.simulation is not None:
        rows.append(("contention", f"{len(ring.desk.contentions())} (outputs that met on a wire)"))
    if saved.text:
        rows.append(("saved", saved.text))
    rows.append(("logs", logs_of(ring)))
    for name, value in rows:
        print(f"  {name:12} {value}")
    if tally.last is not None and tally.last.verdict is not Verdict.EQUAL:
        print(f"\n{tally.last.describe()}")
