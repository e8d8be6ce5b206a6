"""The house as a picture: the floors of tests/house/imports.py, each room with what it is.

`python -m tests.house.draw` writes docs/pictures/house.svg; a test holds the file against the floors.
"""

from pathlib import Path

from markupsafe import Markup

from hil.pictures.svg import tag
from tests.house.imports import FLOORS

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "house.svg"
SAYS = {
    "golden": "the NumPy reference",
    "hil.sim": "the simulated ring",
    "hil.errors": "sentences",
    "hil.text": "text as data",
    "hil.files": "whole files",
    "hil.data": "data, cache folder, version",
    "hil.kept": "made once, checked at each use",
    "hil.runs": "a folder for every run",
    "hil": "",
    "hil.protocol": "every format on a wire, once; C gets headers",
    "hil.line": "serial ports, the one loop, logs",
    "hil.rig": "what a rig is: a description",
    "hil.model": "checkpoint, shards, cards",
    "hil.settings": "options of a run",
    "hil.toolchain": "builds the images",
    "hil.board": "one Pi: boot, frames, text",
    "hil.probe": "an FT232H as neighbour",
    "hil.desk": "a rig that is open: ports, power, locks",
    "hil.ring": "boards and links as one machine",
    "hil.timeline": "who did what when",
    "hil.checks": "every check, described once",
    "hil.pictures": "ring, timeline, mismatch map",
    "hil.session": "settings resolved",
    "hil.attach": "test reports",
    "hil.nightly": "nights, history, page",
    "hil.commands": "one module a verb",
    "hil.bench": "what is measured",
    "hil.cli": "the hil command",
    "hil.entry": "where it begins: Ctrl-C at once",
    "hil.plugin": "the pytest plugin",
    "hil.suite": "the hardware tests",
}
"""A few words for each room."""
WIDTH, ROW, GAP, MARGIN = 960, 46, 8, 12


def house_svg() -> str:
    """The picture: a row for each floor, the ground below."""
    floors = [[room for room in rooms if SAYS[room]] for rooms in reversed(FLOORS)]
    height = MARGIN * 2 + len(floors) * (ROW + GAP) - GAP
    parts: list[Markup] = []
    for number, rooms in enumerate(floors):
        width = (WIDTH - MARGIN * 2 - GAP * (len(rooms) - 1)) / len(rooms)
        y = MARGIN + number * (ROW + GAP)
        for place, room in enumerate(rooms):
            x = MARGIN + place * (width + GAP)
            box = {"x": x, "y": y, "width": width, "height": ROW, "rx": 5}
            parts.append(tag("rect", **box, fill="#eef3f8", stroke="#5b7286"))
            middle = x + width / 2
            name = room.removeprefix("hil.")
            parts.append(tag("text", name, x=middle, y=y + 19, text_anchor="middle", font_weight="bold"))
            parts.append(tag("text", SAYS[room], x=middle, y=y + 36, text_anchor="middle", font_size=11))
    title = "The rooms of the harness: each may import from rooms on floors below its own"
    return str(
        tag(
            "svg", tag("title", title), *parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}",
            font_family="sans-serif", font_size=13, role="img", aria_label=title,
        )
    ) + "\n"  # fmt: skip


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(house_svg(), encoding="utf-8")
