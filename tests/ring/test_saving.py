"""`hil train --save`: the boards' weights as a checkpoint that others read, and that `hil generate` runs."""

from dataclasses import replace

import llama2
import numpy as np
import pytest
from made_models import make_model

from golden.generate import GenerationRequest
from golden.optimizer import AdamW, Sgd
from golden.train import train
from golden.weights import Config
from hil.checks.model.taps import compare_taps, golden_run
from hil.checks.model.training import same_parameters, windows
from hil.cli import main
from hil.errors import BoardError, ModelError
from hil.model.bundle import load_model
from hil.model.checkpoint import read_checkpoint, write_checkpoint
from hil.protocol.memory_messages import MemoryCrc, MemoryRange
from hil.protocol.messages import Command
from hil.protocol.shard_header import SHARD_ADDRESS
from hil.ring import saving
from hil.ring.saving import check_target, read_weights, save_model
from hil.ring.training import Plan, RingTraining

SMALL = Config(16, 24, 3, 2, 1, 259, 12, shared_classifier=False)
PLAN = Plan(Sgd(0.05), 4)


def train_small(open_ring, tmp_path, world_size=3, rig=None):
    """A ring that has trained a small untied model for two steps, and the golden's weights after them."""
    settings = {"rig": rig} if rig else {"world_size": world_size}
    session, ring = open_ring(**settings, **make_model(tmp_path, SMALL))
    batches = [[[1, 40, 50, 60, 70]], [[1, 80, 90, 100, 110]]]
    training = RingTraining(ring, SMALL, PLAN)
    for batch in batches:
        training.step(batch, taps=False)
    return session, ring, train(session.model.weights, batches, PLAN.optimizer, record=False).weights


def test_command_saves_what_the_golden_has_and_an_independent_reader_runs(tmp_path, capsys):
    made = make_model(tmp_path, replace(SMALL, shared_classifier=True))
    text, path, logs = tmp_path / "text", tmp_path / "trained.bin", ["--logs", str(tmp_path / "logs")]
    text.write_text("some text")
    options = ["--model", made["model"], "--tokenizer", made["tokenizer"], "--text", str(text), "--save", str(path)]
    assert main(["train", "--steps", "2", "--positions", "4", *options, *logs]) == 0
    shown = capsys.readouterr().out
    assert f"saved        {path.stat().st_size:,} bytes, equal to the golden's; " in shown
    assert f"every shard's CRC-32 equal before and after; hil generate --model {path}\n" in shown

    model = load_model(made["model"], made["tokenizer"])
    plan = Plan(AdamW(3e-4), 4)
    batches = windows(model.tokenizer.encode("some text"), plan, 2)
    golden = train(model.weights, batches, plan.optimizer, record=False).weights
    header, tensors = llama2.read(path)
    assert tuple(header.values()) == (16, 24, 3, 2, 1, 259, 12)
    theirs = (golden.tok_emb, golden.rms_att, golden.wq, golden.wk, golden.wv, golden.wo, golden.rms_ffn, golden.w1,
              golden.w2, golden.w3, golden.rms_final, golden.freq_cos, golden.freq_sin, golden.tok_emb)  # fmt: skip
    for mine, their in zip(tensors.values(), theirs, strict=True):
        assert np.array_equal(mine, their)

    assert main(["generate", "--model", str(path), "--positions", "12", *logs]) == 0
    assert "all equal to the golden's" in capsys.readouterr().out
    run = golden_run(read_checkpoint(path), GenerationRequest([1], 12), 4)
    assert llama2.greedy(path, 12) == list(run.tokens)


@pytest.mark.parametrize("rig", [3, 1, "sim-loopback"], ids=["3 boards", "1 board", "jumpers"])
def test_weights_come_back_from_any_ring(open_ring, tmp_path, rig):
    several = isinstance(rig, int)
    session, ring, golden = train_small(open_ring, tmp_path, rig if several else 1, None if several else rig)
    saved = read_weights(ring, SMALL)
    assert same_parameters(saved.weights, golden)
    assert not same_parameters(saved.weights, session.model.weights)
    save_model(saved.weights, session.model, tmp_path / "saved.bin")
    assert same_parameters(read_checkpoint(tmp_path / "saved.bin"), golden)
    result = ring.generate([1], 8)
    expected = golden_run(read_checkpoint(tmp_path / "saved.bin"), GenerationRequest([1], 8), ring.world_size)
    assert compare_taps(ring, expected.by_rank).good
    assert result.tokens == expected.tokens


def test_memory_that_changes_while_it_is_read_is_noticed(open_ring, tmp_path, monkeypatch):
    _, ring, _ = train_small(open_ring, tmp_path)
    ring_memory = ring.desk.simulation
    monkeypatch.setattr(saving, "_Reader", spoiling(saving._Reader, ring_memory))
    with pytest.raises(BoardError, match=r"board 1 .*: its shard has CRC-32 .* before the reading and .* after it"):
        read_weights(ring, SMALL)


def spoiling(reader_class, simulation):
    """A reader that flips one bit of board 1's memory as soon as it starts to read."""

    def make(board, address, size_bytes):
        if board.rank == 1:
            (byte,) = simulation.read_ram(1, SHARD_ADDRESS + 100, 1)
            simulation.write_ram(1, SHARD_ADDRESS + 100, bytes([byte ^ 1]))
        return reader_class(board, address, size_bytes)

    return make


def test_weight_that_changed_after_the_last_step_is_saved_and_told(tmp_path, capsys, monkeypatch):
    """Negative twin of `equal to the golden's`: one bit of board 1's embedding, changed before the reading."""
    made = make_model(tmp_path, SMALL)
    text = tmp_path / "text"
    text.write_text("any text")

    def changed(ring):
        (byte,) = ring.desk.simulation.read_ram(1, SHARD_ADDRESS + 60, 1)
        ring.desk.simulation.write_ram(1, SHARD_ADDRESS + 60, bytes([byte ^ 1]))
        return 0.0

    path = tmp_path / "DIFFERENT.bin"
    options = ["--model", made["model"], "--tokenizer", made["tokenizer"], "--world", "2", "--positions", "4"]
    command = ["train", *options, "--steps", "1", "--text", str(text), "--save", str(path), "--logs", str(tmp_path)]
    assert main(command) == 0
    assert "equal to the golden's; " in capsys.readouterr().out
    monkeypatch.setattr("hil.commands.train.line_seconds", changed)
    capsys.readouterr()
    assert main(command) == 1
    assert capsys.readouterr().err == (
        f"hil train: {path}: is there already; name another file, or replace it with --force\n"
    )
    assert main([*command, "--force"]) == 1
    assert "DIFFERENT from the golden's; " in capsys.readouterr().out
    assert path.exists()


def test_board_that_stops_answering_is_named_and_nothing_is_written(open_ring, tmp_path):
    _, ring, _ = train_small(open_ring, tmp_path)
    ring.desk.set_faults(["uart-hangup:2@200us"])
    with pytest.raises(BoardError, match="board 2"):
        read_weights(ring, SMALL)


def test_noisy_lines_cost_time_and_no_bit(open_ring, tmp_path):
    _, ring, golden = train_small(open_ring, tmp_path)
    ring.desk.set_faults(["uart-corrupt:0=1e-4", "uart-drop:1=1e-4"])
    assert same_parameters(read_weights(ring, SMALL).weights, golden)


def test_shard_of_another_place_is_refused(open_ring, tmp_path):
    _, ring, _ = train_small(open_ring, tmp_path)
    ring.boards = [ring.boards[1], ring.boards[0], ring.boards[2]]
    with pytest.raises(ModelError, match="rank 0 of 3: holds another shard \\(rank 1 of 3, layers 2 to 3\\)"):
        read_weights(ring, SMALL)


def test_crc_of_a_range_beyond_the_memory_is_refused(open_ring, tmp_path):
    _, ring = open_ring(world_size=1)
    with pytest.raises(BoardError, match=r"0x1bffffff \+ 2 bytes is not in RAM, which ends at 0x1c000000"):
        ring.head.command(Command.MEMORY_CRC, MemoryRange(0x1BFFFFFF, 2), MemoryCrc)


def test_a_file_that_was_there_survives_a_failure(tmp_path, monkeypatch):
    tiny = load_model("tiny")
    path = tmp_path / "kept.bin"
    path.write_bytes(b"as before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hil.files.os.fsync", full)
    with pytest.raises(ModelError, match=r"kept.bin: writing failed: No space left on device; the file is as it was"):
        save_model(tiny.weights, tiny, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.bin"]
    assert path.read_bytes() == b"as before"


def test_another_tokenizer_beside_the_file_is_left_alone(tmp_path):
    tiny = load_model("tiny")
    assert save_model(tiny.weights, tiny, tmp_path / "a.bin") == f"--model {tmp_path / 'a.bin'}"
    (tmp_path / "tokenizer.bin").write_bytes(b"of another model")
    how = save_model(tiny.weights, tiny, tmp_path / "b.bin")
    assert how == f"--model {tmp_path / 'b.bin'} --tokenizer {tiny.vocabulary}"
    assert (tmp_path / "tokenizer.bin").read_bytes() == b"of another model"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.bin", "b.bin", "tokenizer.bin"]


def test_target_that_cannot_be_is_refused_before_boot(tmp_path, capsys):
    with pytest.raises(ModelError, match="is a folder; name a file for the checkpoint"):
        check_target(tmp_path)
    missing = tmp_path / "none" / "a.bin"
    assert main(["train", "--save", str(missing), "--logs", str(tmp_path / "logs")]) == 1
    assert f"{missing}: there is no folder {missing.parent}; make it first" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


def test_independent_reader_refuses_a_file_of_another_length(tmp_path):
    """The proof above can fail: a byte too few, or another model."""
    tiny = load_model("tiny")
    write_checkpoint(tiny.weights, tmp_path / "a.bin")
    (tmp_path / "b.bin").write_bytes((tmp_path / "a.bin").read_bytes() + b"\0")
    llama2.read(tmp_path / "a.bin")
    with pytest.raises(AssertionError, match="1056541 bytes, the header asks for 1056540"):
        llama2.read(tmp_path / "b.bin")
