"""The C training on an emulated ARM1176, by both compilers: the golden's bits, flushing included."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from model_arm import DATA_ADDRESS, Arm
from model_build import ARM_COMPILERS, Tap, build_arm
from train_build import Task, TrainRun, random_task, train_difference

from golden.optimizer import AdamW, Settings, Sgd
from golden.taps import TapKey
from golden.weights import Config
from hil.model.shard import write_shards
from hil.model.synth import random_weights

WORLD_MAX = 4  # TRAIN_RING_WORLD_MAX of train_ring.h
TAP_CAPACITY = 4000
ARENA_BYTES = 1 << 20
TRAIN_ARENA_BYTES = 3 << 20


@pytest.fixture(scope="session", params=ARM_COMPILERS)
def elf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not on the PATH; install it (Debian: gcc-arm-none-eabi)")
    return build_arm(tmp_path_factory.mktemp(f"train_arm_{request.param}"), request.param)


def train_on_arm(arm: Arm, shards: Sequence[Path], task: Task) -> TrainRun:
    """train_ring_run in the emulator; reads losses and tap logs back from its memory."""
    steps, microbatches, length = task.tokens.shape
    address = DATA_ADDRESS

    def place(data: bytes) -> int:
        nonlocal address
        start, address = address, address + (len(data) + 7) // 8 * 8
        arm.write(start, data)
        return start

    def space(size_bytes: int) -> int:
        nonlocal address
        start, address = address, address + size_bytes
        return start

    images = [shard.read_bytes() for shard in shards]
    dim = struct.unpack_from("<i", images[0])[0]
    filling = [0] * (WORLD_MAX - len(shards))
    arrays = [
        *(place(image) for image in images),
        *filling,
        *map(len, images),
        *filling,
        *(space(ARENA_BYTES) for _ in images),
        *filling,
        *(space(TRAIN_ARENA_BYTES) for _ in images),
        *filling,
    ]
    tokens = place(task.tokens.astype("<u2").tobytes())
    losses = space(4 * steps * microbatches)
    stream = space(4 * microbatches * (length - 1) * dim)
    optimizer, values = task.setting_words()
    head = struct.pack("<6I", len(shards), TAP_CAPACITY, steps, microbatches, length - 1, 0)
    head += struct.pack("<16I5I", *arrays, ARENA_BYTES, TRAIN_ARENA_BYTES, tokens, losses, stream)
    head += struct.pack("<3I7f3I", length - 1, 1, optimizer, *values, 0, 0, 0)
    job = arm.symbols["train_job"]
    arm.write(job, head)
    arm.call("run_train")
    error, _, service = struct.unpack("<iII", arm.read(job + len(head) - 12, 12))
    if error:
        return TrainRun([], {}, f"error {error}")
    logs = struct.unpack("<4I", arm.read(job + len(head), 16))
    taps: dict[int, list[Tap]] = {}
    for rank in range(len(shards)):
        entries, _, _, count, dropped = struct.unpack("<5I", arm.read(logs[rank], 20))
        assert dropped == 0
        for raw in struct.iter_unpack("<IIIffII", arm.read(entries, 28 * count)):
            taps.setdefault(rank, []).append(Tap(TapKey.unpack(raw[0]), *raw[1:]))
    found = struct.unpack(f"<{steps * microbatches}I", arm.read(losses, 4 * steps * microbatches))
    return TrainRun(list(found), taps, service_calls=service)


@pytest.mark.parametrize("settings", [AdamW(1e-3, weight_decay=0.1), Sgd(1e-2, momentum=0.9)], ids=["adamw", "sgd"])
@pytest.mark.parametrize("world_size", [1, 4])
def test_training_on_arm_equals_golden(elf: Path, tmp_path: Path, world_size: int, settings: Settings) -> None:
    weights = random_weights(Config(64, 172, 3, 8, 4, 96, 32), seed=21)
    task = random_task(weights, settings, steps=2, microbatches=2, positions=6, clip=1.0)
    run = train_on_arm(Arm(elf), write_shards(weights, world_size, tmp_path), task)
    assert train_difference(run, task.golden(weights), 3, world_size) == ""


def test_training_with_tails_on_arm_equals_golden(elf: Path, tmp_path: Path) -> None:
    weights = random_weights(Config(30, 37, 2, 3, 1, 41, 20, shared_classifier=False), seed=21)
    task = random_task(weights, AdamW(1e-3), steps=3, microbatches=1, positions=11)
    run = train_on_arm(Arm(elf), write_shards(weights, 2, tmp_path), task)
    assert train_difference(run, task.golden(weights), 2, 2) == ""


def test_flushing_in_training_on_arm_equals_golden(elf: Path, tmp_path: Path) -> None:
    weights = random_weights(Config(16, 24, 2, 2, 2, 20, 8), seed=3)
    weights.wo[1] *= np.float32(2.0**-110)
    task = random_task(weights, AdamW(1e-3), steps=2, microbatches=1, positions=6)
    golden = task.golden(weights)
    run = train_on_arm(Arm(elf), write_shards(weights, 1, tmp_path), task)
    assert train_difference(run, golden, 2, 1) == ""
    assert any(tap.flags for tap in run.taps[0] if tap.key.op >= 0x80), "weights of 2^-110 must flush some products"
    unflushed = train_on_arm(Arm(elf, fpscr=0), write_shards(weights, 1, tmp_path), task)
    assert train_difference(unflushed, golden, 2, 1) != ""
