"""Memory plan: boards lay out what the plan says, to the byte; a run that would not fit is refused before boot."""

import pytest
from made_models import make_model

from golden.optimizer import AdamW, Sgd
from golden.weights import Config
from hil.cli import main
from hil.commands.plan import board_image_size
from hil.errors import BoardError, ModelError
from hil.model.plan import arm_bytes, plan_boards
from hil.protocol.memory_messages import MemoryMap
from hil.protocol.messages import Command, Empty
from hil.ring.training import Plan, RingTraining

ODD = Config(24, 33, 3, 3, 1, 261, 50, shared_classifier=False)
LONG = Config(32, 64, 8, 4, 4, 261, 32768)
"""Little to load, and much to lay out: 225 MB on the one board with layers of a ring of two."""
TRAININGS = [
    Plan(AdamW(1e-3), 7, 5, 3),
    Plan(Sgd(1e-3), 1),
    Plan(Sgd(1e-3, momentum=0.9), 50, 2, 1),
    Plan(AdamW(1e-3), 3),
]
"""A small one after a large one: what a board lays out must not depend on what it had before."""


def laid_out(ring):
    return [board.command(Command.MEMORY_MAP, Empty(), MemoryMap) for board in ring.boards]


def as_map(plan):
    """The plan in the board's words."""
    arena_bytes = plan.kv_cache + plan.arena + plan.taps
    start = 0x2000000 + plan.shard
    return MemoryMap(
        arm_memory_bytes=plan.arm, image_bytes=plan.image, stack_bytes=plan.stack, shard_bytes=plan.shard,
        arena_address=start + -start % (1 << 20), arena_bytes=arena_bytes - -start % (1 << 20),
        kv_cache_bytes=plan.kv_cache, taps_bytes=plan.taps, training_bytes=plan.training_bytes,
        gradients_bytes=plan.gradients, optimizer_bytes=plan.optimizer, activations_bytes=plan.activations,
        training_taps_bytes=plan.training_taps,
    )  # fmt: skip


def planned(session, ring, training=None):
    config = session.model.weights.config
    arm = [arm_bytes(512, 64)] * len(ring.boards)
    plans = plan_boards(
        config, ring.world_size, arm, training=training.size if training else None,
        one_board=len(ring.boards) < ring.world_size, image=board_image_size(session.image("ring")),
    )  # fmt: skip
    return [as_map(plan) for plan in plans]


@pytest.mark.parametrize("rig", ["tiny on 4", "tiny on 1", "odd on 3", "odd on 5", "tiny through jumpers"])
def test_boards_lay_out_what_the_plan_says(open_ring, tmp_path, rig):
    name, _, world = rig.partition(" on ")
    settings = {"rig": "sim-loopback"} if not world else {"world_size": int(world)}
    settings |= make_model(tmp_path, ODD) if name == "odd" else {}
    session, ring = open_ring(**settings)
    assert laid_out(ring) == planned(session, ring)
    for training in TRAININGS:
        memory = RingTraining(ring, session.model.weights.config, training).memory
        assert laid_out(ring) == planned(session, ring, training)
        assert [one.needed_bytes for one in memory] == [one.training_bytes for one in planned(session, ring, training)]


def test_a_training_that_does_not_fit_is_refused_with_the_plans_number(open_ring, tmp_path):
    session, ring = open_ring(world_size=2, **make_model(tmp_path, LONG))
    training = Plan(AdamW(0.1), 4096, 2, 2)
    (plan, _) = planned(session, ring, training)
    with pytest.raises(BoardError, match=rf"needs {plan.training_bytes} bytes, has \d+"):
        RingTraining(ring, session.model.weights.config, training)
    with pytest.raises(ModelError, match=f"the training does not fit: board 0 needs .*, {-over(plan):,} more than"):
        session.check_memory(training.size)


def over(plan):
    return plan.arm_memory_bytes - plan.arena_address - plan.arena_bytes - plan.training_bytes


@pytest.mark.parametrize("verb", ["generate", "train", "verify", "trace"])
def test_old_boards_refuse_before_boot_what_new_boards_run(tmp_path, capsys, verb):
    """Negative twin in one: the same run on boards of 512 MB is not refused."""
    made = make_model(tmp_path, LONG)
    text = tmp_path / "text"
    text.write_text("ab ab ab")
    for memory_mb in (256, 512):
        rig = tmp_path / f"old{memory_mb}.toml"
        rig.write_text(f"[rig]\nmemory_mb = {memory_mb}\n[sim]\nboards = 2\n")
        more = {
            "train": ["--steps", "1", "--text", str(text)],
            "trace": ["--generate", "--out", str(tmp_path / "out")],
        }
        options = ["--rig", str(rig), "--logs", str(tmp_path / "logs"), "--positions", "2", *more.get(verb, [])]
        model = ["--model", made["model"], "--tokenizer", made["tokenizer"]]
        code = main([verb, *options, *model])
        shown = capsys.readouterr()
        assert ("booted" in shown.out) == (memory_mb == 512)
        assert code == (0 if memory_mb == 512 else 1)
        if memory_mb == 256:
            assert "does not fit: board 0 needs" in shown.err
            assert "more than the 201,326,592 that it has for the ARM" in shown.err


def test_ring_fixture_refuses_before_boot(pytester, tmp_path):
    """In a user's project: the test never starts, and the sentence says which board is over by how much."""
    made = make_model(tmp_path, LONG)
    for memory_mb in (256, 512):
        (pytester.path / f"rig{memory_mb}.toml").write_text(f"[rig]\nmemory_mb = {memory_mb}\n[sim]\nboards = 2\n")
    pytester.makepyfile("def test_boards(boards):\n    assert len(boards) == 2")
    model = ["--hil-model", made["model"], "--hil-tokenizer", made["tokenizer"]]
    old = pytester.runpytest_subprocess("--hil-rig", "rig256.toml", *model)
    old.assert_outcomes(errors=1)
    old.stdout.fnmatch_lines(["*the generation does not fit: board 0 needs *"])
    assert not (pytester.path / "logs").exists()
    pytester.runpytest_subprocess("--hil-rig", "rig512.toml", *model).assert_outcomes(passed=1)
