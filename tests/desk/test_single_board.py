"""`hil generate` and `hil train` with one board: with jumpers and without, on a terminal and through RFC 2217."""

from __future__ import annotations

import pytest

from hil.cli import main
from hil.rig.config import load_rig
from tests.desk.servers import PortServer, SimDesk, with_ports

WORK = {
    "generate": ["generate", "--positions", "8", "--prompt", "Once"],
    "train": ["train", "--steps", "1", "--positions", "4"],
}


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
