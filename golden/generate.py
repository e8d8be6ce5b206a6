"""Generate: a whole generation with the digest of every tap, and which rank records which tap.

Order of taps on a board: firmware/ring/jobs.c and firmware/model/forward.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from golden.forward import Forward
from golden.plan import RankPlan, shard_plan
from golden.sampler import Sampler
from golden.taps import NO_LAYER, Census, Oddity, Op, RankTap, TapDigest, TapKey
from golden.weights import Weights

BOS = 1
"""Ends a generation when it is sampled."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to generate, for the golden, a ring and everything between them.

    prompt: at least one token; the first is the token at position 0 (BOS as a rule).
    positions: forward steps, 1 .. seq_len.
    temperature: 0 for greedy.
    topp: in (0, 1) for top-p sampling, else from all tokens.
    rng_seed: 64-bit state of the sampler; 0 counts as 1.
    """

    prompt: Sequence[int]
    positions: int
    temperature: float = 0.0
    topp: float = 0.9
    rng_seed: int = 1


@dataclass(frozen=True, slots=True)
class Generation:
    """tokens[p] is the token chosen at position p for position p + 1, forced by the prompt or sampled.

    taps: key and CRC-32 of every tap in the execution order of a single board, without hops.
    odd: of these, tensors that are not finite or all zero, by CRC-32.
    """

    tokens: list[int]
    taps: list[TapDigest]
    odd: Mapping[int, Oddity] = field(default_factory=dict)


def generate(weights: Weights, request: GenerationRequest, *, record: bool = True) -> Generation:
    """Runs all positions of a request, fewer when BOS is sampled.

    Args:
        record: digest taps.
    Raises: ValueError when the prompt is empty or positions does not fit the context.
    """
    prompt, positions = request.prompt, request.positions
    if not prompt:
        raise ValueError("the prompt is empty: give at least one token, BOS (1) as a rule")
    if not 1 <= positions <= weights.config.seq_len:
        raise ValueError(f"{positions} positions do not fit: this model's context allows 1 to {weights.config.seq_len}")
    forward = Forward(weights, record=record)
    sampler = Sampler(request.temperature, request.topp, request.rng_seed)
    tokens: list[int] = []
    taps: list[TapDigest] = []
    census = Census()
    token = prompt[0]
    for position in range(positions):
        logits = forward.step(token, position)
        taps += [(key, census.digest(x)) for key, x in forward.take_taps()]
        forced = position + 1 < len(prompt)
        token = prompt[position + 1] if forced else sampler.next(logits)
        if record and not forced and sampler.probs is not None:
            taps.append((TapKey(position, NO_LAYER, Op.PROBS), census.digest(sampler.probs)))
        tokens.append(token)
        if token == BOS and not forced:
            break
    return Generation(tokens, taps, census.odd)


def expected_taps(taps: Sequence[TapDigest], n_layers: int, world_size: int) -> list[list[RankTap]]:
    """What each rank of a ring must record, in its order, hops included.

    Args:
        taps: of a Generation.
        n_layers: of the model.
        world_size: boards in the ring; 1 has no hops.
    Returns: one list per rank.
    """
    plans = shard_plan(n_layers, world_size)
    by_position: dict[int, list[TapDigest]] = {}
    for key, crc in taps:
        by_position.setdefault(key.position, []).append((key, crc))
    return [
        [tap for position in sorted(by_position) for tap in _of_rank(plan, n_layers, by_position[position])]
        for plan in plans
    ]


def _of_rank(plan: RankPlan, n_layers: int, taps: Sequence[TapDigest]) -> list[RankTap]:
    """The taps of one position that a rank records. A hop has the digest of the tensor that crosses."""
    if plan.has_embed and plan.has_head and plan.layer_end - plan.layer_start == n_layers:
        return [RankTap(key, crc, 1) for key, crc in taps]
    crcs = dict(taps)
    position = taps[0][0].position

    def crossing(after_layer: int) -> int:
        """Digest of what leaves layer `after_layer`; -1: the embedding."""
        if after_layer < 0:
            return crcs[TapKey(position, NO_LAYER, Op.EMBED)]
        return crcs[TapKey(position, after_layer, Op.FFN_RES)]

    def hop(op: Op, after_layer: int) -> TapDigest:
        return TapKey(position, NO_LAYER, op), crossing(after_layer)

    opening: list[TapDigest] = []
    if plan.has_head:
        opening = [*(tap for tap in taps if tap[0].op is Op.EMBED), hop(Op.HOP_SEND, -1)]
        head = [tap for tap in taps if tap[0].op in (Op.FINAL_NORM, Op.LOGITS, Op.PROBS)]
        rest = [hop(Op.HOP_RECEIVE, n_layers - 1), *head]
    else:
        owned = [tap for tap in taps if plan.layer_start <= tap[0].layer < plan.layer_end]
        rest = [hop(Op.HOP_RECEIVE, plan.layer_start - 1), *owned, hop(Op.HOP_SEND, plan.layer_end - 1)]
    return [RankTap(*tap, 0) for tap in opening] + [RankTap(*tap, plan.rank + 1) for tap in rest]
