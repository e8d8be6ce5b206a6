"""Shards: do the boards hold the model that a run is compared with? Asked before the run, answered in one sentence.

Message: MODEL_INFO. A shard of other dimensions, or one in which most parameters are others, is another model's; single
wrong values are for hil/checks/model/explain.py to name.
"""

from __future__ import annotations

import zlib

import numpy as np

from golden.plan import shard_plan
from golden.taps import digest
from golden.tensors import TABLES, rank_pieces, stored
from golden.weights import Weights
from hil.board.board import Board
from hil.checks.model.scope import Told, Trouble
from hil.errors import ModelError
from hil.model.shard import ShardHeader, owned_tensors
from hil.protocol.messages import Command, Empty, ModelInfo
from hil.ring.ring import Ring
from hil.ring.tensors import RankTensors

DIMENSIONS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len", "shared_classifier")
INFO_TIMEOUT_S = 120.0
"""Of a first MODEL_INFO, for which the board reads its whole shard."""


def check_shards(ring: Ring, weights: Weights) -> list[Trouble]:
    """Compare dimensions and CRC-32 of every board's shard with the model's.

    A ring that was trained holds other weights than its cards, so then dimensions alone are compared.
    Raises: ModelError where a board holds a shard of another model; BoardError.
    """
    __tracebackhide__ = True
    ring.check_ranks()
    found = []
    for board in ring.boards:
        info = board.command(Command.MODEL_INFO, Empty(), ModelInfo, timeout_s=INFO_TIMEOUT_S)
        _check_dimensions(board, info, weights)
        if ring.trained:
            continue
        wanted = shard_crc32(ring, board, weights)
        if info.shard_crc32 == wanted:
            continue
        wrong, count = _wrong_parameters(ring, board, weights)
        crcs = f"its shard has CRC-32 {info.shard_crc32:08x}, the model's has {wanted:08x}"
        if 2 * wrong > count:
            raise ModelError(
                f"{board}: holds a shard of another model: {crcs}, {wrong} of {count} parameters differ; "
                "write its card again, or name its model with --model"
            )
        if not wrong:
            text = f"board {board.rank}: {crcs}, though every parameter is the model's"
            found.append(Trouble(Told.SHARD, board.rank, text))
    return found


def shard_crc32(ring: Ring, board: Board, weights: Weights) -> int:
    """CRC-32 of what should lie in a board's memory as its card gave it."""
    plans = shard_plan(weights.config.n_layers, ring.world_size)
    crc = 0
    for plan in plans if len(ring.boards) == 1 else [plans[board.rank]]:
        header = ShardHeader(weights.config, ring.world_size, plan)
        crc = zlib.crc32(header.pack(), crc)
        for _, tensor in owned_tensors(weights, header):
            crc = zlib.crc32(np.ascontiguousarray(tensor, "<f4").data, crc)
    return crc


def _check_dimensions(board: Board, info: ModelInfo, weights: Weights) -> None:
    wrong = [name for name in DIMENSIONS if getattr(info, name) != getattr(weights.config, name)]
    if wrong:
        told = ", ".join(
            f"{name} {getattr(info, name)} instead of {int(getattr(weights.config, name))}" for name in wrong
        )
        raise ModelError(
            f"{board}: holds a shard of another model: {told}; write its card again, or name its model with --model"
        )


def _wrong_parameters(ring: Ring, board: Board, weights: Weights) -> tuple[int, int]:
    """Parameters of a board that are not the model's, tables left aside, and how many there are."""
    wrong = count = 0
    for plan in shard_plan(weights.config.n_layers, ring.world_size):
        if ring.place(plan.rank)[0] is not board:
            continue
        pieces = [piece for piece in rank_pieces(weights.config, plan) if piece[0] not in TABLES]
        told = RankTensors(ring, plan.rank).parameters()[: len(pieces)]
        count += len(pieces)
        expected = [digest(stored(weights, piece)) for piece in pieces]
        wrong += sum(mine != theirs for mine, theirs in zip(told, expected, strict=False)) + len(pieces) - len(told)
    return wrong, count
