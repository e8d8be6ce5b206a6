"""Progress on the terminal: one line that changes on a terminal, plain lines elsewhere."""

import io
import os
import pty

from hil.nightly.progress import Progress
from hil.nightly.record import Cause, Failure, Outcome
from tests.nightly.nights import a_check


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def play(stream) -> str:
    progress = Progress(stream, 11, width=60)
    progress.begin(2, 3, "link 1->2", 3725.0)
    progress.update(0.25)
    progress.say("again on the rig")
    failure = Failure("link 1->2: byte 3\n  board 1: waits\n  so:      the D3 wire", Cause.WIRING, "hil nightly")
    progress.end(a_check(3, round=2, outcome=Outcome.FAILED, failure=failure, sentence=failure.sentence))
    return stream.getvalue()


def test_elsewhere_each_check_is_a_plain_line_with_what_follows_from_it():
    assert play(io.StringIO()) == (
        "round   2  link 1->2          FAILED: wiring, 2.5 s, 1 h 2 min left\n"
        "           link 1->2: byte 3\n"
        "           so:      the D3 wire\n"
    )


def test_on_a_terminal_one_line_tells_what_runs_how_far_and_time_left():
    text = play(Terminal())
    drawn, _, rest = text.rpartition("\r")
    lines = [line.rstrip() for line in drawn.split("\r")[1:]]
    assert lines[0] == "round 2, 3 of 11: link 1->2, 1 h 2 min left"
    assert lines[-2] == "round 2, 3 of 11: link 1->2, again on the rig, 1 h 2 min left"[:59]
    assert lines[-1] == "", "it is wiped before a line that stays"
    assert max(map(len, lines)) < 60
    assert rest == play(io.StringIO())


def test_a_real_terminal_is_seen_as_one():
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        Progress(stream, 1).begin(1, 1, "boot", None)
        stream.flush()
        assert os.read(leader, 1000).startswith(b"\rround 1, 1 of 1: boot ")
    os.close(leader)
