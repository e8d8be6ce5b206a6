"""`hil shard` and `hil synth`: checkpoints cut into one file per board, and random checkpoints in real shapes."""

from __future__ import annotations

import argparse
import mmap
import zlib
from pathlib import Path

from hil.commands.options import add_run_options, add_shared, need_free, settings_of
from hil.errors import ModelError
from hil.model.bundle import checkpoint_path
from hil.model.checkpoint import read_checkpoint
from hil.model.shard import join_shards, read_shard_header, shard_name, write_shards
from hil.model.synth import SHAPES, synthesize, synthesize_tokenizer
from hil.protocol.shard_header import WORLD_SIZE_MAX


def add_shard(parser: argparse.ArgumentParser) -> None:
    """Declare `hil shard`."""
    parser.add_argument("model", metavar="MODEL", help="`tiny` or a llama2.c checkpoint")
    parser.add_argument("world", metavar="WORLD", type=int, help="boards in the ring, 1 to 16")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for rank0.bin, rank1.bin, ...")
    parser.add_argument(
        "--joined", action="store_true", help="also joined.bin: every rank's shard, for one board with loopback jumpers"
    )
    add_shared(parser, "force")
    parser.set_defaults(run=shard)


def shard(options: argparse.Namespace) -> int:
    """Write the shards and print who holds what."""
    out: Path = options.out
    _need_parent(out)
    if out.exists() and not out.is_dir():
        raise ModelError(f"{out}: is a file; name a folder for the shards")
    named = [shard_name(rank) for rank in range(min(options.world, WORLD_SIZE_MAX))] + ["joined.bin"] * options.joined
    need_free(*(out / name for name in named), force=options.force)
    try:
        weights = read_checkpoint(checkpoint_path(options.model))
        paths = write_shards(weights, options.world, out)
    except ValueError as error:
        raise ModelError(str(error)) from None
    for path in paths:
        plan = read_shard_header(path).plan
        parts = [f"layers [{plan.layer_start}, {plan.layer_end})"] if plan.layer_end > plan.layer_start else []
        parts += [name for name, has in (("embedding", plan.has_embed), ("head", plan.has_head)) if has]
        size_bytes, crc = path.stat().st_size, _crc32(path)
        print(f"rank {plan.rank}  {size_bytes:>13,} bytes  crc32 {crc:08x}  {' + '.join(parts) or 'nothing'}  {path}")
    if options.joined:
        joined = join_shards(paths, out / "joined.bin")
        print(
            f"all ranks {joined.stat().st_size:>10,} bytes  crc32 {_crc32(joined):08x}  one behind the other  {joined}"
        )
    return 0


def add_synth(parser: argparse.ArgumentParser) -> None:
    """Declare `hil synth`."""
    parser.add_argument("shape", metavar="SHAPE", help=f"one of {', '.join(SHAPES)}")
    parser.add_argument("out", metavar="OUT", type=Path, help="checkpoint to write")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="write one that fits, so that it can be run")
    add_shared(parser, "force")
    add_run_options(parser, "seed")
    parser.set_defaults(run=synth)


def synth(options: argparse.Namespace) -> int:
    """Write a checkpoint with random weights."""
    out: Path = options.out
    if options.shape not in SHAPES:
        raise ModelError(f"no shape is named {options.shape!r}; choose one of {', '.join(SHAPES)}")
    _need_parent(out)
    if out.is_dir():
        raise ModelError(f"{out}: is a folder; name a file for the checkpoint")
    need_free(out, *([] if options.tokenizer is None else [options.tokenizer]), force=options.force)
    seed = settings_of(options).seed
    config = synthesize(options.shape, out, seed)
    if options.tokenizer is not None:
        _need_parent(options.tokenizer)
        synthesize_tokenizer(config, options.tokenizer)
    print(
        f"{out}  {out.stat().st_size:,} bytes  crc32 {_crc32(out):08x}  seed {seed:#x}  "
        f"{options.shape}: dim {config.dim}, {config.n_layers} layers"
    )
    return 0


def _need_parent(out: Path) -> None:
    if not out.absolute().parent.is_dir():
        raise ModelError(f"{out}: there is no folder {out.absolute().parent}; make it first, or correct the path")


def _crc32(path: Path) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return zlib.crc32(content)
