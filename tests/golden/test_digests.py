"""Kept digests: the file format, and that the golden still gives them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from golden import arithmetic
from golden.digests import FOLDER, RUNS, DigestsError, KeptRun, keep, load, tap_keys, write
from golden.generate import GenerationRequest
from golden.make_digests import TINY, read_tiny
from golden.weights import Config
from hil.model.checkpoint import read_checkpoint, write_checkpoint
from hil.model.synth import random_weights

SETTINGS = GenerationRequest((1, 4), 6, 1.0, 0.9, 3)


@pytest.fixture
def kept() -> KeptRun:
    return keep(random_weights(Config(16, 24, 2, 2, 1, 20, 8), seed=1), "ab" * 32, SETTINGS)


@pytest.mark.parametrize("name", RUNS)
def test_golden_still_gives_the_kept_digests(name: str) -> None:
    run = load(name)
    assert run.settings == RUNS[name]
    assert run.model_sha256 == hashlib.sha256(TINY.read_bytes()).hexdigest()
    assert keep(read_tiny(TINY), run.model_sha256, run.settings).generation == run.generation


def test_kept_digests_notice_one_changed_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    run = load("tiny_greedy")
    monkeypatch.setattr(arithmetic, "NORM_EPSILON", np.float32(1.1e-5))
    changed = keep(read_tiny(TINY), run.model_sha256, run.settings).generation
    first = next(mine for mine, kept in zip(changed.taps, run.generation.taps, strict=True) if mine != kept)
    assert first[0].layer == 0


def test_nothing_but_the_named_runs_is_kept() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(RUNS)


def test_written_run_is_read_back(kept: KeptRun, tmp_path: Path) -> None:
    write(kept, tmp_path / "run.json")
    assert load("run", tmp_path) == kept
    assert [key for key, _ in kept.generation.taps] == tap_keys(SETTINGS, len(kept.generation.tokens), 2)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 2, "has format 2, this version reads 1"),
        ("tap_crc32_base64", "AAAA", "is damaged"),
        ("tap_crc32_base64", "AAAAAA==", "does not hold the 215 taps of its run"),
        ("tap_keys_crc32", 0, "does not hold the 215 taps of its run"),
        ("n_layers", 3, "does not hold the 311 taps of its run"),
        ("tokens", None, "is damaged"),
    ],
)
def test_damaged_file_is_refused(kept: KeptRun, tmp_path: Path, field: str, value: object, message: str) -> None:
    path = tmp_path / "run.json"
    write(kept, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(DigestsError, match=message):
        load("run", tmp_path)


def test_missing_file_names_those_that_exist(kept: KeptRun, tmp_path: Path) -> None:
    write(kept, tmp_path / "run.json")
    with pytest.raises(DigestsError, match=r"no digests named 'other' in .* \(there: run\); run python -m"):
        load("other", tmp_path)


@pytest.mark.parametrize("shared", [True, False])
def test_own_reader_agrees_with_the_harness(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "model.bin"
    write_checkpoint(random_weights(Config(16, 24, 2, 2, 1, 20, 8, shared), seed=2), path)
    mine, theirs = read_tiny(path), read_checkpoint(path)
    assert mine.config == theirs.config
    for name in type(mine).__slots__[1:]:
        assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name


def test_own_reader_refuses_a_wrong_size(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    write_checkpoint(random_weights(Config(16, 24, 2, 2, 1, 20, 8), seed=2), path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="its header asks for"):
        read_tiny(path)
