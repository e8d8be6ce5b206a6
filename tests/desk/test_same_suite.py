"""The shipped hardware tests: the same tests, the same outcomes, in process, on terminals and through a network."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.desk.servers import PortServer, SimDesk, ser2net, with_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SUITE = Path(__file__).parents[2] / "hil" / "suite"


def outcomes(rig: str, folder: Path) -> dict[str, str]:
    """Run `-m ring` of the suite on a rig in a process of its own; what came of each test."""
    folder.mkdir(exist_ok=True)
    results = folder / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "ring", str(SUITE), f"--hil-rig={rig}"]
    options = [f"--hil-logs={folder / 'logs'}", f"--junitxml={results}", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *options], cwd=folder, stdout=subprocess.PIPE, text=True)
    print(f"{rig}\n{done.stdout[-3000:]}")
    found = {}
    for case in ElementTree.parse(results).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[f"{case.get('classname')}::{case.get('name')}"] = ", ".join(sorted(kinds)) or "passed"
    return found


@pytest.fixture(scope="module")
def in_process(tmp_path_factory) -> dict[str, str]:
    found = outcomes("sim", tmp_path_factory.mktemp("sim") / "suite")
    assert found
    assert set(found.values()) == {"passed"}, "the simulated ring itself is not right"
    return found


@pytest.fixture
def desk(tmp_path):
    """The simulated ring in a process of its own; in the end no two outputs have met."""
    with SimDesk(tmp_path / "desk", "--seed", "3") as made:
        yield made
        assert made.close() == 0, made.output
        assert "outputs met on a wire 0 times" in made.output


def test_four_terminals_of_another_process(in_process, desk, tmp_path):
    assert outcomes(str(desk.rig), tmp_path / "suite") == in_process


def test_through_pyserials_rfc_2217_server(in_process, desk, tmp_path):
    with ExitStack() as stack:
        servers = [PortServer(str(port)) for port in desk.ports]
        for server in servers:
            stack.callback(server.close)
        rig = with_ports(desk.rig, [server.url for server in servers], "network")
        assert outcomes(str(rig), tmp_path / "suite") == in_process


def test_through_ser2net(in_process, desk, tmp_path):
    with ser2net(desk.ports, tmp_path) as numbers:
        rig = with_ports(desk.rig, [f"rfc2217://127.0.0.1:{number}" for number in numbers], "network")
        assert outcomes(str(rig), tmp_path / "suite") == in_process
