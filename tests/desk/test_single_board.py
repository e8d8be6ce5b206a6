"""`hil generate` and `hil train` with one board: with jumpers and without, on a terminal and through RFC 2217."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from hil.board.baud import raise_baud
from hil.cli import main
from hil.protocol.messages import Blob, Command
from hil.rig.config import load_rig
from hil.session import Session
from hil.settings import Settings
from tests.desk.servers import PortServer, SimDesk, ser2net, with_ports

WORK = {
    "generate": ["generate", "--positions", "8", "--prompt", "Once"],
    "train": ["train", "--steps", "1", "--positions", "4"],
}

TRIES = 10


@pytest.fixture(scope="module", params=["jumpers", "bare"])
def board(request, tmp_path_factory):
    """One simulated board in another process, as a desk."""
    which = ["--rig", "sim-loopback"] if request.param == "jumpers" else ["--world", "1"]
    with SimDesk(tmp_path_factory.mktemp(request.param) / "desk", *which) as desk:
        yield desk
        assert desk.close() == 0, desk.output


@pytest.mark.parametrize("verb", WORK)
def test_one_board_is_a_whole_ring(board, verb, plug, tmp_path, capsys):
    """Each verb on each board, one on the terminal and one through the network, in turn."""
    jumpers = load_rig(str(board.rig)).is_loopback
    rig = board.rig
    if jumpers == (verb == "train"):
        (port,) = board.ports
        rig = with_ports(board.rig, [plug(PortServer(str(port))).url], "network")
    assert main([*WORK[verb], "--rig", str(rig), "--logs", str(tmp_path / "logs")]) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert "equal" in said
    assert "DIFFERENT" not in said
    assert (tmp_path / "logs" / "pi0.log").stat().st_size > 0


@pytest.mark.parametrize("board", ["bare"], indirect=True)
def test_network_that_breaks_in_mid_boot_and_comes_back_begins_the_upload_anew(board, plug, tmp_path):
    image = Session(Settings()).image("ring")
    server = plug(PortServer(str(board.ports[0]), drop_after=len(image.path.read_bytes()) // 2))
    rig = with_ports(board.rig, [server.url], "network")
    session = Session(Settings(rig=str(rig), logs=tmp_path / "logs"))
    with (ring := session.open_ring()).desk:
        session.boot(ring)
        assert f"port {server.url}: came back after" in ring.boards[0].log.path.read_text()


@pytest.fixture(params=["pyserial", "ser2net"])
def server(request, plug, tmp_path):
    """server(path of a terminal) -> its URL, behind one kind of RFC 2217 server and the other."""
    with ExitStack() as stack:

        def start(path: Path) -> str:
            if request.param == "pyserial":
                return plug(PortServer(str(path))).url
            (number,) = stack.enter_context(ser2net([path], tmp_path))
            return f"rfc2217://127.0.0.1:{number}"

        yield start


def test_line_is_raised_through_a_network(server, tmp_path):
    """The server is told the new baud over RFC 2217, sets it on its terminal, and the simulated adapter follows."""
    path = tmp_path / "raised.toml"
    path.write_text("[rig]\nboot_baud = 115200\nbaud = 921600\n[sim]\nboards = 1\n")
    with SimDesk(tmp_path / "desk", "--rig", str(path)) as desk:
        rig = with_ports(desk.rig, [server(desk.ports[0])], "network")
        session = Session(Settings(rig=str(rig), logs=tmp_path / "logs"))
        with (ring := session.open_ring()).desk:
            session.boot(ring)
            (board,) = ring.boards
            for _ in range(TRIES):  # an echo has 0.25 s of wall time, which a busy computer may not keep
                if board.baud != 921600:
                    raise_baud(board, 921600)
            assert board.baud == 921600
            data = bytes(range(256)) * 4
            assert board.command(Command.PING, Blob(data), Blob).data == data
