"""Memory plan: what fits, what does not, and what is said about it."""

import json

import pytest

from hil.cli import main
from hil.errors import ModelError, RigError
from hil.model.plan import MIB, TrainingSize, advice, arm_bytes, check_fits, over_sentence, plan_boards
from hil.model.synth import SHAPES
from hil.rig.config import load_rig

CONFIG = SHAPES["110M"]
ARM = [arm_bytes(512, 64)] * 4


def test_adamw_does_not_fit_the_largest_shape_and_sgd_does():
    at_8 = {name: plan_boards(CONFIG, 4, ARM, training=TrainingSize(8, 1, 1, name)) for name in ("sgd", "adamw")}
    check_fits(at_8["sgd"], "the training")
    worst = at_8["adamw"][0]
    # Weights, gradients and two words of state for each of 28 million parameters are 432 MiB alone.
    assert worst.shard + worst.gradients + worst.optimizer > 432 * MIB
    assert worst.left == -48_621_696
    with pytest.raises(ModelError, match="the training does not fit: board 0 needs 518,383,744 bytes") as error:
        check_fits(at_8["adamw"], "the training")
    assert "48,621,696 more than the 469,762,048 that it has for the ARM; use SGD" in str(error.value)


def test_parts_add_up_and_only_the_shard_starts_where_the_gpu_puts_it():
    for plan in plan_boards(CONFIG, 4, ARM, training=TrainingSize(8, 3, 2, "momentum")):
        assert sum(plan.parts().values()) == plan.total
        assert plan.image + plan.stack + plan.below_shard == 0x2000000


def test_one_byte_decides():
    (plan,) = plan_boards(SHAPES["260K"], 1, [10**9])
    exact = plan_boards(SHAPES["260K"], 1, [plan.total])
    check_fits(exact, "the generation")
    with pytest.raises(ModelError, match="1 more than"):
        check_fits(plan_boards(SHAPES["260K"], 1, [plan.total - 1]), "the generation")


@pytest.mark.parametrize(
    ("size", "arm", "text"),
    [
        (TrainingSize(8, 1, 1, "adamw"), ARM[0], "use SGD, with momentum or without"),
        (TrainingSize(8, 1, 1, "momentum"), 300_000_000, "use SGD without momentum"),
        (TrainingSize(512, 8, 8, "sgd"), ARM[0], "use fewer positions or microbatches"),
        (TrainingSize(8, 1, 1, "sgd"), arm_bytes(256, 64), "generate only, without training"),
        (None, 100_000_000, "use more boards, or a smaller model"),
    ],
)
def test_advice_is_the_least_change_that_helps(size, arm, text):
    plan = plan_boards(CONFIG, 4, [arm] * 4, training=size)[0]
    assert plan.left < 0
    assert advice(plan) == text
    assert "board 0 needs" in over_sentence(plan)


def test_old_boards_of_256_mb_generate_with_the_largest_shape_but_do_not_train_it():
    old = [arm_bytes(256, 64)] * 4
    check_fits(plan_boards(CONFIG, 4, old), "the generation")
    with pytest.raises(ModelError, match="the training does not fit"):
        check_fits(plan_boards(CONFIG, 4, old, training=TrainingSize(1)), "the training")


def test_command_shows_the_plan_and_fails_when_a_board_is_too_small(capsys):
    arguments = ["plan", "--model", "110M", "--train", "--seq", "8", "--json"]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert "left                 -48,621,696      40,522,336" in shown
    assert "does not fit: board 0 needs 518,383,744 bytes" in shown
    assert main([*arguments, "--optimizer", "sgd"]) == 0
    shown = capsys.readouterr().out
    found = json.loads(shown.splitlines()[-1])
    assert found["fits"]
    assert [board["training_bytes"] for board in found["boards"]] == [116_680_832] * 3 + [98_761_120]
    assert all(board["image"] > 60_000 and board["stack"] == 0x12000 for board in found["boards"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "nowhere.bin"], "nowhere.bin: cannot read the checkpoint: No such file or directory"),
        (["--model", "tiny", "--seq", "513"], "--seq 513: the model's context has 1 to 512 positions"),
        (["--world", "17"], "--world 17: a ring has 1 to 16 boards"),
        (["--gpu-mem", "8"], "--gpu-mem: gpu_mem = 8: give 16 to 511 MB"),
        (["--train", "--slots", "2"], "1 microbatches with 2 under way: give 1 to 512, of which 1 to 64 under way"),
    ],
)
def test_wrong_argument_is_refused_with_its_limit(capsys, arguments, sentence):
    assert main(["plan", *arguments]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "memory", "gpu_mem"),
    [
        ("", [512, 512], 64),
        ("memory_mb = 256\n", [256, 256], 64),
        ("memory_mb = [512, 256]\ngpu_mem = 16", [512, 256], 16),
    ],
)
def test_rig_file_tells_the_boards_memory(tmp_path, text, memory, gpu_mem):
    path = tmp_path / "rig.toml"
    path.write_text(f"[rig]\n{text}\n[sim]\nboards = 2\n")
    rig = load_rig(str(path))
    assert [board.memory_mb for board in rig.boards] == memory
    assert rig.gpu_mem == gpu_mem


@pytest.mark.parametrize("text", ["memory_mb = 300", "memory_mb = [512]", "gpu_mem = 8", 'gpu_mem = "64"'])
def test_memory_that_cannot_be_is_refused(tmp_path, text):
    path = tmp_path / "rig.toml"
    path.write_text(f"[rig]\n{text}\n[sim]\nboards = 2\n")
    with pytest.raises(RigError, match=text.split()[0]):
        load_rig(str(path))
