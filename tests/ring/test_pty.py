"""The real-port path: the simulated ring in another process, behind real pseudo-terminals."""

import subprocess
import sys
from pathlib import Path

import pytest

from golden.generate import GenerationRequest
from hil.checks.model.taps import compare_taps, golden_run


@pytest.fixture
def pty_rig(tmp_path: Path):
    """A rig file for four pseudo-terminals served by `hil sim --pty` in a process of its own."""
    folder = tmp_path / "desk"
    process = subprocess.Popen(
        [sys.executable, "-m", "hil.cli", "sim", "--pty", str(folder), "--fast", "--seed", "3"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("4 boards at"), "hil sim did not start"
    yield folder / "rig.toml"
    process.terminate()
    process.wait(timeout=60)


def test_ring_over_pseudo_terminals_tells_the_same_story(pty_rig, open_ring):
    session, ring = open_ring(rig=str(pty_rig))
    assert ring.desk.simulation is None
    tokens = session.model.encode_prompt("Once upon a time", 8)
    result = ring.generate(tokens, 8)
    expected = golden_run(session.model.weights, GenerationRequest(tokens, 8), ring.world_size)
    comparison = compare_taps(ring, expected.by_rank)
    assert comparison.first is None, comparison.first.describe()
    assert result.tokens == expected.tokens


def test_second_user_of_a_port_is_told_so(pty_rig, open_ring):
    from hil.errors import PortError

    open_ring(rig=str(pty_rig), boot=False)
    with pytest.raises(PortError, match="port .*pi0: is in use by another program"):
        open_ring(rig=str(pty_rig), boot=False, name="second")
