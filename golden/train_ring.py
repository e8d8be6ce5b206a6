"""Train ring: which rank of a ring records which tap in a step of training, hops included.

Contract: docs/arithmetic.md, section 10. The board's order: firmware/ring/train_jobs.c.
"""

from __future__ import annotations

from collections.abc import Sequence

from golden.plan import RankPlan, shard_plan
from golden.taps import NO_LAYER, Op, RankTap, TapDigest, TapKey
from golden.train import Step


def ring_taps(
    step: Step, n_layers: int, world_size: int, slots: int = 1, *, one_board: bool = False
) -> list[list[RankTap]]:
    """What each rank must record in a step, in its order.

    Args:
        step: of the golden.
        slots: microbatches that go forward before the first of them goes backward.
        one_board: whether a single board plays all ranks; it takes one microbatch round at a time.
    Returns: one list per rank.
    """
    ranks = []
    for plan in shard_plan(n_layers, world_size):
        passages = [_Passage(i, taps, plan, n_layers, world_size) for i, taps in enumerate(step.taps)]
        under_way = 0 if one_board or world_size == 1 else world_size - 1
        ranks.append([*_in_order(passages, slots, under_way), *_ends(step, plan)])
    return ranks


def _in_order(passages: Sequence[_Passage], slots: int, under_way: int) -> list[RankTap]:
    """Group by group forward, then backward; the head's rank sends `under_way` microbatches before it takes one."""
    found: list[RankTap] = []
    for first in range(0, len(passages), slots):
        group = passages[first : first + slots]
        for backward in (False, True):
            for passage in group[:under_way]:
                found += passage.opening(backward)
            for i, passage in enumerate(group):
                following = group[i + under_way : i + under_way + 1]
                opened = [tap for next_passage in following for tap in next_passage.opening(backward)]
                arrived = passage.arrival(backward)
                found += [*arrived, *opened] if under_way else [*opened, *arrived]
                found += passage.work(backward)
    return found


class _Passage:
    """One microbatch as one rank sees it."""

    def __init__(self, number: int, taps: Sequence[TapDigest], plan: RankPlan, n_layers: int, world_size: int) -> None:
        self._number, self._plan, self._n_layers, self._world_size = number, plan, n_layers, world_size
        self._taps = taps
        self._crcs = dict(taps)
        self._positions = sum(1 for key, _ in taps if key.op is Op.EMBED)
        self._opens = plan.has_head and world_size > 1

    def opening(self, backward: bool) -> list[RankTap]:
        """What the head's rank records when it sends a microbatch round."""
        if not self._opens:
            return []
        if backward:
            return self._hop(Op.D_HOP_SEND, self._n_layers, self._world_size)
        return [*self._own(0, Op.EMBED), *self._hop(Op.HOP_SEND, 0, 0)]

    def arrival(self, backward: bool) -> list[RankTap]:
        """What a rank records when a microbatch comes."""
        plan = self._plan
        if self._world_size == 1:
            return []
        if backward:
            return self._hop(Op.D_HOP_RECEIVE, 0 if self._opens else plan.layer_end, self._stage(backward))
        return self._hop(Op.HOP_RECEIVE, self._n_layers if self._opens else plan.layer_start, self._stage(backward))

    def work(self, backward: bool) -> list[RankTap]:
        """What a rank records when it computes, and passes on."""
        plan, stage = self._plan, self._stage(backward)
        found = [
            RankTap(key, crc, stage, self._number)
            for key, crc in self._taps
            if _is_backward(key) == backward and self._holds(key)
        ]
        if self._world_size == 1 or self._opens:
            return found
        if backward:
            return found + self._hop(Op.D_HOP_SEND, plan.layer_start, stage)
        return found + self._hop(Op.HOP_SEND, plan.layer_end, stage)

    def _holds(self, key: TapKey) -> bool:
        if key.layer != NO_LAYER:
            return self._plan.layer_start <= key.layer < self._plan.layer_end
        return self._plan.has_head and not (self._opens and key.op is Op.EMBED)

    def _stage(self, backward: bool) -> int:
        """Forward rank r is stage r + 1 of 1 .. N; backward N is the head's send, then down to its arrival."""
        if not backward:
            return self._plan.rank + 1
        return 2 * self._world_size if self._opens else 2 * self._world_size - 1 - self._plan.rank

    def _own(self, stage: int, op: Op) -> list[RankTap]:
        return [RankTap(key, crc, stage, self._number) for key, crc in self._taps if key.op is op]

    def _hop(self, op: Op, boundary: int, stage: int) -> list[RankTap]:
        """A hop of all positions at the boundary before layer `boundary`."""
        return [
            RankTap(TapKey(position, NO_LAYER, op), self._crossing(op, boundary, position), stage, self._number)
            for position in range(self._positions)
        ]

    def _crossing(self, op: Op, boundary: int, position: int) -> int:
        """Digest of the stream, or of its gradient, before layer `boundary`."""
        if op in (Op.D_HOP_SEND, Op.D_HOP_RECEIVE):
            if boundary == self._n_layers:
                return self._crcs[TapKey(position, NO_LAYER, Op.D_HEAD)]
            return self._crcs[TapKey(position, boundary, Op.D_LAYER)]
        if boundary == 0:
            return self._crcs[TapKey(position, NO_LAYER, Op.EMBED)]
        return self._crcs[TapKey(position, boundary - 1, Op.FFN_RES)]


def _is_backward(key: TapKey) -> bool:
    """The head goes forward and backward in one, when a microbatch comes."""
    return key.layer != NO_LAYER and key.op >= Op.LOSS


def _ends(step: Step, plan: RankPlan) -> list[RankTap]:
    """Gradients, norm and parameters of a rank; all gradients come before all parameters."""
    last = len(step.taps)

    def holds(key: TapKey) -> bool:
        if key.layer == NO_LAYER:
            return plan.has_head or key.op is Op.GRAD_NORM
        return plan.layer_start <= key.layer < plan.layer_end

    def stage(op: Op) -> int:
        return 0 if op < Op.GRAD_NORM else 1 if op is Op.GRAD_NORM else 2

    return [RankTap(key, crc, stage(key.op), last) for key, crc in step.parameter_taps if holds(key)]
