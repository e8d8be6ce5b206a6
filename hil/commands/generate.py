"""`hil generate`: boot the ring, show the story as it comes, prove it, print what was seen."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from hil.checks.model.taps import GoldenRun, TapComparison, compare_taps, golden_run
from hil.commands.booting import boot, logs_of, opened, serial_rows
from hil.commands.options import GENERATION, add_shared, on_rig
from hil.commands.screen import BoardLines
from hil.model.bundle import Model
from hil.model.tokenizer import TextStream
from hil.protocol.link_messages import Bank
from hil.protocol.messages import Token
from hil.ring.boot import BootTimes
from hil.ring.ring import Ring, RingGeneration
from hil.session import Session


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil generate`."""
    add_shared(parser, *GENERATION, "no-verify", "verbose", positions=64)
    on_rig(parser, _run)


def _run(session: Session, options: argparse.Namespace) -> int:
    request = Request(
        options.prompt, options.positions, options.temperature, options.topp, options.rng_seed,
        verify=not options.no_verify, verbose=options.verbose,
    )  # fmt: skip
    return generate(session, request)


@dataclass(frozen=True, slots=True)
class Request:
    """One generation: prompt text, forward steps, sampling, and whether to compare with the golden."""

    prompt: str = ""
    positions: int = 64
    temperature: float = 0.0
    topp: float = 0.9
    rng_seed: int = 1
    verify: bool = True
    verbose: bool = False


class _Story:
    """Prints tokens as they come."""

    def __init__(self, model: Model, prompt: list[int]) -> None:
        self._stream = TextStream(model.tokenizer)
        self._write(self._stream.push(prompt[0]))

    def token(self, token: Token) -> None:
        """One more token."""
        self._write(self._stream.push(token.token))

    def end(self) -> None:
        """What is left of an unfinished character, and a line end."""
        self._write(self._stream.finish() + "\n\n")

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def generate(session: Session, request: Request) -> int:
    """Run it; returns the exit code: 1 if a tap or a token differs from the golden's."""
    prompt = session.model.encode_prompt(request.prompt, request.positions)
    session.check_memory()
    with opened(session) as ring:
        lines = BoardLines(ring, verbose=request.verbose)
        times = boot(session, ring)
        print()
        with lines.held():
            result = _tell(session, ring, prompt, request)
        golden = comparison = None
        if request.verify:
            golden = golden_run(session.model.weights, prompt, request.positions, request.temperature, request.topp,
                                request.rng_seed, ring.world_size)  # fmt: skip
            comparison = compare_taps(ring, golden)
        _table(session, ring, times, result, golden, comparison)
        good = comparison is None or (comparison.good and golden is not None and golden.tokens == result.tokens)
        return 0 if good and not ring.desk.contentions() else 1


def _tell(session: Session, ring: Ring, prompt: list[int], request: Request) -> RingGeneration:
    story = _Story(session.model, prompt)
    result = ring.generate(
        prompt,
        request.positions,
        temperature=request.temperature,
        topp=request.topp,
        rng_seed=request.rng_seed,
        taps=request.verify,
        on_token=story.token,
    )
    story.end()
    return result


def _table(
    session: Session,
    ring: Ring,
    times: BootTimes,
    result: RingGeneration,
    golden: GoldenRun | None,
    comparison: TapComparison | None,
) -> None:
    image = session.image("ring")
    rows = [
        ("boards", f"{len(ring.boards)} booted, {max(times.seconds):.3f} s, skew {times.skew_s * 1000:.1f} ms"),
        *serial_rows(times),
        ("firmware", f"{image.sha256[:12]}, git {image.git_revision}, {image.compiler}"),
        ("tokens", f"{len(result.tokens)}{_tokens_verdict(result, golden)}"),
        ("taps", _taps_verdict(comparison)),
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
        print(f"  {name:11} {value}")
    if comparison is not None and comparison.first is not None:
        print(f"\n{comparison.first.describe()}")


def _tokens_verdict(result: RingGeneration, golden: GoldenRun | None) -> str:
    if golden is None:
        return ""
    if golden.tokens == result.tokens:
        return ", all equal to the golden's"
    pairs = enumerate(zip(result.tokens, golden.tokens, strict=False))
    at = next((i for i, (ours, theirs) in pairs if ours != theirs), min(len(result.tokens), len(golden.tokens)))
    return f", DIFFERENT from the golden's from position {at}"


def _taps_verdict(comparison: TapComparison | None) -> str:
    if comparison is None:
        return "not recorded"
    text = f"{comparison.compared:,} compared, {comparison.equal:,} equal"
    return text if comparison.good else text + "  DIFFERENT"
