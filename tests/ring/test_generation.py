"""Whole generations on simulated rings: equal to the golden, repeatable, on any number of boards."""

import dataclasses

import pytest

from golden.generate import GenerationRequest
from hil.checks.model.taps import compare_taps, golden_run

PROMPT = "Once upon a time"


def story(session, ring, *, positions, temperature=0.0, rng_seed=1, prompt=PROMPT):
    tokens = session.model.encode_prompt(prompt, positions)
    request = GenerationRequest(tokens, positions, temperature, rng_seed=rng_seed)
    result = ring.run_generation(request)
    golden = golden_run(session.model.weights, request, ring.world_size)
    return result, golden, compare_taps(ring, golden.by_rank)


@pytest.mark.parametrize(("temperature", "rng_seed"), [(0.0, 1), (0.9, 0xC0FFEE)], ids=["greedy", "top-p"])
def test_64_tokens_equal_the_goldens_on_images_of_both_compilers(open_ring, compiler, temperature, rng_seed):
    session, ring = open_ring(compiler=compiler)
    result, golden, comparison = story(session, ring, positions=64, temperature=temperature, rng_seed=rng_seed)
    assert comparison.first is None, comparison.first.describe()
    assert comparison.good
    assert result.tokens == golden.tokens
    assert ring.desk.contentions() == []


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 7])
def test_any_number_of_boards_tells_the_same_story(open_ring, world_size):
    session, ring = open_ring(world_size=world_size)
    result, golden, comparison = story(session, ring, positions=12)
    assert comparison.first is None, comparison.first.describe()
    assert result.tokens == golden.tokens
    assert ring.desk.contentions() == []


def test_two_generations_one_after_the_other_are_independent(open_ring):
    session, ring = open_ring()
    first, _, _ = story(session, ring, positions=8)
    other, _, _ = story(session, ring, positions=8, temperature=3.0, rng_seed=5)
    again, _, comparison = story(session, ring, positions=8)
    assert comparison.good
    assert first.tokens == again.tokens
    assert other.tokens != first.tokens


def run_and_read_logs(open_ring, name, seed):
    session, ring = open_ring(name=name, seed=seed)
    story(session, ring, positions=8)
    logs = [board.log.path.read_bytes() + board.log.raw_path.read_bytes() for board in ring.boards]
    return ring.desk.simulation.time_ns, logs


def test_one_seed_gives_the_same_logs_and_the_same_end_time(open_ring):
    assert run_and_read_logs(open_ring, "one", 7) == run_and_read_logs(open_ring, "two", 7)


def test_another_seed_gives_other_logs(open_ring):
    assert run_and_read_logs(open_ring, "one", 7) != run_and_read_logs(open_ring, "two", 8)


def test_boards_with_drifting_crystals_agree(open_ring):
    session, ring = open_ring(rig="fixtures/rigs/drifting.toml")
    result, golden, comparison = story(session, ring, positions=8)
    assert comparison.first is None, comparison.first.describe()
    assert result.tokens == golden.tokens
    assert ring.desk.contentions() == []


def test_raw_log_holds_every_byte_the_simulator_sent(open_ring):
    session, ring = open_ring()
    story(session, ring, positions=6)
    for board in ring.boards:
        counters = dataclasses.asdict(ring.desk.simulation.counters(board.rank))
        assert board.log.raw_path.stat().st_size == counters["uart_sent"]
