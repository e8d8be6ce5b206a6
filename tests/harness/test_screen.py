"""What `hil generate` and `hil train` show of the boards: the last rank's lines, all with -v, none in mid-story."""

from types import SimpleNamespace

import pytest

from hil.cli import main


def shown(capsys, tmp_path, *options: str) -> list[str]:
    arguments = ["--world", "2", "--logs", str(tmp_path / "logs"), *options]
    assert main(["generate", "--positions", "4", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("options", "ranks"), [((), {"pi1|"}), (("-v",), {"pi0|", "pi1|"})])
def test_lines_of_the_last_rank_or_of_all(capsys, tmp_path, monkeypatch, options, ranks):
    lines = shown(capsys, tmp_path, *options)
    assert {line.split()[0] for line in lines if line.startswith("pi")} == ranks
    assert any(line.startswith("pi1| ring.img ") for line in lines)
    (serial,) = [line for line in lines if line.startswith("  serial ")]
    assert float(serial.split("images at ")[1].split("%")[0]) >= 98


def test_lines_that_come_while_a_story_is_written_wait_for_its_end(capsys):
    from hil.commands.screen import BoardLines

    head = SimpleNamespace(rank=3, on_log=None)
    lines = BoardLines(SimpleNamespace(head=head, boards=[head]), verbose=False)
    with lines.held():
        print("Once upon", end="")
        head.on_log(head, "a warning")
        print(" a time")
    head.on_log(head, "later")
    assert capsys.readouterr().out.splitlines() == ["Once upon a time", "pi3| a warning", "pi3| later"]


def test_train_shows_the_last_ranks_lines(capsys, tmp_path):
    arguments = ["--world", "2", "--logs", str(tmp_path / "logs"), "--steps", "1", "--positions", "2"]
    assert main(["train", *arguments]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("pi")} == {"pi1|"}
