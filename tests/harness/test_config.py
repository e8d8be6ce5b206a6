"""Rig files: what is accepted, and one sentence for each thing that is not."""

from pathlib import Path

import pytest

from hil.errors import RigError
from hil.rig.config import load_rig
from hil.rig.specs import LinkSpec, sim_rig

TWO = """
[rig]
name = "desk"
[[board]]
rank = 1
port = "/dev/ttyUSB1"
[[board]]
rank = 0
port = "/dev/ttyUSB0"
serial = "00000000a1b2c3d4"
"""


def load(tmp_path: Path, text: str):
    path = tmp_path / "rig.toml"
    path.write_text(text)
    return load_rig(str(path))


def test_built_in_ring_has_four_boards_in_a_circle():
    rig = load_rig("sim")
    assert rig.is_ring
    assert [str(link) for link in rig.links] == ["0->1", "1->2", "2->3", "3->0"]


def test_built_in_loopback_is_one_board_on_itself():
    rig = load_rig("sim-loopback")
    assert rig.is_loopback
    assert not rig.is_ring
    assert rig.links == (LinkSpec(0, 0),)


def test_file_gives_boards_by_rank_and_a_ring_by_default(tmp_path):
    rig = load(tmp_path, TWO)
    assert [board.port for board in rig.boards] == ["/dev/ttyUSB0", "/dev/ttyUSB1"]
    assert rig.boards[0].serial == 0xA1B2C3D4
    assert rig.is_ring
    assert rig.sim is None


def test_sim_table_makes_simulated_boards(tmp_path):
    rig = load(tmp_path, "[sim]\nboards = 3\ndrift_ppm = [10, -20, 0]\n")
    assert rig.world_size == 3
    assert rig.sim is not None
    assert rig.sim.drift_ppm == (10, -20, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[rig", "not TOML"),
        ("[rig]\nbuad = 1\n" + TWO[7:], "unknown key `buad`"),
        (TWO.replace("rank = 1", "rank = 2"), r"ranks are \[0, 2\]; they must be 0, 1, 2, ... without gaps"),
        ("[rig]\nname='x'\n", r"ranks are \[\]"),
        (TWO.replace("ttyUSB1", "ttyUSB0"), "port /dev/ttyUSB0 is given to 2 boards"),
        (TWO.replace('name = "desk"', "baud = 7"), "baud = 7: give a whole number from 1200 to 3000000"),
        (TWO + "[[link]]\nfrom = 0\nto = 5\n", "link 0->5: `from` and `to` must be ranks 0..1"),
        ("[[board]]\nrank = 0\n", "every .*board.* needs `rank` and `port`"),
    ],
)
def test_wrong_file_is_refused_in_one_sentence(tmp_path, text, sentence):
    with pytest.raises(RigError, match=sentence) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "rig.toml" in str(caught.value)


def test_missing_file_says_what_to_give():
    with pytest.raises(RigError, match=r"rig nowhere\.toml: no such file; give a rig file, or `sim`"):
        load_rig("nowhere.toml")


@pytest.mark.parametrize("world_size", [0, 17])
def test_world_size_out_of_range_is_refused(world_size):
    with pytest.raises(RigError, match="1 to 16 boards"):
        sim_rig(world_size)
