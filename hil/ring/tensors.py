"""Tensors on a board: digests by block, values, and ops run again.

Messages: hil/protocol/tensor_messages.py, docs/verify.md. What they mean is for
hil/checks/model/explain.py. Owns: BLOCK, cutting requests into parts, counting what crosses the line.
"""

from __future__ import annotations

import struct

import numpy as np

from golden.taps import digest
from golden.weights import F32Array
from hil.protocol.messages import PAYLOAD_BYTES_MAX, Blob, Command, Empty, JobStarted
from hil.protocol.tensor_messages import (
    ParametersPart,
    ParametersRead,
    Replay,
    Source,
    TensorBlocks,
    TensorDigests,
    TensorKeep,
    TensorKept,
    TensorRead,
    TensorWrite,
)
from hil.ring.ring import Ring

BLOCK = 64
"""Floats of a block: 4 bytes tell whether its 256 are right."""
REPLAY_TIMEOUT_S = 120.0
DIGESTS_TIMEOUT_S = 60.0
"""Of digests over whole shards."""
_READ_MAX = 512
_WRITE_MAX = (PAYLOAD_BYTES_MAX - TensorWrite.fixed_size_bytes()) // 4


class RankTensors:
    """The tensors of one rank. index: of the tap in the log, of the parameter, of the owned layer, of the input."""

    def __init__(self, ring: Ring, rank: int) -> None:
        self.ring, self.rank = ring, rank
        self.board, self.shard = ring.place(rank)

    def keep(self, first: int = 0) -> TensorKept:
        """What was kept of the last run; the next ones keep tensors from tap `first` on."""
        return self.board.command(Command.TENSOR_KEEP, TensorKeep(first, self.shard), TensorKept)

    def digests(self, source: Source, index: int, block: int = BLOCK, blocks: int = 0xFFFF) -> list[int]:
        """CRC-32 of every block of a tensor, or of the first ones. Raises BoardError where there is no such tensor."""
        found: list[int] = []
        while len(found) < blocks:
            left = min(blocks - len(found), 0xFFFF)
            request = TensorDigests(source, self.shard, index, len(found), left, block)
            part = self.board.command(Command.TENSOR_DIGESTS, request, TensorBlocks, timeout_s=DIGESTS_TIMEOUT_S)
            found += struct.unpack(f"<{len(part.data) // 4}I", part.data)
            if len(found) * block >= part.count or not part.data:
                break
        return found

    def read(self, source: Source, index: int, first: int, count: int) -> F32Array:
        """Floats [first, first + count) as the board has them. Raises BoardError."""
        data = b""
        for at in range(first, first + count, _READ_MAX):
            request = TensorRead(source, self.shard, index, at, min(_READ_MAX, first + count - at))
            data += self.board.command(Command.TENSOR_READ, request, Blob).data
        return np.frombuffer(data, "<f4").astype(np.float32)

    def write(self, source: Source, index: int, values: F32Array, first: int = 0) -> None:
        """Replace floats from `first` on. Raises BoardError."""
        flat = np.ascontiguousarray(values, "<f4").reshape(-1)
        for at in range(0, len(flat), _WRITE_MAX):
            part = flat[at : at + _WRITE_MAX].tobytes()
            request = TensorWrite(source, self.shard, index, first + at, part)
            self.board.command(Command.TENSOR_WRITE, request, Empty)

    def parameters(self, source: Source = Source.VALUE) -> list[int]:
        """CRC-32 of every parameter (or its gradient or state) in the contract's order, then of cos and sin."""
        found: list[int] = []
        while True:
            request = ParametersRead(source, self.shard, len(found))
            part = self.board.command(Command.PARAMETERS_READ, request, ParametersPart, timeout_s=DIGESTS_TIMEOUT_S)
            found += struct.unpack(f"<{len(part.data) // 4}I", part.data)
            if len(found) >= part.total or not part.data:
                return found

    def replay(self, parts: int, **what: float) -> None:
        """Run ops again on the inputs that were written; the rank's taps are then those of the replay.

        Args:
            parts: bits of hil.protocol.tensor_messages.Part.
            what: token, position, microbatch, temperature, index, count; 0 where left out.
        Raises: BoardError.
        """
        rest = {name: int(what.get(name, 0)) for name in ("token", "position", "microbatch", "index", "count")}
        request = Replay(self.shard, parts, **rest, temperature=what.get("temperature", 0.0))
        job = self.board.command(Command.REPLAY, request, JobStarted).job
        self.ring.wait_jobs([(self.board, job)], timeout_s=REPLAY_TIMEOUT_S)

    def wrong_blocks(self, source: Source, index: int, golden: F32Array, block: int = BLOCK) -> list[int]:
        """Numbers of the blocks at the tensor's beginning that are not those of golden, which may be shorter."""
        flat = golden.reshape(-1)
        expected = [digest(flat[at : at + block]) for at in range(0, len(flat), block)]
        found = self.digests(source, index, block, len(expected))
        found += [0] * (len(expected) - len(found))
        return [number for number, (ours, theirs) in enumerate(zip(expected, found, strict=True)) if ours != theirs]
