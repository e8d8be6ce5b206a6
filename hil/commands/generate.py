"""`hil generate`: boot the ring, show the story as it comes, prove it, print what was seen."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from golden.generate import GenerationRequest
from hil.checks.model.scope import Told, Verdict
from hil.checks.model.taps import GoldenRun, golden_run
from hil.checks.model.told import first_other
from hil.checks.model.verify import Verification, verify_generation
from hil.commands.booting import boot, logs_of, opened, serial_rows
from hil.commands.options import GENERATION, add_shared, on_rig
from hil.commands.oracle import oracle_lines
from hil.commands.screen import BoardLines
from hil.model.bundle import Model
from hil.model.tokenizer import TextStream
from hil.protocol.link_messages import Bank
from hil.protocol.messages import Token
from hil.rig.needs import Need
from hil.ring.boot import BootTimes
from hil.ring.ring import Ring, RingGeneration
from hil.session import Session


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil generate`."""
    add_shared(parser, *GENERATION, "no-verify", "allow-degenerate", "oracle", "verbose", positions=64)
    on_rig(parser, _run)


def _run(session: Session, options: argparse.Namespace) -> int:
    request = Request(
        options.prompt, options.positions, options.temperature, options.topp, options.rng_seed,
        verify=not options.no_verify, verbose=options.verbose, allowed=options.allow_degenerate, oracle=options.oracle,
    )  # fmt: skip
    return generate(session, request)


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for: prompt text, the rest of a generation, and whether to compare with the golden."""

    prompt: str = ""
    positions: int = 64
    temperature: float = 0.0
    topp: float = 0.9
    rng_seed: int = 1
    verify: bool = True
    verbose: bool = False
    allowed: bool = False
    oracle: bool = False


class _Story:
    """Prints tokens as they come."""

    def __init__(self, model: Model, prompt: list[int]) -> None:
        self._stream = TextStream(model.tokenizer)
        self._ended = False
        self._write(self._stream.push(prompt[0]))

    def token(self, token: Token) -> None:
        """One more token; not of a run that is done again after the story has been told."""
        if not self._ended:
            self._write(self._stream.push(token.token))

    def end(self) -> None:
        """What is left of an unfinished character, and a line end."""
        self._write(self._stream.finish() + "\n\n")
        self._ended = True

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def generate(session: Session, request: Request) -> int:
    """Run it; returns the exit code: 1 if a tap or a token differs from the golden's."""
    Need.RANKS.require(session.config)
    prompt = session.model.encode_prompt(request.prompt, request.positions)
    session.check_memory()
    wanted = GenerationRequest(prompt, request.positions, request.temperature, request.topp, request.rng_seed)
    weights = session.model.weights
    with opened(session) as ring:
        lines = BoardLines(ring, verbose=request.verbose)
        times = boot(session, ring)
        print()
        golden: GoldenRun | None = None
        verification: Verification | None = None
        with lines.held():
            story = _Story(session.model, prompt)
            if request.verify:
                golden = golden_run(weights, wanted, ring.world_size)
                result, verification = verify_generation(
                    ring, weights, wanted, golden=golden, on_token=story.token, on_end=lambda _: story.end(),
                    allowed=request.allowed,
                )  # fmt: skip
            else:
                result = ring.run_generation(wanted, taps=False, on_token=story.token)
                story.end()
        _table(session, ring, times, result, golden, verification)
        if request.oracle:
            print("\n" + "\n".join(oracle_lines(weights, wanted)))
        good = verification is None or verification.good
        return 0 if good and not ring.desk.contentions() else 1


def _table(
    session: Session,
    ring: Ring,
    times: BootTimes,
    result: RingGeneration,
    golden: GoldenRun | None,
    verification: Verification | None,
) -> None:
    image = session.image("ring")
    rows = [
        ("boards", f"{len(ring.boards)} booted, {max(times.seconds):.3f} s, skew {times.skew_s * 1000:.1f} ms"),
        *serial_rows(times),
        ("firmware", f"{image.sha256[:12]}, git {image.git_revision}, {image.compiler}"),
        ("tokens", f"{len(result.tokens)}{_tokens_verdict(result, golden, verification)}"),
        ("taps", _taps_verdict(verification)),
        *scope_rows(verification),
    ]
    for link in ring.desk.config.links:
        sent = ring.link_counters(link.source, Bank.DOWNSTREAM)
        got = ring.link_counters(link.target, Bank.UPSTREAM)
        rows.append(
            (f"link {link}", f"{sent.bytes_sent:,} bytes out, {got.bytes_received:,} in, {sent.resends} resends")
        )
    clock = "virtual" if session.config.sim is not None else "on the boards"
    rows.append(("time", f"{result.rig_s:.3f} s {clock}, {result.wall_s:.2f} s wall for the generation"))
    if ring.desk.simulation is not None:
        rows.append(("contention", f"{len(ring.desk.contentions())} (outputs that met on a wire)"))
    rows.append(("logs", logs_of(ring)))
    for name, value in rows:
        print(f"  {name:12} {value}")
    if verification is not None and verification.verdict is not Verdict.EQUAL:
        print(f"\n{verification.describe()}")


def _tokens_verdict(result: RingGeneration, golden: GoldenRun | None, verification: Verification | None) -> str:
    if golden is None or verification is None:
        return ", told by the board alone: nothing was compared"
    if any(one.part is Told.TOKEN_EVENT for one in verification.troubles):
        return ", DIFFERENT from those that were shown"
    if golden.tokens == result.tokens:
        return ", all equal to the golden's"
    return f", DIFFERENT from the golden's from position {first_other(result.tokens, golden.tokens)}"


def _taps_verdict(verification: Verification | None) -> str:
    if verification is None:
        return "not recorded"
    text = f"{verification.taps:,} compared, {verification.equal:,} equal"
    return text if verification.verdict is not Verdict.DIFFERENT else text + "  DIFFERENT"


def scope_rows(verification: Verification | None) -> list[tuple[str, str]]:
    """What was compared and what was not, and odd values."""
    if verification is None:
        return []
    rows = [("compared", ", ".join(verification.scope.compared))]
    rows += [("not compared", ", ".join(verification.scope.left))] if verification.scope.left else []
    rows += [("values", verification.health.figures())]
    if verification.verdict is Verdict.DEGENERATE:
        allowed = "allowed" if verification.allowed else "NOT FINITE"
        rows += [("health", f"{allowed}: {verification.health.sentence()}")]
    return rows
