"""The checks of a night: each runs an existing check on a booted ring and gives what the night keeps of it.

A check returns Found; a sentence in it means that it failed. It raises HilError where the ring gave up, Left where it
cannot be tried at all. Which of them run, and in which order: hil/nightly/rounds.py.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from golden.optimizer import AdamW, Sgd
from hil.checks.link.runs import LinkRunResult, RunPlan, ber_limit, run_links
from hil.checks.model.mismatch import MapRow, step_map
from hil.checks.model.taps import golden_run
from hil.checks.model.training import compare_step, expected_step, golden_training, same_losses, windows
from hil.checks.model.verify import GenerationRequest, Verification, VerifiedTraining, verify_generation
from hil.checks.wiring import scan_wiring
from hil.data import data_path
from hil.errors import BoardError
from hil.nightly.record import LinkFigures, WireFigures
from hil.protocol.link_messages import Pattern
from hil.protocol.messages import Command, Empty, Health, Status
from hil.rig.pins import WIRE_NAMES, wire_name
from hil.ring.training import Plan, RingTraining
from hil.timeline.capture import start_tracing, stop_tracing
from hil.timeline.spans import Timeline, tell, to_record

if TYPE_CHECKING:
    from hil.model.bundle import Model
    from hil.rig.specs import LinkSpec
    from hil.ring.ring import Ring
    from hil.toolchain import Image


from hil.nightly.record import Kind


@dataclass(frozen=True, slots=True)
class Profile:
    """How much a round does.

    ber: a link is soaked until every wire's bit error rate is below this at 95 %.
    soak_frames: of 16 KiB, in one direction, between two looks at the clock.
    rounds: None: until time is up. hours: on the rig's clock, unless the user says otherwise; None: no limit.
    kinds: what to leave in; a rig without a ring leaves out what needs one.
    """

    name: str
    ber: float
    soak_frames: int
    layer_positions: int
    story_positions: int
    steps: int
    rounds: int | None
    hours: float | None
    kinds: frozenset[Kind] = frozenset(Kind)


PROFILES = {
    "quick": Profile(
        "quick", ber=3e-5, soak_frames=8, layer_positions=16, story_positions=64, steps=3, rounds=1, hours=None
    ),
    "full": Profile(
        "full", ber=1e-8, soak_frames=256, layer_positions=64, story_positions=256, steps=10, rounds=None, hours=8.0
    ),
}


SOAK_FRAME_BYTES = 16384
SOAK_LIMIT = 4
"""A soak that has not reached its target after so many times the bits that suffice without an error has failed."""
TOGETHER_FRAMES, TOGETHER_BYTES = 4, 4096
TIMING_BYTES = 1024
GRADIENT_POSITIONS, GRADIENT_MICROBATCHES, TRACED_MICROBATCHES = 8, 2, 4
TRAINING_POSITIONS = 16
TEMPERATURE, TOPP = 0.8, 0.9
SOAK_TIMEOUT_S = 600.0
PERCENTILES = (0.5, 0.9, 0.99)


class Sign(Enum):
    """What a failed attempt looks like; hil/nightly/triage.py draws the conclusion."""

    LINK = "link"  # wrong bits, a link that gave up, a finding of the scan, a hop that changed values
    BOARD = "board"  # a board that died, does not answer or refuses
    VALUES = "values"  # an op gave other values than the golden
    HARNESS = "harness"  # the program itself went wrong


class Left(Exception):
    """The check cannot be tried here; the message says why."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a check works with.

    progress: called with how far the check is, 0 .. 1. time_up: whether the night's time is over.
    """

    ring: Ring
    model: Model
    image: Image
    profile: Profile
    progress: Callable[[float], None] = lambda fraction: None
    time_up: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class Found:
    """What a check found; fields as in hil.nightly.record.Check. An empty sentence: all is well."""

    sentence: str = ""
    sign: Sign = Sign.VALUES
    detail: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    links: list[LinkFigures] = field(default_factory=list)
    wires: list[WireFigures] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    golden_losses: list[float] = field(default_factory=list)
    mismatch_map: list[MapRow] = field(default_factory=list)


# --- boards and wires ----------------------------------------------------------------------------


def boot(bench: Bench, seed: int) -> Found:
    """Boot all boards, ask each who it is. Raises BoardError or ModelError."""
    times = bench.ring.boot(bench.image)
    config = bench.ring.desk.config
    if config.is_ring or config.is_loopback:
        bench.ring.check_ranks()
    return Found(figures={"boot_s": max(times.seconds), "skew_s": times.skew_s})


def health(ring: Ring, rank: int) -> Health:
    """Temperature, clocks and throttling of a board. Raises BoardError."""
    return ring.boards[rank].command(Command.HEALTH, Empty(), Health)


def wiring(bench: Bench, seed: int) -> Found:
    """Scan every wire."""
    report = scan_wiring(bench.ring)
    found = Found(figures={"scan_s": report.seconds, "findings": len(report.findings)})
    if not report.good:
        more = f" (and {len(report.findings) - 1} more)" if len(report.findings) > 1 else ""
        found.sentence, found.sign, found.detail = report.findings[0].text + more, Sign.LINK, report.text()
    return found


# --- links ---------------------------------------------------------------------------------------


def soak(link: LinkSpec, bench: Bench, seed: int) -> Found:
    """Random bits over a link in both directions until its worst wire is good enough, or has failed, or time is up.

    It has failed when what came suffices to miss the target after SOAK_LIMIT times the bits that do without an error.
    """
    target, results = bench.profile.ber, list[LinkRunResult]()
    most = SOAK_LIMIT * 3 / target
    while True:
        for reverse in (False, True):
            number = (seed + len(results)) & 0xFFFFFFFF
            plan = RunPlan(Pattern.PRBS31, bench.profile.soak_frames, SOAK_FRAME_BYTES, number, linger=True)
            results += run_links(bench.ring, [link], plan, reverse=reverse, timeout_s=SOAK_TIMEOUT_S)
        wires = _wires(results)
        worst = max(wires, key=lambda wire: wire.errors)
        limit = ber_limit(worst.bits, worst.errors)
        bench.progress(min(1.0, worst.bits * target / 3))
        hopeless = ber_limit(max(worst.bits, int(most)), worst.errors) >= target
        if limit < target or hopeless or bench.time_up():
            break
    found = Found(figures={"ber_limit": limit}, wires=wires)
    timed = run_links(bench.ring, [link], RunPlan(Pattern.PRBS15, 1, TIMING_BYTES, seed, timing=True, linger=True))[0]
    found.links = [_link_figures(results, timed, _cycle_us(bench.ring, link))]
    found.figures["kb_s"] = found.links[0].throughput_kb_s
    if worst.errors and limit >= target:
        lines = [_errors_text(link, wire) for wire in wires if wire.errors]
        found.sign, found.detail = Sign.LINK, "\n".join(lines)
        found.sentence = f"{_errors_text(link, worst)}: BER < {limit:.2g} at 95 %, wanted {target:.2g}"
    return found


def _errors_text(link: LinkSpec, wire: WireFigures) -> str:
    return f"{wire.errors:,} of {wire.bits:,} bits wrong on {wire_name(link, WIRE_NAMES.index(wire.wire))}"


def all_links(bench: Bench, seed: int) -> Found:
    """Frames over all links of boards that live, at the same time, in both directions; damaged ones are sent again."""
    alive = {board.rank for board in bench.ring.boards if board.booted and board.dead is None}
    links = [link for link in bench.ring.desk.config.links if {link.source, link.target} <= alive]
    if not links:
        raise Left("no link has two boards that answer")
    found = Found()
    for reverse in (False, True):
        plan = RunPlan(Pattern.XORSHIFT, TOGETHER_FRAMES, TOGETHER_BYTES, seed, raw=False, linger=True)
        results = run_links(bench.ring, links, plan, reverse=reverse)
        found.links += [_link_figures([result], None, 1.0) for result in results]
        wrong = [result for result in results if result.errors or result.frames_wrong]
        if wrong and not found.sentence:
            found.sign, found.sentence = Sign.LINK, wrong[0].describe()
    found.figures["kb_s"] = sum(link.throughput_kb_s for link in found.links) / len(found.links)
    return found


def _wires(results: Sequence[LinkRunResult]) -> list[WireFigures]:
    """Bits and errors of each data wire over runs of one link."""
    wires = zip(*(result.wires for result in results), strict=True)
    return [
        WireFigures(str(results[0].link), wire[0].name, sum(w.bits for w in wire), sum(w.errors for w in wire))
        for wire in wires
    ]


def _link_figures(results: Sequence[LinkRunResult], timed: LinkRunResult | None, unit_us: float) -> LinkFigures:
    waits = {**timed.sender_waits, **timed.receiver_waits} if timed is not None else {}
    scale = unit_us if timed is not None and timed.unit == "cycles" else 1.0
    return LinkFigures(
        str(results[0].link),
        sum(result.frames * result.plan.length_bytes for result in results),
        sum(result.frames for result in results),
        sum(result.resends for result in results),
        sum(result.timeouts for result in results),
        sum(result.throughput_kb_s for result in results) / len(results),
        {phase: [percentile(counts, p) * scale for p in PERCENTILES] for phase, counts in waits.items() if sum(counts)},
    )


def _cycle_us(ring: Ring, link: LinkSpec) -> float:
    """Microseconds of one processor cycle of the link's source."""
    return 1e6 / max(1, health(ring, link.source).arm_clock_hz)


def percentile(counts: Sequence[int], share: float) -> float:
    """The wait below which a share of all waits lies, in units: within its bucket, waits count as spread evenly.

    Bucket k holds waits of [2^(k-1), 2^k), bucket 0 those of 0.
    """
    wanted, seen = share * sum(counts), 0
    for bucket, count in enumerate(counts):
        if count and seen + count >= wanted:
            low, high = (0.0, 0.0) if bucket == 0 else (2.0 ** (bucket - 1), 2.0**bucket)
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return 0.0


# --- the model -----------------------------------------------------------------------------------


def layers(bench: Bench, seed: int) -> Found:
    """A generation with every activation compared."""
    positions = min(bench.profile.layer_positions, bench.model.weights.config.seq_len)
    request = GenerationRequest(tuple(_prompt(bench.model, positions, seed)), positions)
    result, verification = verify_generation(bench.ring, bench.model.weights, request)
    found = _verified([verification])
    found.figures["traced_tokens_s"] = len(result.tokens) / result.rig_s
    return found


def generation(bench: Bench, seed: int) -> Found:
    """A long story with sampling, its tokens compared."""
    positions = min(bench.profile.story_positions, bench.model.weights.config.seq_len)
    prompt = _prompt(bench.model, positions, seed)
    result = bench.ring.generate(prompt, positions, temperature=TEMPERATURE, topp=TOPP, rng_seed=seed, taps=False)
    expected = golden_run(bench.model.weights, prompt, positions, TEMPERATURE, TOPP, seed, bench.ring.world_size)
    equal = sum(a == b for a, b in zip(result.tokens, expected.tokens, strict=False))
    figures = {"tokens": len(expected.tokens), "tokens_equal": equal, "tokens_s": len(result.tokens) / result.rig_s}
    found = Found(figures=figures)
    if result.tokens != expected.tokens:
        pairs = enumerate(zip(result.tokens, expected.tokens, strict=False))
        at = next((i for i, (ours, theirs) in pairs if ours != theirs), equal)
        found.sentence = (
            f"the story differs from the golden's from position {at} on, {equal} of {len(expected.tokens)} tokens"
        )
        found.sentence += " are equal; `layers` with the same seed names the op"
    return found


def gradients(bench: Bench, seed: int) -> Found:
    """One training step with every gradient compared; its learning rate is 0, so the weights stay."""
    plan = Plan(Sgd(0.0), GRADIENT_POSITIONS, GRADIENT_MICROBATCHES, slots=GRADIENT_MICROBATCHES)
    weights = bench.model.weights
    with _memory_for_training():
        trainer = VerifiedTraining(bench.ring, weights, windows(_text(bench.model, seed), plan, 1), plan)
    result, verification = trainer.step(0)
    found = _verified([verification])
    found.figures["gradients_s"] = result.rig_s
    return found


def training(bench: Bench, seed: int) -> Found:
    """Steps of AdamW with every loss, activation, gradient and parameter compared."""
    model, ring, steps = bench.model, bench.ring, bench.profile.steps
    plan = Plan(AdamW(1e-3, weight_decay=0.1), TRAINING_POSITIONS, clip=1.0)
    batches = windows(_text(model, seed), plan, steps)
    expected = golden_training(model.weights, batches, plan).steps
    with _memory_for_training():
        trainer = RingTraining(ring, model.weights.config, plan)
    found, seconds = Found(), list[float]()
    taps = equal = 0
    for batch, step in zip(batches, expected, strict=True):
        result = trainer.step(batch)
        wanted = expected_step(step, ring, model.weights.config.n_layers, plan)
        comparison = compare_step(ring, wanted)
        taps, equal = taps + comparison.compared, equal + comparison.equal
        seconds.append(result.rig_s)
        found.losses.append(result.loss)
        found.golden_losses.append(step.loss)
        bench.progress(len(seconds) / steps)
        if not comparison.good or not same_losses(result, step):
            found.sentence = f"step {result.number}: loss {result.loss}, the golden's is {step.loss}"
            if comparison.first is not None:
                found.sentence = f"step {result.number}: {comparison.first.describe()}"
                found.sign = Sign.LINK if comparison.first.kind == "link" else Sign.VALUES
                found.mismatch_map = list(step_map([(wanted, comparison)]).rows)
            break
    found.figures = {"taps": taps, "taps_equal": equal, "step_s": sum(seconds) / len(seconds)}
    return found


def traced_step(bench: Bench) -> Timeline:
    """One step of training with its timeline; the boards hold other weights afterwards. Raises HilError."""
    plan = Plan(AdamW(1e-3), GRADIENT_POSITIONS, TRACED_MICROBATCHES, slots=TRACED_MICROBATCHES)
    trainer = RingTraining(bench.ring, bench.model.weights.config, plan)
    start_tracing(bench.ring)
    trainer.step(windows(_text(bench.model, 0), plan, 1)[0], taps=False)
    title = f"one training step, {TRACED_MICROBATCHES} microbatches of {GRADIENT_POSITIONS} positions"
    return to_record(tell(stop_tracing(bench.ring), title))


@contextlib.contextmanager
def _memory_for_training() -> Iterator[None]:
    """A model that is too large to be trained on these boards is no failure."""
    try:
        yield
    except BoardError as error:
        if Status.OUT_OF_MEMORY.name not in str(error):
            raise
        raise Left(f"no memory for training: {error}") from None


def _verified(verifications: Sequence[Verification]) -> Found:
    """What a night keeps of verified runs, of which only the last may have gone wrong."""
    taps = sum(part.compared for verification in verifications for part in verification.parts)
    found = Found(figures={"taps": taps, "taps_equal": sum(verification.equal for verification in verifications)})
    last = verifications[-1]
    if not last.good:
        found.sentence = last.finding.describe() if last.finding is not None else last.surprise or last.summary()
        found.sign = Sign.LINK if last.finding is not None and last.finding.kind == "link" else Sign.VALUES
        found.detail, found.mismatch_map = last.summary(), list(last.mismatches.rows)
    return found


def _lines() -> list[str]:
    return data_path("fixtures/corpus.txt").read_text(encoding="utf-8").splitlines()


def _prompt(model: Model, positions: int, seed: int) -> list[int]:
    """The beginning of a line of the shipped corpus, at most half of the positions."""
    rng = random.Random(seed)
    tokens = model.tokenizer.encode(rng.choice(_lines()))
    return tokens[: rng.randint(1, max(1, positions // 2))]


def _text(model: Model, seed: int) -> list[int]:
    """The shipped corpus, from a line of it on."""
    lines = _lines()
    first = random.Random(seed).randrange(len(lines))
    return model.tokenizer.encode(" ".join(lines[first:] + lines[:first]))
