"""`hil verify`: run a generation or a training, compare everything, and name the first number that is wrong."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from golden.generate import GenerationRequest
from hil.checks.model.training import windows
from hil.checks.model.verify import Verification, VerifiedTraining, verify_generation
from hil.commands.booting import boot, logs_of, opened
from hil.commands.options import GENERATION, TRAINING, add_shared, on_rig, plan_of
from hil.commands.oracle import oracle_lines
from hil.commands.train import text_tokens
from hil.errors import ModelError
from hil.pictures.mismatch import mismatch_svg
from hil.rig.needs import Need
from hil.ring.ring import Ring
from hil.session import Session


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil verify`."""
    parser.add_argument("--train", action="store_true", help="a training instead of a generation")
    add_shared(parser, *GENERATION, *TRAINING, "allow-degenerate", "oracle", "json", positions=16, steps=2)
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the mismatch map as a picture")
    on_rig(parser, verify)


def verify(session: Session, options: argparse.Namespace) -> int:
    """Run it; 1 if anything differs from the golden's or outputs met on a wire."""
    Need.RANKS.require(session.config)
    runs = _training(session, options) if options.train else _generation(session, options)
    with opened(session) as ring:
        boot(session, ring)
        print()
        last: Verification | None = None
        for last in runs(ring):
            print(last.describe(), flush=True)
        print(f"logs: {logs_of(ring)}")
        met = len(ring.desk.contentions())
    if last is None:
        print("nothing was run")
        return 1
    if options.svg is not None:
        options.svg.parent.mkdir(parents=True, exist_ok=True)
        options.svg.write_text(mismatch_svg(last.mismatches, last.summary()), encoding="utf-8")
        print(f"picture: {options.svg}")
    if options.json:
        print(json.dumps(to_json(last)))
    return 0 if last.good and not met else 1


def to_json(verification: Verification) -> dict[str, Any]:
    """The figures and the finding of a run."""
    found = verification.finding
    figures: dict[str, Any] = {
        "what": verification.what,
        "good": verification.good,
        "verdict": verification.verdict.name,
        "taps": verification.taps,
        "equal": verification.equal,
        "parameters": verification.parameters,
        "line_bytes": verification.line_bytes,
        "bytes_per_tensor": round(verification.bytes_per_tensor, 2),
        "compared": list(verification.scope.compared),
        "not_compared": list(verification.scope.left),
        "nonfinite": verification.health.nonfinite,
        "zero": verification.health.zero,
        "flushed": verification.health.flushed,
        "troubles": [{"part": one.part, "rank": one.rank, "text": one.text} for one in verification.troubles],
        "recurrence": verification.recurrence.pattern if verification.recurrence is not None else None,
        "finding": None,
    }
    if found is not None:
        figures["finding"] = {
            "kind": found.kind, "cause": found.cause, "op": found.op.name, "layer": found.layer, "rank": found.rank,
            "position": found.position, "microbatch": found.microbatch,
            "index": found.values.index if found.values is not None else None,
            "culprits": [one.describe() for one in found.culprits], "line_bytes": found.line_bytes,
        }  # fmt: skip
    return figures


_Runs = Callable[[Ring], Iterator[Verification]]


def _generation(session: Session, options: argparse.Namespace) -> _Runs:
    session.check_memory()
    prompt = session.model.encode_prompt(options.prompt, options.positions)
    request = GenerationRequest(prompt, options.positions, options.temperature, options.topp, options.rng_seed)
    if options.oracle:
        print("\n".join(oracle_lines(session.model.weights, request)), flush=True)

    def runs(ring: Ring) -> Iterator[Verification]:
        yield verify_generation(ring, session.model.weights, request, allowed=options.allow_degenerate)[1]

    return runs


def _training(session: Session, options: argparse.Namespace) -> _Runs:
    plan = plan_of(options)
    if options.oracle:
        raise ModelError("--oracle is for a generation: leave out --train")
    session.check_memory(plan.size)
    batches = windows(text_tokens(session, options.text), plan, options.steps)

    def runs(ring: Ring) -> Iterator[Verification]:
        training = VerifiedTraining(
            ring, session.model.weights, batches, plan, parameters=True, allowed=options.allow_degenerate
        )
        for _, verification in training.steps():
            yield verification

    return runs
