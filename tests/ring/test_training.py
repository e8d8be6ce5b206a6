"""Trainings on simulated rings: equal to the golden on any number of boards; wrong ops, input and order are named."""

from pathlib import Path

import pytest

from golden.optimizer import AdamW, Sgd
from hil.checks.model.taps import compare_taps
from hil.checks.model.training import expected_step, golden_training, same_losses, windows
from hil.cli import main
from hil.errors import BoardError, LinkError, ModelError
from hil.protocol.link_messages import Bank
from hil.protocol.messages import Command, Empty, JobStarted
from hil.protocol.training_messages import TrainResult, TrainStep, TrainTokens
from hil.ring.training import Plan, RingTraining
from tests.broken import broken_image

TEXT = Path("fixtures/corpus.txt").read_text()
LINE = TEXT.splitlines()[0]


def run(session, ring, plan, steps):
    """(result, golden step, comparison) of each step."""
    config = session.model.weights.config
    text = LINE if plan.positions < 64 else TEXT[:8000]
    batches = windows(session.model.tokenizer.encode(text), plan, steps)
    golden = golden_training(session.model.weights, batches, plan)
    training = RingTraining(ring, config, plan)
    for batch, step in zip(batches, golden.steps, strict=True):
        result = training.step(batch)
        yield result, step, compare_taps(ring, expected_step(step, ring, config.n_layers, plan))


def check(session, ring, plan, steps):
    for result, step, comparison in run(session, ring, plan, steps):
        assert comparison.first is None, comparison.first.describe()
        assert comparison.good
        assert same_losses(result, step)
    assert ring.desk.contentions() == []


def test_ten_steps_of_adamw_equal_the_goldens_on_images_of_both_compilers(open_ring, compiler):
    session, ring = open_ring(compiler=compiler)
    check(session, ring, Plan(AdamW(1e-3, weight_decay=0.1), 16, clip=1.0), 10)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 7])
def test_any_number_of_boards_trains_alike(open_ring, world_size):
    session, ring = open_ring(world_size=world_size)
    check(session, ring, Plan(AdamW(1e-3), 8, microbatches=2, slots=2), 2)


@pytest.mark.parametrize(
    "optimizer", [Sgd(0.05), Sgd(0.05, momentum=0.9, weight_decay=0.01)], ids=["plain", "momentum"]
)
def test_sgd_equals_the_goldens(open_ring, optimizer):
    session, ring = open_ring()
    check(session, ring, Plan(optimizer, 8, clip=0.5), 3)


@pytest.mark.parametrize(("microbatches", "slots"), [(5, 1), (5, 2), (5, 5)], ids=["one", "two", "all"])
def test_the_number_of_microbatches_under_way_changes_no_bit(open_ring, microbatches, slots):
    session, ring = open_ring()
    check(session, ring, Plan(AdamW(1e-3), 6, microbatches, slots), 2)


def test_hop_longer_than_a_frame_travels_in_two(open_ring):
    session, ring = open_ring(world_size=2)
    dim = session.model.weights.config.dim
    positions = 65536 // (4 * dim)
    check(session, ring, Plan(Sgd(1e-3), positions), 1)
    assert ring.link_counters(0, Bank.UPSTREAM).frames_sent == 2


def test_command_shows_every_step_and_fails_on_a_difference(capsys, tmp_path, monkeypatch):
    arguments = ["train", "--world", "2", "--steps", "2", "--positions", "4", "--logs", str(tmp_path)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "steps        2 of 1 x 4 positions, 2 losses equal to the golden's" in shown
    monkeypatch.setattr("hil.checks.model.verify.golden_training", lambda w, b, p: golden_training(w, b[::-1], p))
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert "DIFFERENT: the golden's is" in shown
    assert "steps        1 of 1 x 4 positions, 0 losses equal to the golden's" in shown
    assert "first difference: EMBED on rank 1, microbatch 0, position 0 (tap 0)" in shown
    assert "  kind:    digest" in shown, "what the boards hold is right; the golden was given other batches"


def test_one_board_trains_through_its_jumpers(open_ring):
    session, ring = open_ring(rig="sim-loopback")
    check(session, ring, Plan(AdamW(1e-3), 6, microbatches=2, slots=2), 2)


ERRORS = {
    "layer 2 forgets the last element of its gate's gradient": (
        "model/backward.c",
        "swiglu_backward(gate, up, s->d_hidden, c->hidden_dim);",
        "swiglu_backward(gate, up, s->d_hidden, c->hidden_dim - (w->at.number == 2));",
        "D_GATE of layer 2 on rank 1, microbatch 0, position 0",
    ),
    "a gradient is not cleared": (
        "ring/train_jobs.c",
        "model_train_begin(&board->trains[i]);",
        "if (board->rank != 2 || training->steps == 0) model_train_begin(&board->trains[i]);",
        "GRAD_RMS_ATT of layer 4 on rank 2, after all microbatches",
    ),
    "rank 1 does not count the step of AdamW": (
        "model/optimizer.c",
        "t->power2 = t->power2 * s->beta2;",
        "t->power2 = t->model->rank == 1 ? s->beta2 : t->power2 * s->beta2;",
        "PARAM_RMS_ATT of layer 2 on rank 1, after all microbatches",
    ),
    "rank 2 sends an old gradient": (
        "ring/train_jobs.c",
        "memcpy(hop->x, block->x + (uintptr_t)position * dim_of(board), floats * sizeof(float));",
        "memcpy(hop->x, block->x + (uintptr_t)position * dim_of(board), floats * sizeof(float));\n"
        "    if (block->type == LINK_GRADIENT && board->rank == 2) hop->x[0] = 0.0f;",
        "D_HOP_RECEIVE on rank 1, microbatch 0, position 0",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_one_wrong_line_is_named(open_ring, tmp_path, error):
    name, right, wrong, named = ERRORS[error]
    session, ring = open_ring(image=broken_image(tmp_path, name, right, wrong))
    comparisons = [comparison for _, _, comparison in run(session, ring, Plan(AdamW(1e-3), 4), 2)]
    first = next(comparison.first for comparison in comparisons if comparison.first is not None)
    assert first.describe().startswith(f"first difference: {named}")
    assert first.kind == ("link" if "HOP" in named else "op")
    assert not all(comparison.good for comparison in comparisons)


REFUSALS = {
    "positions": (Plan(Sgd(0.1), 2000), r"2000 positions; 1 to \d+ \(the model's context\)"),
    "microbatches": (Plan(Sgd(0.1), 4, 513), "513 microbatches; 1 to 512"),
    "slots": (Plan(Sgd(0.1), 4, 3, 4), "4 slots for 3 microbatches; 1 to 64, at most one for each"),
    "memory": (Plan(AdamW(0.1), 256, 512, 64), "too little memory to train: use fewer positions"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_plan_that_cannot_be_is_refused(open_ring, what):
    plan, sentence = REFUSALS[what]
    session, ring = open_ring(world_size=2)
    with pytest.raises(BoardError, match=sentence):
        RingTraining(ring, session.model.weights.config, plan)


def test_commands_of_training_out_of_turn_are_refused(open_ring):
    session, ring = open_ring(world_size=2)
    plan = Plan(Sgd(0.1), 4)
    for command, request, expect in (
        (Command.TRAIN_STEP, TrainStep(0, 1000), JobStarted),
        (Command.TRAIN_RESULT, Empty(), TrainResult),
    ):
        with pytest.raises(BoardError, match="no training is set up; send TRAIN_SETUP first"):
            ring.head.command(command, request, expect)
    RingTraining(ring, session.model.weights.config, plan)
    with pytest.raises(BoardError, match="0 tokens are here, a step takes 5; send TRAIN_TOKENS first"):
        ring.head.command(Command.TRAIN_STEP, TrainStep(0, 1000), JobStarted)
    with pytest.raises(BoardError, match="rank 0 has no embedding; the last rank takes the tokens"):
        ring.boards[0].command(Command.TRAIN_TOKENS, TrainTokens(0, bytes(10)), Empty)
    with pytest.raises(BoardError, match="10 bytes of tokens from token 2 on; 0 tokens are here and a step takes 5"):
        ring.head.command(Command.TRAIN_TOKENS, TrainTokens(2, bytes(10)), Empty)
    with pytest.raises(BoardError, match="token 1 is 65535; the vocabulary ends at 512"):
        ring.head.command(Command.TRAIN_TOKENS, TrainTokens(0, b"\0\0\xff\xff" + bytes(6)), Empty)


def test_batch_that_is_not_the_plans_is_refused(open_ring):
    session, ring = open_ring(world_size=2)
    training = RingTraining(ring, session.model.weights.config, Plan(Sgd(0.1), 4))
    with pytest.raises(ModelError, match="step 0: 1 microbatches of 4 tokens; this training was set up for 1 of 5"):
        training.step([[1, 2, 3, 4]])
    with pytest.raises(ModelError, match="step 0: token 512 is outside the vocabulary of 512"):
        training.step([[1, 2, 3, 4, 512]])
    with pytest.raises(ModelError, match="a text of 4 tokens is too short for 4 positions"):
        windows([1, 2, 3, 4], training.plan, 1)
    with pytest.raises(ModelError, match="a training of 0 steps: give 1 or more"):
        windows([1, 2, 3, 4, 5], training.plan, 0)


def test_step_that_breaks_off_names_the_link_and_asks_for_a_boot(open_ring):
    session, ring = open_ring()
    plan = Plan(Sgd(0.1), 4)
    training = RingTraining(ring, session.model.weights.config, plan)
    ring.desk.set_faults(["stuck0:1-2.CLK"])
    with pytest.raises(LinkError, match="so:      link 1->2 CLK: .*stuck at 0"):
        training.step([[1, 2, 3, 4, 5]])
    ring.desk.set_faults(())
    with pytest.raises(BoardError, match="a step of training broke off, so ranks may hold .*; boot again"):
        RingTraining(ring, session.model.weights.config, plan)
    ring.boot(session.image("ring"))
    assert all(comparison.good for _, _, comparison in run(session, ring, plan, 1))


def test_held_step_that_breaks_off_is_tried_again_without_a_boot(open_ring):
    """Nobody has changed a parameter."""
    session, ring = open_ring()
    plan = Plan(Sgd(0.1), 4)
    training = RingTraining(ring, session.model.weights.config, plan)
    whole = training.step([[1, 2, 3, 4, 5]], hold=True)
    ring.desk.set_faults(["open:2-3.ACK"])
    with pytest.raises(LinkError, match="so:      link 2->3 ACK: .*open"):
        training.step([[1, 2, 3, 4, 5]], hold=True)
    ring.desk.set_faults(())
    again = training.step([[1, 2, 3, 4, 5]], hold=True)
    assert (again.losses, again.norm) == (whole.losses, whole.norm)


def test_ring_boots_again_with_the_weights_of_its_cards(open_ring):
    session, ring = open_ring()
    plan = Plan(Sgd(0.05), 4)
    first = [result.loss for result, _, _ in run(session, ring, plan, 2)]
    assert ring.trained
    ring.boot(session.image("ring"))
    assert not ring.trained
    assert [result.loss for result, _, _ in run(session, ring, plan, 2)] == first
