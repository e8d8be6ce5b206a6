"""Shards: the split of layers, sizes without files, and shards joined again to the checkpoint."""

from __future__ import annotations

import dataclasses
import random
import struct
from pathlib import Path

import numpy as np
import pytest

from golden.plan import RankPlan, shard_plan
from golden.weights import Config, Weights
from hil.model import shard
from hil.model.checkpoint import CheckpointError, checkpoint_size_bytes, tensor_shapes
from hil.model.shard import ShardHeader, read_shard, shard_size_bytes, write_shards
from hil.model.synth import SHAPES, random_weights

CONFIG = Config(dim=16, hidden_dim=20, n_layers=5, n_heads=4, n_kv_heads=2, vocab_size=11, seq_len=6)
PER_LAYER = ("rms_att", "wq", "wk", "wv", "wo", "rms_ffn", "w1", "w2", "w3")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return write_shards(random_weights(CONFIG, seed=1), 4, tmp_path)


def with_word(path: Path, index: int, value: int) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into("<i", data, 4 * index, value)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("n_layers", "world_size", "spans"),
    [
        (8, 4, [(0, 3), (3, 6), (6, 8), (8, 8)]),
        (12, 4, [(0, 4), (4, 8), (8, 12), (12, 12)]),
        (5, 4, [(0, 2), (2, 4), (4, 5), (5, 5)]),
        (5, 1, [(0, 5)]),
        (5, 2, [(0, 5), (5, 5)]),
        (2, 5, [(0, 1), (1, 2), (2, 2), (2, 2), (2, 2)]),
    ],
)
def test_layers_are_split_with_remainder_first(n_layers: int, world_size: int, spans: list[tuple[int, int]]) -> None:
    plans = shard_plan(n_layers, world_size)
    assert [(plan.layer_start, plan.layer_end) for plan in plans] == spans
    assert [plan.rank for plan in plans] == list(range(world_size))
    last = [False] * (world_size - 1) + [True]
    assert [plan.has_embed for plan in plans] == [plan.has_head for plan in plans] == last


@pytest.mark.parametrize(("n_layers", "world_size"), [(0, 4), (5, 0)])
def test_split_of_nothing_is_refused(n_layers: int, world_size: int) -> None:
    with pytest.raises(ValueError, match=f"{n_layers} layers on {world_size} boards: both must be at least 1"):
        shard_plan(n_layers, world_size)


@pytest.mark.parametrize(("name", "counts"), [("42M", [3, 3, 2, 0]), ("110M", [4, 4, 4, 0])])
def test_sizes_of_large_models_add_up(name: str, counts: list[int]) -> None:
    """Every byte of the checkpoint once; the header and the RoPE tables once per shard."""
    config = SHAPES[name]
    plans = shard_plan(config.n_layers, 4)
    sizes = [shard_size_bytes(config, plan) for plan in plans]
    tables = 4 * config.seq_len * config.head_size
    layer = (checkpoint_size_bytes(config) - 28 - tables - 4 * config.dim * (1 + config.vocab_size)) // config.n_layers
    assert [(size - 56 - tables) / layer for size in sizes[:3]] == counts[:3]
    assert sizes[3] == 56 + tables + 4 * config.dim * (1 + config.vocab_size)
    assert sum(sizes) == checkpoint_size_bytes(config) + 3 * (28 + tables) + 4 * 28


def test_shards_joined_are_the_checkpoint(tmp_path: Path) -> None:
    rng = random.Random(0x5EED)
    for case in range(12):
        kv_heads = rng.choice((1, 2, 3))
        heads = kv_heads * rng.choice((1, 2))
        config = Config(
            dim=heads * rng.choice((2, 4)),
            hidden_dim=rng.randint(1, 9),
            n_layers=rng.randint(1, 6),
            n_heads=heads,
            n_kv_heads=kv_heads,
            vocab_size=rng.randint(1, 9),
            seq_len=rng.randint(1, 5),
            shared_classifier=case % 2 == 0,
        )
        weights = random_weights(config, seed=case)
        world_size = rng.randint(1, 7)
        written = write_shards(weights, world_size, tmp_path / str(case))
        shards = [read_shard(path, expect_world=world_size, expect_rank=rank) for rank, path in enumerate(written)]
        for name in tensor_shapes(config):
            parts = [shard.tensors[name] for shard in shards if name in shard.tensors]
            joined = np.concatenate(parts) if name in PER_LAYER else parts[0]
            assert joined.tobytes() == getattr(weights, name).tobytes(), (case, name)
            assert len(parts) == (world_size if name in PER_LAYER or name.startswith("freq") else 1)


def test_bytes_lie_where_the_format_says(paths: list[Path]) -> None:
    """Independent of the reader: rank 1 holds layers 2 and 3 and no embedding."""
    data = paths[1].read_bytes()
    weights = random_weights(CONFIG, seed=1)
    assert struct.unpack_from("<14i", data) == (16, 20, 5, 4, 2, 11, 6, 0x53485244, 1, 4, 2, 4, 0, 0)
    assert struct.unpack_from("<f", data, 56)[0] == weights.rms_att[2, 0]
    assert struct.unpack_from("<f", data, 56 + 4 * 2 * 16)[0] == weights.wq[2, 0, 0]
    assert struct.unpack_from("<f", data, len(data) - 4)[0] == weights.freq_sin[-1, -1]


def test_own_classifier_is_last(tmp_path: Path) -> None:
    weights = random_weights(dataclasses.replace(CONFIG, shared_classifier=False), seed=1)
    data = write_shards(weights, 2, tmp_path)[1].read_bytes()
    assert struct.unpack_from("<i", data, 20)[0] == -11
    assert struct.unpack_from("<f", data, len(data) - 4)[0] == weights.wcls[-1, -1]


def test_written_files_have_the_computed_size(paths: list[Path], tmp_path: Path) -> None:
    assert [path.stat().st_size for path in paths] == [shard_size_bytes(CONFIG, plan) for plan in shard_plan(5, 4)]
    assert sorted(tmp_path.iterdir()) == paths, "no temporary file stays"


@pytest.mark.parametrize("world_size", [0, 17])
def test_impossible_world_size_is_refused(tmp_path: Path, world_size: int) -> None:
    with pytest.raises(CheckpointError, match=f"world size {world_size}: a ring has 1 to 16 boards"):
        write_shards(random_weights(CONFIG, seed=1), world_size, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third shard cannot be written: the first two must not appear either."""
    whole = shard._write_shard

    def full(weights: Weights, header: ShardHeader, path: Path) -> None:
        if header.rank == 2:
            raise OSError(28, "No space left on device")
        whole(weights, header, path)

    monkeypatch.setattr(shard, "_write_shard", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_shards(random_weights(CONFIG, seed=1), 4, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_shard_of_other_world_size_is_refused(paths: list[Path]) -> None:
    with pytest.raises(CheckpointError, match="made for a ring of 4 boards, this ring has 3; shard the checkpoint"):
        read_shard(paths[0], expect_world=3)


def test_shard_of_other_rank_is_refused(paths: list[Path]) -> None:
    with pytest.raises(CheckpointError, match=r"made for rank 2, this board is rank 1; use rank1\.bin"):
        read_shard(paths[2], expect_rank=1)


@pytest.mark.parametrize(
    ("index", "value", "words"),
    [
        (7, 0x12345678, "has 0x12345678 where a shard has 0x53485244; this is not a shard"),
        (8, 4, "says rank 4 of 4"),
        (8, -1, "says rank -1 of 4"),
        (9, 17, "says rank 3 of 17"),
        (10, 6, "says layers 6 to 5, the model has 5"),
        (11, 6, "says layers 5 to 6, the model has 5"),
        (12, 0, "says has_embed 0 and has_head 1"),
        (13, 2, "says has_embed 1 and has_head 2"),
        (0, -1, "header says dim = -1"),
    ],
)
def test_damaged_header_is_refused(paths: list[Path], index: int, value: int, words: str) -> None:
    with_word(paths[3], index, value)
    with pytest.raises(CheckpointError, match=words):
        read_shard(paths[3])


def test_truncated_shard_is_refused_with_both_sizes(paths: list[Path]) -> None:
    data = paths[0].read_bytes()
    paths[0].write_bytes(data[:-4])
    with pytest.raises(CheckpointError, match=f"asks for {len(data)} bytes but the file has {len(data) - 4}"):
        read_shard(paths[0])


def test_missing_and_tiny_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read the shard: No such file"):
        read_shard(tmp_path / "none.bin")
    (tmp_path / "tiny.bin").write_bytes(bytes(55))
    with pytest.raises(CheckpointError, match="55 bytes, shorter than the 56 bytes of a shard's headers"):
        read_shard(tmp_path / "tiny.bin")


def test_plan_is_a_value() -> None:
    assert shard_plan(1, 1) == [RankPlan(0, 0, 1, has_embed=True, has_head=True)]
