"""Checkpoint: round trips, exact sizes, and one clear sentence for every kind of bad file."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest

from golden.weights import Config
from hil.model.checkpoint import (
    CheckpointError,
    checkpoint_size_bytes,
    read_checkpoint,
    read_config,
    tensor_shapes,
    write_checkpoint,
)
from hil.model.synth import SHAPES, random_weights, synthesize

TIED = Config(dim=16, hidden_dim=20, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=11, seq_len=6)
UNTIED = dataclasses.replace(TIED, shared_classifier=False)
GOOD_HEADER = (16, 20, 3, 4, 2, 11, 6)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    write_checkpoint(random_weights(TIED, seed=1), path)
    return path


def with_field(path: Path, index: int, value: int) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into("<i", data, 4 * index, value)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "size_bytes"), [("260K", 1_056_540), ("15M", 60_816_028), ("42M", 167_020_572), ("110M", 438_381_596)]
)
def test_size_of_known_shape_is_exact(name: str, size_bytes: int) -> None:
    assert checkpoint_size_bytes(SHAPES[name]) == size_bytes


@pytest.mark.parametrize("config", [TIED, UNTIED], ids=["tied", "untied"])
def test_written_weights_read_back_bit_for_bit(tmp_path: Path, config: Config) -> None:
    weights = random_weights(config, seed=2)
    path = tmp_path / "model.bin"
    write_checkpoint(weights, path)
    assert path.stat().st_size == checkpoint_size_bytes(config)
    again = read_checkpoint(path)
    assert again.config == config
    for name, shape in tensor_shapes(config).items():
        tensor = getattr(again, name)
        assert tensor.shape == shape
        assert tensor.dtype == np.float32
        assert tensor.tobytes() == getattr(weights, name).tobytes(), name
    assert (again.wcls.tobytes() == again.tok_emb.tobytes()) is config.shared_classifier


def test_read_arrays_are_read_only(good: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        read_checkpoint(good).wq[0, 0, 0] = 1.0


def test_bytes_lie_where_the_format_says(good: Path) -> None:
    """Independent of the reader: header words, then the first and last float of the file."""
    data = good.read_bytes()
    weights = random_weights(TIED, seed=1)
    assert struct.unpack_from("<7i", data) == GOOD_HEADER
    assert struct.unpack_from("<f", data, 28)[0] == weights.tok_emb[0, 0]
    assert struct.unpack_from("<f", data, 28 + 4 * (11 * 16 + 3 * 16 + 1))[0] == weights.wq[0, 0, 1]
    assert struct.unpack_from("<f", data, len(data) - 4)[0] == weights.freq_sin[-1, -1]


def test_own_classifier_is_a_negative_vocabulary(tmp_path: Path) -> None:
    write_checkpoint(random_weights(UNTIED, seed=1), tmp_path / "m.bin")
    assert struct.unpack_from("<7i", (tmp_path / "m.bin").read_bytes())[5] == -11


def test_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.bin: cannot read the checkpoint: No such file.*; check the path"):
        read_checkpoint(tmp_path / "none.bin")


def test_file_shorter_than_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"\1" * 27)
    with pytest.raises(CheckpointError, match=r"m\.bin: 27 bytes, shorter than the 28-byte header; copy"):
        read_checkpoint(tmp_path / "m.bin")


@pytest.mark.parametrize(("change", "words"), [(-1, "1 bytes are missing"), (4, "4 bytes are too many")])
def test_wrong_size_is_refused_with_both_sizes(good: Path, change: int, words: str) -> None:
    data = good.read_bytes()
    good.write_bytes(data[:change] if change < 0 else data + bytes(change))
    expected = f"asks for {len(data)} bytes but the file has {len(data) + change}: {words}; copy"
    with pytest.raises(CheckpointError, match=expected):
        read_checkpoint(good)


@pytest.mark.parametrize(
    ("index", "value", "words"),
    [
        (0, 0, r"dim = 0, it must be 1 to 8192"),
        (0, -16, r"dim = -16, it must be 1 to 8192"),
        (1, 2**31 - 1, r"hidden_dim = 2147483647, it must be 1 to 32768"),
        (2, 129, r"n_layers = 129, it must be 1 to 128"),
        (3, 0, r"n_heads = 0, it must be 1 to"),
        (3, 3, r"dim = 16 and n_heads = 3, dim must be a multiple"),
        (3, 16, r"head size 1 \(dim / n_heads\), it must be even"),
        (4, 3, r"n_heads = 4 and n_kv_heads = 3, n_heads must be a multiple"),
        (4, 8, r"n_heads = 4 and n_kv_heads = 8, n_heads must be a multiple"),
        (5, 0, r"vocab_size = 0, it must be 1 to 65536"),
        (5, -(2**31), r"vocab_size = 2147483648, it must be 1 to 65536"),
        (6, -1, r"seq_len = -1, it must be 1 to 32768"),
    ],
)
def test_absurd_header_is_refused_before_the_size(good: Path, index: int, value: int, words: str) -> None:
    with_field(good, index, value)
    with pytest.raises(CheckpointError, match=f"header says {words}"):
        read_checkpoint(good)


def test_largest_header_asks_for_no_memory(tmp_path: Path) -> None:
    """All fields at their limits: terabytes, refused by the size alone."""
    path = tmp_path / "m.bin"
    path.write_bytes(struct.pack("<7i", 8192, 32768, 128, 8, 8, 65536, 32768))
    with pytest.raises(CheckpointError, match=r"asks for \d{12} bytes but the file has 28"):
        read_checkpoint(path)


def test_other_file_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(struct.pack("<7i", 0x616B3432, 1, 0, 0, 0, 0, 0))
    with pytest.raises(CheckpointError, match=r"version 1, only version 0 is read; export it with --version 0"):
        read_config(tmp_path / "m.bin")


def test_wrong_tensor_shape_writes_nothing(tmp_path: Path) -> None:
    weights = dataclasses.replace(random_weights(TIED, seed=1), w2=np.zeros((3, 20, 16), np.float32))
    with pytest.raises(CheckpointError, match=r"w2 has shape \(3, 20, 16\), the config asks for \(3, 16, 20\)"):
        write_checkpoint(weights, tmp_path / "m.bin")
    assert list(tmp_path.iterdir()) == []


def test_synthesized_file_equals_weights_in_memory(tmp_path: Path) -> None:
    synthesize(UNTIED, tmp_path / "a.bin", seed=3)
    write_checkpoint(random_weights(UNTIED, seed=3), tmp_path / "b.bin")
    write_checkpoint(random_weights(UNTIED, seed=4), tmp_path / "c.bin")
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    assert (tmp_path / "a.bin").read_bytes() != (tmp_path / "c.bin").read_bytes()


def test_synthesized_tensor_longer_than_a_piece_is_whole(tmp_path: Path) -> None:
    config = Config(dim=64, hidden_dim=64, n_layers=1, n_heads=2, n_kv_heads=1, vocab_size=5000, seq_len=4)
    synthesize(config, tmp_path / "m.bin", seed=5)
    emb = read_checkpoint(tmp_path / "m.bin").tok_emb
    assert emb.size > 1 << 18
    assert np.std(emb) == pytest.approx(1 / 8, rel=0.02)


def test_synthesize_with_unknown_shape_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no shape is named '7B'; choose one of 260K, 15M, 42M, 110M"):
        synthesize("7B", tmp_path / "m.bin", seed=0)


def test_rope_tables_follow_the_formula() -> None:
    weights = random_weights(SHAPES["260K"], seed=0)
    assert weights.freq_cos.shape == weights.freq_sin.shape == (512, 4)
    assert weights.freq_sin[1, 0] == np.float32(np.sin(1.0))
    assert weights.freq_cos[300, 2] == np.float32(np.cos(300 * 10000.0 ** (-4 / 8)))
