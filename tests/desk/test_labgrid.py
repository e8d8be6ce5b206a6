"""labgrid environments as rigs: what they say, and a real coordinator and exporter for simulated boards' ports."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from hil.cli import main
from hil.desk.desk import hold_ports, open_desk
from hil.errors import RigError
from hil.rig.config import load_rig
from hil.rig.specs import LinkSpec, ring_links
from tests.desk.boards import BUILD, RunningBoard
from tests.desk.servers import SimDesk, need_ser2net, wait_for

NEED = "labgrid is not installed: pip install 'pi-ring-hil[labgrid]'"
installed = importlib.util.find_spec("labgrid") is not None
needs_labgrid = pytest.mark.skipif(not installed, reason=NEED)

PLACES = """
targets:
{targets}
options:
  coordinator_address: "{address}"
"""


@pytest.fixture
def environment(tmp_path):
    """environment(text) -> the path of an environment file."""

    def write(text: str) -> Path:
        path = tmp_path / "ring.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    """Four simulated boards behind terminals."""
    with SimDesk(tmp_path_factory.mktemp("lab") / "desk", "--seed", "3") as made:
        yield made


@pytest.fixture(scope="module")
def lab(sim):
    """They are exported by a labgrid exporter."""
    from tests.desk.labgrid_lab import Lab

    need_ser2net()
    made = Lab([str(port) for port in sim.ports], sim.folder.parent)
    yield made
    made.close()


def places(lab, count: int = 4) -> str:
    targets = "\n".join(f"  pi{r}: {{resources: {{RemotePlace: {{name: ring-pi{r}}}}}}}" for r in range(count))
    return PLACES.format(targets=targets, address=lab.address)


@pytest.mark.skipif(installed, reason="labgrid is installed here")
def test_without_labgrid_the_sentence_says_how_to_install_it(environment):
    with pytest.raises(RigError, match=r"ring.yaml: is a labgrid environment, .*pip install 'pi-ring-hil\[labgrid\]'"):
        load_rig(str(environment("targets: {}")))


@needs_labgrid
def test_targets_are_boards_by_the_number_in_their_names(environment):
    config = load_rig(str(environment("""
targets:
  pi1: {resources: {NetworkSerialPort: {host: lab, port: 4001}}}
  pi0: {resources: {RawSerialPort: {port: /dev/ttyUSB0}}}
""")))  # fmt: skip
    assert [(spec.rank, spec.port) for spec in config.boards] == [(0, "labgrid://pi0/"), (1, "labgrid://pi1/")]
    assert (config.name, config.links, config.is_ring) == ("ring", ring_links(2), True)


@needs_labgrid
def test_serial_drivers_of_one_target_are_boards(environment):
    config = load_rig(str(environment("""
targets:
  main:
    resources: {RemotePlace: {name: ring}}
    drivers:
      - SerialDriver: {name: pi0, bindings: {port: left}}
      - SerialDriver: {name: pi1, bindings: {port: right}}
""")))  # fmt: skip
    assert [spec.port for spec in config.boards] == ["labgrid://main/left", "labgrid://main/right"]


@needs_labgrid
def test_single_board_needs_no_number_and_may_have_jumpers(environment):
    config = load_rig(str(environment("""
targets: {main: {resources: {RawSerialPort: {port: /dev/ttyUSB0}}}}
options: {hil_links: [[0, 0]], hil_baud: 460800}
""")))  # fmt: skip
    assert (config.world_size, config.links, config.is_loopback, config.baud) == (1, (LinkSpec(0, 0),), True, 460800)


@needs_labgrid
def test_environment_needs_no_rig_init(environment, tmp_path, capsys):
    path = environment("targets: {main: {resources: {RawSerialPort: {port: /dev/ttyUSB0}}}}")
    assert main(["rig", "init", str(tmp_path / "new.toml"), "--from", str(path)]) == 1
    assert "a labgrid environment is a rig as it is; give it to --rig" in capsys.readouterr().err


@needs_labgrid
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("targets: [", "labgrid says: Error in configuration file"),
        ("targets: {}", r"ranks are \[\]; they must be 0, 1, 2"),
        ("targets: {a: {}, b: {}}", "target a has 0 serial ports; write one target for each board"),
        ("targets: {a: {resources: {RawSerialPort: {port: x}}}, b: {resources: {RawSerialPort: {port: y}}}}",
         "a: its name must end in the board's rank, like pi0"),
        ("targets: {a1: {resources: {RawSerialPort: {port: x}}}, b1: {resources: {RawSerialPort: {port: y}}}}",
         "rank 1 is given to labgrid://a1/ and labgrid://b1/; end each name in its own rank"),
        ("targets: {a1: {resources: {RawSerialPort: {port: x}}}, b2: {resources: {RawSerialPort: {port: y}}}}",
         r"ranks are \[1, 2\]"),
        ("targets: {m: {resources: {RemotePlace: {name: r}}, drivers: [SerialDriver: {name: a}, SerialDriver: {}]}}",
         "target m: SerialDriver a: write bindings: {port: NAME}"),
        ("targets: {m: {resources: {RawSerialPort: {port: x}}}}\noptions: {hil_links: [[0, 1]]}",
         r"hil_links = \[\[0, 1\]\]: give a list of \[from, to\]"),
        ("targets: {m: {resources: {RawSerialPort: {port: x}}}}\noptions: {hil_baud: fast}", "hil_baud = 'fast'"),
    ],
)  # fmt: skip
def test_wrong_environment_is_refused_with_a_sentence(environment, text, sentence):
    with pytest.raises(RigError, match=sentence):
        load_rig(str(environment(text)))


@needs_labgrid
def test_local_port_opens_and_labgrids_power_driver_resets(environment, plug, tmp_path):
    """No coordinator is needed for ports of this computer."""
    board = plug(RunningBoard(BUILD))
    mark = tmp_path / "cycled"
    path = environment(f"""
targets:
  main:
    resources: {{RawSerialPort: {{port: {board.path}}}}}
    drivers: {{ExternalPowerDriver: {{cmd_on: 'true', cmd_off: 'true', cmd_cycle: 'touch {mark}'}}}}
""")
    with open_desk(load_rig(str(path)), tmp_path / "logs", seed=1) as desk:
        assert desk.boards[0].spec.port == board.path
        desk.power.reset(desk.boards[0])
        wait_for(mark.exists, "the driver has run")
        assert desk.power.describe() == "labgrid's driver does it"
    assert mark.exists()


@needs_labgrid
def test_ring_of_four_places_tells_the_story_and_gives_them_back(lab, environment, tmp_path, capsys):
    path = environment(places(lab))
    logs = str(tmp_path / "logs")
    assert main(["generate", "--rig", str(path), "--positions", "8", "--logs", logs]) == 0, capsys.readouterr()
    assert "all equal to the golden's" in capsys.readouterr().out
    assert [lab.holder(f"ring-pi{rank}") for rank in range(4)] == [""] * 4


@needs_labgrid
def test_one_place_with_four_ports_is_a_ring(lab, environment, tmp_path):
    drivers = "\n".join(f"      - SerialDriver: {{name: d{r}, bindings: {{port: pi{r}}}}}" for r in range(4))
    targets = f"  main:\n    resources: {{RemotePlace: {{name: ring}}}}\n    drivers:\n{drivers}"
    path = environment(PLACES.format(targets=targets, address=lab.address))
    with open_desk(load_rig(str(path)), tmp_path / "logs", seed=1) as desk:
        assert lab.holder("ring")
        assert len({board.spec.port for board in desk.boards}) == 4
        assert all(board.spec.port.startswith("rfc2217://127.0.0.1:") for board in desk.boards)
    assert lab.holder("ring") == ""


@needs_labgrid
def test_one_board_needs_one_place(lab, environment):
    """As `hil console` does it: the other boards stay free."""
    config = load_rig(str(environment(places(lab))))
    with ExitStack() as held:
        alone, _ = hold_ports(replace(config, boards=(config.boards[2],)), held)
        assert alone.boards[0].port.startswith("rfc2217://127.0.0.1:")
        assert [bool(lab.holder(f"ring-pi{rank}")) for rank in range(4)] == [False, False, True, False]


@needs_labgrid
def test_place_of_somebody_else_is_named_with_its_holder_and_the_others_are_given_back(lab, environment, tmp_path):
    lab.client("-p", "ring-pi2", "acquire", user="anna")
    try:
        with pytest.raises(RigError, match=r"place ring-pi2 is held by .*/anna; wait, or ask for `labgrid-client"):
            open_desk(load_rig(str(environment(places(lab)))), tmp_path / "logs", seed=1)
        assert [bool(lab.holder(f"ring-pi{rank}")) for rank in range(4)] == [False, False, True, False]
    finally:
        lab.client("-p", "ring-pi2", "release", user="anna")


@needs_labgrid
def test_place_that_its_user_holds_already_is_used_and_kept(lab, environment, tmp_path):
    lab.client("-p", "ring-pi0", "acquire")
    try:
        open_desk(load_rig(str(environment(places(lab, 1)))), tmp_path / "logs", seed=1).close()
        assert lab.holder("ring-pi0")
    finally:
        lab.client("-p", "ring-pi0", "release")


@needs_labgrid
def test_unknown_place_and_missing_coordinator(lab, environment, tmp_path):
    wrong = places(lab, 1).replace("ring-pi0", "no-such-place")
    with pytest.raises(RigError, match=r"place no-such-place: .*; `labgrid-client places` lists what there is"):
        open_desk(load_rig(str(environment(wrong))), tmp_path / "logs", seed=1)
    nobody = places(lab, 1).replace(lab.address, "127.0.0.1:9")
    with pytest.raises(RigError, match=r"no labgrid coordinator answers at 127.0.0.1:9 .*; start labgrid-coordinator"):
        open_desk(load_rig(str(environment(nobody))), tmp_path / "logs", seed=1)
