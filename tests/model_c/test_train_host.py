"""The C training on the host against the golden: every tap, gradient and parameter of every rank, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_build import ZIG, sanitizer_flags
from train_build import Task, build_train, random_task, run_train, train_difference

from golden.backward import Backward
from golden.optimizer import AdamW, Settings, Sgd
from golden.weights import Config, Weights
from hil.model.shard import write_shards
from hil.model.synth import random_weights

SHAPES = {
    "tied_grouped": Config(64, 172, 5, 8, 4, 96, 32),
    "untied": Config(32, 44, 3, 2, 2, 50, 16, shared_classifier=False),
    "one_kv_head": Config(64, 96, 3, 8, 1, 40, 16),
    "tails_everywhere": Config(30, 37, 3, 3, 1, 41, 20),  # dim and hidden_dim are no multiples of 8
    "head_size_2": Config(10, 9, 3, 5, 5, 7, 12, shared_classifier=False),
}
OPTIMIZERS: dict[str, Settings] = {
    "adamw": AdamW(1e-3, weight_decay=0.1),
    "sgd": Sgd(1e-2),
    "momentum": Sgd(1e-2, momentum=0.9, weight_decay=0.01),
}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_train(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sanitized_train")
    return build_train(folder, sanitizer_flags(folder))


def check_train(program: Path, folder: Path, weights: Weights, world_size: int, task: Task, **how: bool) -> str:
    """Runs both sides; the first difference, empty when there is none."""
    run = run_train(program, write_shards(weights, world_size, folder), task, **how)
    ordered = not how.get("pipelined", False)
    return train_difference(run, task.golden(weights), weights.config.n_layers, world_size, ordered=ordered)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_every_tap_gradient_and_parameter_equals_golden(
    program: Path, tmp_path: Path, name: str, world_size: int, optimizer: str
) -> None:
    weights = random_weights(SHAPES[name], seed=5)
    task = random_task(weights, OPTIMIZERS[optimizer], steps=3, microbatches=2, positions=9, clip=1.0)
    assert check_train(program, tmp_path, weights, world_size, task) == ""


@pytest.mark.parametrize("positions", [1, 2, 32])
def test_any_number_of_positions_equals_golden(program: Path, tmp_path: Path, positions: int) -> None:
    weights = random_weights(SHAPES["tied_grouped"], seed=5)
    task = random_task(weights, AdamW(1e-3), steps=2, microbatches=1, positions=positions)
    assert check_train(program, tmp_path, weights, 4, task) == ""


def test_ten_adamw_steps_equal_golden(program: Path, tmp_path: Path) -> None:
    weights = random_weights(SHAPES["tied_grouped"], seed=6)
    task = random_task(weights, OPTIMIZERS["adamw"], steps=10, microbatches=1, positions=8, clip=0.5)
    assert check_train(program, tmp_path, weights, 4, task) == ""


def test_pipelined_microbatches_give_the_same_bits(program: Path, tmp_path: Path) -> None:
    weights = random_weights(SHAPES["tied_grouped"], seed=5)
    task = random_task(weights, AdamW(1e-3), steps=2, microbatches=4, positions=6)
    assert check_train(program, tmp_path, weights, 4, task, pipelined=True) == ""


def test_pipeline_with_one_slot_is_noticed(program: Path, tmp_path: Path) -> None:
    weights = random_weights(SHAPES["tied_grouped"], seed=5)
    task = random_task(weights, AdamW(1e-3), steps=1, microbatches=2, positions=6)
    run = run_train(program, write_shards(weights, 4, tmp_path), task, pipelined=True, slots=1)
    assert "rank 0: " in train_difference(run, task.golden(weights), 5, 4, ordered=False)


def test_layer_of_the_110m_shape_equals_golden(program: Path, tmp_path: Path) -> None:
    weights = random_weights(Config(768, 2048, 1, 12, 12, 100, 16), seed=8)
    task = random_task(weights, Sgd(1e-2), steps=1, microbatches=1, positions=3)
    shards = write_shards(weights, 2, tmp_path)
    run = run_train(program, shards, task, train_arena_bytes=64 << 20)
    assert train_difference(run, task.golden(weights), 1, 2) == ""


def test_flushing_in_training_equals_golden(program: Path, tmp_path: Path) -> None:
    """Attention so sharp, and gradients so small, that many products are under the smallest normal number."""
    weights = random_weights(SHAPES["tied_grouped"], seed=8)
    weights.wq[:] *= np.float32(25)
    weights.wo[2] *= np.float32(2.0**-110)
    task = random_task(weights, AdamW(1e-3), steps=2, microbatches=1, positions=20)
    assert check_train(program, tmp_path, weights, 1, task) == ""


@pytest.mark.parametrize("special", [np.inf, np.nan])
def test_numbers_that_are_not_finite_stay_where_they_are(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, special: float
) -> None:
    """The last token's embedding is spoilt: gradients of positions before it see nothing through the mask."""
    weights = random_weights(SHAPES["untied"], seed=9)
    tokens = np.array([[[1, 2, 3, 4, 49, 5]]])
    weights.tok_emb[49, 2] = special
    assert check_train(program, tmp_path, weights, 2, Task(tokens, Sgd(1e-2))) == ""
    monkeypatch.setattr(Backward, "_column_valid", lambda self, left: np.ones(left.shape, np.bool_))
    assert "position" in check_train(program, tmp_path, weights, 2, Task(tokens, Sgd(1e-2)))


def test_second_compiler_gives_the_same_bits(tmp_path: Path) -> None:
    program = build_train(tmp_path / "build", ("-O3", "-fno-sanitize=all"), compiler=ZIG)
    weights = random_weights(SHAPES["tied_grouped"], seed=6)
    task = random_task(weights, OPTIMIZERS["adamw"], steps=2, microbatches=2, positions=8, clip=1.0)
    assert check_train(program, tmp_path, weights, 4, task) == ""


@pytest.mark.parametrize("name", SHAPES)
def test_no_access_out_of_bounds_and_no_undefined_behaviour(sanitized: Path, tmp_path: Path, name: str) -> None:
    weights = random_weights(SHAPES[name], seed=7)
    task = random_task(weights, OPTIMIZERS["momentum"], steps=2, microbatches=2, positions=7)
    for world_size in (1, 4):
        shards = write_shards(weights, world_size, tmp_path)
        probe = run_train(sanitized, shards[:1], task, train_arena_bytes=4)
        # Every rank gets the arena of the neediest, so look at one rank at a time where there is only one.
        needed = int(probe.error.split("needs ")[1].split(" bytes")[0]) if world_size == 1 else 16 << 20
        run = run_train(sanitized, shards, task, train_arena_bytes=needed)
        assert train_difference(run, task.golden(weights), weights.config.n_layers, world_size) == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "first"),
    [
        ("backward.c", "add_transposed(w, KIND_W3, s->d_norm, up);", "", "D_FFN_NORM layer 4 position 0"),
        ("backward.c", "zero(s->d_k, w->count * c->kv_dim);", "", "D_K_ROPE layer 3 position 0"),
        ("backward.c", "add_matrix_gradient(w, KIND_WV, s->d_v,", "add_matrix_gradient(w, KIND_WV, s->d_k,", "GRAD_WV"),
        ("backward_ops.c", "mean * ((s * s) * s)", "mean * (s * s)", "D_HEAD position 0"),
        ("backward_ops.c", "(d[i] - mean)", "(d[i] - mean * 0.5f)", "D_ATT_SCORE layer 4 position 0"),
        ("backward_ops.c", "even * cos[i] + odd", "even * cos[i] - odd", "D_Q layer 4 position 1"),
        ("backward_ops.c", "1.0f + x * (1.0f - sigmoid)", "1.0f", "D_GATE layer 4 position 0"),
        ("optimizer.c", "t->power2 * s->beta2;", "t->power2;", "PARAM_RMS_ATT layer 0"),
        ("optimizer.c", "step->grow);", "1.0f);", "PARAM_RMS_ATT layer 0"),
        ("train.c", "zero(t->gradients, t->parameter_words); }", "(void)t; }", "GRAD_RMS_ATT layer 0"),
        ("optimizer.c", "total = total + dot8(", "total = dot8(", "GRAD_NORM position 0"),
    ],
)
def test_one_wrong_op_is_named(tmp_path: Path, file: str, old: str, new: str, first: str) -> None:
    program = build_train(tmp_path / "build", edits={file: (old, new)})
    weights = random_weights(SHAPES["tied_grouped"], seed=5)
    task = random_task(weights, OPTIMIZERS["adamw"], steps=2, microbatches=1, positions=5)
    assert first in check_train(program, tmp_path, weights, 1, task)


def test_small_arena_is_refused_with_numbers(program: Path, tmp_path: Path) -> None:
    weights = random_weights(SHAPES["untied"], seed=9)
    task = random_task(weights, AdamW(1e-3), steps=1, microbatches=1, positions=4)
    shards = write_shards(weights, 1, tmp_path)
    needed = int(run_train(program, shards, task, train_arena_bytes=4).error.split("needs ")[1].split(" ")[0])
    parameters = sum(getattr(weights, n).size for n in ("tok_emb", "rms_att", "wq", "wk", "wv", "wo", "rms_ffn"))
    parameters += sum(getattr(weights, n).size for n in ("w1", "w2", "w3", "rms_final", "wcls"))
    assert needed > 3 * 4 * parameters
    refused = run_train(program, shards, task, train_arena_bytes=needed - 4).error
    assert refused.startswith("error 0 -3 too little memory")
    assert refused.endswith(f"(needs {needed} bytes)")
    assert run_train(program, shards, task, train_arena_bytes=needed).losses


@pytest.mark.parametrize(("positions", "slots"), [(17, 1), (4, 0), (4, 65)])
def test_impossible_settings_are_refused(program: Path, tmp_path: Path, positions: int, slots: int) -> None:
    weights = random_weights(SHAPES["untied"], seed=9)
    task = random_task(weights, AdamW(1e-3), steps=1, microbatches=1, positions=positions)
    run = run_train(program, write_shards(weights, 1, tmp_path), task, slots=slots)
    assert run.error.startswith("error 0 -5 the training's settings cannot be")
