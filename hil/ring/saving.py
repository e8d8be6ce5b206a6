"""Saving: the weights that the boards hold, read back over their serial lines and joined to a checkpoint.

Messages: MEMORY_READ, MEMORY_CRC. Formats: docs/formats.md. A shard counts only if its CRC-32, computed by its board
before the reading and again after it, is that of the bytes that arrived. Owns: reading memory in parts.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from golden.weights import Config, Weights
from hil.board.board import Board
from hil.board.channel import Pending
from hil.errors import BoardError, ModelError
from hil.files import atomically
from hil.model.bundle import Model
from hil.model.checkpoint import CheckpointError, write_checkpoint
from hil.model.shard import join_weights, unpack_shards
from hil.model.tokenizer import write_tokenizer
from hil.protocol.memory_messages import MemoryCrc, MemoryRange
from hil.protocol.messages import PAYLOAD_BYTES_MAX, Blob, Command, MemoryRead
from hil.protocol.shard_header import SHARD_ADDRESS
from hil.ring.ring import Ring

PART_BYTES = PAYLOAD_BYTES_MAX - 4
"""Of one MEMORY_READ: whole words, with room for the response's status."""
LINE_FACTOR = 4
"""How many times the time of its bytes on the line a reading may take."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What was read and how long it took, on the rig's clock and in wall time."""

    weights: Weights
    bytes_read: int
    rig_s: float
    wall_s: float


class _Reader:
    """Reads a board's memory part by part; each answer asks for the next part."""

    def __init__(self, board: Board, address: int, size_bytes: int) -> None:
        self.board, self.size_bytes = board, size_bytes
        self.data = bytearray()
        self.error: str | None = None
        self._address = address
        self._next()

    @property
    def done(self) -> bool:
        return self.error is not None or self.board.dead is not None or len(self.data) >= self.size_bytes

    def _next(self) -> None:
        count = min(PART_BYTES, self.size_bytes - len(self.data))
        if count > 0:
            request = MemoryRead(self._address + len(self.data), count)
            self.board.start(Command.MEMORY_READ, request, on_done=partial(self._arrived, count))

    def _arrived(self, count: int, pending: Pending) -> None:
        response = pending.response
        if isinstance(response, Blob) and len(response.data) == count:
            self.data += response.data
            self._next()
        else:
            self.error = f"{self.board}: MEMORY_READ gave {pending.error or 'another size'}"


def line_seconds(ring: Ring) -> float:
    """About how long the serial lines take to carry all shards; boards answer at the same time."""
    return max(_shard_bytes(board) * 10 / board.baud for board in ring.boards)


def read_weights(ring: Ring, config: Config) -> Saved:
    """The weights that the boards of a ring hold now.

    Raises: BoardError if a board stops answering or its memory changes while it is read; ModelError if a board
        holds another shard than its place asks for.
    """
    __tracebackhide__ = True
    start_s, wall_start_s = ring.desk.loop.now_s(), time.perf_counter()
    limit_s = 60.0 + LINE_FACTOR * line_seconds(ring)
    before = [_crc32(board) for board in ring.boards]
    readers = [_Reader(board, SHARD_ADDRESS, _shard_bytes(board)) for board in ring.boards]
    ring.desk.loop.run_until(lambda: all(reader.done for reader in readers), limit_s)
    for reader in readers:
        if len(reader.data) < reader.size_bytes:
            why = reader.board.dead or reader.error or f"{reader.board}: still reading after {limit_s:.0f} s"
            raise BoardError(f"{why}; {len(reader.data):,} of {reader.size_bytes:,} bytes of its shard were read")
    for reader, crc in zip(readers, before, strict=True):
        found, after = zlib.crc32(reader.data), _crc32(reader.board)
        if not crc == found == after:
            raise BoardError(
                f"{reader.board}: its shard has CRC-32 {crc:08x} before the reading and {after:08x} after it, the "
                f"{reader.size_bytes:,} bytes read have {found:08x}; train again, this memory cannot be trusted"
            )
    weights = _join(ring, config, [bytes(reader.data) for reader in readers])
    read = sum(reader.size_bytes for reader in readers)
    return Saved(weights, read, ring.desk.loop.now_s() - start_s, time.perf_counter() - wall_start_s)


def _shard_bytes(board: Board) -> int:
    if board.identity is None:
        raise BoardError(f"{board}: has not booted")
    return board.identity.shard_bytes


def _crc32(board: Board) -> int:
    size_bytes = _shard_bytes(board)
    request = MemoryRange(SHARD_ADDRESS, size_bytes)
    return board.command(Command.MEMORY_CRC, request, MemoryCrc, timeout_s=60.0 + size_bytes / 1e6).crc32


def _join(ring: Ring, config: Config, memories: Sequence[bytes]) -> Weights:
    try:
        shards = [
            shard
            for board, data in zip(ring.boards, memories, strict=True)
            for shard in unpack_shards(data, str(board))
        ]
        return join_weights(shards, config)
    except CheckpointError as error:
        raise ModelError(str(error)) from None


def check_target(path: Path) -> None:
    """Refuse early, before hours of training, a file that could not be written. Raises ModelError."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ModelError(f"{path}: there is no folder {folder}; make it first, or correct the path")
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; name a file for the checkpoint")
    if not os.access(folder, os.W_OK):
        raise ModelError(f"{path}: the folder {folder} cannot be written; name another, or change its permissions")


def save_model(weights: Weights, model: Model, path: Path) -> str:
    """Write a checkpoint, and the model's tokenizer beside it where there is none.

    The file appears under its name only when complete; until then one that was there stays as it is.
    Returns: what `hil generate` needs to run it, as arguments.
    Raises: ModelError if it cannot be written.
    """
    vocabulary = path.with_name("tokenizer.bin")
    try:
        write_checkpoint(weights, path)
        with atomically(vocabulary) as part:
            write_tokenizer(part, model.tokenizer.pieces, model.tokenizer.scores)
            same = not vocabulary.exists() or vocabulary.read_bytes() == part.read_bytes()
            if not same:
                part.unlink()  # one of another model stays
    except OSError as error:
        raise ModelError(f"{path}: writing failed: {error.strerror or error}; the file is as it was before") from None
    return f"--model {path}" if same else f"--model {path} --tokenizer {model.vocabulary}"
