"""Judge: sets one fault on a simulated ring, verifies a run, and compares what was found with the truth.

Owns: Judged, Court (a booted ring with the image of all mutations, and the golden's runs).
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from golden.generate import GenerationRequest
from golden.optimizer import AdamW
from golden.plan import shard_plan
from golden.taps import NO_LAYER, Op, RankTap
from golden.train import train
from golden.train_ring import ring_taps
from golden.weights import Weights
from hil.bench.divergence.faults import (
    MICROBATCHES,
    POSITIONS,
    TRAIN_POSITIONS,
    CacheBit,
    Fault,
    Truth,
    WeightBit,
    with_bit,
)
from hil.bench.divergence.mutations import PLAN_WORDS, plan_address
from hil.bench.divergence.ram import arena_address, cache_address, flip_bit, weight_address
from hil.checks.model.explain import Finding, reader_of
from hil.checks.model.replays import GenerationSource
from hil.checks.model.taps import Expected, GoldenRun, golden_run
from hil.checks.model.training import golden_training, windows
from hil.checks.model.verify import Verification, VerifiedTraining, verify_generation
from hil.data import data_path
from hil.errors import BoardError, LinkError, RigError
from hil.protocol.messages import Token
from hil.ring.ring import Ring
from hil.ring.training import Plan
from hil.session import Session
from hil.sim import Simulation
from hil.toolchain import Image

PLAN = Plan(AdamW(1e-3, weight_decay=0.1), TRAIN_POSITIONS, MICROBATCHES, MICROBATCHES, clip=1.0)
STEPS = 2
CACHE_POSITIONS = 16
"""Of runs with a fault in the cache while they go on: a token's event takes as long as two tokens."""
PROMPT = "Once"


@dataclass(frozen=True, slots=True)
class Judged:
    """A fault and what was found. found: in words; error: a run that did not end well."""

    fault: Fault
    truth: Truth
    detected: bool
    named: bool
    exact: bool
    found: str
    wall_s: float


class Court:
    """A ring with the image of all mutations, booted, and the golden's runs that faults are judged by.

    Raises: RigError on real boards, whose memory cannot be changed behind their backs.
    """

    def __init__(self, session: Session, ring: Ring, image: Image, seed: int) -> None:
        if ring.desk.simulation is None or len(ring.boards) != 4:
            raise RigError(
                f"rig {ring.desk.config.name}: faults in memory can be set on a simulated ring of 4 boards only"
            )
        self.ring, self._image = ring, image
        self._sim: Simulation = ring.desk.simulation
        self._weights: Weights = session.model.weights
        self._plans = shard_plan(self._weights.config.n_layers, 4)
        self._plan_address = plan_address(image)
        self._noise = random.Random(seed)
        self._prompt = tuple(session.model.encode_prompt(PROMPT, CACHE_POSITIONS))
        line = data_path("fixtures/corpus.txt").read_text(encoding="utf-8").splitlines()[0]
        self._batches = windows(session.model.tokenizer.encode(line), PLAN, STEPS)
        self._training = golden_training(self._weights, self._batches, PLAN)
        self._after_one = golden_training(self._weights, self._batches[:1], PLAN).weights
        self._runs: dict[tuple[int, float], tuple[GenerationRequest, GoldenRun, GenerationSource]] = {}
        self._arenas: list[int] = []
        self.boot()

    def boot(self) -> None:
        """Power off and on, so that nothing of the runs before is left, and boot."""
        for rank in range(len(self.ring.boards)):
            self._sim.power_off(rank)
        self.ring.boot(self._image)
        self._arenas = [arena_address(self.ring, rank) for rank in range(len(self._plans))]

    def judge(self, fault: Fault) -> Judged:
        """Set it, run, compare, repair."""
        started = time.perf_counter()
        truth = fault.truth or self._truth_of_weight(fault)
        self._scrub()
        self._set_plan(fault.plan or (0,) * PLAN_WORDS)
        finding: Finding | None = None
        try:
            verification = self._train(fault) if fault.training else self._generate(fault)
            detected, finding = not verification.good, verification.finding
            found = "nothing" if finding is None else _words(finding)
        except (BoardError, LinkError) as error:
            detected, found = True, f"the run did not end: {error}".splitlines()[0]
        self._repair(fault)
        return Judged(
            fault,
            truth,
            detected,
            finding is not None and Truth(finding.op, finding.layer, finding.rank, finding.kind) == truth,
            finding is not None and _is_exact(fault, finding),
            found,
            time.perf_counter() - started,
        )

    def clean(self) -> tuple[Verification, ...]:
        """A generation and a training with every mutation asleep."""
        nothing = (0,) * PLAN_WORDS
        self._set_plan(nothing)
        runs = [verify_generation(self.ring, self._weights, self._run(POSITIONS, t)[0])[1] for t in (0.0, 0.8)]
        runs += [verification for _, verification in self._start_training().steps()]
        self.boot()
        return tuple(runs)

    # --- running -------------------------------------------------------------------------------

    def _generate(self, fault: Fault) -> Verification:
        positions = CACHE_POSITIONS if isinstance(fault.bit, CacheBit) else POSITIONS
        request, golden, source = self._run(positions, fault.temperature)
        on_token: Callable[[Token], None] | None = None
        if isinstance(fault.bit, WeightBit):
            self._flip(fault.bit)
        elif isinstance(fault.bit, CacheBit):
            on_token = self._strike(fault.bit)
        return verify_generation(self.ring, self._weights, request, golden=golden, source=source, on_token=on_token)[1]

    def _start_training(self) -> VerifiedTraining:
        batches = self._batches
        return VerifiedTraining(self.ring, self._weights, batches, PLAN, parameters=True, golden=self._training)

    def _train(self, fault: Fault) -> Verification:
        training = self._start_training()
        for number in range(fault.steps):
            if isinstance(fault.bit, WeightBit) and number == fault.steps - 1:
                self._flip(fault.bit)
            _, verification = training.step(number)
            if not verification.good:
                break
        return verification

    def _run(self, positions: int, temperature: float) -> tuple[GenerationRequest, GoldenRun, GenerationSource]:
        key = (positions, temperature)
        if key not in self._runs:
            request = GenerationRequest(self._prompt, positions, temperature, 0.9, 7)
            golden = golden_run(self._weights, request, 4)
            entering = (self._prompt[0], *golden.tokens)[: len(golden.tokens)]
            self._runs[key] = (request, golden, GenerationSource(self._weights, entering, temperature, 4))
        return self._runs[key]

    # --- memory --------------------------------------------------------------------------------

    def _set_plan(self, words: tuple[int, ...]) -> None:
        for rank in range(len(self.ring.boards)):
            self._sim.write_ram(rank, self._plan_address, struct.pack(f"<{PLAN_WORDS}I", *words))

    def _flip(self, bit: WeightBit) -> None:
        plan = self._plans[bit.rank]
        flip_bit(self._sim, bit.rank, weight_address(self._weights.config, plan, bit.piece, bit.index), bit.bit)

    def _strike(self, bit: CacheBit) -> Callable[[Token], None]:
        place = (self._weights.config, self._plans[bit.rank], self._arenas[bit.rank], bit.layer, bit.row, bit.index)
        address = cache_address(*place, values=bit.values)

        def strike(token: Token) -> None:
            if token.position == bit.at:
                flip_bit(self._sim, bit.rank, address, bit.bit)

        return strike

    def _scrub(self) -> None:
        """Noise into the caches: what an earlier run left there may be just what is missing."""
        config = self._weights.config
        for plan in self._plans:
            for layer in range(plan.layer_start, plan.layer_end):
                for values in (False, True):
                    address = cache_address(config, plan, self._arenas[plan.rank], layer, 0, 0, values=values)
                    noise = np.array([self._noise.uniform(-2, 2) for _ in range(config.kv_dim)], "<f4").tobytes()
                    self._sim.write_ram(plan.rank, address, noise * (CACHE_POSITIONS + 2))

    def _repair(self, fault: Fault) -> None:
        """As before the fault; boards whose parameters may have changed boot again."""
        self._set_plan((0,) * PLAN_WORDS)
        changed = fault.training and (fault.steps > 1 or fault.truth is None or fault.truth.op > Op.GRAD_NORM)
        if changed or any(board.dead is not None for board in self.ring.boards):
            self.boot()
        elif isinstance(fault.bit, WeightBit):
            self._flip(fault.bit)

    # --- the truth about weights ---------------------------------------------------------------

    def _truth_of_weight(self, fault: Fault) -> Truth:
        """The first tap that the golden itself has otherwise with this weight; the weight's reader if there is none."""
        bit = fault.bit
        assert isinstance(bit, WeightBit)
        place = self._changed_step(fault, bit) if fault.training else self._changed_position(fault, bit)
        if place is None:
            shared = self._weights.config.shared_classifier
            return Truth(reader_of(bit.piece[0], shared=shared), bit.piece[1], bit.rank, "input")
        return replace(place, kind="input")

    def _changed_position(self, fault: Fault, bit: WeightBit) -> Truth | None:
        request, golden, _ = self._run(POSITIONS, fault.temperature)
        with np.errstate(all="ignore"):
            wrong = golden_run(with_bit(self._weights, bit), request, 4)
        return _first_changed(golden.by_rank, wrong.by_rank)

    def _changed_step(self, fault: Fault, bit: WeightBit) -> Truth | None:
        number = fault.steps - 1
        before = self._after_one if number else self._weights
        with np.errstate(all="ignore"):
            step = train(with_bit(before, bit), [self._batches[number]], PLAN.optimizer, PLAN.clip).steps[0]
        layers = self._weights.config.n_layers
        right = ring_taps(self._training.steps[number], layers, 4, PLAN.slots)
        wrong = ring_taps(step, layers, 4, PLAN.slots)
        return _first_changed(right, wrong)


def _first_changed(right: Expected, wrong: Expected) -> Truth | None:
    """The first tap in the order of execution that two runs of the golden have otherwise, parameters left aside."""
    taps: list[tuple[tuple[int, int, int], int, RankTap]] = []
    for rank, pairs in enumerate(zip(right, wrong, strict=True)):
        for index, (ours, theirs) in enumerate(zip(*pairs, strict=False)):
            if ours != theirs and ours.key.op <= Op.GRAD_NORM:
                taps.append(((*ours.order, index), rank, ours))
    if not taps:
        return None
    _, rank, tap = min(taps, key=lambda one: one[0])
    return Truth(tap.key.op, tap.key.layer, rank, "input")


def _is_exact(fault: Fault, finding: Finding) -> bool:
    """Of memory: whether the very value was named as well."""
    bit, culprits = fault.bit, finding.culprits
    if isinstance(bit, WeightBit):
        return any((one.name, one.layer, one.index) == (*bit.piece, bit.index) for one in culprits)
    if isinstance(bit, CacheBit):
        name = f"cached {'value' if bit.values else 'key'} of position {bit.row}"
        return any((one.name, one.index) == (name, bit.index) for one in culprits)
    return True


def _words(finding: Finding) -> str:
    layer = "" if finding.layer == NO_LAYER else f" of layer {finding.layer}"
    return f"{finding.op.name}{layer} on rank {finding.rank}, {finding.kind} ({finding.cause})"


def truth_in_words(truth: Truth) -> str:
    """`Q of layer 2 on rank 1, op`."""
    layer = "" if truth.layer == NO_LAYER else f" of layer {truth.layer}"
    return f"{truth.op.name}{layer} on rank {truth.rank}, {truth.kind}"
