"""`hil plan`: what a run takes in every board's memory, against what the board has. Page: docs/plan.md."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence

from golden.weights import Config
from hil.commands.options import add_run_options, add_shared, settings_of, slots_of
from hil.errors import ModelError
from hil.model.bundle import checkpoint_path
from hil.model.checkpoint import CheckpointError, read_config
from hil.model.plan import BoardPlan, ImageSize, TrainingSize, advice, arm_bytes, over_sentence, plan_boards
from hil.model.synth import SHAPES
from hil.rig.config import parse_gpu_mem
from hil.rig.specs import GPU_MEM_DEFAULT, MEMORY_MB
from hil.toolchain import Image, build_image, symbols

_ROWS = {
    "image": "code, data and bss of ring.img",
    "stack": "its stacks",
    "below_shard": "rest of what lies below the shard",
    "shard": "weights",
    "kv_cache": "keys and values of the whole context",
    "arena": "buffers of the forward pass",
    "taps": "log of digests of a generation",
    "gradients": "one per parameter",
    "optimizer": "its state",
    "activations": "kept from forward to backward",
    "training": "buffers of the backward pass, streams, tokens",
    "training_taps": "log of digests of a step",
}


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil plan`."""
    parser.add_argument("--model", default="tiny", metavar="X", help=f"`tiny`, a checkpoint, or {', '.join(SHAPES)}")
    parser.add_argument("--seq", type=int, metavar="T", help="positions (default: the context; training: 16)")
    parser.add_argument("--train", action="store_true", help="a training, else a generation")
    add_shared(parser, "optimizer", "microbatches", "slots", "json")
    parser.add_argument("--momentum", action="store_true", help="of sgd")
    parser.add_argument("--one-board", action="store_true", help="one board plays all N ranks through jumpers")
    parser.add_argument("--board-mb", type=int, choices=MEMORY_MB, default=MEMORY_MB[0], help="default: 512")
    parser.add_argument("--gpu-mem", type=int, default=GPU_MEM_DEFAULT, metavar="MB", help="as on the cards (64)")
    add_run_options(parser, "world", "compiler")
    parser.set_defaults(run=plan)


def plan(options: argparse.Namespace) -> int:
    """Print the plan; returns 1 if a board's memory is too small."""
    gpu_mem = parse_gpu_mem(options.gpu_mem, (options.board_mb,), "--gpu-mem")
    settings = settings_of(options)
    config = config_of(options.model)
    training = _training(options, config)
    arm = [arm_bytes(options.board_mb, gpu_mem)] * settings.world_size
    image = board_image_size(build_image("ring", compiler=settings.compiler))
    plans = plan_boards(config, settings.world_size, arm, training=training, one_board=options.one_board, image=image)
    kind = "a generation" if training is None else _describe(training)
    print(
        f"model {options.model}: dim {config.dim}, {config.n_layers} layers, vocabulary {config.vocab_size}, context "
        f"{config.seq_len}; {len(plans)} board(s) of {options.board_mb} MB, {gpu_mem} MB of each for the GPU\n"
        f"{kind}\n"
    )
    _table(plans)
    worst = min(plans, key=lambda one: one.left)
    if worst.left < 0:
        print(f"\ndoes not fit: {over_sentence(worst)}\n{advice(worst)}")
    else:
        print(f"\nfits: board {worst.board} has least left, {worst.left:,} bytes")
    if options.json:
        print(json.dumps(_as_json(options.model, settings.world_size, plans)))
    return 0 if worst.left >= 0 else 1


def config_of(name: str) -> Config:
    """The config of a shape, a shipped model or a checkpoint. Raises ModelError."""
    if name in SHAPES:
        return SHAPES[name]
    try:
        return read_config(checkpoint_path(name))
    except CheckpointError as error:
        raise ModelError(f"{error}; or name a shape: {', '.join(SHAPES)}") from None


def board_image_size(image: Image) -> ImageSize:
    """What a ring image takes in memory, by its linker map."""
    names = ("__image_start", "__bss_end", "__stack_top")
    start, bss_end, stack_top = symbols(image.elf, names).values()
    return ImageSize(bss_end - start, stack_top - bss_end)


def _training(options: argparse.Namespace, config: Config) -> TrainingSize | None:
    positions = options.seq if options.seq is not None else min(16 if options.train else config.seq_len, config.seq_len)
    if not 1 <= positions <= config.seq_len:
        raise ModelError(f"--seq {positions}: the model's context has 1 to {config.seq_len} positions")
    if not options.train:
        return None
    slots = slots_of(options, options.microbatches)
    if not 1 <= options.microbatches <= 512 or not 1 <= slots <= min(options.microbatches, 64):
        raise ModelError(
            f"{options.microbatches} microbatches with {slots} under way: give 1 to 512, of which 1 to 64 under way"
        )
    sgd = "momentum" if options.momentum else "sgd"
    return TrainingSize(positions, options.microbatches, slots, "adamw" if options.optimizer == "adamw" else sgd)


def _describe(size: TrainingSize) -> str:
    rule = {"sgd": "SGD", "momentum": "SGD with momentum", "adamw": "AdamW"}[size.optimizer]
    return (
        f"a training: {rule}, {size.microbatches} microbatch(es) of {size.positions} positions, "
        f"{size.slots} under way at a time"
    )


def _table(plans: Sequence[BoardPlan]) -> None:
    # Boards that hold the same are one column.
    columns = [list(alike) for _, alike in itertools.groupby(plans, key=BoardPlan.parts)]
    print(f"{'bytes':16}" + "".join(f"{_title(column):>16}" for column in columns))
    for name, meaning in _ROWS.items():
        values = [column[0].parts()[name] for column in columns]
        if any(values):
            print(f"{name.replace('_', ' '):16}" + "".join(f"{value:16,}" for value in values) + f"   {meaning}")
    for name, of in (("together", "total"), ("ARM memory", "arm"), ("left", "left")):
        print(f"{name:16}" + "".join(f"{getattr(column[0], of):16,}" for column in columns))


def _title(column: Sequence[BoardPlan]) -> str:
    first, last = column[0].board, column[-1].board
    return f"board {first}" if first == last else f"boards {first}-{last}"


def _as_json(model: str, world_size: int, plans: Sequence[BoardPlan]) -> dict[str, object]:
    boards = [
        {
            "board": one.board,
            "ranks": [[rank.rank, rank.layer_start, rank.layer_end] for rank in one.ranks],
            **one.parts(),
            "training_bytes": one.training_bytes,
            "together": one.total,
            "arm": one.arm,
            "left": one.left,
        }
        for one in plans
    ]
    fits = all(one.left >= 0 for one in plans)
    return {"model": model, "world": world_size, "fits": fits, "boards": boards}
