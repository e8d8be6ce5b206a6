"""What changed since the last good night: one answer, whoever asks."""

import dataclasses
import json

from hil.nightly.compare import changes, last_good, told_changes
from hil.nightly.history import History
from hil.nightly.outputs.files import write_outputs
from hil.nightly.page.files import write_pages
from hil.nightly.record import Cause, Outcome, WireFigures
from hil.nightly.reports import closing_lines
from tests.nightly.nights import a_check, a_failed_check, a_night
from tests.page import nights

GOOD = nights.Maker(3).night(1)


def test_last_good_night_is_the_first_without_blemish():
    bad = nights.bad_night()
    assert last_good([bad, GOOD, nights.Maker(3).night(2)]) is GOOD
    assert last_good([bad]) is None


def test_changes_name_versions_boards_checks_and_wires():
    past = nights.history(22)
    then, now = past[10], nights.broken(past[21], 4, nights.failure(Cause.WIRING))
    now = dataclasses.replace(
        now, boards=[dataclasses.replace(now.boards[0], serial="other", resets=2, throttled=1), *now.boards[1:]]
    )
    found = changes(then, now)
    assert found[0] == "firmware: 9bf75f90c962 then, 41d7aa03e5b1 now"
    for line in (
        "board 0: serial 00000000b0a2d000 then, other now",
        "board 0: reset 2 times, 0 then",
        "board 0: throttled, not so then",
        "passed then, failed now: link 1->2",
    ):
        assert line in found
    assert any(line.startswith("link 1->2 D3: 0 wrong bits then, ") for line in found)
    assert changes(then, then) == []


def test_every_way_in_which_checks_end_otherwise_is_told_the_worst_first():
    ends = {"fails": Outcome.FAILED, "flakes": Outcome.FLAKY, "skips": Outcome.SKIPPED}
    then = a_night(1, [a_check(n, name) for n, name in enumerate([*ends, "gone"])] + [a_failed_check(9, name="heals")])
    now = a_night(2, [a_check(n, name, outcome=end) for n, (name, end) in enumerate(ends.items())])
    now.checks.extend([a_check(5, "heals"), a_check(6, "new"), a_check(7, "fails")])
    assert changes(then, now) == [
        "passed then, failed now: fails",
        "passed then, passed only when tried again now: flakes",
        "passed then, not tried now: skips",
        "failed then, passed now: heals",
        "not run then, passed now: new",
        "passed then, not run now: gone",
    ]
    many = a_night(3, [a_failed_check(n, name=f"c{n}") for n in range(10)])
    assert changes(a_night(2), many) == ["not run then, failed now: c0, c1, c2, c3, c4, c5, c6, c7 and 2 more"]


def test_wires_are_told_when_their_rate_has_grown_to_more_than_three_times():
    def night(day, bits, errors):
        return a_night(day, [a_check(1, wires=[WireFigures("1->2", "D3", bits, errors)])])

    assert changes(night(1, 1000, 2), night(2, 1000, 7)) == ["link 1->2 D3: 2 wrong bits then, 7 now"]
    for unchanged in (night(2, 1000, 6), night(2, 2000, 12), night(2, 1000, 0)):
        assert changes(night(1, 1000, 2), unchanged) == []
    assert changes(a_night(1), night(2, 1000, 1))[-1] == "link 1->2 D3: 0 wrong bits then, 1 now"


def test_terminal_page_and_json_give_the_same_answer(tmp_path):
    """The good night is older than the 30 nights that the page's trends show."""
    bad = [a_night(day, [a_failed_check(1)]) for day in range(2, 36)]
    with History(tmp_path / "h.sqlite") as history:
        for night in [a_night(1, [a_check(1)], compiler="gcc"), *bad]:
            history.begin(night)
        good = history.last_good("sim", bad[-1].started)
        assert good.id == "sim-001"
        wanted = ["compiler: gcc then, zig now", "passed then, failed now: link 1->2"]
        assert changes(good, bad[-1]) == wanted
        lines = closing_lines(history, tmp_path, tmp_path, bad[-1], [])
        at = lines.index("  since the last good night, sim-001:")
        assert lines[at + 1 : at + 3] == [f"  {line}" for line in wanted]
        page = write_pages(history, tmp_path).read_text()
    assert "<li>compiler: gcc then, zig now</li><li>passed then, failed now: link 1-&gt;2</li>" in page.replace(
        "\n", ""
    )
    write_outputs(bad[-1], tmp_path, good)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["last_good"], summary["changes"]) == ("sim-001", wanted)


def test_lines_for_the_terminal_say_when_there_is_nothing_to_say():
    assert told_changes(None, GOOD) == ["no good night of this rig before"]
    assert told_changes(GOOD, GOOD) == [f"since the last good night, {GOOD.id}: nothing changed"]
    odd = dataclasses.replace(GOOD, compiler="\x1b[31m")
    assert told_changes(GOOD, odd)[1].endswith("\\x1b[31m now"), "text that acts is shown"
