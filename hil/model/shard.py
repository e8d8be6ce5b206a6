"""Shard: the part of a checkpoint that one board holds, as it lies in the board's RAM.

Format: docs/formats.md; the head: hil/protocol/shard_header.py. C twin: firmware/model/shard.c.
Which rank holds what: golden/plan.py.
Owns: ShardError, the order of tensors in a shard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.plan import RankPlan, shard_plan
from golden.weights import Config, F32Array, Weights
from hil.files import atomically
from hil.model.checkpoint import (
    FLOAT_BYTES,
    CheckpointError,
    check_size,
    header_words,
    split_tensors,
    tensor_shapes,
    unpack_header,
)
from hil.protocol.shard_header import SHARD_MAGIC, WORLD_SIZE_MAX, ShardWords

HEADERS_BYTES = ShardWords.fixed_size_bytes()

_PER_LAYER = ("rms_att", "wq", "wk", "wv", "wo", "rms_ffn", "w1", "w2", "w3")


class ShardError(CheckpointError):
    """A shard cannot be used; the message says where, what was found, what was expected, and what to do."""


@dataclass(frozen=True, slots=True)
class ShardHeader:
    """The model's config and what of it this shard holds."""

    config: Config
    world_size: int
    plan: RankPlan

    @property
    def rank(self) -> int:
        """The rank that the shard is for."""
        return self.plan.rank

    def pack(self) -> bytes:
        """The 56 bytes that open the file."""
        plan = self.plan
        return ShardWords(
            **vars(header_words(self.config)),
            magic=SHARD_MAGIC,
            rank=plan.rank,
            world_size=self.world_size,
            layer_start=plan.layer_start,
            layer_end=plan.layer_end,
            has_embed=plan.has_embed,
            has_head=plan.has_head,
        ).pack()


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard read from a file. Tensors by checkpoint name; per-layer ones hold the owned layers only."""

    header: ShardHeader
    tensors: Mapping[str, F32Array]


def shard_shapes(config: Config, plan: RankPlan) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in a shard, in the file's order."""
    owned = plan.layer_end - plan.layer_start
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in tensor_shapes(config).items():
        if name in _PER_LAYER:
            shapes[name] = (owned, *shape[1:])
        elif _holds(plan, name):
            shapes[name] = shape
    return shapes


def shard_size_bytes(config: Config, plan: RankPlan) -> int:
    """Exact size of the shard file of one rank."""
    return HEADERS_BYTES + FLOAT_BYTES * sum(math.prod(shape) for shape in shard_shapes(config, plan).values())


def shard_name(rank: int) -> str:
    """File name of a rank's shard."""
    return f"rank{rank}.bin"


def write_shards(weights: Weights, world_size: int, out_dir: Path | str) -> list[Path]:
    """Write one shard per rank, straight from the weights' arrays; return the paths by rank.

    All files appear under their names only when all are complete. `out_dir` is made if missing.
    Raises: ShardError for a world size outside 1..16.
    """
    if not 1 <= world_size <= WORLD_SIZE_MAX:
        raise ShardError(f"world size {world_size}: a ring has 1 to {WORLD_SIZE_MAX} boards; choose one of these")
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    plans = shard_plan(weights.config.n_layers, world_size)
    paths = [out_dir / shard_name(plan.rank) for plan in plans]
    with ExitStack() as together:
        for plan, path in zip(plans, paths, strict=True):
            part = together.enter_context(atomically(path))
            _write_shard(weights, ShardHeader(weights.config, world_size, plan), part)
    return paths


def read_shard_header(
    path: Path | str, *, expect_world: int | None = None, expect_rank: int | None = None
) -> ShardHeader:
    """Read and check a shard's headers and size, without touching the weights.

    Raises: ShardError (or CheckpointError for the model's numbers) if the file is missing, damaged, not a
    shard, or made for another world size or rank than expected.
    """
    path = Path(path)
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            data = file.read(HEADERS_BYTES)
    except OSError as error:
        raise ShardError(f"{path}: cannot read the shard: {error.strerror}; check the path") from error
    header = _unpack(path, data)
    if expect_world is not None and header.world_size != expect_world:
        raise ShardError(
            f"{path}: made for a ring of {header.world_size} boards, this ring has {expect_world}; "
            f"shard the checkpoint again for {expect_world}"
        )
    if expect_rank is not None and header.rank != expect_rank:
        raise ShardError(
            f"{path}: made for rank {header.rank}, this board is rank {expect_rank}; use {shard_name(expect_rank)}"
        )
    check_size(path, size_bytes, shard_size_bytes(header.config, header.plan))
    return header


def join_shards(shards: Sequence[Path], out: Path) -> Path:
    """Write all shards of a ring one behind the other: a board that finds them so plays every rank.

    Args:
        shards: of ranks 0, 1, ... in order.
    """
    with atomically(out) as part, part.open("wb") as file:
        for path in shards:
            file.write(path.read_bytes())
    return out


def read_joined_headers(path: Path | str) -> list[ShardHeader]:
    """The header of every shard in a file of one or more. Raises as read_shard_header."""
    path = Path(path)
    headers: list[ShardHeader] = []
    offset = 0
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            while offset < size_bytes or not headers:
                file.seek(offset)
                headers.append(_unpack(path, file.read(HEADERS_BYTES)))
                offset += shard_size_bytes(headers[-1].config, headers[-1].plan)
    except OSError as error:
        raise ShardError(f"{path}: cannot read the shard: {error.strerror}; check the path") from error
    found = [(header.rank, header.world_size) for header in headers]
    if len(headers) > 1 and found != [(rank, len(headers)) for rank in range(len(headers))]:
        raise ShardError(
            f"{path}: holds ranks {', '.join(f'{rank} of {world}' for rank, world in found)}; "
            "a board that plays every rank needs all of one ring in order: join the shards again"
        )
    check_size(path, size_bytes, offset)
    return headers


def read_shard(path: Path | str, *, expect_world: int | None = None, expect_rank: int | None = None) -> Shard:
    """Map a shard into memory, read-only. Raises as read_shard_header."""
    header = read_shard_header(path, expect_world=expect_world, expect_rank=expect_rank)
    flat = np.asarray(np.memmap(path, dtype="<f4", mode="r", offset=HEADERS_BYTES))
    return Shard(header, split_tensors(flat, shard_shapes(header.config, header.plan)))


def unpack_shards(data: bytes, where: str) -> list[Shard]:
    """The shards in a board's memory: one, or all of a ring one behind the other; views of `data`.

    Raises: ShardError beginning with `where` if a header is wrong or the bytes end too early or too late.
    """
    shards: list[Shard] = []
    offset = 0
    while offset < len(data) or not shards:
        header = _unpack(where, data[offset : offset + HEADERS_BYTES])
        size_bytes = shard_size_bytes(header.config, header.plan)
        check_size(where, min(len(data) - offset, size_bytes), size_bytes)
        flat = np.frombuffer(data, "<f4", (size_bytes - HEADERS_BYTES) // FLOAT_BYTES, offset + HEADERS_BYTES)
        shards.append(Shard(header, split_tensors(flat, shard_shapes(header.config, header.plan))))
        offset += size_bytes
    return shards


def join_weights(shards: Sequence[Shard], config: Config) -> Weights:
    """The whole model from the shards of all ranks in order; the inverse of write_shards.

    Raises: ShardError if they are not all ranks of one ring that holds a model of this config.
    """
    plans = shard_plan(config.n_layers, len(shards))
    for shard, plan in zip(shards, plans, strict=True):
        if shard.header != ShardHeader(config, len(shards), plan):
            raise ShardError(
                f"rank {plan.rank} of {len(shards)}: holds another shard (rank {shard.header.rank} of "
                f"{shard.header.world_size}, layers {shard.header.plan.layer_start} to {shard.header.plan.layer_end}) "
                "or one of another model; shard the checkpoint again for this ring"
            )
    tensors: dict[str, F32Array] = {}
    for name in tensor_shapes(config):
        parts = [shard.tensors[name] for shard in shards if name in shard.tensors]
        tensors[name] = np.concatenate(parts) if name in _PER_LAYER else parts[-1]
    tensors.setdefault("wcls", tensors["tok_emb"])
    return Weights(config=config, **tensors)


def _holds(plan: RankPlan, name: str) -> bool:
    """Whether a rank holds a tensor that belongs to no layer. Every rank has the RoPE tables."""
    return {"tok_emb": plan.has_embed, "rms_final": plan.has_head, "wcls": plan.has_head}.get(name, True)


def _write_shard(weights: Weights, header: ShardHeader, path: Path) -> None:
    plan = header.plan
    with path.open("wb") as file:
        file.write(header.pack())
        for name in shard_shapes(header.config, plan):
            tensor: F32Array = getattr(weights, name)
            owned = tensor[plan.layer_start : plan.layer_end] if name in _PER_LAYER else tensor
            np.ascontiguousarray(owned, dtype="<f4").tofile(file)


def _unpack(path: Path | str, data: bytes) -> ShardHeader:
    if len(data) < HEADERS_BYTES:
        raise ShardError(
            f"{path}: {len(data)} bytes, shorter than the {HEADERS_BYTES} bytes of a shard's headers; "
            "write the shard again"
        )
    config = unpack_header(data, str(path))
    words = ShardWords.unpack(data[:HEADERS_BYTES])
    magic, rank, world_size, start, end = words.magic, words.rank, words.world_size, words.layer_start, words.layer_end
    has_embed, has_head = words.has_embed, words.has_head
    if magic != SHARD_MAGIC:
        raise ShardError(
            f"{path}: has 0x{magic & 0xFFFFFFFF:08x} where a shard has 0x{SHARD_MAGIC:08x}; "
            "this is not a shard (perhaps a whole checkpoint: shard it first)"
        )
    if not 1 <= world_size <= WORLD_SIZE_MAX or not 0 <= rank < world_size:
        raise ShardError(
            f"{path}: says rank {rank} of {world_size}, a ring has 1 to {WORLD_SIZE_MAX} boards and ranks from 0; "
            "write the shard again"
        )
    if not 0 <= start <= end <= config.n_layers:
        raise ShardError(
            f"{path}: says layers {start} to {end}, the model has {config.n_layers}; write the shard again"
        )
    if has_embed not in (0, 1) or has_head not in (0, 1) or (has_head and config.shared_classifier and not has_embed):
        raise ShardError(
            f"{path}: says has_embed {has_embed} and has_head {has_head}; both are 0 or 1, and a head that shares "
            "the embedding needs it: write the shard again"
        )
    return ShardHeader(config, world_size, RankPlan(rank, start, end, bool(has_embed), bool(has_head)))
