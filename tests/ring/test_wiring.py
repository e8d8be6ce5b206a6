"""The wiring scan on simulated boards: time, safety, and a fixed subset of the fault sweep (`hil bench faults`)."""

import itertools
import json
import random
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from hil.bench.coverage import double_faults, judge
from hil.board.board import Board
from hil.checks.wiring import scan_wiring
from hil.cli import main
from hil.errors import BoardError
from hil.protocol.link_messages import Bank, PinDrive, PinLevels
from hil.protocol.messages import Command, Empty
from hil.rig.faults import parse_fault, single_faults
from hil.rig.specs import LinkSpec, sim_rig
from hil.session import Session
from hil.settings import Settings

SCAN_S_MAX = 5.0
SEED = 0x5EED

FAULTY_RIG = """
[sim]
boards = 4
faults = ["open:1-2.D3", "bridge-and:0-1.D1,0-1.D2"]
"""


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A booted ring without model, shared; every test sets the faults that it wants."""
    folder = tmp_path_factory.mktemp("wiring")
    session = Session(Settings(logs=folder / "logs", work=folder / "work"))
    ring = session.open_ring(shards=False)
    session.boot(ring)
    yield ring
    ring.desk.close()


@pytest.fixture
def repaired(scanned):
    """The shared ring without faults."""
    scanned.desk.set_faults(())
    return scanned


def test_clean_ring_is_scanned_in_time_and_without_contention(repaired):
    report = scan_wiring(repaired)
    assert report.good, report.text()
    assert report.codes_sent
    assert report.seconds <= SCAN_S_MAX
    assert not repaired.desk.contentions()


def subset():
    """Two or three single faults of every kind and some double ones, by the seed."""
    rng, faults = random.Random(SEED), [str(fault) for fault in single_faults(sim_rig(4))]
    kinds = sorted({fault.partition(":")[0] for fault in faults})
    singles = [[code] for kind in kinds for code in rng.sample([f for f in faults if f.startswith(f"{kind}:")], 3)]
    return singles + [[str(fault) for fault in pair] for pair in double_faults(sim_rig(4), 12, SEED)]


@pytest.mark.parametrize("codes", subset(), ids="+".join)
def test_fault_is_detected_and_named_without_contention(scanned, codes):
    judged = judge(scanned, [parse_fault(code, scanned.desk.config) for code in codes])
    assert judged.detected
    assert judged.named, judged.found
    assert judged.contentions == 0


def test_link_without_ground_is_named(scanned):
    judged = judge(scanned, [parse_fault("noground:1-2", scanned.desk.config)])
    assert judged.exact, judged.found
    assert judged.contentions == 0


def test_judge_does_not_call_a_wrong_name_right(repaired, monkeypatch):
    monkeypatch.setattr(repaired.desk, "set_faults", lambda faults: None)  # the ring stays as it is
    judged = judge(repaired, [parse_fault("open:1-2.D3", repaired.desk.config)])
    assert not judged.detected
    assert not judged.named


def test_held_pads_are_never_driven_and_one_pad_at_a_time(scanned, monkeypatch):
    scanned.desk.set_faults(["stuck0:1-2.D3"])
    driving, sent = set(), []
    start = Board.start

    def watch(board, command, request, **keywords):
        if command is Command.PIN_DRIVE:
            assert isinstance(request, PinDrive)
            pad = (board.rank, request.pin)
            sent.append((pad, request))
            (driving.add if request.drive else driving.discard)(pad)
            assert len(driving) <= 1
        return start(board, command, request, **keywords)

    monkeypatch.setattr(Board, "start", watch)
    scan_wiring(scanned)
    driven = {pad for pad, request in sent if request.drive}
    assert len(driven) == 78
    assert not {(1, 19), (2, 7)} & driven
    for rank in range(4):
        strengths = [request.drive_ma for pad, request in sent if pad[0] == rank and request.drive]
        assert set(strengths[:-1]) == {2}
        assert strengths[-1] == 8


def test_links_carry_frames_after_a_scan(repaired):
    scan_wiring(repaired)
    link = repaired.desk.config.links[0]
    sent, received = repaired.link_frames(link, frames=2, length_bytes=64, seed=SEED)
    assert (sent.progress, received.progress, received.detail) == (2, 2, 0)
    assert repaired.link_counters(link.source, Bank.DOWNSTREAM).resends == 0


@pytest.mark.parametrize("at_command", [20, 41, 150])
def test_board_that_dies_during_the_scan_is_named_and_no_pad_stays_driven(boot, monkeypatch, at_command):
    ring = boot(sim_rig(2))
    start, count = Board.start, itertools.count()

    def dying(board, command, request, **keywords):
        if next(count) == at_command:
            ring.desk.simulation.power_off(1)
        return start(board, command, request, **keywords)

    monkeypatch.setattr(Board, "start", dying)
    with pytest.raises(BoardError, match=r"board 1 .*no answer to PIN_"):
        scan_wiring(ring)
    assert ring.boards[0].command(Command.PIN_READ, Empty(), PinLevels).outputs == 0
    assert not ring.desk.contentions()


@pytest.fixture
def boot(tmp_path):
    """boot(config) -> a booted ring without model; closed after the test."""
    rings = []

    def make(config):
        session = Session(Settings(logs=tmp_path / "logs", work=tmp_path / "work"))
        ring = session.open_ring(config, shards=False)
        rings.append(ring)
        session.boot(ring)
        return ring

    yield make
    for ring in rings:
        ring.desk.close()


def test_ports_in_any_order_are_found(boot):
    order = (0, 2, 1, 3)
    links = tuple(LinkSpec(a, b) for a, b in zip(order, (*order[1:], order[0]), strict=True))
    ring = boot(replace(sim_rig(4), links=links))
    report = scan_wiring(ring, sim_rig(4))
    assert report.codes == ("order:0,2,1,3",)
    assert all(v.verdict == "ok" for v in report.wires)
    assert not ring.desk.contentions()


def test_one_board_with_jumpers_is_scanned(boot):
    ring = boot(sim_rig(1, name="sim-loopback", loopback=True))
    assert scan_wiring(ring).good
    ring.desk.set_faults(["swap:0-0.D1,D2", "open:0-0.CLK"])
    assert set(scan_wiring(ring).codes) == {"swap:0-0.D1,D2", "open:0-0.CLK"}
    assert not ring.desk.contentions()


def test_one_board_without_jumpers_is_scanned_and_a_wire_on_it_is_found(boot):
    bare = sim_rig(1)
    assert scan_wiring(boot(bare)).good
    jumpered = boot(sim_rig(1, name="sim-loopback", loopback=True))
    jumpered.desk.set_faults([f"open:0-0.{name}" for name in ("D0", "D2", "D3", "D4", "D5", "D6", "D7", "CLK", "ACK")])
    report = scan_wiring(jumpered, bare)
    assert report.codes == ("bridge:0.GPIO5,0.GPIO17",)


def test_command_prints_json_and_picture_and_fails_on_a_faulty_rig(tmp_path, capsys):
    rig, picture = tmp_path / "faulty.toml", tmp_path / "out" / "ring.svg"
    rig.write_text(FAULTY_RIG)
    code = main(["wiring", "--rig", str(rig), "--json", "--svg", str(picture), "--logs", str(tmp_path / "logs")])
    out = capsys.readouterr().out
    assert code == 1
    assert "link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2 GPIO7 (pin 26): open" in out
    report = json.loads(out.splitlines()[-1])
    assert [finding["kind"] for finding in report["findings"]] == ["open", "bridge"]
    ET.fromstring(picture.read_text(encoding="utf-8"))


def test_bench_ends_with_its_figures_as_json(tmp_path, capsys):
    code = main(["bench", "faults", "--json", "--singles", "4", "--doubles", "4", "--clean", "2", "--jobs", "1"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0
    assert (figures["singles_named"], figures["doubles_named"]) == (4, 4)
    assert (figures["false_alarms"], figures["contentions"], figures["seed"]) == (0, 0, 0x5EED)


def test_shipped_wiring_tests_fail_with_the_verdict(pytester):
    pytester.makefile(".toml", faulty=FAULTY_RIG)
    result = pytester.runpytest_subprocess(
        "--pyargs", "hil.suite.test_wiring", "--hil-rig", "faulty.toml", "--alluredir", "allure"
    )
    result.assert_outcomes(failed=1, skipped=2)
    result.stdout.fnmatch_lines(["*link 1->2 D3: board 1 GPIO19 (pin 35) -> board 2 GPIO7 (pin 26): open*"])
    pictures = list((pytester.path / "allure").glob("*.svg"))
    assert len(pictures) == 1, "the ring, and no handshake: a scan has none"
    assert "link 1" in pictures[0].read_text(encoding="utf-8")
