"""The C forward pass on the host against the golden: every tap of every rank, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_build import SANITIZERS, ZIG, build_ring, first_difference, run_ring, sanitizer_flags

from golden import arithmetic
from golden.digests import RUNS, load
from golden.forward import Forward
from golden.generate import GenerationRequest, generate
from golden.make_digests import TINY, read_tiny
from golden.weights import Config, Weights
from hil.model.shard import write_shards
from hil.model.synth import random_weights

SHAPES = {
    "tied_grouped": Config(64, 172, 5, 8, 4, 96, 32),
    "untied": Config(32, 44, 3, 2, 2, 50, 16, shared_classifier=False),
    "one_kv_head": Config(64, 96, 3, 8, 1, 40, 16),
    "head_size_64": Config(128, 80, 4, 2, 1, 33, 16),
    "tails_everywhere": Config(30, 37, 3, 3, 1, 41, 20),  # dim and hidden_dim are no multiples of 8
    "head_size_2": Config(10, 9, 3, 5, 5, 7, 12, shared_classifier=False),
}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_ring(tmp_path_factory.mktemp("ring"))


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sanitized")
    return build_ring(folder, sanitizer_flags(folder))


def check_run(
    program: Path, folder: Path, weights: Weights, world_size: int, positions: int, temperature: float
) -> str:
    """Runs both sides; the first difference, empty when there is none."""
    c = weights.config
    prompt = [1, 3, 5]
    settings = {"prompt": prompt, "positions": positions, "temperature": temperature, "seed": 77}
    run = run_ring(program, write_shards(weights, world_size, folder), topp=0.9, **settings)
    golden = generate(weights, GenerationRequest(prompt, positions, temperature, 0.9, 77))
    difference = first_difference(run, golden, c.n_layers, world_size)
    return difference or ("" if run.tokens == golden.tokens else f"tokens {run.tokens}, expected {golden.tokens}")


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_every_tap_of_every_rank_equals_golden(program: Path, tmp_path: Path, name: str, world_size: int) -> None:
    weights = random_weights(SHAPES[name], seed=5)
    assert check_run(program, tmp_path, weights, world_size, 12, 1.0) == ""


@pytest.mark.parametrize("name", RUNS)
def test_tiny_model_gives_the_kept_digests(program: Path, tmp_path: Path, name: str) -> None:
    kept, weights = load(name), read_tiny(TINY)
    s = kept.settings
    run = run_ring(
        program,
        write_shards(weights, 4, tmp_path),
        prompt=s.prompt,
        positions=s.positions,
        temperature=s.temperature,
        topp=s.topp,
        seed=s.rng_seed,
    )
    assert first_difference(run, kept.generation, weights.config.n_layers, 4) == ""
    assert run.tokens == kept.generation.tokens


def test_layer_of_the_110m_shape_equals_golden(program: Path, tmp_path: Path) -> None:
    weights = random_weights(Config(768, 2048, 1, 12, 12, 500, 16), seed=8)
    assert check_run(program, tmp_path, weights, 2, 4, 1.0) == ""


def test_flushing_inside_a_forward_pass_equals_golden(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention so sharp that many probabilities, and products with them, are under the smallest normal number."""
    weights = random_weights(SHAPES["tied_grouped"], seed=8)
    weights.wq[:] *= np.float32(25)
    assert check_run(program, tmp_path, weights, 1, 30, 0.0) == ""
    monkeypatch.setattr(arithmetic, "_has_tiny", lambda x: False)
    monkeypatch.setattr(arithmetic, "SAFE_PRODUCT", 0.0)
    assert "ATT_" in check_run(program, tmp_path, weights, 1, 30, 0.0)


def test_second_compiler_gives_the_same_bits(tmp_path: Path) -> None:
    program = build_ring(tmp_path / "build", ("-O3", "-fno-sanitize=all"), compiler=ZIG)
    weights = random_weights(SHAPES["tied_grouped"], seed=6)
    assert check_run(program, tmp_path, weights, 4, 12, 0.0) == ""


@pytest.mark.parametrize("name", SHAPES)
def test_no_access_out_of_bounds_and_no_undefined_behaviour(sanitized: Path, tmp_path: Path, name: str) -> None:
    weights = random_weights(SHAPES[name], seed=7)
    assert check_run(sanitized, tmp_path, weights, 4, SHAPES[name].seq_len, 1.3) == ""


def test_sanitizer_sees_one_word_too_many(sanitized: Path, tmp_path: Path) -> None:
    edits = {"shard.c": ("take(from, TAP_CRC_TABLE_WORDS, 1, 1)", "take(from, TAP_CRC_TABLE_WORDS - 1, 1, 1)")}
    program = build_ring(tmp_path / "build", SANITIZERS, edits=edits)
    weights = random_weights(SHAPES["tied_grouped"], seed=7)
    shards = write_shards(weights, 1, tmp_path)
    short = arena_needed(program, shards[0])
    with pytest.raises(AssertionError, match="AddressSanitizer"):
        run_ring(program, shards, arena_bytes=short, tap_capacity=0)


@pytest.mark.parametrize(
    ("file", "old", "new", "first"),
    [
        ("ops.c", "x[2 * i + 1] = even * sin[i] +", "x[2 * i + 1] = -even * sin[i] +", "Q_ROPE layer 0 position 1"),
        ("ops.c", "#define NORM_EPSILON 1e-5f", "#define NORM_EPSILON 1e-6f", "ATT_NORM layer 0 position 0"),
        ("ops.c", "0x1.6a23dp-10f", "0x1.6a23p-9f", "SWIGLU layer 0 position 0"),
        ("ops.c", "(lane[0] + lane[1]) +", "(lane[1] + lane[3]) +", "ATT_NORM layer 0 position 0"),
        (
            "forward.c",
            "values + h / heads_per_kv",
            "values + (h / heads_per_kv + 1) % c->n_kv_heads",
            "ATT_MIX layer 0",
        ),
        ("forward.c", "matvec(b->up, w->w3", "matvec(b->up, w->w1", "UP layer 0 position 0"),
        ("sampler.c", "logits[i] / s->temperature", "logits[i]", "PROBS position 2"),
    ],
)
def test_one_wrong_op_is_named(tmp_path: Path, file: str, old: str, new: str, first: str) -> None:
    program = build_ring(tmp_path / "build", edits={file: (old, new)})
    weights = random_weights(SHAPES["tied_grouped"], seed=5)
    difference = check_run(program, tmp_path, weights, 4, 6, 1.5)
    assert first in difference


def test_records_tell_range_and_count(program: Path, tmp_path: Path) -> None:
    weights = random_weights(SHAPES["untied"], seed=9)
    forward = Forward(weights)
    forward.step(1, 0)
    run = run_ring(program, write_shards(weights, 1, tmp_path), positions=1)
    for tap, (key, tensor) in zip(run.taps[0], forward.take_taps(), strict=True):
        assert tap.key == key
        assert (tap.count, tap.nonfinite) == (tensor.size, 0)
        assert (tap.minimum, tap.maximum) == (tensor.min(), tensor.max())


def test_nan_and_infinity_are_counted_and_digested(program: Path, tmp_path: Path) -> None:
    weights = random_weights(SHAPES["untied"], seed=9)
    weights.tok_emb[1, :3] = [np.nan, np.inf, -0.0]
    assert check_run(program, tmp_path, weights, 1, 2, 1.0) == ""
    first = run_ring(program, write_shards(weights, 1, tmp_path), positions=1).taps[0][0]
    assert (first.nonfinite, first.maximum) == (2, np.inf)


def test_full_log_counts_what_it_drops(program: Path, tmp_path: Path) -> None:
    weights = random_weights(SHAPES["untied"], seed=9)
    shards = write_shards(weights, 1, tmp_path)
    everything = run_ring(program, shards, positions=3)
    some = run_ring(program, shards, positions=3, tap_capacity=10)
    assert some.taps[0] == everything.taps[0][:10]
    assert some.dropped[0] == len(everything.taps[0]) - 10
    assert everything.dropped[0] == 0


def test_service_is_called_between_ops(program: Path, tmp_path: Path) -> None:
    weights = random_weights(SHAPES["untied"], seed=9)
    run = run_ring(program, write_shards(weights, 1, tmp_path), positions=2)
    assert run.service_calls == len(run.taps[0])


def arena_needed(program: Path, shard: Path, tap_capacity: int = 0) -> int:
    """The arena size in bytes that the error names."""
    error = run_ring(program, [shard], arena_bytes=4, tap_capacity=tap_capacity).error
    return int(error.split("needs ")[1].split(" bytes")[0])


def test_small_arena_is_refused_with_numbers(program: Path, tmp_path: Path) -> None:
    weights = random_weights(SHAPES["untied"], seed=9)
    shard = write_shards(weights, 1, tmp_path)[0]
    needed = arena_needed(program, shard)
    assert run_ring(program, [shard], arena_bytes=needed - 4, tap_capacity=0).error == (
        "error 0 -3 too little memory for the shard's buffers and the tap log: use fewer layers per board or fewer "
        f"taps (needs {needed} bytes)"
    )
    assert run_ring(program, [shard], arena_bytes=needed, tap_capacity=0).tokens


@pytest.mark.parametrize(
    ("word", "value"),
    [(0, 0), (0, -64), (0, 1 << 30), (1, 0), (2, 200), (3, 7), (3, 64), (4, 3), (4, 0), (5, -(1 << 31)), (6, 0)]
    + [(6, 1 << 30), (7, 0x12345678), (8, 4), (8, -1), (9, 0), (9, 17), (10, 3), (10, -1), (11, 9), (12, 2), (13, 2)],
)
def test_absurd_header_is_refused(sanitized: Path, tmp_path: Path, word: int, value: int) -> None:
    weights = random_weights(SHAPES["tied_grouped"], seed=9)
    shard = write_shards(weights, 4, tmp_path)[0]
    data = np.fromfile(shard, "<i4")
    data[word] = value
    data.tofile(shard)
    assert run_ring(sanitized, [shard], positions=1).error.startswith("error 0 -1 no valid shard header")


@pytest.mark.parametrize("missing_bytes", [4, 100000, -4])
def test_shard_of_wrong_size_is_refused(sanitized: Path, tmp_path: Path, missing_bytes: int) -> None:
    shard = write_shards(random_weights(SHAPES["tied_grouped"], seed=9), 1, tmp_path)[0]
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) - missing_bytes] if missing_bytes > 0 else data + bytes(-missing_bytes))
    assert run_ring(sanitized, [shard], positions=1).error.startswith("error 0 -2 the shard's size is not")
