"""Full size: a random model of the 110M shape over four boards of 512 MB; every digest of a token and of a step.

Slow, about two minutes and 4 GiB: `pytest -m slow -s tests/ring/test_full_size.py` prints what each part took.
"""

import resource
import sys
import time

import pytest
from made_models import make_model

from golden.generate import GenerationRequest
from golden.optimizer import AdamW, Sgd
from hil.checks.model.taps import compare_taps, golden_run
from hil.checks.model.training import expected_step, golden_training, same_losses
from hil.cli import main
from hil.commands.plan import board_image_size
from hil.errors import ModelError
from hil.model.plan import arm_bytes, plan_boards
from hil.protocol.memory_messages import MemoryMap
from hil.protocol.messages import Command, Empty
from hil.ring.training import Plan, RingTraining

SEED = 1
PLAN = Plan(Sgd(1e-2), 8)
TOKENS = [1, 5, 300, 4000, 31999, 17, 1000, 2, 9]
"""BOS, first and last rows of the embedding, bytes and pieces; T + 1 of them."""


@pytest.fixture
def clock():
    """clock(what) prints seconds of wall and processor time since the last call, and the greatest memory so far."""
    last = [time.perf_counter(), time.process_time()]

    def say(what: str) -> None:
        now = [time.perf_counter(), time.process_time()]
        rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
        print(f"{what:28} {now[0] - last[0]:7.1f} s wall {now[1] - last[1]:7.1f} s processor {rss_mib:7.0f} MiB peak")
        last[:] = now

    return say


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_largest_shape_on_four_boards_equals_the_golden(open_ring, tmp_path, clock):
    made = make_model(tmp_path, "110M", SEED)
    clock("synthetic checkpoint")
    session, ring = open_ring(**made)
    config = session.model.weights.config
    clock("shards, cards, boot")

    result = ring.generate([1], 1, timeout_s=600)
    clock("one token on the boards")
    expected = golden_run(session.model.weights, GenerationRequest([1], 1), 4)
    clock("one token by the golden")
    comparison = compare_taps(ring, expected.by_rank)
    assert comparison.first is None, comparison.first.describe()
    assert comparison.good
    assert result.tokens == expected.tokens
    print(f"{comparison.equal:,} of {comparison.compared:,} digests equal")

    with pytest.raises(ModelError, match="the training does not fit: board 0 needs 518,383,744 bytes"):
        session.check_memory(Plan(AdamW(1e-3), 8).size)
    session.check_memory(PLAN.size)
    training = RingTraining(ring, config, PLAN)
    check_plan(session, ring, training)
    clock("setting up the training")
    step = training.step([TOKENS], timeout_s=3600)
    clock("one step on the boards")
    golden = golden_training(session.model.weights, [[TOKENS]], PLAN).steps[0]
    clock("one step by the golden")
    comparison = compare_taps(ring, expected_step(golden, ring, config.n_layers, PLAN))
    assert comparison.first is None, comparison.first.describe()
    assert comparison.good
    assert same_losses(step, golden)
    print(
        f"{comparison.equal:,} of {comparison.compared:,} digests equal, {comparison.line_bytes:,} bytes over the lines"
    )
    assert ring.desk.contentions() == []


def check_plan(session, ring, training):
    """Shards, arenas and training as `hil plan` says, to the byte."""
    plans = plan_boards(
        session.model.weights.config, 4, [arm_bytes(512, 64)] * 4, training=PLAN.size,
        image=board_image_size(session.image("ring")),
    )  # fmt: skip
    for board, plan, memory in zip(ring.boards, plans, training.memory, strict=True):
        laid_out = board.command(Command.MEMORY_MAP, Empty(), MemoryMap)
        assert laid_out.shard_bytes == plan.shard
        assert laid_out.arena_address + laid_out.arena_bytes + laid_out.training_bytes == plan.total
        assert memory.needed_bytes == plan.training_bytes
        assert laid_out.gradients_bytes == plan.gradients
        assert laid_out.arm_memory_bytes - plan.total == plan.left


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_golden_takes_less_processor_time_than_the_boards(capsys, tmp_path):
    """A ratio of two times of one process, by a wide margin; see docs/performance.md."""
    assert main(["bench", "golden", "--logs", str(tmp_path)]) == 0
    assert "layer_110m_step" in capsys.readouterr().out
