"""`hil trace`: the bubble shrinks with more microbatches; files that their readers accept; the boards' ring buffers."""

import contextlib
import io
import itertools
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from hil.cli import main
from hil.errors import BoardError
from hil.nightly.record import from_json, to_json
from hil.pictures.timeline import timeline_svg
from hil.protocol.link_messages import Bank, LinkRun, Pattern
from hil.protocol.messages import Command, Empty, JobStarted
from hil.protocol.trace_messages import TraceEvent, TraceKind, TracePart, TraceRead, TraceState
from hil.session import Session
from hil.settings import Settings
from hil.timeline.capture import Capture, recorded, start_tracing, stop_tracing
from hil.timeline.perfetto import perfetto
from hil.timeline.spans import Timeline, What, tell, to_record
from tests.timeline.trace_event_format import mistakes

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """(exit code, text, folder) of `hil trace` with 1, 2, 4 and 8 microbatches."""
    folder = tmp_path_factory.mktemp("trace")
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        code = main(["trace", "--train", "--microbatches", "1,2,4,8", "--positions", "4",
                     "--out", str(folder), "--logs", str(folder / "logs")])  # fmt: skip
    return code, shown.getvalue(), folder


@pytest.fixture(scope="module")
def stories(traced):
    return json.loads((traced[2] / "timeline.json").read_text())["stories"]


def test_bubble_shrinks_with_every_doubling_of_microbatches(traced, stories):
    code, shown, _ = traced
    assert code == 0
    bubbles = [story["bubble"] for story in stories]
    assert len(bubbles) == 4
    assert all(later < earlier for earlier, later in itertools.pairwise(bubbles)), bubbles
    rows = [line for line in shown.splitlines() if line.startswith("bubble")]
    assert [float(row.split()[1].rstrip("%")) for row in rows] == [round(100 * b, 1) for b in bubbles]
    assert rows[3].endswith("one step, 8 microbatches of 4 positions")


def test_shares_of_a_board_make_up_its_time(stories):
    for story in stories:
        for board in story["boards"]:
            shares = board["shares"]
            known = shares["compute"] + shares["host"] + shares["transfer"] + shares["bubble"]
            assert 0.95 < known <= 1 + 1e-9, (board["rank"], shares)
            assert all(0 <= share <= 1 for share in shares.values())


def test_summary_shows_clocks_and_bound(traced, stories):
    shown = traced[1]
    bound = max(board["clock"]["error_us"] for board in stories[3]["boards"])
    assert f"clocks aligned to ±{bound:.1f} µs" in shown
    assert "reference, ± 0.5 us" in shown


def test_perfetto_files_obey_the_format_strictly(traced):
    for number in range(1, 5):
        document = json.loads((traced[2] / f"trace{number}.json").read_text())
        assert mistakes(document) == []
        names = {e["name"] for e in document["traceEvents"]} | {
            e["args"]["name"] for e in document["traceEvents"] if e["name"] == "process_name"
        }
        assert {"board 0", "board 3", "forward, layer 0", "backward, layer 4", "head", "optimizer"} <= names
        assert sum(e["ph"] == "s" for e in document["traceEvents"]) > 8
        assert document["otherData"]["error_us"] > 0


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda e: e.update(dur=-1), "dur is -1"),
        (lambda e: e.update(dur=e["dur"] + 5), "sticks out"),
        (lambda e: e.update(ts=float("nan")), "ts is nan"),
        (lambda e: e.update(tid=77), "thread (0, 77) has no name"),
        (lambda e: e.pop("cat"), "instead of"),
        (lambda e: e.update(ph="B"), "phase 'B' is unknown"),
    ],
)
def test_perfetto_file_that_breaks_the_format_is_noticed(traced, spoil, text):
    document = json.loads((traced[2] / "trace1.json").read_text())
    spoil(next(e for e in document["traceEvents"] if e["ph"] == "X" and e["pid"] == 0 and e["cat"] == "wait"))
    assert any(text in mistake for mistake in mistakes(document)), mistakes(document)[:3]


def test_flow_without_end_is_noticed(traced):
    document = json.loads((traced[2] / "trace1.json").read_text())
    document["traceEvents"].remove(next(e for e in document["traceEvents"] if e["ph"] == "f"))
    assert mistakes(document) == ["flow 1 is not whole"]


def test_picture_has_a_lane_per_board_and_the_figures(traced, stories):
    root = ET.fromstring((traced[2] / "timeline.svg").read_text())
    texts = [t.text for t in root.iter(f"{SVG}text")]
    for story in stories:
        assert any(f"bubble {story['bubble']:.1%}, clocks aligned to ±" in t for t in texts)
        for board in story["boards"]:
            assert f"bubble {board['shares']['bubble']:.1%}" in texts
    assert [texts.count(f"board {rank}") for rank in range(4)] == [4] * 4
    classes = {r.get("class") for r in root.iter(f"{SVG}rect")}
    kinds = ("forward", "backward", "head", "optimizer", "send", "receive", "wait")
    assert {f"span {kind}" for kind in kinds} <= classes
    width = float(root.get("width"))
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) >= 0
        assert float(rect.get("x", 0)) + float(rect.get("width")) <= width
    assert "prefers-color-scheme: dark" in root.find(f"{SVG}style").text


def test_timeline_for_the_nightly_report_comes_back(stories):
    timeline = from_json(Timeline, stories[0]["timeline"])
    assert to_json(timeline) == stories[0]["timeline"]
    assert {span.what for span in timeline.spans} == {"compute", "send", "receive", "wait"}
    assert 0 < timeline.error_s < 1e-4
    assert all(0 <= span.start_s <= span.end_s <= stories[0]["seconds"] + 1e-5 for span in timeline.spans)


def test_waiting_and_transferring_of_a_burst_are_apart(one_run):
    capture, _ = one_run
    story = tell(capture, "a run")
    for board in capture.boards:
        for event in board.events:
            of_event = [a for a in story.of(board.rank) if a.event is event]
            if event.kind in (TraceKind.FRAME_IN, TraceKind.FRAME_OUT):
                wait, transfer = of_event
                assert wait.what is What.WAIT
                assert transfer.what in (What.SEND, What.RECEIVE)
                assert wait.end_s == transfer.start_s
    hops = [hop for hop in story.hops if hop.sent.code == 2]
    assert hops
    for hop in hops:  # both ends speak of the same transfer, to within both clocks' bounds
        bound_s = 2e-6 * story.alignment.error_us + 20e-6
        assert abs(hop.sent_s[0] - hop.got_s[0]) < bound_s
        assert abs(hop.sent_s[1] - hop.got_s[1]) < bound_s


def test_text_in_a_picture_is_escaped(one_run):
    capture, _ = one_run
    picture = timeline_svg([tell(capture, "<script>alert(1)</script>")], "a & b")
    assert "<script>" not in picture
    assert "a &amp; b" in picture


def test_generation_is_traced_with_the_host(tmp_path, capsys):
    arguments = ["trace", "--generate", "--positions", "3", "--world", "2", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--logs", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "out" / "trace.json").read_text())
    assert mistakes(document) == []
    hosts = [e for e in document["traceEvents"] if e.get("cat") == "host"]
    assert [e["name"] for e in hosts] == ["event to the host"] * 3  # a token each
    assert "generation, 3 positions" in capsys.readouterr().out


def test_loopback_board_has_one_clock(tmp_path, capsys):
    arguments = ["trace", "--rig", "sim-loopback", "--positions", "2", "--microbatches", "2"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--logs", str(tmp_path)]) == 0
    assert "one clock" in capsys.readouterr().out
    assert mistakes(json.loads((tmp_path / "out" / "trace.json").read_text())) == []


def test_folder_that_cannot_be_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["trace", "--out", str(tmp_path / "file" / "out"), "--logs", str(tmp_path)]) == 1
    assert "cannot make the folder" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "1,,2", "two"])
def test_microbatches_that_cannot_be_are_refused(text, capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["trace", "--microbatches", text, "--out", str(tmp_path)])
    assert f"{text}: give" in capsys.readouterr().err


# --- the boards' ring buffers ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A ring of two boards."""
    folder = tmp_path_factory.mktemp("pair")
    session = Session(Settings(world_size=2, logs=folder / "logs", work=folder / "work"))
    ring = session.open_ring()
    with ring.desk:
        ring.boot(session.image("ring"))
        yield ring


def test_nothing_is_recorded_while_tracing_is_off(pair):
    pair.generate([1], 2)
    assert [b.events for b in stop_tracing(pair).boards] == [(), ()]
    start_tracing(pair)
    pair.generate([1], 2)
    assert all(len(b.events) > 10 for b in stop_tracing(pair).boards)
    pair.generate([1], 2)
    before = stop_tracing(pair)
    assert [len(b.events) for b in before.boards] == [len(b.events) for b in stop_tracing(pair).boards]
    pair.head.command(Command.TRACE_CLEAR, Empty(), TraceState)
    assert pair.head.command(Command.TRACE_READ, TraceRead(0, 10), TracePart) == TracePart(0, 0, 0, b"")


def test_tracing_changes_no_number(pair):
    start_tracing(pair)
    traced = pair.generate([1], 12).tokens
    stop_tracing(pair)
    assert pair.generate([1], 12).tokens == traced


def test_full_buffer_keeps_the_newest_and_counts_what_is_gone(pair):
    start_tracing(pair)
    capacity = pair.head.command(Command.TRACE_STOP, Empty(), TraceState).capacity
    start_tracing(pair)
    link = pair.desk.config.links[0]
    frames = capacity // 2 + 10  # two bursts a frame
    pair.link_frames(link, frames=frames, length_bytes=1, seed=1)
    capture = stop_tracing(pair)
    board = capture.boards[0]
    assert len(board.events) == capacity
    assert board.dropped == 2 * frames + 1 - capacity
    assert board.events[-1].kind is TraceKind.JOB
    last = [e for e in board.events if e.kind is TraceKind.FRAME_OUT][-1]
    assert last.sequence == pair.link_counters(0, Bank.DOWNSTREAM).frames_sent
    ends = [e.end_us for e in board.events]
    assert ends == sorted(ends)
    assert tell(capture, "full").dropped == capture.dropped > 0


def test_tracing_commands_wait_for_the_job_to_end(pair):
    request = LinkRun(0, 1 << Bank.UPSTREAM, Pattern.XORSHIFT, 0, 1, 4, 1, 2000)
    started = pair.boards[1].command(Command.LINK_RUN, request, JobStarted)
    with pytest.raises(BoardError, match=f"job {started.job} runs; wait for JOB_DONE or send JOB_ABORT"):
        pair.boards[1].command(Command.TRACE_START, Empty(), TraceState)
    pair.quiet()


def test_times_go_on_where_the_timer_wraps():
    def event(begin_us, end_us):
        return TraceEvent(begin_us, 0, 0, end_us, 0, 0, 0, 0, TraceKind.HEAD, 0, 0xFF, 0)

    events = [event(0xFFFF_FF00, 0x10), event(0x20, 0x30)]
    times = [(e.begin_us, e.end_us) for e in recorded(0, events, 3 * 2**32 + 0x40)]
    assert times == [(3 * 2**32 - 0x100, 3 * 2**32 + 0x10), (3 * 2**32 + 0x20, 3 * 2**32 + 0x30)]


def test_capture_without_events_is_told(one_run):
    capture, _ = one_run
    empty = Capture(tuple(replace(b, events=()) for b in capture.boards), capture.links)
    story = tell(empty, "nothing")
    assert (story.ranks, story.activities, story.bubble) == ((), (), 0.0)
    assert mistakes(perfetto(story)) == []
    assert to_record(story).spans == []
    assert ET.fromstring(timeline_svg([story], "nothing")) is not None
