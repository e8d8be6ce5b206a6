"""Firmware: link and model know nothing of the ring's program, bsp nothing of either; and breaking that is seen."""

import re
import shutil
from pathlib import Path

import pytest

from hil.protocol.cheader import headers
from tests.house.imports import Import, circles

ROOT = Path(__file__).resolve().parents[2] / "firmware"
FLOORS = (("bsp",), ("boot", "link", "model"), ("ring",))
"""Folders from the ground up. Those on one floor do not include each other."""
GENERATED = frozenset(headers())
"""Made by hil/protocol/cheader.py; anybody may include them."""
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def includes(root: Path) -> list[Import]:
    """Every `#include "..."`, by folder and file."""
    sources = sorted(path for kind in "chS" for path in root.glob(f"*/*.{kind}"))
    homes = {path.name: path.parent.name for path in sources if path.suffix == ".h"}
    found = []
    for path in sources:
        text = path.read_text()
        for match in _INCLUDE.finditer(text):
            if match[1] not in GENERATED:
                line = text.count("\n", 0, match.start(1)) + 1
                found.append(Import(f"{path.parent.name}/{path.name}", line, f"{homes[match[1]]}/{match[1]}"))
    return found


def upwards(found: list[Import]) -> list[str]:
    """Includes between two folders that do not go down."""
    floors = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}
    pairs = [(one, one.importer.split("/")[0], one.target.split("/")[0]) for one in found]
    return [str(one) for one, here, there in pairs if here != there and floors[there] >= floors[here]]


def test_every_folder_has_one_floor():
    assert sorted(folder for floor in FLOORS for folder in floor) == sorted(
        p.name for p in ROOT.iterdir() if p.is_dir()
    )


def test_nothing_is_included_upwards():
    assert upwards(includes(ROOT)) == []


def test_no_headers_include_each_other_in_a_circle():
    assert circles(includes(ROOT)) == []


@pytest.mark.parametrize(
    ("file", "header", "sentence"),
    [
        ("link/link.c", "console.h", "link/link.c:1 imports ring/console.h"),
        ("model/shard.c", "handshake.h", "model/shard.c:1 imports link/handshake.h"),
        ("bsp/uart.h", "link.h", "bsp/uart.h:1 imports link/link.h"),
    ],
)
def test_upward_include_is_seen(tmp_path, file, header, sentence):
    shutil.copytree(ROOT, tmp_path / "firmware")
    path = tmp_path / "firmware" / file
    path.write_text(f'#include "{header}"\n{path.read_text()}')
    assert upwards(includes(tmp_path / "firmware")) == [sentence]


def test_circle_of_headers_is_seen(tmp_path):
    shutil.copytree(ROOT, tmp_path / "firmware")
    path = tmp_path / "firmware" / "bsp" / "timer.h"
    path.write_text(f'#include "gpio.h"\n{path.read_text()}')
    (tmp_path / "firmware" / "bsp" / "gpio.h").write_text('#include "timer.h"\n')
    assert circles(includes(tmp_path / "firmware")) == [["bsp/gpio.h", "bsp/timer.h"]]
