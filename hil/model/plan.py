"""Plan: the bytes that a run takes in every board's memory, before anything is booted.

Formulas of firmware/model/shard.c and train.c (layout_arena), firmware/ring/main.c and train_commands.c; a board tells
what it has really laid out with MEMORY_MAP, and tests hold the two together to the byte. Page: docs/plan.md.
Owns: BoardPlan, the sentence about a run that does not fit.
Shape letters: S context, T positions of a microbatch, M microbatches of a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from golden.plan import RankPlan, shard_plan
from golden.weights import Config
from hil.errors import ModelError
from hil.model.checkpoint import FLOAT_BYTES
from hil.model.shard import shard_shapes, shard_size_bytes
from hil.protocol.shard_header import SHARD_ADDRESS

MIB = 1 << 20
"""Everything below belongs to the image and the bootloader."""
TAP_ENTRY_BYTES = 28
CRC_TABLE_BYTES = 4096
FORWARD_TAPS_PER_LAYER, FORWARD_TAPS_PER_POSITION = 16, 8
TRAIN_TAPS_PER_LAYER, TRAIN_TAPS_PER_POSITION = 31, 11
LAYER_TENSORS = 9
STATES = {"sgd": 0, "momentum": 1, "adamw": 2}
"""Words of state that an optimiser keeps for each parameter."""
_TABLES = ("freq_cos", "freq_sin")


@dataclass(frozen=True, slots=True)
class TrainingSize:
    """What of a training takes memory. optimizer: sgd, momentum (sgd with it) or adamw."""

    positions: int
    microbatches: int = 1
    slots: int = 1
    optimizer: str = "sgd"


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Of ring.img in memory: code, data and bss; and the stacks behind them."""

    image_bytes: int = 0
    stack_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BoardPlan:
    """Bytes of one board, in the order in which they lie. The parts from `shard` on and SHARD_ADDRESS make `total`.

    arm: memory of the ARM. arena: buffers, alignment included. training: buffers of a training.
    """

    board: int
    ranks: tuple[RankPlan, ...]
    arm: int
    image: int
    stack: int
    shard: int
    kv_cache: int
    arena: int
    taps: int
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    training: int = 0
    training_taps: int = 0

    @property
    def below_shard(self) -> int:
        """Of the room below the shard, what neither image nor stack takes."""
        return SHARD_ADDRESS - self.image - self.stack

    @property
    def training_bytes(self) -> int:
        """Everything behind the arenas: needed_bytes of TRAIN_SETUP's answer."""
        return self.gradients + self.optimizer + self.activations + self.training + self.training_taps

    @property
    def total(self) -> int:
        """Address of the first byte that the run leaves free."""
        return SHARD_ADDRESS + self.shard + self.kv_cache + self.arena + self.taps + self.training_bytes

    @property
    def left(self) -> int:
        """Bytes that stay free; below 0: the run is so much over."""
        return self.arm - self.total

    def parts(self) -> dict[str, int]:
        """Every part by name, in the order in which it lies; they add up to `total`."""
        names = ("image", "stack", "below_shard", "shard", "kv_cache", "arena", "taps", "gradients", "optimizer",
                 "activations", "training", "training_taps")  # fmt: skip
        return {name: getattr(self, name) for name in names}


def arm_bytes(board_mb: int, gpu_mem: int) -> int:
    """Memory of the ARM on a board of so many MB, of which the GPU has gpu_mem."""
    return (board_mb - gpu_mem) * MIB


def plan_boards(
    config: Config,
    world_size: int,
    arm: Sequence[int],
    *,
    training: TrainingSize | None = None,
    one_board: bool = False,
    image: ImageSize = ImageSize(),
) -> list[BoardPlan]:
    """The memory of every board.

    Args:
        world_size: number of ranks.
        arm: bytes for the ARM, of each board.
        one_board: whether a single board plays all ranks (through jumpers).
    """
    ranks = shard_plan(config.n_layers, world_size)
    groups = [tuple(ranks)] if one_board else [(rank,) for rank in ranks]
    return [_plan(config, board, group, arm[board], training, image) for board, group in enumerate(groups)]


def _plan(
    config: Config,
    board: int,
    ranks: tuple[RankPlan, ...],
    arm: int,
    training: TrainingSize | None,
    image: ImageSize,
) -> BoardPlan:
    shard = sum(shard_size_bytes(config, rank) for rank in ranks)
    alignment = -(SHARD_ADDRESS + shard) % MIB
    arenas = [_arena(config, rank) for rank in ranks]
    plan = BoardPlan(
        board, ranks, arm, image.image_bytes, image.stack_bytes, shard,
        kv_cache=sum(kv_cache for kv_cache, _, _ in arenas),
        arena=alignment + sum(buffers for _, buffers, _ in arenas),
        taps=sum(taps for _, _, taps in arenas),
    )  # fmt: skip
    if training is None:
        return plan
    gradients, optimizer, activations, buffers, taps = _training(config, ranks, training)
    return replace(
        plan, gradients=gradients, optimizer=optimizer, activations=activations, training=buffers, training_taps=taps
    )


def _arena(config: Config, rank: RankPlan) -> tuple[int, int, int]:
    """KV cache, buffers, and taps with the table of their checksums (layout_arena in shard.c); as main.c rounds."""
    c, layers = config, _layers(rank)
    kv_cache = FLOAT_BYTES * 2 * layers * c.seq_len * c.kv_dim
    head = 3 * c.vocab_size if rank.has_head else 0
    buffers = FLOAT_BYTES * (4 * c.dim + 2 * c.hidden_dim + c.n_heads * c.seq_len + head)
    taps = CRC_TABLE_BYTES + TAP_ENTRY_BYTES * _forward_taps(config, layers)
    return kv_cache, buffers + _padding(kv_cache + buffers + taps), taps


def _training(config: Config, ranks: tuple[RankPlan, ...], size: TrainingSize) -> tuple[int, int, int, int, int]:
    """Gradients, optimiser, activations, buffers, taps (layout_arena in train.c; lay_out, lay_out_taps)."""
    gradients = activations = taps = 0
    buffers = _streams(config, ranks, size)
    for rank in ranks:
        words = sum(math.prod(shape) for name, shape in shard_shapes(config, rank).items() if name not in _TABLES)
        kept = FLOAT_BYTES * size.slots * _layers(rank) * _activation_words(config, size.positions)
        scratch = FLOAT_BYTES * _scratch_words(config, size.positions)
        arena = FLOAT_BYTES * words * (1 + STATES[size.optimizer]) + kept + scratch
        gradients += FLOAT_BYTES * words
        activations += kept
        buffers += scratch + _padding(arena)
        taps += _aligned(TAP_ENTRY_BYTES * _training_taps(config, rank, size))
    return gradients, gradients * STATES[size.optimizer], activations, buffers, taps


def _streams(config: Config, ranks: tuple[RankPlan, ...], size: TrainingSize) -> int:
    """What goes round, and on the rank with the head losses and tokens."""
    has_head = ranks[-1].has_head
    block = FLOAT_BYTES * size.positions * config.dim
    if not has_head:
        return _aligned(block)
    tokens = 2 * size.microbatches * (size.positions + 1)
    return _aligned(size.microbatches * block) + _aligned(FLOAT_BYTES * size.microbatches) + _aligned(tokens)


def _activation_words(c: Config, positions: int) -> int:
    rows = positions * (4 * c.dim + 2 * c.kv_dim + 2 * c.hidden_dim)
    return rows + c.n_heads * (positions * (positions + 1) // 2)


def _scratch_words(c: Config, positions: int) -> int:
    rows = positions * (3 * c.dim + c.hidden_dim + 2 * c.kv_dim + c.n_heads)
    return rows + c.hidden_dim + c.dim


def _forward_taps(c: Config, layers: int) -> int:
    return c.seq_len * (layers * FORWARD_TAPS_PER_LAYER + FORWARD_TAPS_PER_POSITION)


def _training_taps(c: Config, rank: RankPlan, size: TrainingSize) -> int:
    """Of a step, or of a generation with the trained weights, whichever records more."""
    layers = _layers(rank)
    ends = rank.has_embed + rank.has_head + (rank.has_head and not c.shared_classifier)
    step = size.microbatches * size.positions * (layers * TRAIN_TAPS_PER_LAYER + TRAIN_TAPS_PER_POSITION)
    return max(step + 2 * (layers * LAYER_TENSORS + ends) + 1, _forward_taps(c, layers))


def _layers(rank: RankPlan) -> int:
    return rank.layer_end - rank.layer_start


def _padding(size_bytes: int) -> int:
    return -size_bytes % 8


def _aligned(size_bytes: int) -> int:
    return size_bytes + _padding(size_bytes)


# --- what fits -------------------------------------------------------------------------------------


def check_fits(plans: Sequence[BoardPlan], run: str) -> None:
    """Refuse a run that does not fit.

    Args:
        run: what it is, for the sentence: `a generation`.
    Raises: ModelError about the board that is over by most.
    """
    worst = min(plans, key=lambda plan: plan.left)
    if worst.left < 0:
        raise ModelError(f"{run} does not fit: {over_sentence(worst)}; {advice(worst)}")


def over_sentence(plan: BoardPlan) -> str:
    """Which board is over by how much, and its largest parts."""
    large = sorted(plan.parts().items(), key=lambda part: -part[1])
    shown = ", ".join(f"{name.replace('_', ' ')} {size:,}" for name, size in large if size >= plan.total // 20)
    return (
        f"board {plan.board} needs {plan.total:,} bytes ({shown}), {-plan.left:,} more than the {plan.arm:,} "
        "that it has for the ARM"
    )


def advice(plan: BoardPlan) -> str:
    """What would bring a plan that is over back below the limit, the least change first."""
    under_way = plan.activations + plan.training + plan.training_taps
    without = {
        "use SGD, with momentum or without": plan.optimizer // 2 if plan.optimizer > plan.gradients else 0,
        "use SGD without momentum": plan.optimizer,
        "use fewer positions or microbatches": under_way,
        "use fewer positions or microbatches, and SGD without momentum": under_way + plan.optimizer,
        "generate only, without training": plan.training_bytes,
    }
    for text, saved in without.items():
        if saved and plan.left + saved >= 0:
            return text
    return "use more boards, or a smaller model"
