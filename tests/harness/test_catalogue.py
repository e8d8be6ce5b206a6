"""The catalogue of checks: complete, called, printed; and what a rig must have is asked before anything boots."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from hil.checks import boards
from hil.checks.catalogue import CHECKS
from hil.checks.check import Result, Setup, Sign, check
from hil.checks.link import checks as link_checks
from hil.checks.link.runs import LinkRunResult, RunPlan, WireResult
from hil.cli import main
from hil.errors import RigError
from hil.nightly.record import CheckKind
from hil.nightly.rounds import KINDS
from hil.protocol.link_messages import Pattern
from hil.rig.config import load_rig
from hil.rig.needs import Need
from hil.rig.specs import LinkSpec, sim_rig

SUITE = Path(boards.__file__).parent.parent / "suite"
TWO_BOARDS = """
[rig]
name = "two"
[[board]]
rank = 0
port = "sim://0"
[[board]]
rank = 1
port = "sim://1"
[[link]]
from = 0
to = 1
[sim]
"""


def test_every_check_has_a_name_of_its_own_a_known_marker_and_a_sentence(pytestconfig):
    assert len({one.name for one in CHECKS}) == len(CHECKS) >= 30
    markers = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    for one in CHECKS:
        assert one.marker in markers, one.name
        assert one.text.endswith("."), one.name


def test_every_check_is_called_by_the_suite_or_by_a_night():
    suite = "".join(path.read_text(encoding="utf-8") for path in SUITE.glob("test_*.py"))
    left_out = [one.name for one in CHECKS if not one.night and f".{one.work.__name__}, " not in suite]
    assert left_out == []


def test_a_round_is_in_the_order_of_the_catalogue():
    night = [one.name for one in CHECKS if one.night]
    assert night == ["boot", "wiring", "link", "all links at once", "layers", "gradients", "generation", "training"]
    assert [one.name for one in CHECKS if one.night and KINDS[one.marker] is CheckKind.BOOT] == ["boot"]


def test_command_prints_every_check_with_what_it_needs(capsys):
    assert main(["checks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS) + 1
    assert (
        "boot               ring       a board             yes    Reset and boot all boards, ask each who it is."
        in lines
    )
    assert any(line.startswith("link A->B          link       a link              yes ") for line in lines)


# --- what a rig must have ------------------------------------------------------------------------


@pytest.fixture
def two_boards(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(TWO_BOARDS)
    return path


LACKS = {
    Need.RING: "rig {rig} has {boards} and no closed ring; give the rig file of a ring",
    Need.WIRED_RANKS: "rig {rig} has {boards} and no closed ring; give the rig file of a ring, or of one board with "
    "loopback jumpers",
    Need.RANKS: "rig {rig} has {boards} and no closed ring; give the rig file of a ring, or of one board",
    Need.LOOPBACK: "rig {rig} has no loopback link; use a rig file with one board and [[link]] from = 0, to = 0",
    Need.LINK: "rig {rig} has no link; add a [[link]] to its file",
    Need.LINKS: "rig {rig} has no two links; add a [[link]] to its file",
    Need.PROBE: "rig {rig} has no probe; add a [probe] table to the rig file (docs/probe.md)",
    Need.BARE: "rig {rig} has links; give a rig of one board without [[link]]",
    Need.BOARD: "",
}
RIGS = {
    "sim": (4, {Need.LOOPBACK, Need.PROBE, Need.BARE}),
    "sim-loopback": (1, {Need.RING, Need.LINKS, Need.PROBE, Need.BARE}),
    "sim-probe": (1, {Need.RING, Need.WIRED_RANKS, Need.LINK, Need.LINKS, Need.LOOPBACK}),
    "bare": (1, {Need.RING, Need.WIRED_RANKS, Need.LINK, Need.LINKS, Need.LOOPBACK, Need.PROBE}),
    "two": (2, {Need.RING, Need.WIRED_RANKS, Need.RANKS, Need.LINKS, Need.LOOPBACK, Need.PROBE, Need.BARE}),
}


@pytest.mark.parametrize("name", RIGS)
def test_rig_lacks_what_it_lacks_and_says_so(name, two_boards):
    count, lacking = RIGS[name]
    config = {"bare": lambda: sim_rig(1, name="bare"), "two": lambda: load_rig(str(two_boards))}.get(
        name, lambda: load_rig(name)
    )()
    boards_text = f"{count} board{'' if count == 1 else 's'}"
    for need in Need:
        sentence = LACKS[need].format(rig=config.name, boards=boards_text) if need in lacking else ""
        assert need.lack(config) == sentence
        if sentence:
            with pytest.raises(RigError) as raised:
                need.require(config)
            assert str(raised.value) == sentence
        else:
            need.require(config)


@pytest.mark.parametrize(
    "command", [["generate"], ["train"], ["verify"], ["verify", "--train"], ["trace", "--out", "traces"]], ids=" ".join
)
def test_two_boards_with_one_link_are_refused_before_boot(command, two_boards, capsys, monkeypatch):
    monkeypatch.chdir(two_boards.parent)
    assert main([*command, "--rig", str(two_boards)]) == 1
    shown = capsys.readouterr()
    sentence = "rig two has 2 boards and no closed ring; give the rig file of a ring, or of one board"
    assert shown.err == f"hil {command[0]}: {sentence}\n"
    assert shown.out == ""
    assert list(two_boards.parent.iterdir()) == [two_boards], "something was opened"


def test_check_refuses_a_rig_that_lacks_what_it_needs():
    called = []

    @check("counted", "ring", Need.RING)
    def counted(setup, seed):
        """Counts its calls."""
        called.append(seed)
        return Result()

    rings = [SimpleNamespace(desk=SimpleNamespace(config=load_rig(name))) for name in ("sim", "sim-loopback")]
    assert counted(Setup(rings[0], None), 7).good
    with pytest.raises(RigError, match="rig sim-loopback has 1 board and no closed ring"):
        counted(Setup(rings[1], None), 8)
    assert called == [7]


# --- checks of boards and links can fail ---------------------------------------------------------


def test_result_shows_its_sentence_once():
    assert Result("two wires", detail="seen: two wires").text == "seen: two wires"
    assert Result("two wires", detail="a map").text == "two wires\na map"
    assert (Result("two wires").text, Result("two wires").good, Result().good) == ("two wires", False, True)


@dataclasses.dataclass
class Identity:
    layer_start: int = 0
    layer_end: int = 0
    has_head: bool = False
    board_serial: int = 0
    protocol: int = 0
    build_id: bytes = b""


def setup_of(*identities):
    """A setup whose boards say this of themselves."""
    model = SimpleNamespace(weights=SimpleNamespace(config=SimpleNamespace(n_layers=5)))
    ring = SimpleNamespace(identities=lambda: identities, image=SimpleNamespace(build_id=b"\x07"))
    return Setup(ring, model)


@pytest.mark.parametrize(
    ("ranges", "sentence"),
    [
        ([(0, 2), (2, 5)], ""),
        ([(0, 2), (3, 5)], "layers end at 2 and go on at 3"),
        ([(0, 2), (2, 4)], "layers end at 4 and go on at 5"),
        ([(1, 5)], "layers end at 0 and go on at 1"),
    ],
)
def test_gap_between_the_boards_layers_is_named(ranges, sentence):
    identities = [Identity(start, end) for start, end in ranges] + [Identity(has_head=True)]
    assert boards.layers_shared_out.work(setup_of(*identities), 0).sentence == sentence


def test_serial_number_of_two_boards_is_named():
    assert boards.serial_numbers.work(setup_of(Identity(board_serial=1), Identity(board_serial=2)), 0).good
    found = boards.serial_numbers.work(setup_of(Identity(board_serial=1), Identity(board_serial=1)), 0)
    assert (found.sentence, found.sign) == ("several boards have serial 0000000000000001", Sign.BOARD)


def test_board_with_another_image_is_named():
    right = Identity(protocol=boards.PROTOCOL_VERSION, build_id=b"\x07")
    assert boards.image_sent.work(setup_of(right), 0).good
    found = boards.image_sent.work(setup_of(right, dataclasses.replace(right, build_id=b"\x08")), 0)
    assert found.sentence == f"board 1 runs 08 of protocol {boards.PROTOCOL_VERSION}"


class BoardDouble:
    """Answers PING with `echo` changed, HEALTH with `health`."""

    rank = 0

    def __init__(self, echo=lambda data: data, **health):
        usual = {"temperature_mc": 40_000, "uart_clock_hz": 1, "arm_clock_hz": 1, "uart_overruns": 0}
        self._echo, self._health = echo, SimpleNamespace(**{**usual, **health})

    def __str__(self):
        return "board 0 (double)"

    def command(self, command, request, expect):
        return self._health if command.name == "HEALTH" else SimpleNamespace(data=self._echo(request.data))


@pytest.mark.parametrize(
    ("what", "board", "sentence"),
    [
        (boards.echo, BoardDouble(), ""),
        (boards.echo, BoardDouble(lambda data: data[:-1]), "board 0 (double): the echo differs"),
        (boards.healthy, BoardDouble(), ""),
        (boards.healthy, BoardDouble(temperature_mc=85_000), "board 0 (double): 85.0 degrees, at most 85.0"),
        (boards.healthy, BoardDouble(arm_clock_hz=0), "board 0 (double): UART at 1 Hz, processor at 0 Hz"),
        (boards.healthy, BoardDouble(uart_overruns=3), "board 0 (double): 3 bytes lost on its serial line"),
    ],
)
def test_board_that_is_not_well_is_named(what, board, sentence):
    ring = SimpleNamespace(boards=[board])
    assert what.work(Setup(ring, None), 0).sentence == sentence


@pytest.fixture
def link_run(monkeypatch):
    """link_run(errors=, frames_wrong=, turnarounds=, waits=): what every run over link 1->2 will have found."""
    link = LinkSpec(1, 2)

    def prepare(errors=(0,) * 8, frames_wrong=0, turnarounds=1002, waits=1024):
        wires = tuple(WireResult(f"D{n}", 1024, count) for n, count in enumerate(errors))
        plan = RunPlan(Pattern.PRBS15, 2, 512, 0)
        phases = {"ACK high": (waits,)}
        result = LinkRunResult(link, False, plan, 2, frames_wrong, 0, wires, 1.0, 0, 0, 0, 0, turnarounds, "us",
                               phases)  # fmt: skip
        monkeypatch.setattr(link_checks, "run_each", lambda ring, links, plan, *, reverse: [result])
        ring = SimpleNamespace(desk=SimpleNamespace(config=SimpleNamespace(links=[link])))
        return Setup(ring, None)

    return prepare


def test_pattern_with_a_wrong_bit_names_the_wire(link_run):
    assert link_checks.pattern.work(link_run(), 0).good
    found = link_checks.pattern.work(link_run(errors=(0, 0, 0, 1, 0, 0, 0, 0), frames_wrong=1), 0)
    assert "1 of 1,024 bits wrong on link 1->2 D3: board 1 GPIO19 (pin 35)" in found.sentence
    assert found.sign is Sign.LINK


@pytest.mark.parametrize("errors", [(0,) * 8, (0, 0, 0, 1, 0, 0, 0, 0), (0, 0, 0, 0, 0, 2, 0, 0)])
def test_spoiled_bit_that_is_not_found_on_its_wire_fails(link_run, errors):
    assert link_checks.one_wrong_bit.work(link_run(errors=(0, 0, 0, 0, 0, 1, 0, 0), frames_wrong=1), 0).good
    found = link_checks.one_wrong_bit.work(link_run(errors=errors, frames_wrong=1), 0)
    assert f"one bit of D5 was spoiled, {list(errors)} were found" in found.sentence


def test_too_few_turnarounds_or_timed_waits_fail(link_run):
    assert link_checks.turnarounds.work(link_run(), 0).good
    assert link_checks.turnarounds.work(link_run(turnarounds=999), 0).sentence == "link 1->2: 999 turnarounds, not 1000"
    assert link_checks.phases_timed.work(link_run(), 0).good
    found = link_checks.phases_timed.work(link_run(waits=7), 0)
    assert found.sentence == "link 1->2: 7 waits for ACK high were timed, not 1024"
