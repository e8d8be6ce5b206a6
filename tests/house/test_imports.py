"""Who may import whom: nothing upwards, no circles, pytest only where tests are; and breaking a rule is seen."""

import shutil
from pathlib import Path

import pytest

from tests.house.draw import PICTURE, house_svg
from tests.house.imports import (
    CIRCLES_KNOWN,
    FLOORS,
    PYTEST_ROOMS,
    REAL_ROOMS,
    SIMULATED_FILES,
    UPWARDS_KNOWN,
    circles,
    floor_of,
    imports,
    room_of,
    rooms,
    upwards,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def house():
    """Every import of the harness and the golden."""
    return imports(ROOT)


def test_every_room_has_one_floor():
    assert sorted(room for floor in FLOORS for room in floor) == sorted(rooms(ROOT)), "a new room goes into FLOORS"


def test_nothing_is_imported_upwards(house):
    found = [one for one in upwards(house) if (one.importer, room_of(one.target)) not in UPWARDS_KNOWN]
    assert not found, "\n".join(map(str, found))


def test_known_upward_imports_are_still_there(house):
    assert {(one.importer, room_of(one.target)) for one in upwards(house)} >= UPWARDS_KNOWN


def test_no_files_import_each_other_in_a_circle(house):
    assert {frozenset(circle) for circle in circles(house)} == CIRCLES_KNOWN


def test_pytest_is_imported_by_plugin_and_suite_only(house):
    assert _users_of(house, "pytest") == set(PYTEST_ROOMS)


def test_what_runs_on_real_boards_knows_no_simulator(house):
    assert not _users_of([one for one in house if one.importer not in SIMULATED_FILES], "hil.sim") & REAL_ROOMS
    assert _users_of([one for one in house if one.importer in SIMULATED_FILES], "hil.sim") <= REAL_ROOMS


def _users_of(house, package: str) -> set[str]:
    return {room_of(one.importer) for one in house if room_of(one.target) == package}


@pytest.fixture
def scratch(tmp_path):
    """scratch(file, line) -> the imports of a copy of the file's room, and of loose files, with one more line in it."""

    def make(file: str, line: str):
        path = tmp_path / file
        for source in (*ROOT.glob("hil/*.py"), *ROOT.joinpath(file).parent.rglob("*.py")):
            copy = tmp_path / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as stream:
            stream.write(f"\n{line}\n")
        return imports(tmp_path)

    return make


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("hil/board/text.py", "from hil.desk.power import Power"),
        ("hil/board/board.py", "if TYPE_CHECKING:\n    from hil.desk.power import Power"),
        ("hil/rig/specs.py", "import hil.line.port"),
        ("hil/line/loop.py", "def f():\n    from hil.rig.specs import BoardSpec"),
        ("hil/sim/core.py", "from hil.errors import HilError"),
        ("golden/taps.py", "from hil import errors"),
        ("hil/checks/link/runs.py", "from hil.session import Session"),
        ("hil/session.py", "from hil.cli import main"),
        ("hil/ring/probe.py", "from hil.checks.link.stalls import places"),
    ],
)
def test_upward_import_is_seen(scratch, file, line):
    found = [one for one in upwards(scratch(file, line)) if (one.importer, room_of(one.target)) not in UPWARDS_KNOWN]
    assert [one.importer for one in found] == [file.removesuffix(".py").replace("/", ".")]
    assert floor_of(room_of(found[0].target)) >= floor_of(room_of(found[0].importer))


@pytest.mark.parametrize(
    ("file", "line", "circle"),
    [
        ("hil/board/channel.py", "from hil.board.board import Board", {"hil.board.board", "hil.board.channel"}),
        (
            "hil/rig/specs.py",
            "def f():\n    from hil.rig.config import load_rig",
            {"hil.rig.config", "hil.rig.devices_conf", "hil.rig.labgrid", "hil.rig.specs"},
        ),
    ],
)
def test_circle_is_seen(scratch, file, line, circle):
    assert {frozenset(one) for one in circles(scratch(file, line))} - CIRCLES_KNOWN == {frozenset(circle)}


def test_pytest_in_a_check_is_seen(scratch):
    assert "hil.checks" in _users_of(scratch("hil/checks/link/stalls.py", "import pytest"), "pytest")


def test_simulator_in_a_check_is_seen(scratch):
    found = scratch("hil/checks/link/stalls.py", "import hil.sim.nets")
    assert _users_of(found, "hil.sim") & REAL_ROOMS == {"hil.checks"}


def test_relative_import_is_refused(scratch):
    with pytest.raises(AssertionError, match="a relative import"):
        scratch("hil/rig/pins.py", "from . import specs")


def test_room_without_a_floor_is_seen(scratch, tmp_path):
    scratch("hil/cellar/box.py", "import os")
    assert rooms(tmp_path) - {room for floor in FLOORS for room in floor} == {"hil.cellar"}


def test_picture_of_the_house_shows_its_floors():
    assert PICTURE.read_text(encoding="utf-8") == house_svg(), "run `python -m tests.house.draw`"
