"""The probe on a simulated board: that its checks can fail, that faults are named, that every end is one sentence."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from random import Random

import pytest
from pyftdi.ftdi import Ftdi
from usb.core import USBError

from hil.checks.probe.rules import CASES, Case, check_case
from hil.checks.probe.runs import begin, check_pattern, check_stall, end, told
from hil.checks.probe.wires import scan_wires
from hil.cli import main
from hil.errors import LinkError, ProbeError, RigError
from hil.probe.adapter import Ft232hAdapter
from hil.probe.lines import ProbeFault, burst_steps
from hil.probe.pins import WIRE_PINS
from hil.protocol import link_frames as link
from hil.protocol.link_messages import Bank, Edge, LinkBank, Pattern, Phase, PinLevels, Role
from hil.protocol.messages import Command, JobResult
from hil.rig.config import load_rig
from hil.rig.specs import ProbeSpec
from hil.ring.probe import open_probe
from hil.session import Session
from hil.settings import Settings
from hil.sim import ftdi_usb
from hil.sim.ft232h import Ft232h
from hil.sim.ft232r import Ft232r
from hil.sim.ftdi_usb import LoosePads

SEED = 0x5EED


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rig")
    session = Session(Settings(rig="sim-probe", logs=folder / "logs", work=folder / "work"))
    ring = session.open_ring(shards=False)
    session.boot(ring)
    yield session, ring
    ring.desk.close()


@pytest.fixture
def probe(rig):
    _, ring = rig
    with open_probe(ring) as probe:
        yield probe
    ring.desk.set_faults(())
    assert ring.desk.virtual_probe.complaints == []
    assert not [met for met in ring.desk.contentions() if not met.fault]


# --- the checks can fail ------------------------------------------------------------------------------


def test_pattern_check_counts_a_wrong_bit_on_its_wire_each_way(probe, monkeypatch):
    from hil.checks.probe import runs as checks

    honest = checks.pattern_frames

    def flipped(*arguments):
        first, *rest = honest(*arguments)
        return [first[:7] + bytes([first[7] ^ 0x20]) + first[8:], *rest]

    monkeypatch.setattr(checks, "pattern_frames", flipped)
    for board_sends in (False, True):
        result = check_pattern(probe, Pattern.COUNT, board_sends=board_sends, seed=SEED)
        assert result.wrong == (0, 0, 0, 0, 0, 1, 0, 0)
        assert not result.good


def test_pattern_check_notices_frames_that_never_come(probe, rig):
    rig[1].desk.set_faults(["open:0-probe.ACK"])
    result = check_pattern(probe, Pattern.COUNT, board_sends=False, frames=1, seed=SEED)
    assert "gave up at byte 0 in phase WAIT_GRANT" in result.problem
    assert not result.good


@pytest.mark.parametrize("edge", [Edge.CLK_RAISE, Edge.ACK_LOWER], ids=lambda edge: edge.name)
def test_stall_check_notices_a_board_that_says_nothing_or_another_byte(probe, monkeypatch, edge):
    from hil.checks.probe import runs as checks

    monkeypatch.setattr(checks, "told", lambda probe: told(probe) and [])
    assert "was to report" in check_stall(probe, edge, 20, seed=SEED).problems[0]
    monkeypatch.setattr(checks, "told", lambda probe: [replace(told(probe)[0], byte_index=7)])
    assert "was to report" in check_stall(probe, edge, 20, seed=SEED).problems[0]


@pytest.mark.parametrize("edge", [Edge.CLK_LOWER, Edge.ACK_RAISE], ids=lambda edge: edge.name)
def test_stall_check_notices_that_a_frame_arrived_or_did_not(probe, edge):
    """A stall that is none, called a long one; and one that is too long, called a short one."""
    assert check_stall(probe, edge, 20, phase_limits=1.01 - 0.02, seed=SEED).problems == ()
    lying = check_stall(probe, edge, 20_000, phase_limits=2.5, seed=SEED)
    assert "was to report" in lying.problems[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_rule_check_notices_a_board_that_reacts_otherwise(probe, case):
    """Each case with the expectation of another one."""
    if case.expect is None:
        wrong = replace(case, expect=replace(CASES[0].expect, byte_index=3))
    else:
        wrong = replace(case, expect=replace(case.expect, byte_index=case.expect.byte_index + 1))
    assert check_case(probe, wrong, seed=SEED).problems


def test_rule_check_notices_an_honest_handshake_where_a_wrong_one_was_to_be(probe):
    honest = Case("honest", lambda probe: probe.send_frame(bytes(range(64))) and None, CASES[0].expect)
    assert "was to report" in check_case(probe, honest, seed=SEED).problems[0]
    resent = replace(honest, expect=None, resends=(1,))
    assert check_case(probe, resent, seed=SEED).problems == ("0 resends, not 1",)


def test_wrong_bit_in_a_payload_is_counted_by_the_board_and_mended(probe, rig):
    before = rig[1].link_counters(0, probe.bank).bad_payloads
    case = next(case for case in CASES if case.name == "payload with a wrong bit")
    assert check_case(probe, case, seed=SEED).problems == ()
    assert rig[1].link_counters(0, probe.bank).bad_payloads == before + 1


# --- wires --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "problems"),
    [
        ("open:0-probe.CLK", {"CLK": "open"}),
        ("stuck0:0-probe.D6", {"D6": "shorted to ground"}),
        ("stuck1:0-probe.ACK", {"ACK": "high although nobody drives it: shorted to 3.3 V, or its resistor"}),
        ("swap:0-probe.D2,CLK", {"D2": "exchanged with CLK", "CLK": "exchanged with D2"}),
        ("bridge-or:0-probe.D0,0-probe.D7", {"D0": "touches D7", "D7": "touches D0"}),
        ("bridge-and:0-probe.D0,0-probe.D7", {"D0": "touches D7", "D7": "touches D0"}),
    ],
)
def test_faulty_wire_is_named(probe, rig, fault, problems):
    rig[1].desk.set_faults([fault])
    found = {v.describe()[:4].strip(): v.problem for v in scan_wires(probe) if v.problem}
    assert found.keys() == problems.keys()
    assert all(found[wire].startswith(text) for wire, text in problems.items()), found


def test_reversed_cable_and_one_that_is_not_plugged_in_are_seen(probe, rig):
    rig[1].desk.set_faults(["reversed:0-probe"])
    assert next(iter(scan_wires(probe))).problem == "exchanged with ACK"
    rig[1].desk.set_faults(["missing:0-probe"])
    assert {v.problem for v in scan_wires(probe)} == {"open"}


def test_missing_resistors_are_told(probe, rig):
    """Without them the adapter's pull-ups meet the board's pull-downs; pulled down again, all is well."""
    pads = rig[1].desk.virtual_probe.pads
    pads._pulled_down, kept = 0, pads._pulled_down
    probe.reset()
    problems = [v.problem for v in scan_wires(probe)]
    pads._pulled_down = kept
    probe.reset()
    assert any("its resistor to ground is missing" in problem for problem in problems)
    assert not any(v.problem for v in scan_wires(probe))


# --- frames -------------------------------------------------------------------------------------------


def test_frames_cost_the_time_that_the_page_says(probe, rig):
    loop = rig[1].desk.loop
    took_s = []
    for board_sends in (False, True):
        job = begin(probe, board_sends=board_sends)
        started_s = loop.now_s()
        if board_sends:
            assert probe.receive_frame().good
        else:
            assert probe.send_frame(bytes(range(64))) == 1
        took_s.append(loop.now_s() - started_s)
        assert end(probe, job).result == JobResult.DONE
    assert 0.004 < took_s[0] < 0.008
    assert 0.038 < took_s[1] < 0.050


def test_nobody_at_the_other_end_is_a_fault_with_phase_and_byte(probe):
    with pytest.raises(ProbeFault, match="probe: sender gave up at byte 0 in phase WAIT_GRANT") as caught:
        probe.send_frame(b"x", attempts=1, open_limit_s=0.1)
    assert (caught.value.role, caught.value.phase, caught.value.byte_index) == (Role.SENDER, Phase.WAIT_GRANT, 0)
    with pytest.raises(ProbeFault, match="receiver gave up at byte 0 in phase WAIT_CLAIM"):
        probe.receive_frame(attempts=1, open_limit_s=0.1)


def test_board_that_stops_in_mid_burst_is_named_by_the_probe_too(probe, rig):
    session, ring = rig
    begin(probe, board_sends=False)
    ring.desk.set_faults(["halt:0@byte40"])
    with pytest.raises(ProbeFault, match=r"sender gave up at byte 3\d in phase WAIT_ACK_") as caught:
        probe.send_frame(bytes(range(64)), attempts=1)
    assert isinstance(caught.value, LinkError)
    ring.desk.set_faults(())
    ring.desk.power.reset(ring.boards[0])
    session.boot(ring)
    assert check_pattern(probe, Pattern.COUNT, board_sends=False, seed=SEED).good


def test_frame_that_came_already_is_answered_and_not_given_again(probe, rig):
    """The board's answer to its first attempt is damaged, so it sends again; one frame is given."""
    before = rig[1].link_counters(0, probe.bank).resends
    job = begin(probe, board_sends=True, attempts=8, frames=2)
    first = probe.receive_frame(answer=lambda answer: answer[:-1] + bytes([answer[-1] ^ 0xFF]))
    second = probe.receive_frame()
    assert (first.payload[0], second.payload[0]) == (0, 64)
    assert end(probe, job).result == JobResult.DONE
    assert rig[1].link_counters(0, probe.bank).resends == before + 1


def test_source_rank_of_the_probe_and_types_cross_the_link(probe):
    job = begin(probe, board_sends=False)
    probe.send_frame(bytes(range(64)), type=link.FrameType.END)
    state = end(probe, job)
    assert (state.result, state.detail) == (JobResult.DONE, 1), "a frame of another type counts as wrong content"


def test_giving_up_leaves_every_pin_an_input(probe, rig):
    job = begin(probe, board_sends=False)
    with pytest.raises(ProbeFault):
        probe.send_frame(bytes(64), attempts=1, change=lambda attempt, steps: [*steps[:9], replace(steps[0], byte=4)])
    assert end(probe, job).result == JobResult.LINK_FAILED
    levels = rig[1].desk.simulation.outside[0].levels()
    assert not any(levels >> pin & 1 for pin in WIRE_PINS)
    pins = probe.board.command(Command.LINK_RESET, LinkBank(probe.bank), PinLevels)
    assert pins.outputs & 0x3FF3FF0 == 0


def test_adapter_unplugged_in_mid_frame_is_one_sentence(tmp_path):
    session = Session(Settings(rig="sim-probe", logs=tmp_path / "logs", work=tmp_path / "work"))
    ring = session.open_ring(shards=False)
    try:
        session.boot(ring)
        probe = open_probe(ring)
        begin(probe, board_sends=True)

        def pull_out(byte, rising):
            if byte == 5:
                ftdi_usb.unplug(ring.desk.virtual_probe)

        with pytest.raises(ProbeError, match="adapter ftdi://.* failed: .*No such device.*; was it unplugged"):
            probe.receive_frame(before_edge=pull_out)
        probe.close()
        with pytest.raises(ProbeError, match="cannot be opened"):
            open_probe(ring)
    finally:
        ring.desk.close()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ValueError("No backend available"), "No backend available; pyusb needs the library libusb-1.0"),
        (USBError("Access denied (insufficient permissions)"), "give yourself the right to use USB devices"),
        (OSError("Device not found"), "`ftdi_urls.py` lists those that are plugged in"),
    ],
)  # fmt: skip
def test_adapter_that_cannot_be_opened_comes_with_advice(monkeypatch, error, advice):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(Ftdi, "open_mpsse_from_url", fail)
    with pytest.raises(ProbeError) as caught:
        Ft232hAdapter("ftdi://ftdi:232h/1", lambda: 0.0)
    assert advice in str(caught.value)


def test_another_chip_is_refused():
    adapter = Ft232r(LoosePads(lambda outputs, levels: None), serial="R9")
    url = ftdi_usb.plug(adapter)
    with pytest.raises(ProbeError, match="cannot be opened: This interface does not support MPSSE"):
        Ft232hAdapter(url, lambda: 0.0)
    ftdi_usb.unplug(adapter)

    class Ft2232h(Ft232h):
        PRODUCT_ID, VERSION = 0x6010, 0x0700

    adapter = Ft2232h(LoosePads(lambda outputs, levels: None), serial="R10")
    url = ftdi_usb.plug(adapter)
    with pytest.raises(ProbeError, match="is an ft2232h; a probe needs an FT232H"):
        Ft232hAdapter(url, lambda: 0.0)
    ftdi_usb.unplug(adapter)


# --- rigs and commands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("url = 'ftdi://x/1'", "url = 'ftdi://x/1': a simulated rig has a simulated adapter; leave url out"),
        ("board = 2", "board = 2: give the rank of a board, 0..1"),
        ("board = 'x'", "give the rank of a board"),
        ("bank = 'low'", 'bank = \'low\': give "downstream" (GPIO 16..25) or "upstream" (GPIO 4..13)'),
        ("pins = 3", "unknown key `pins`; known are bank, board, url"),
        ("board = 1", "the downstream bank of board 1 is on link 1->0 already; take that link away"),
    ],
)
def test_wrong_probe_table_is_one_sentence(tmp_path, table, sentence):
    path = tmp_path / "rig.toml"
    path.write_text(f"[sim]\nboards = 2\n[probe]\n{table}\n")
    with pytest.raises(RigError) as caught:
        load_rig(str(path))
    assert sentence in str(caught.value)


def test_probe_of_a_real_rig_needs_an_url(tmp_path):
    path = tmp_path / "desk.toml"
    path.write_text('[[board]]\nrank = 0\nport = "/dev/x"\n[probe]\nbank = "upstream"\n')
    with pytest.raises(RigError, match='such as "ftdi://ftdi:232h/1"'):
        load_rig(str(path))
    path.write_text(path.read_text() + 'url = "ftdi://ftdi:232h/1"\n')
    assert load_rig(str(path)).probe == ProbeSpec(0, Bank.UPSTREAM, "ftdi://ftdi:232h/1")


def test_rig_without_probe_says_so(capsys):
    assert main(["probe", "--rig", "sim-loopback"]) == 1
    assert "rig sim-loopback has no probe; add a [probe] table to the rig file" in capsys.readouterr().err


def test_upstream_bank_of_the_first_of_two_boards(tmp_path):
    """A probe on a bank of a rig of several boards; its wires are the other bank's."""
    path = tmp_path / "rig.toml"
    path.write_text('[sim]\nboards = 2\n[[link]]\nfrom = 0\nto = 1\n[probe]\nbank = "upstream"\n')
    session = Session(Settings(rig=str(path), logs=tmp_path / "logs", work=tmp_path / "work"))
    ring = session.open_ring(shards=False)
    try:
        session.boot(ring)
        with open_probe(ring) as probe:
            assert [v.describe() for v in scan_wires(probe) if v.problem] == []
            for board_sends in (False, True):
                assert check_pattern(probe, Pattern.PRBS15, board_sends=board_sends, frames=1, seed=SEED).good
            assert check_stall(probe, Edge.ACK_RAISE, 3, seed=SEED).problems == ()
            ring.desk.set_faults(["open:probe-0.D4"])
            assert [v.problem for v in scan_wires(probe) if v.problem] == ["open"]
            ring.desk.trace(tmp_path / "wires.vcd")
            ring.desk.end_trace()
            assert "link_probe_0" in (tmp_path / "wires.vcd").read_text()
    finally:
        ring.desk.close()


def test_hil_probe_names_a_broken_wire_and_fails(tmp_path, capsys):
    assert main(["probe", "--rig", "sim-probe", "--logs", str(tmp_path), "--fault", "open:0-probe.D3"]) == 1
    out = capsys.readouterr().out
    assert "D3   board 0 GPIO19 (pin 35) - FT232H AC3 (C3)   open\n" in out
    assert "1 of 10 wires are not sound; nothing else was tested" in out


@pytest.mark.slow
def test_hil_probe_proves_a_sound_link(tmp_path, capsys):
    assert main(["probe", "-v", "--logs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for line in ("patterns          18 of 18", "stalls            12 of 12", "wrong handshakes  11 of 11"):
        assert f"  {line} as they must be\n" in out
    assert out.endswith("the link is sound\n")
    assert "BAD" not in out


# --- whatever the probe does ---------------------------------------------------------------------------


def disturb(steps, random):
    """A burst with one step left out, doubled, exchanged with another, or with the burst cut off there."""
    at = random.randrange(len(steps))
    other = random.randrange(len(steps))
    match random.randrange(4):
        case 0:
            return steps[:at] + steps[at + 1 :]
        case 1:
            return steps[:at] + [steps[at]] + steps[at:]
        case 2:
            changed = list(steps)
            changed[at], changed[other] = changed[other], changed[at]
            return changed
        case _:
            return steps[:at]


def skipping(probe, patch, random):
    """Now and then the probe takes a level of CLK for granted."""
    honest, rate = probe.lines._wait_clk, random.random() / 20

    def wait_clk(edge, level, byte):
        return 0x5A if random.random() < rate else honest(edge, level, byte)

    patch.setattr(probe.lines, "_wait_clk", wait_clk)


def play_disturbed(probe, rounds, seed):
    random = Random(seed)
    for _ in range(rounds):
        board_sends = random.random() < 0.5
        job = begin(probe, board_sends=board_sends)
        with contextlib.suppress(LinkError), pytest.MonkeyPatch.context() as patch:
            if board_sends:
                skipping(probe, patch, random)
                probe.receive_frame(attempts=1)
            else:
                probe.send_frame(bytes(range(64)), attempts=1, change=lambda attempt, steps: disturb(steps, random))
        probe.lines.let_go()
        end(probe, job)
        assert check_pattern(probe, Pattern.PRBS15, board_sends=board_sends, frames=1, length_bytes=8, seed=seed).good


def test_board_that_has_lost_count_is_contested_and_let_go_at_once(probe, rig):
    """The one way to make outputs meet: to grant while the board still receives. It lasts a USB round trip."""
    simulation = rig[1].desk.simulation
    job = begin(probe, board_sends=False)
    probe.lines.send(burst_steps(link.pack_frame(1, 0, 1, bytes(64)))[:-6], open_limit_s=1.0)
    probe.lines.let_go()
    with pytest.raises(ProbeFault, match="receiver gave up at byte 0 in phase CONTESTED"):
        probe.lines.receive(lambda data: 8, open_limit_s=1.0)
    (met,) = [met for met in simulation.contentions if not met.fault]
    assert "board 0 GPIO25=0" in str(met)
    assert "FT232H AD5=1" in str(met)
    assert met.end_ns - met.time_ns < 500_000
    end(probe, job)
    simulation.forget_contentions()


@pytest.mark.parametrize("seed", [1, 2])
def test_random_disturbances_never_make_outputs_meet_and_the_link_comes_back(probe, rig, seed):
    before = len(rig[1].desk.contentions())
    play_disturbed(probe, 12, seed)
    assert rig[1].desk.contentions()[before:] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_many_random_disturbances_never_make_outputs_meet(probe, rig, seed):
    before = len(rig[1].desk.contentions())
    play_disturbed(probe, 50, seed)
    assert rig[1].desk.contentions()[before:] == []
