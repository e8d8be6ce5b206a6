"""Training: the boards of a ring train together, one step at a time.

Messages: docs/protocol.md, section 6. Arithmetic: docs/arithmetic.md, sections 8 to 10. Whether a step was right is
for hil/checks/model/verify.py. Owns: setting up a training, running its steps, reading losses.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, replace

from golden.optimizer import AdamW, Sgd
from golden.train import Sequences, check_batch
from golden.weights import Config
from hil.errors import ModelError
from hil.model.plan import TrainingSize
from hil.protocol.messages import PAYLOAD_BYTES_MAX, Command, Empty, JobFlag
from hil.protocol.training_messages import Optimizer, TrainMemory, TrainResult, TrainSetup, TrainStep, TrainTokens
from hil.ring.ring import Ring

COMMAND_TIMEOUT_S = 60.0
"""Of TRAIN_SETUP, which clears gradients and the optimiser's state."""
_TOKENS_PER_PART = (PAYLOAD_BYTES_MAX - TrainTokens.fixed_size_bytes()) // 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training does in each step.

    positions: T of a microbatch, which has T + 1 tokens.
    microbatches: M of a step.
    slots: microbatches that are under way at a time, between their forward and their backward pass; 1 .. M.
    clip: largest norm of all gradients; 0 for none.
    """

    optimizer: Sgd | AdamW
    positions: int
    microbatches: int = 1
    slots: int = 1
    clip: float = 0.0

    @property
    def size(self) -> TrainingSize:
        """What of it takes memory."""
        name = "adamw" if isinstance(self.optimizer, AdamW) else "momentum" if self.optimizer.momentum else "sgd"
        return TrainingSize(self.positions, self.microbatches, self.slots, name)

    def setup(self) -> TrainSetup:
        """The message for the boards. Raises ModelError when a count does not fit."""
        for name in ("positions", "microbatches", "slots"):
            if not 1 <= getattr(self, name) <= 0xFFFF:
                raise ModelError(f"{getattr(self, name)} {name} of a training: give 1 to {0xFFFF}")
        o = self.optimizer
        rest = (self.clip,)
        if isinstance(o, AdamW):
            numbers = (o.learning_rate, 0.0, o.beta1, o.beta2, o.epsilon, o.weight_decay, *rest)
            return TrainSetup(Optimizer.ADAMW, self.positions, self.microbatches, self.slots, *numbers)
        numbers = (o.learning_rate, o.momentum, 0.0, 0.0, 0.0, o.weight_decay, *rest)
        return TrainSetup(Optimizer.SGD, self.positions, self.microbatches, self.slots, *numbers)


@dataclass(frozen=True, slots=True)
class RingStep:
    """What a step gave. loss is the mean of losses, which are those of the microbatches; norm is of all gradients."""

    number: int
    loss: float
    losses: tuple[float, ...]
    norm: float
    factor: float
    rig_s: float
    wall_s: float


class RingTraining:
    """A training on the boards of a ring. From the first step on the boards hold other weights than their cards."""

    def __init__(self, ring: Ring, config: Config, plan: Plan) -> None:
        """Sets up every board.

        Raises: ModelError if the plan cannot be, BoardError with the board's sentence if its memory is too small.
        """
        ring.check_ranks()
        self.ring, self.plan, self.steps = ring, plan, 0
        self._config = config
        request = plan.setup()
        self.memory: list[TrainMemory] = [
            board.command(Command.TRAIN_SETUP, request, TrainMemory, timeout_s=COMMAND_TIMEOUT_S)
            for board in ring.boards
        ]

    def step(self, batch: Sequences, *, taps: bool = True, hold: bool = False, timeout_s: float = 600.0) -> RingStep:
        """Run one step.

        Args:
            batch: the microbatches, each of positions + 1 tokens.
            taps: whether the boards record digests.
            hold: stop before the parameters change; `apply` goes on, another step takes its place.
            timeout_s: for the whole step, on the rig's clock.
        Raises: ModelError if the batch is not the plan's, LinkError with the fault in words, BoardError.
        """
        __tracebackhide__ = True
        self._check(batch)
        start_s, wall_start_s = self.ring.desk.loop.now_s(), time.perf_counter()
        self.send_tokens(batch)
        flags = (JobFlag.RECORD_TAPS | JobFlag.KEEP_TENSORS if taps else 0) | (JobFlag.HOLD if hold else 0)
        request = TrainStep(flags, int(timeout_s * 1000))
        self.ring.trained = True
        jobs = self.ring.start_jobs([(board, Command.TRAIN_STEP, request) for board in self.ring.boards])
        self.ring.wait_jobs(jobs, timeout_s=timeout_s)
        result = self.ring.head.command(Command.TRAIN_RESULT, Empty(), TrainResult)
        self.steps += not hold
        losses = struct.unpack(f"<{len(result.losses) // 4}f", result.losses)
        return RingStep(
            number=result.steps + hold,
            loss=result.loss,
            losses=losses,
            norm=result.norm,
            factor=result.factor,
            rig_s=self.ring.desk.loop.now_s() - start_s,
            wall_s=time.perf_counter() - wall_start_s,
        )

    def told(self) -> list[TrainResult]:
        """What every board says of the last step. Raises BoardError."""
        return [board.command(Command.TRAIN_RESULT, Empty(), TrainResult) for board in self.ring.boards]

    def apply(self, held: RingStep, *, timeout_s: float = 600.0) -> RingStep:
        """Change the parameters by the step that was held.

        Returns: the step with the time of the change; not of its commands, which a step that is not held does without.
        Raises: BoardError if no step was held.
        """
        __tracebackhide__ = True
        jobs = self.ring.start_jobs([(board, Command.TRAIN_APPLY, Empty()) for board in self.ring.boards])
        start_s, wall_start_s = self.ring.desk.loop.now_s(), time.perf_counter()
        self.ring.wait_jobs(jobs, timeout_s=timeout_s)
        self.steps += 1
        return replace(
            held,
            rig_s=held.rig_s + self.ring.desk.loop.now_s() - start_s,
            wall_s=held.wall_s + time.perf_counter() - wall_start_s,
        )

    def _check(self, batch: Sequences) -> None:
        where = f"step {self.steps}"
        try:
            check_batch(self._config, batch, where)
        except ValueError as error:
            raise ModelError(str(error)) from None
        if len(batch) != self.plan.microbatches or len(batch[0]) != self.plan.positions + 1:
            raise ModelError(
                f"{where}: {len(batch)} microbatches of {len(batch[0])} tokens; this training was set up for "
                f"{self.plan.microbatches} of {self.plan.positions + 1}"
            )

    def send_tokens(self, batch: Sequences) -> None:
        """Give the head the tokens of a step, which stay until others come. Raises BoardError."""
        tokens = [token for one in batch for token in one]
        for first in range(0, len(tokens), _TOKENS_PER_PART):
            part = tokens[first : first + _TOKENS_PER_PART]
            request = TrainTokens(first, struct.pack(f"<{len(part)}H", *part))
            self.ring.head.command(Command.TRAIN_TOKENS, request, Empty)
