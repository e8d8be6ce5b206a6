"""What a green verdict means: NaN on both sides, wrong tables, cards of another model, tokens that were only shown."""

import re
from dataclasses import replace

import numpy as np
import pytest
from made_models import make_model

from golden.generate import GenerationRequest
from golden.optimizer import Sgd
from golden.weights import Config, Weights
from hil.checks.model.scope import Told, Verdict
from hil.checks.model.verify import VerifiedTraining, verify_generation
from hil.cli import main
from hil.errors import ModelError
from hil.model.bundle import load_model
from hil.model.checkpoint import read_checkpoint, write_checkpoint
from hil.protocol.tensor_messages import Source
from hil.ring.ring import Ring
from hil.ring.tensors import RankTensors
from hil.ring.training import Plan

SMALL = Config(16, 24, 3, 2, 1, 259, 24, shared_classifier=False)
BATCH = [[[1, 40, 50, 60, 70]], [[1, 80, 90, 100, 110]]]
REQUEST = GenerationRequest([1, 40], 6)


def made(folder, change=None, config=SMALL):
    """Settings of a session with a small random model; change: what is done to its tensors, by name."""
    settings = make_model(folder, config)
    if change is not None:
        weights = read_checkpoint(settings["model"])
        tensors = {name: getattr(weights, name).copy() for name in Weights.__slots__ if name != "config"}
        change(tensors)
        write_checkpoint(Weights(config, **tensors), settings["model"])
    return settings


def put(name, index, value):
    """A change of one value, or of a whole tensor."""

    def change(tensors):
        tensors[name][index] = value

    return change


# --- values that are not finite, or zero throughout ------------------------------------------------


def test_one_nan_in_the_model_is_not_green(open_ring, tmp_path, capsys):
    settings = made(tmp_path, put("rms_att", (0, 0), np.nan))
    session, ring = open_ring(**settings)
    _, verification = verify_generation(ring, session.model.weights, REQUEST)
    assert verification.equal == verification.taps > 0
    assert (verification.verdict, verification.good) == (Verdict.DEGENERATE, False)
    assert re.search(
        r"NOT FINITE: [\d,]+ taps are not finite, and so are the golden's: the model or its card is damaged: "
        r"rms_att of layer 0, value \[0\] is nan",
        verification.describe(),
    )
    assert verify_generation(ring, session.model.weights, REQUEST, allowed=True)[1].good
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = ["generate", "--positions", "4", *options, "--logs", str(tmp_path / "logs")]
    assert main(command) == 1
    assert "  health       NOT FINITE: " in capsys.readouterr().out
    assert main([*command, "--allow-degenerate"]) == 0
    assert "  health       allowed: " in capsys.readouterr().out


def test_tensor_of_zeros_is_not_green(open_ring, tmp_path):
    session, ring = open_ring(**made(tmp_path, put("rms_att", (1,), 0.0)))
    verification = verify_generation(ring, session.model.weights, REQUEST)[1]
    assert verification.verdict is Verdict.DEGENERATE
    assert "taps are zero throughout, and so are the golden's" in verification.why
    assert "rms_att of layer 1 is zero throughout" in verification.why
    (step,) = list(VerifiedTraining(ring, session.model.weights, BATCH[:1], Plan(Sgd(0.05), 4)).steps())
    assert step[1].verdict is Verdict.DEGENERATE


def test_training_that_runs_away_on_both_sides_is_equal_but_not_green(open_ring, tmp_path, capsys):
    settings = made(tmp_path)
    text = tmp_path / "text"
    text.write_text("some text")
    options = [f"--{name}={value}" for name, value in settings.items()]
    options += ["--rate", "1e30", "--steps", "3", "--positions", "4", "--text", str(text)]
    command = ["train", *options, "--logs", str(tmp_path / "logs")]
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "DIFFERENT" not in shown
    assert "equal, but NOT FINITE or zero throughout" in shown
    assert "every parameter that the run began with is sound" in shown
    assert main([*command, "--allow-degenerate"]) == 0
    assert "DIFFERENT" not in capsys.readouterr().out


@pytest.mark.parametrize("positions", [1, 4])
def test_zeros_of_attention_without_a_choice_are_no_fault(open_ring, tmp_path, positions):
    session, ring = open_ring(**made(tmp_path))
    batch = [[list(BATCH[0][0][: positions + 1])]]
    ((_, verification),) = VerifiedTraining(ring, session.model.weights, batch, Plan(Sgd(0.05), positions)).steps()
    assert verification.good, verification.describe()


# --- tables --------------------------------------------------------------------------------------


def test_tables_that_are_not_those_of_rope_are_refused_unless_allowed(tmp_path, capsys):
    settings = made(tmp_path, put("freq_sin", ..., 0.0))
    sentence = (
        r"model.bin: freq_sin is no table of RoPE with theta 10000: position 1, pair 0 has 0 instead of 0.841470985, "
        r"\d+ of 96 values are off; export the checkpoint again, or take it as it is with --tables any"
    )
    with pytest.raises(ModelError, match=sentence):
        load_model(settings["model"])
    load_model(settings["model"], any_tables=True)
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = ["verify", "--positions", "6", *options, "--logs", str(tmp_path / "logs"), "--oracle"]
    assert main(command) == 1
    assert "is no table of RoPE" in capsys.readouterr().err
    main([*command, "--tables", "any"])
    assert "the golden computes another function than float64 does" in capsys.readouterr().out


def test_oracle_sees_rounding_and_no_more(tmp_path, capsys):
    options = [f"--{name}={value}" for name, value in made(tmp_path).items()]
    assert main(["generate", "--positions", "6", *options, "--logs", str(tmp_path / "logs"), "--oracle"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"layer 2    SQNR  1\d\d\.\d dB, at most [\d.]+ ulp", shown)
    assert "so: no more than rounding (at least 60 dB)" in shown
    assert main(["verify", "--train", "--oracle", *options]) == 1
    assert "--oracle is for a generation: leave out --train" in capsys.readouterr().err


# --- cards ---------------------------------------------------------------------------------------


def test_cards_of_another_model_are_told_before_the_run(open_ring, tmp_path):
    heads, values = replace(SMALL, n_heads=4, n_kv_heads=2), tmp_path / "values"
    values.mkdir()
    session, ring = open_ring(**made(tmp_path))
    same_sizes = Weights(heads, *[getattr(session.model.weights, name) for name in Weights.__slots__[1:]])
    with pytest.raises(
        ModelError, match="board 0 .*: holds a shard of another model: n_heads 2 instead of 4, n_kv_heads"
    ):
        verify_generation(ring, same_sizes, REQUEST)
    make_model(values, SMALL, seed=2)
    other = read_checkpoint(values / "model.bin")
    with pytest.raises(ModelError, match=r"another model: its shard has CRC-32 .*, 9 of 9 parameters differ; write"):
        VerifiedTraining(ring, other, BATCH, Plan(Sgd(0.05), 4))


def test_memory_that_is_not_the_cards_is_told_though_every_parameter_is_right(open_ring, tmp_path):
    """The sign of a zero is no difference of the contract, and yet a bit has changed."""
    session, ring = open_ring(**made(tmp_path, put("wq", (0, 0, 0), 0.0)))
    RankTensors(ring, 0).write(Source.VALUE, 1, np.array([-0.0], np.float32))
    verification = verify_generation(ring, session.model.weights, REQUEST)[1]
    assert [(one.part, one.rank) for one in verification.troubles] == [(Told.SHARD, 0)]
    assert "though every parameter is the model's" in verification.why


# --- at rest -------------------------------------------------------------------------------------


def flip(ring, rank, source, index, value=3):
    tensors = RankTensors(ring, rank)
    held = tensors.read(source, index, value, 1)
    tensors.write(source, index, (held.view(np.uint32) ^ np.uint32(1 << 9)).view(np.float32), value)


def test_parameter_that_changes_after_the_last_position_is_found(open_ring, tmp_path):
    session, ring = open_ring(**made(tmp_path))
    _, verification = verify_generation(
        ring, session.model.weights, REQUEST, on_end=lambda _: flip(ring, 1, Source.VALUE, 3)
    )
    assert not verification.good
    assert (verification.finding.rank, verification.finding.culprits[0].name) == (1, "wv")


@pytest.mark.parametrize(
    ("source", "part"), [(Source.VALUE, Told.PARAMETER), (Source.FIRST, Told.MOMENT)], ids=["value", "momentum"]
)
def test_what_changes_after_the_last_step_is_found(open_ring, tmp_path, monkeypatch, source, part):
    session, ring = open_ring(**made(tmp_path))
    trainer = VerifiedTraining(ring, session.model.weights, BATCH, Plan(Sgd(0.05, momentum=0.9), 4))
    apply = trainer.training.apply

    def applied(held):
        result = apply(held)
        if trainer.training.steps == len(BATCH):
            flip(ring, 2, source, 4)
        return result

    monkeypatch.setattr(trainer.training, "apply", applied)
    (_, first), (_, last) = list(trainer.steps())
    assert first.good
    assert [(one.part, one.rank) for one in last.troubles] == [(part, 2)]
    assert re.search(r"after the last step .*wo of layer 2 on rank 2, value \[3\]", last.why)


def test_two_wrong_parameters_are_both_named(open_ring, tmp_path):
    session, ring = open_ring(**made(tmp_path))
    flip(ring, 0, Source.VALUE, 1)
    flip(ring, 2, Source.VALUE, 6)
    verification = verify_generation(ring, session.model.weights, REQUEST)[1]
    named = [(one.rank, one.name, one.index) for found in verification.findings for one in found.culprits]
    assert named == [(0, "wq", 3), (2, "w1", 3)]
    assert "wrong as well:" in verification.describe()
    assert "deterministic: 2 of 2 further runs with tensors recorded differ" in verification.describe()


# --- what was shown ------------------------------------------------------------------------------


def test_event_with_another_token_is_red_and_one_beyond_the_vocabulary_is_no_crash(tmp_path, capsys, monkeypatch):
    options = [f"--{name}={value}" for name, value in made(tmp_path).items()]
    arguments = ["generate", "--positions", "4", *options, "--logs", str(tmp_path / "logs")]
    run = Ring.run_generation

    def lying(self, wanted, *, on_token=None, **words):
        def lie(token):
            on_token(replace(token, token=9999))

        result = run(self, wanted, on_token=lie, **words)
        return replace(result, shown=tuple(replace(one, token=9999) for one in result.shown))

    monkeypatch.setattr(Ring, "run_generation", lying)
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert "<?9999>" in shown
    assert "4, DIFFERENT from those that were shown" in shown
    assert "position 0 was shown as token 9999, the run has" in shown
    assert "3 more like it" in shown


def test_events_that_the_line_lost_are_counted_and_not_red(open_ring, tmp_path, monkeypatch):
    session, ring = open_ring(**made(tmp_path))
    run = ring.run_generation
    monkeypatch.setattr(ring, "run_generation", lambda *a, **k: replace(run(*a, **k), shown=run(*a, **k).shown[:-2]))
    verification = verify_generation(ring, session.model.weights, REQUEST)[1]
    assert verification.good
    assert "2 tokens that the line lost while they were shown" in verification.describe()


def test_nothing_compared_is_marked_as_told_by_the_board_alone(tmp_path, capsys):
    options = [f"--{name}={value}" for name, value in made(tmp_path).items()]
    options += ["--logs", str(tmp_path / "logs"), "--no-verify"]
    assert main(["generate", "--positions", "4", *options]) == 0
    assert "told by the board alone: nothing was compared" in capsys.readouterr().out
    text = tmp_path / "text"
    text.write_text("some text")
    assert main(["train", "--steps", "1", "--positions", "4", "--text", str(text), *options]) == 0
    assert "told by the boards alone" in capsys.readouterr().out
