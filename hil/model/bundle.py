"""A model as a run needs it: weights, tokenizer, and the shards for a world size.

Owns: the names of the shipped models and the cache of shard files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from golden.weights import Weights
from hil.data import build_path, data_path
from hil.errors import ModelError
from hil.kept import kept_folder
from hil.model.checkpoint import CheckpointError, read_checkpoint
from hil.model.rope import check_tables
from hil.model.shard import join_shards, shard_name, write_shards
from hil.model.tokenizer import Tokenizer, TokenizerError

SHIPPED = {"tiny": ("tiny.bin", "tiny_tokenizer.bin")}


@dataclass(frozen=True, repr=False)
class Model:
    """A checkpoint and its tokenizer, read and checked against each other."""

    name: str
    checkpoint: Path
    weights: Weights
    tokenizer: Tokenizer
    vocabulary: Path

    def __repr__(self) -> str:
        return f"<Model {self.name}>"

    def encode_prompt(self, text: str, positions: int) -> list[int]:
        """Token ids with BOS first. Raises ModelError if they do not fit the run or the context."""
        if not 1 <= positions <= self.weights.config.seq_len:
            raise ModelError(
                f"{positions} positions: model {self.name} has a context of {self.weights.config.seq_len}; "
                f"ask for 1 to {self.weights.config.seq_len}"
            )
        tokens = self.tokenizer.encode(text)
        if len(tokens) > positions:
            raise ModelError(
                f"prompt of {len(tokens)} tokens is longer than the {positions} positions of this run "
                f"(context {self.weights.config.seq_len}); shorten the prompt or raise --positions"
            )
        return tokens

    def shards(self, world_size: int) -> list[Path]:
        """One shard file per rank, written once and kept by content. Raises ModelError."""
        return kept_shards(self.checkpoint, self.weights, world_size)

    def joined_shards(self, world_size: int) -> Path:
        """One file with the shards of all ranks, for a board that plays every rank. Raises ModelError."""
        shards = self.shards(world_size)
        folder = shards[0].parent.with_name(f"{shards[0].parent.name}-joined")
        return _kept(folder, lambda part: join_shards(shards, part / "joined.bin")) / "joined.bin"


def kept_shards(checkpoint: Path, weights: Weights, world_size: int) -> list[Path]:
    """The shards of a checkpoint by rank, written once and kept by content. Raises ModelError."""
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    folder = build_path() / "shards" / f"{digest}-{world_size}"
    try:
        _kept(folder, lambda part: write_shards(weights, world_size, part))
    except ValueError as error:
        raise ModelError(str(error)) from None
    return [folder / shard_name(rank) for rank in range(world_size)]


def _kept(folder: Path, make: Callable[[Path], object]) -> Path:
    try:
        return kept_folder(folder, make)
    except OSError as error:
        raise ModelError(
            f"shards cannot be written into {folder.parent}: {error.strerror or error}; "
            "make room there, or name another folder in HIL_CACHE"
        ) from None


def checkpoint_path(name: str) -> Path:
    """The checkpoint of a shipped model, or the path that was given."""
    return data_path("fixtures") / SHIPPED[name][0] if name in SHIPPED else Path(name)


def load_model(name: str, tokenizer: str | None = None, *, any_tables: bool = False) -> Model:
    """A shipped model by name, or a checkpoint by path with its tokenizer.

    Args:
        any_tables: RoPE tables that are not cos and sin of theta are taken as they are.
    Raises ModelError with one sentence if a file is missing, damaged, or does not fit the other.
    """
    checkpoint = checkpoint_path(name)
    beside = SHIPPED[name][1] if name in SHIPPED else "tokenizer.bin"
    vocabulary = Path(tokenizer) if tokenizer else checkpoint.with_name(beside)
    try:
        weights = read_checkpoint(checkpoint)
        if not any_tables:
            check_tables(weights, str(checkpoint))
        words = Tokenizer.load(vocabulary, weights.config.vocab_size)
    except (CheckpointError, TokenizerError) as error:
        raise ModelError(str(error)) from None
    return Model(checkpoint.stem, checkpoint, weights, words, vocabulary)
