"""Memory plan: the sums of hil/model/plan.py are those of firmware/model, for any shape, without boards."""

import ctypes
import random
from dataclasses import replace

import pytest
from model_build import FLAGS, compile_with, copy_sources, host_compiler

from golden.plan import shard_plan
from golden.weights import Config
from hil.model.plan import FORWARD_TAPS_PER_LAYER, FORWARD_TAPS_PER_POSITION, STATES, TrainingSize, plan_boards
from hil.model.shard import ShardHeader, shard_size_bytes
from hil.model.synth import SHAPES

ARENA_SMALL = -3
SEED = 11


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    sources = [*copy_sources(folder), folder / "plan_host.c"]
    target = folder / "libplan.so"
    flags = ["-O1", "-shared", "-fPIC", f"-I{folder}"]
    compile_with([*host_compiler(), *FLAGS, *flags, *map(str, sources), "-o", str(target)], folder)
    return ctypes.CDLL(str(target))


def needed(library, config, world_size, rank, size):
    """Bytes of the model's arena and of the training's, as the C code counts them."""
    header = ShardHeader(config, world_size, rank)
    layers = rank.layer_end - rank.layer_start
    taps = config.seq_len * (layers * FORWARD_TAPS_PER_LAYER + FORWARD_TAPS_PER_POSITION)
    found = (ctypes.c_uint32 * 2)()
    state = STATES[size.optimizer]
    numbers = [shard_size_bytes(config, rank), taps, size.positions, size.slots, int(state == 2)]
    buffer = ctypes.create_string_buffer(header.pack(), 64)
    error = library.host_plan(buffer, *map(ctypes.c_uint32, numbers), ctypes.c_float(0.9 * (state == 1)), found)
    assert error == ARENA_SMALL
    return list(found)


def planned(config, world_size, rank, size):
    """The same by the plan: without what the ring image adds behind the arenas."""
    plan = plan_boards(config, world_size, [0] * world_size, training=size)[rank.rank]
    alignment = -(0x2000000 + plan.shard) % (1 << 20)
    arena = plan.kv_cache + plan.arena + plan.taps - alignment
    block = 4 * size.positions * config.dim
    round_up = [block] if not rank.has_head else [
        size.microbatches * block, 4 * size.microbatches, 2 * size.microbatches * (size.positions + 1)
    ]  # fmt: skip
    behind = sum(part + -part % 8 for part in round_up)
    return [arena, plan.training_bytes - plan.training_taps - behind]


def random_case(rng):
    heads = rng.choice([1, 2, 3, 4, 6, 8])
    kv_heads = rng.choice([n for n in range(1, heads + 1) if heads % n == 0])
    config = Config(
        dim=heads * 2 * rng.randint(1, 9), hidden_dim=rng.randint(1, 99), n_layers=rng.randint(1, 12), n_heads=heads,
        n_kv_heads=kv_heads, vocab_size=rng.randint(1, 700), seq_len=rng.randint(1, 99),
        shared_classifier=rng.random() < 0.5,
    )  # fmt: skip
    microbatches = rng.randint(1, 9)
    size = TrainingSize(
        rng.randint(1, config.seq_len), microbatches, rng.randint(1, microbatches), rng.choice([*STATES])
    )
    return config, rng.randint(1, 16), size


def up_to_padding(found, sums):
    """The ring image rounds each arena up to 8 bytes."""
    return all(0 <= mine - theirs < 8 and mine % 8 == 0 for theirs, mine in zip(found, sums, strict=True))


def test_random_shapes_take_what_the_plan_says(library):
    rng = random.Random(SEED)
    for _ in range(300):
        config, world_size, size = random_case(rng)
        for rank in shard_plan(config.n_layers, world_size):
            found = needed(library, config, world_size, rank, size)
            sums = planned(config, world_size, rank, size)
            assert up_to_padding(found, sums), (SEED, config, world_size, rank, size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("optimizer", STATES)
def test_known_shapes_take_what_the_plan_says(library, shape, optimizer):
    size = TrainingSize(32, 4, 2, optimizer)
    for rank in shard_plan(SHAPES[shape].n_layers, 4):
        assert up_to_padding(needed(library, SHAPES[shape], 4, rank, size), planned(SHAPES[shape], 4, rank, size))


def test_wrong_sum_is_noticed(library):
    """A plan that forgets that probabilities are kept for half the square only."""
    size, config = TrainingSize(32, 1, 1, "sgd"), SHAPES["260K"]
    rank = shard_plan(config.n_layers, 4)[0]
    found = needed(library, config, 4, rank, size)
    arena, training = planned(config, 4, rank, size)
    full = 4 * 2 * config.n_heads * 32 * 31 // 2
    assert not up_to_padding(found, [arena, training + full])
    assert not up_to_padding(found, planned(config, 4, rank, replace(size, optimizer="momentum")))
