"""The simulated rig of another process: its boards lose power, its wires break, its adapters are pulled out."""

from __future__ import annotations

import pytest

from golden.generate import GenerationRequest
from hil.checks.model.taps import golden_run
from hil.checks.wiring import scan_wiring
from hil.cli import main
from hil.desk.power import check_reset
from hil.desk.sim_desk import SimDesk as Inside
from hil.desk.sim_desk import control
from hil.errors import BoardError, HilError, PortError, RigError
from hil.rig.config import load_rig
from hil.session import Session
from hil.settings import Settings
from hil.sim.control import ControlServer
from tests.desk.servers import PortServer, SimDesk, wait_for, with_ports


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    with SimDesk(tmp_path_factory.mktemp("sim") / "desk", "--seed", "3") as made:
        yield made


@pytest.fixture(scope="module")
def session(sim, tmp_path_factory) -> Session:
    return Session(Settings(rig=str(sim.rig), logs=tmp_path_factory.mktemp("logs")))


@pytest.fixture
def ring(session, sim):
    """Booted boards; whatever a test did to the rig is repaired."""
    opened = session.open_ring()
    session.boot(opened)
    yield opened
    opened.desk.close()
    ask(sim, "faults")


def ask(sim: SimDesk, *words: str) -> None:
    assert main(["sim-control", str(sim.folder), *words]) == 0


def test_power_that_goes_in_mid_story_is_named_and_the_next_boot_brings_it_back(ring, session, sim):
    prompt = session.model.encode_prompt("", 8)
    with pytest.raises(HilError, match=r"board 2 .*no answer|board 2 said nothing"):
        ring.generate(prompt, 8, on_token=lambda token: ask(sim, "off", "2"))
    session.boot(ring)
    expected = golden_run(session.model.weights, GenerationRequest(prompt, 8), ring.world_size)
    assert ring.generate(prompt, 8).tokens == expected.tokens


def test_wire_that_breaks_is_found_from_outside_and_is_whole_when_repaired(ring, sim):
    ask(sim, "faults", "open:1-2.D3")
    report = scan_wiring(ring)
    assert not report.good
    assert "link 1->2 D3" in report.text()
    ask(sim, "faults")
    assert scan_wiring(ring).good


def test_adapter_pulled_out_in_mid_story_names_port_and_rank_and_works_again_when_plugged_in(ring, session, sim):
    port = sim.folder / "pi1"
    with pytest.raises(BoardError, match=f"board 1: port {port}: .*; is the adapter still plugged in") as caught:
        ring.generate(
            session.model.encode_prompt("", 8), 8, on_token=lambda token: ask(sim, "faults", "uart-hangup:1@0s")
        )
    assert "board 0: port" not in str(caught.value)
    with pytest.raises(PortError, match=f"board 1: port {port}: does not exist; plug the adapter in"):
        ring.desk.close()
        session.open_ring()
    ask(sim, "faults")
    wait_for(port.exists, "the adapter is plugged in")
    again = session.open_ring()
    try:
        check_reset(again.boards[1], again.desk.power)
    finally:
        again.desk.close()


@pytest.fixture
def network(sim, plug, tmp_path):
    """(servers, session): the boards behind RFC 2217 servers, and what opens them."""
    servers = [plug(PortServer(str(port))) for port in sim.ports]
    rig = with_ports(sim.rig, [server.url for server in servers], "network")
    return servers, Session(Settings(rig=str(rig), logs=tmp_path / "logs"))


def test_network_that_breaks_in_mid_story_and_comes_back_costs_nothing(network):
    servers, session = network
    prompt = session.model.encode_prompt("", 8)
    with (ring := session.open_ring()).desk as desk:
        session.boot(ring)
        said = ring.generate(prompt, 8, on_token=lambda token: servers[3].drop() if token.position == 3 else None)
        expected = golden_run(session.model.weights, GenerationRequest(prompt, 8), ring.world_size)
        assert said.tokens == expected.tokens
        assert "the connection was closed" in (log := desk.boards[3].log.path.read_text())
        assert f"port {servers[3].url}: came back after" in log


def test_server_that_stays_away_in_mid_story_names_board_and_server_and_the_next_run_is_well(network, session):
    servers, remote = network
    prompt = remote.model.encode_prompt("", 8)
    told = f"board 3: port {servers[3].url}: .*; is the serial server on 127.0.0.1 still running"
    with (ring := remote.open_ring()).desk:
        remote.boot(ring)
        with pytest.raises(BoardError, match=told):
            ring.generate(prompt, 8, on_token=lambda token: servers[3].close())
        logs = [board.log.path.read_text() for board in ring.boards]
        assert all("GENERATE" in text or "SERVE" in text for text in logs), "a log was lost"
    for server in servers:
        server.close()
    with (ring := session.open_ring()).desk:
        session.boot(ring)
        assert len(ring.generate(prompt, 8).tokens) == 8


def test_status_counts_outputs_that_met(sim, capsys):
    ask(sim, "status")
    assert "board 3 " in (said := capsys.readouterr().out)
    assert "outputs met on a wire 0 times" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reset", "4"], "board 4: this rig has boards 0 to 3"),
        (["off"], "'off' is no request; there are reset N, on N"),
        (["faults", "open:1-2.D9"], "D9"),
    ],
)
def test_request_that_makes_no_sense_is_refused(sim, capsys, words, sentence):
    assert main(["sim-control", str(sim.folder), *words]) == 1
    assert sentence in capsys.readouterr().err


def test_rig_that_has_gone_is_told_so(tmp_path):
    server = ControlServer(lambda line: line)
    server.close()
    with pytest.raises(RigError, match=f"simulated rig at {server.address}: .*is `hil sim --pty` still running"):
        control(server.address, "status")


def test_other_rig_file_is_told_from_that_of_a_simulation(tmp_path, rig_file, capsys):
    rig_file("/dev/ttyUSB0", name="rig")
    assert main(["sim-control", str(tmp_path), "status"]) == 1
    assert "rig.toml: was not written by `hil sim --pty`" in capsys.readouterr().err


def test_wrong_power_address_is_refused(rig_file):
    with pytest.raises(RigError, match=r"power: sim = 'here': give \"HOST:PORT\""):
        load_rig(str(rig_file("/dev/ttyUSB0", head='power = {sim = "here"}')))


def test_line_with_other_than_words_is_refused_inside():
    with pytest.raises(ValueError, match="'' is no request"):
        Inside(None, load_rig("sim")).execute("")
