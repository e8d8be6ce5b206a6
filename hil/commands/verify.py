"""`hil verify`: run a generation or a training, compare everything, and name the first number that is wrong."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golden.generate import GenerationRequest
from hil.checks.model.training import windows
from hil.checks.model.verify import Verification, VerifiedTraining, verify_generation
from hil.commands.booting import boot, logs_of, opened
from hil.commands.train import optimizer, text_tokens
from hil.pictures.mismatch import mismatch_svg
from hil.rig.needs import Need
from hil.ring.ring import Ring
from hil.ring.training import Plan
from hil.session import Session
from hil.settings import Settings

if TYPE_CHECKING:
    from hil.commands.desk import Declare, Verbs


def add_verify(verbs: Verbs, add_rig_options: Declare, settings: Callable[[argparse.Namespace], Settings]) -> None:
    """Declare the verb. add_rig_options declares `--rig` and its companions, settings reads them."""
    text = "compare every tensor and parameter with the golden; name the first wrong number and its cause"
    parser = verbs.add_parser("verify", help=text, description=text[0].upper() + text[1:] + ".")
    add_rig_options(parser)
    parser.add_argument("--train", action="store_true", help="a training instead of a generation")
    parser.add_argument("--positions", type=int, default=16, help="of a generation or a microbatch (default: 16)")
    parser.add_argument("--prompt", default="", help="of a generation (default: none)")
    parser.add_argument("--temperature", type=float, default=0.0, help="of a generation; 0 is greedy (default)")
    parser.add_argument("--topp", type=float, default=0.9, help="top-p when temperature > 0 (default: 0.9)")
    parser.add_argument("--rng-seed", type=lambda text: int(text, 0), default=1, help="of the sampler (default: 1)")
    parser.add_argument("--steps", type=int, default=2, metavar="N", help="of a training (default: 2)")
    parser.add_argument("--microbatches", type=int, default=1, metavar="M", help="of a step (default: 1)")
    parser.add_argument("--optimizer", choices=("adamw", "sgd"), default="adamw", help="default: adamw")
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate (default: 0.0003)")
    parser.add_argument("--text", type=Path, metavar="FILE", help="to train on (default: a line of the shipped corpus)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the mismatch map as a picture")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on the last line")
    parser.set_defaults(run=lambda options: verify(Session(settings(options)), options))


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
        "taps": verification.taps,
        "equal": verification.equal,
        "parameters": verification.parameters,
        "line_bytes": verification.line_bytes,
        "bytes_per_tensor": round(verification.bytes_per_tensor, 2),
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

    def runs(ring: Ring) -> Iterator[Verification]:
        yield verify_generation(ring, session.model.weights, request, parameters=True)[1]

    return runs


def _training(session: Session, options: argparse.Namespace) -> _Runs:
    rule = optimizer(options.optimizer, options.rate, 0.0, 0.0)
    plan = Plan(rule, options.positions, options.microbatches, min(options.microbatches, 64))
    session.check_memory(plan.size)
    batches = windows(text_tokens(session, options.text), plan, options.steps)

    def runs(ring: Ring) -> Iterator[Verification]:
        for _, verification in VerifiedTraining(ring, session.model.weights, batches, plan, parameters=True).steps():
            yield verification

    return runs
