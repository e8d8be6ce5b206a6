"""The model on an emulated ARM1176, by both compilers: the golden's bits, flushing included."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from model_arm import DATA_ADDRESS, Arm
from model_build import ARM_COMPILERS, Run, Tap, build_arm, first_difference

from golden import arithmetic
from golden.generate import GenerationRequest, generate
from golden.taps import TapKey, canonical_bits
from golden.weights import Config
from hil.model.shard import write_shards
from hil.model.synth import random_weights

WORLD_MAX = 4  # RING_WORLD_MAX of ring.h


@pytest.fixture(scope="session", params=ARM_COMPILERS)
def elf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sources by each compiler; zig comes with the project, so gcc alone may be missing."""
    if request.param == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not on the PATH; install it (Debian: gcc-arm-none-eabi)")
    return build_arm(tmp_path_factory.mktemp(f"arm_{request.param}"), request.param)


def wild(seed: int, count: int, low: int = -126, high: int = 30) -> np.ndarray:
    """Random normal floats of both signs with exponents spread evenly over low..high."""
    rng = np.random.default_rng(seed)
    mantissa = rng.uniform(1, 2, count) * rng.choice([-1, 1], count)
    return (mantissa * 2.0 ** rng.integers(low, high, count)).astype(np.float32)


def golden_dots(a: np.ndarray, b: np.ndarray, length: int) -> np.ndarray:
    return arithmetic.dot8(a.reshape(-1, length).T, b.reshape(-1, length).T)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((canonical_bits(a) == canonical_bits(b)).all())


@pytest.mark.parametrize("length", [1, 7, 8, 9, 64, 172, 1000])
def test_dot8_equals_golden(elf: Path, length: int) -> None:
    count = 4096 // length * length
    a, b = wild(length, count, -20, 20), wild(length + 1, count, -20, 20)
    assert same_bits(Arm(elf).vector("dot8", a, b, length), golden_dots(a, b, length))


@pytest.mark.parametrize("length", [1, 2, 11, 64])
def test_dot8_near_the_smallest_normal_number_equals_golden(elf: Path, length: int) -> None:
    count = 32768 // length * length
    a, b = wild(length, count, -64, -60), wild(length + 1, count, -68, -62)
    arm = Arm(elf)
    found = arm.vector("dot8", a, b, length)
    assert same_bits(found, golden_dots(a, b, length))
    assert arm.flushed()
    unflushed = np.add.reduce((a * b).reshape(-1, length), axis=1)
    assert not same_bits(found, unflushed), "nothing was flushed: these inputs prove nothing"


def test_product_that_rounds_up_to_the_smallest_normal_number_is_zero(elf: Path) -> None:
    a = np.array([2.0**-63 * (1 - 2.0**-24), 2.0**-63], np.float32)
    b = np.array([2.0**-63 * (1 + 2.0**-23), 2.0**-63], np.float32)
    b[0] = np.nextafter(b[0], np.float32(0))
    exact = float(a[0]) * float(b[0])
    assert exact < 2.0**-126
    assert np.float32(exact) == np.float32(2.0**-126)
    assert Arm(elf).vector("dot8", a, b, 1).tolist() == [0.0, 2.0**-126]
    assert golden_dots(a, b, 1).tolist() == [0.0, 2.0**-126]


def test_products_are_rounded_before_they_are_added(elf: Path) -> None:
    x = np.float32(1 + 2.0**-12)
    a = np.array([1, 0, 0, 0, 0, 0, 0, 0, x], np.float32)
    b = np.array([-(1 + 2.0**-11), 0, 0, 0, 0, 0, 0, 0, x], np.float32)
    assert Arm(elf).vector("dot8", a, b, 9).tolist() == [0.0]
    assert float(a[8]) * float(b[8]) - float(-b[0]) == 2.0**-24, "a fused multiply-add would see this"


def test_without_flush_to_zero_the_bits_differ(elf: Path) -> None:
    a, b = wild(1, 4096, -64, -60), wild(2, 4096, -68, -62)
    assert not same_bits(Arm(elf, fpscr=0).vector("dot8", a, b, 1), golden_dots(a, b, 1))


def test_exp_equals_golden(elf: Path) -> None:
    edges = [0.0, -0.0, 88.72283, 88.72284, 89.0, 89.1, -87.33654, -87.33655, -88.0, -88.1, np.inf, -np.inf, np.nan]
    sweep = np.concatenate([np.array(edges), np.linspace(-90, 90, 20001), np.geomspace(1e-38, 1, 2000)])
    x = sweep.astype(np.float32)
    with np.errstate(all="ignore"):
        assert same_bits(Arm(elf).vector("exp", x), arithmetic.exp(x))


def test_swiglu_equals_golden(elf: Path) -> None:
    gate = np.concatenate([np.linspace(-100, 100, 10001, dtype=np.float32), wild(3, 10001)])
    up = wild(4, len(gate))
    with np.errstate(all="ignore"):
        assert same_bits(Arm(elf).vector("swiglu", gate, up), arithmetic.swiglu(gate, up))


def run_on_arm(
    arm: Arm, shards: Sequence[Path], prompt: Sequence[int], positions: int, temperature: float, seed: int
) -> Run:
    """ring_run in the emulator; reads tokens and tap logs back from its memory."""
    address = DATA_ADDRESS
    shard_at, sizes, arena_at = [0] * WORLD_MAX, [0] * WORLD_MAX, [0] * WORLD_MAX
    arena_bytes = 4 << 20
    for rank, shard in enumerate(shards):
        data = shard.read_bytes()
        arm.write(address, data)
        shard_at[rank], sizes[rank], arena_at[rank] = address, len(data), address + len(data)
        address += len(data) + arena_bytes
    arm.write(address, struct.pack(f"<{len(prompt)}H", *prompt))
    tokens_at = address + 2 * len(prompt)
    job_at = arm.symbols["job"]
    head = struct.pack("<IIIffIQ", len(shards), 5000, positions, temperature, 0.9, len(prompt), seed)
    arrays = struct.pack("<16I", *shard_at, *sizes, *arena_at, *[arena_bytes] * WORLD_MAX)
    tail = struct.pack("<IIIiII", address, tokens_at, 0, 0, 0, 0)
    arm.write(job_at, head + arrays + tail)
    arm.call("run_ring", count=True)
    _, _, count, error, _, service = struct.unpack("<IIIiII", arm.read(job_at + len(head + arrays), len(tail)))
    tokens = list(struct.unpack(f"<{count}H", arm.read(tokens_at, 2 * count)))
    model_bytes = arm.call("run_model_bytes")
    taps_at = arm.call("run_taps_offset")
    models_at = job_at + len(head + arrays + tail)
    taps: dict[int, list[Tap]] = {}
    for rank in range(len(shards)):
        log = arm.read(models_at + rank * model_bytes + taps_at, 16)
        entries, _, _, entry_count = struct.unpack("<IIII", log)
        for raw in struct.iter_unpack("<IIIffII", arm.read(entries, 28 * entry_count)):
            taps.setdefault(rank, []).append(Tap(TapKey.unpack(raw[0]), *raw[1:]))
    return Run(tokens, taps, error=str(error), service_calls=service)


@pytest.mark.parametrize("world_size", [1, 4])
def test_generation_on_arm_equals_golden(elf: Path, tmp_path: Path, world_size: int) -> None:
    weights = random_weights(Config(64, 172, 3, 8, 4, 96, 32), seed=21)
    arm = Arm(elf)
    run = run_on_arm(arm, write_shards(weights, world_size, tmp_path), [1, 3, 5], 6, 1.0, 77)
    golden = generate(weights, GenerationRequest([1, 3, 5], 6, 1.0, 0.9, 77))
    assert run.error == "0"
    assert first_difference(run, golden, 3, world_size) == ""
    assert run.tokens == golden.tokens


def test_flag_tells_which_op_flushed(elf: Path, tmp_path: Path) -> None:
    weights = random_weights(Config(16, 24, 2, 2, 2, 20, 8), seed=3)
    weights.rms_ffn[1] *= np.float32(2.0**-120)
    run = run_on_arm(Arm(elf), write_shards(weights, 1, tmp_path), [1], 1, 0.0, 1)
    golden = generate(weights, GenerationRequest([1], 1))
    assert first_difference(run, golden, 2, 1) == ""
    flagged = {str(tap.key) for tap in run.taps[0] if tap.flags}
    assert flagged, "weights of 2^-120 must flush some products"
    assert all("layer 1" in key for key in flagged)
