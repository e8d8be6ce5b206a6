"""Shards of all ranks joined into one file, for a board that plays every rank."""

import pytest

from hil.model.bundle import load_model
from hil.model.card import write_card
from hil.model.checkpoint import CheckpointError
from hil.model.shard import ShardError, join_shards, read_joined_headers


@pytest.fixture(scope="module")
def shards():
    return load_model("tiny").shards(4)


def test_joined_file_tells_every_rank_in_order(shards, tmp_path):
    headers = read_joined_headers(join_shards(shards, tmp_path / "all.bin"))
    assert [(header.rank, header.world_size) for header in headers] == [(rank, 4) for rank in range(4)]


def test_single_shard_is_a_file_of_one(shards):
    assert [header.rank for header in read_joined_headers(shards[2])] == [2]


def test_missing_or_exchanged_rank_is_refused(shards, tmp_path):
    for wrong in ([shards[0], shards[1]], [shards[1], shards[0], shards[2], shards[3]]):
        with pytest.raises(ShardError, match="holds ranks .*needs all of one ring in order: join the shards again"):
            read_joined_headers(join_shards(wrong, tmp_path / "wrong.bin"))


def test_cut_off_file_is_refused(shards, tmp_path):
    path = join_shards(shards, tmp_path / "all.bin")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="4 bytes are missing; copy or export the file again"):
        read_joined_headers(path)


def test_missing_file_is_said(tmp_path):
    with pytest.raises(ShardError, match="cannot read the shard: No such file or directory; check the path"):
        read_joined_headers(tmp_path / "none.bin")


def test_card_takes_a_joined_file(shards, tmp_path):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"kernel")
    card = write_card(tmp_path / "card", kernel=kernel, shard=join_shards(shards, tmp_path / "all.bin"), rank=0)
    assert "shard.bin" in card.checksums
