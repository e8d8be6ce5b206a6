"""Plan: which rank of a ring holds which part of a model.

The last rank holds the embedding and the head, which may share one matrix; the others hold the layers
in order. Used by the forward pass and by the shard files. Owns: RankPlan, the split of layers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RankPlan:
    """What one rank holds: layers [layer_start, layer_end), perhaps the embedding and the head."""

    rank: int
    layer_start: int
    layer_end: int
    has_embed: bool
    has_head: bool


def shard_plan(n_layers: int, world_size: int) -> list[RankPlan]:
    """Split a model over a ring; return one plan per rank, in order of rank.

    The last rank gets embedding and head, the other ranks the layers; where they do not divide, earlier
    ranks take one more. With more ranks than layers the last of them hold none and pass activations on.
    One board alone holds everything.
    Raises: ValueError if there is no layer or no board.
    """
    if n_layers < 1 or world_size < 1:
        raise ValueError(f"{n_layers} layers on {world_size} boards: both must be at least 1")
    if world_size == 1:
        return [RankPlan(0, 0, n_layers, has_embed=True, has_head=True)]
    each, remainder = divmod(n_layers, world_size - 1)
    plans = []
    start = 0
    for rank in range(world_size - 1):
        end = start + each + (1 if rank < remainder else 0)
        plans.append(RankPlan(rank, start, end, has_embed=False, has_head=False))
        start = end
    plans.append(RankPlan(world_size - 1, n_layers, n_layers, has_embed=True, has_head=True))
    return plans
