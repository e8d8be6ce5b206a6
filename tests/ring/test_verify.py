"""`hil verify` and what stands behind it: the wrong number is named, and whether op, input or link made it wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from golden.generate import GenerationRequest
from golden.optimizer import AdamW, Sgd
from golden.plan import shard_plan
from golden.taps import NO_LAYER, Op, TapKey
from golden.tensors import generation_tensors, rank_pieces
from hil.bench.divergence.ram import arena_address, cache_address, flip_bit
from hil.checks.model.training import windows
from hil.checks.model.verify import VerifiedTraining, verify_generation
from hil.cli import main
from hil.errors import BoardError
from hil.pictures.mismatch import mismatch_svg
from hil.protocol.messages import Command, Empty, JobStarted
from hil.protocol.tensor_messages import Part, Source
from hil.ring.tensors import RankTensors
from hil.ring.training import Plan, RingTraining
from hil.session import Session
from hil.toolchain import build_image, default_out
from tests.broken import broken_image

POSITIONS = 6
LINE = Path("fixtures/corpus.txt").read_text().splitlines()[0]


def request_of(session, positions=POSITIONS, **settings):
    return GenerationRequest(tuple(session.model.encode_prompt("Once", positions)), positions, **settings)


def verify(session, ring, positions=POSITIONS, **options):
    return verify_generation(ring, session.model.weights, request_of(session, positions), parameters=True, **options)[1]


def flip(ring, rank, source, index, value, bit):
    """Invert a bit of a value on a board behind its back; returns the value as it was."""
    tensors = RankTensors(ring, rank)
    held = tensors.read(source, index, value, 1)
    tensors.write(source, index, (held.view(np.uint32) ^ np.uint32(1 << bit)).view(np.float32), value)
    return held[0]


def parameter_index(session, ring, rank, piece):
    plan = shard_plan(session.model.weights.config.n_layers, ring.world_size)[rank]
    return rank_pieces(session.model.weights.config, plan).index(piece)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_run_that_is_right_costs_about_four_bytes_for_each_tensor(open_ring, world_size):
    session, ring = open_ring(world_size=world_size)
    verification = verify(session, ring, 8)
    assert verification.good, verification.describe()
    tables_on_each_rank = 2 * world_size
    assert verification.parameters == 9 * 5 + 2 + tables_on_each_rank
    assert verification.bytes_per_tensor < 6
    assert verification.mismatches.wrong == 0


def test_flipped_bit_of_a_weight_is_named_with_both_values_and_left_as_it_is(open_ring):
    session, ring = open_ring()
    index = parameter_index(session, ring, 1, ("wq", 3))
    right = flip(ring, 1, Source.VALUE, index, 5, 20)
    for _ in range(2):
        verification = verify(session, ring)
        found = verification.finding
        assert (found.kind, found.cause, found.op, found.layer, found.rank) == ("input", "weights", Op.Q, 3, 1)
        (culprit,) = found.culprits
        assert (culprit.name, culprit.layer, culprit.index) == ("wq", 3, 5)
        assert culprit.golden == right.view(np.uint32)
        assert "bit 20 is flipped" in verification.describe()
        assert "again:   on the golden's inputs and parameter Q is right" in verification.describe()
    flip(ring, 1, Source.VALUE, index, 5, 20)
    assert verify(session, ring).good


def test_flipped_bit_that_no_tap_shows_is_found_by_the_parameters_digest(open_ring):
    session, ring = open_ring()
    unused = session.model.weights.config.seq_len - 1
    width = session.model.weights.config.head_size // 2
    flip(ring, 2, Source.VALUE, parameter_index(session, ring, 2, ("freq_sin", NO_LAYER)), unused * width, 3)
    verification = verify(session, ring)
    assert all(part.good for part in verification.parts)
    assert not verification.good
    assert (verification.finding.kind, verification.finding.rank) == ("input", 2)
    assert "every tap is the golden's, and yet:" in verification.describe()
    assert "freq_sin on rank 2" in verification.describe()


def test_flipped_bit_of_a_cached_key_is_no_wrong_op(open_ring):
    session, ring = open_ring()
    config = session.model.weights.config
    plan = shard_plan(config.n_layers, 4)[0]
    address = cache_address(config, plan, arena_address(ring, 0), 1, 2, 0, values=False)

    def strike(token):
        if token.position == 3:  # behind the board's back, in the middle of its job
            flip_bit(ring.desk.simulation, 0, address, 22)

    found = verify(session, ring, 16, on_token=strike).finding  # the event takes as long as two tokens
    assert (found.kind, found.cause, found.op, found.layer, found.rank) == ("input", "cache", Op.ATT_PROB, 1, 0)
    assert found.culprits[0].name == "cached key of position 2"
    assert found.culprits[0].index == 0


OPS = {
    "forward": (
        "model/forward.c",
        "swiglu(b->hidden, b->up, c->hidden_dim);",
        "swiglu(b->hidden, b->up, c->hidden_dim - (at->number == 2));",
        (Op.SWIGLU, 2, 1),
    ),
    "head": (
        "model/forward.c",
        "matvec(m->buffers.logits, m->weights.wcls,",
        "matvec(m->buffers.logits, m->weights.wcls + 1,",
        (Op.LOGITS, NO_LAYER, 3),
    ),
}


@pytest.mark.parametrize("name", OPS)
def test_wrong_op_is_wrong_again_on_the_goldens_inputs(open_ring, tmp_path, name):
    file, right, wrong, place = OPS[name]
    session, ring = open_ring(image=broken_image(tmp_path, file, right, wrong))
    verification = verify(session, ring)
    found = verification.finding
    assert (found.op, found.layer, found.rank) == place
    assert (found.kind, found.cause, found.position) == ("op", "op", 0)
    assert f"on the golden's inputs {found.op.name} is still wrong" in verification.describe()
    assert found.values.differing >= 1
    assert f"R{found.rank}" in verification.mismatches.text()


def test_board_that_plays_all_ranks_names_the_rank(open_ring):
    session, ring = open_ring(rig="sim-loopback")
    flip(ring, 1, Source.VALUE, parameter_index(session, ring, 1, ("w2", 2)), 100, 24)
    found = verify(session, ring).finding
    assert (found.kind, found.cause, found.op, found.layer, found.rank) == ("input", "weights", Op.FFN_OUT, 2, 1)
    assert found.replayed == "on the golden's inputs and parameter FFN_OUT is right"


# --- training ----------------------------------------------------------------------------------

TRAINING = Plan(AdamW(1e-3, weight_decay=0.1), 4, microbatches=2, slots=2, clip=1.0)


def training_of(session, ring, plan=TRAINING, steps=2):
    batches = windows(session.model.tokenizer.encode(LINE), plan, steps)
    return VerifiedTraining(ring, session.model.weights, batches, plan, parameters=True)


def first_finding(training):
    found = [verification for _, verification in training.steps() if not verification.good]
    assert found, "nothing was found"
    return found[0]


@pytest.mark.parametrize("plan", [TRAINING, Plan(Sgd(0.05, momentum=0.9), 4)], ids=["adamw", "momentum"])
def test_training_that_is_right_is_good_step_by_step(open_ring, plan):
    session, ring = open_ring(world_size=2)
    training = training_of(session, ring, plan)
    assert [(result.number, verification.good) for result, verification in training.steps()] == [(1, True), (2, True)]
    assert training.training.steps == 2


def test_wrong_inputs_of_a_step_are_told_from_wrong_ops(open_ring):
    """A weight before the step, the optimiser's state, a gradient that is not zero: each by its name."""
    session, ring = open_ring()
    training = training_of(session, ring)
    assert training.step(0)[1].good
    index = parameter_index(session, ring, 2, ("w1", 4))
    flip(ring, 2, Source.FIRST, index, 77, 22)
    found = training.step(1)[1].finding
    assert (found.kind, found.cause, found.op, found.layer, found.rank) == ("input", "state", Op.PARAM_W1, 4, 2)
    assert (found.culprits[0].name, found.culprits[0].index) == ("first of w1", 77)

    ring.boot(session.image("ring"))
    training = training_of(session, ring)
    flip(ring, 0, Source.VALUE, parameter_index(session, ring, 0, ("wo", 1)), 9, 25)
    found = training.step(0)[1].finding
    assert (found.kind, found.cause, found.op, found.layer, found.rank) == ("input", "weights", Op.ATT_OUT, 1, 0)


# --- the boards' side --------------------------------------------------------------------------


def test_tensor_that_was_not_kept_is_kept_when_the_run_is_done_again(open_ring, tmp_path):
    """With little memory a board keeps the first tensors; the one that is wanted comes with another run."""
    name, right, wrong, place = OPS["head"]
    image = broken_image(tmp_path, name, right, wrong)
    source = tmp_path / "firmware" / "ring" / "tensors.c"
    text = source.read_text()
    small = "return bytes < 4096u ? bytes : 4096u;"
    found = "return (uint32_t)((board->arm_memory_bytes - from)"
    assert text.count(found) == 1
    source.write_text(
        text.replace(found, "uint32_t bytes = (uint32_t)((board->arm_memory_bytes - from)").replace(
            "~(uint32_t)(sizeof(float) - 1);", f"~(uint32_t)(sizeof(float) - 1);\n    {small}", 1
        )
    )
    image = build_image("ring", source=tmp_path / "firmware", out=tmp_path / "out", objects=default_out() / "objects")
    session, ring = open_ring(world_size=2, image=image)
    kept = RankTensors(ring, 1).keep()
    assert kept.there_bytes == 4096
    request = request_of(session)
    ring.generate(request.prompt, POSITIONS)
    with pytest.raises(
        BoardError, match=r"tensor of tap 29 was not kept: 4096 bytes .* send TENSOR_KEEP with first 29"
    ):
        RankTensors(ring, 1).digests(Source.TAP, 29)
    found = verify(session, ring).finding
    assert (found.op, found.layer, found.kind) == (place[0], place[1], "op")
    assert found.values is not None


def test_op_runs_again_on_what_was_written(open_ring):
    session, ring = open_ring()
    request = request_of(session)
    ring.generate(request.prompt, POSITIONS)
    golden = generation_tensors(session.model.weights, request.prompt[:1], 0.0)
    tensors = RankTensors(ring, 0)
    tensors.write(Source.INPUT, 0, golden[TapKey(0, NO_LAYER, Op.EMBED)])
    tensors.replay(Part.LAYERS, position=0)
    last = TapKey(0, 1, Op.FFN_RES)
    records = ring.tap_records(0)
    assert records[-1].key == last.pack()
    assert tensors.wrong_blocks(Source.TAP, len(records) - 1, golden[last], 7) == []
    spoiled = golden[last].copy()
    spoiled[10] += 1
    assert tensors.wrong_blocks(Source.TAP, len(records) - 1, spoiled, 7) == [1]
    assert np.array_equal(tensors.read(Source.INPUT, 0, 0, 64), golden[last])


REFUSALS = {
    "tap": (lambda t: t.read(Source.TAP, 9999, 0, 1), r"tap 9999 of \d+; they count from 0"),
    "tensor": (lambda t: t.read(Source.GRADIENT, 0, 0, 1), "there is no tensor 0 of source 2 on this board"),
    "source": (lambda t: t.parameters(Source.KEYS), "source 5 is none of parameters; give 1 to 4"),
    "range": (lambda t: t.read(Source.KEYS, 0, 16383, 2), r"floats 16383 to 16385 of a tensor that has 16384"),
    "write": (lambda t: t.write(Source.TAP, 0, np.zeros(1, np.float32)), "what was seen; it cannot be written"),
    "parts": (
        lambda t: t.replay(Part.LAYERS | Part.UPDATE),
        "parts 0x402; give bits of 0xf, or of 0x3f0, or 0x400 alone",
    ),
    "role": (lambda t: t.replay(Part.HEAD), "rank 0 has no embedding and no head"),
    "training": (lambda t: t.replay(Part.TRAIN_FORWARD), "no training is set up; send TRAIN_SETUP first"),
    "position": (lambda t: t.replay(Part.LAYERS, position=100), "position 100; the cache holds 6"),
    "block": (lambda t: t.digests(Source.KEYS, 0, 0, 1), "blocks of 0 floats; give 1 or more"),
}


def test_what_cannot_be_is_refused_with_a_sentence(open_ring):
    session, ring = open_ring()
    ring.generate(request_of(session).prompt, POSITIONS)
    tensors = RankTensors(ring, 0)
    for what, (ask, sentence) in REFUSALS.items():
        with pytest.raises(BoardError, match=sentence):
            ask(tensors)
            pytest.fail(what)
    tensors.shard = 3
    with pytest.raises(BoardError, match="shard 3 of 1; they count from 0"):
        tensors.keep()
    RingTraining(ring, session.model.weights.config, TRAINING)
    with pytest.raises(BoardError, match="no step is held; send TRAIN_STEP with flag 4 first"):
        ring.head.command(Command.TRAIN_APPLY, Empty(), JobStarted)


# --- command, picture --------------------------------------------------------------------------


def test_command_tells_good_from_bad(capsys, tmp_path, monkeypatch):
    arguments = ["verify", "--world", "2", "--positions", "4", "--logs", str(tmp_path), "--json"]
    assert main(arguments) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["good"], figures["taps"], figures["equal"]) == (True, 4 * 87, 4 * 87)
    assert figures["bytes_per_tensor"] < 8
    assert main([*arguments, "--train", "--steps", "1"]) == 0
    capsys.readouterr()
    picture = tmp_path / "map.svg"
    images = {"ring": broken_image(tmp_path, *OPS["forward"][:3]), "kernel": build_image("kernel")}
    monkeypatch.setattr(Session, "image", lambda self, name, compiler=None: images[name])
    assert main([*arguments, "--svg", str(picture)]) == 1
    shown = capsys.readouterr().out
    assert "first difference: SWIGLU of layer 2 on rank 0, position 0" in shown
    assert json.loads(shown.splitlines()[-1])["finding"]["op"] == "SWIGLU"
    assert picture.read_text().count('class="cell differs"') > 5


def test_map_draws_what_differs(open_ring, tmp_path):
    session, ring = open_ring(world_size=1, image=broken_image(tmp_path, *OPS["forward"][:3]))
    mismatches = verify(session, ring).mismatches
    assert {row.label: row.cells for row in mismatches.rows}["R0 L2 SWIGLU"] == "x" * POSITIONS
    assert {row.label: row.cells for row in mismatches.rows}["R0 L2 UP"] == "=" * POSITIONS
    text = mismatches.text(5)
    assert "R0 L2 UP        ======" in text
    assert "of them different" in text
    assert "R0 L2 SWIGLU" in mismatch_svg(mismatches, "<title>")
    assert "&lt;title&gt;" in mismatch_svg(mismatches, "<title>")
