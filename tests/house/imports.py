"""The rooms of the harness, floor by floor, and what breaks their order. Read from the sources with `ast`.

A room is a folder or a file right under `hil/`, or `golden`. A file may import from its own room and from rooms on
lower floors. Imports for type checkers and imports inside functions count like any other.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FLOORS = (
    ("hil.data", "hil.kept", "hil"),
    ("golden", "hil.sim", "hil.errors", "hil.text", "hil.files"),
    ("hil.protocol", "hil.runs"),
    ("hil.line", "hil.rig"),
    ("hil.model", "hil.settings"),
    ("hil.toolchain",),
    ("hil.board",),
    ("hil.probe",),
    ("hil.desk",),
    ("hil.ring",),
    ("hil.timeline",),
    ("hil.checks",),
    ("hil.pictures",),
    ("hil.session", "hil.attach"),
    ("hil.nightly",),
    ("hil.commands",),
    ("hil.bench",),
    ("hil.cli", "hil.plugin", "hil.suite"),
    ("hil.entry",),
)
"""From the ground up. Rooms on one floor do not import each other: so the simulator and the golden stand alone."""
PYTEST_ROOMS = ("hil.plugin", "hil.suite")
"""Everything else is a library that needs no pytest."""
REAL_ROOMS = frozenset(
    {"hil.protocol", "hil.rig", "hil.toolchain", "hil.board", "hil.probe", "hil.ring", "hil.checks", "hil.timeline"}
)
"""What is the same for real boards and simulated ones: it knows no simulator."""
SIMULATED_FILES = frozenset({"hil.rig.faults"})
"""Files of these rooms that are about simulated rigs alone: a kind of fault carries its model."""
UPWARDS_KNOWN: frozenset[tuple[str, str]] = frozenset()
"""(file, room) of imports that wait to be mended; an entry that is not needed any more fails."""
CIRCLES_KNOWN: frozenset[frozenset[str]] = frozenset()
"""Files that import each other and may."""


@dataclass(frozen=True, order=True)
class Import:
    """One import: the file that has it, its line, and the file or other module that it names."""

    importer: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def modules(root: Path) -> dict[str, Path]:
    """Every file of the harness and the golden by its name, a package by its own."""
    found = {}
    for path in sorted([*root.glob("hil/**/*.py"), *root.glob("golden/**/*.py")]):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> list[Import]:
    """What the files import, wherever in the file it stands."""
    known = modules(root)
    found = []
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for target in _targets(node, known):
                found.append(Import(name, getattr(node, "lineno", 0), target))
    return list(dict.fromkeys(found))


def _targets(node: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """Names that a node imports: of `from hil import sim` the file, of `from hil.sim import Wire` the package."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: a relative import; this house writes names in full"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in known else str(node.module)


def rooms(root: Path) -> set[str]:
    """The rooms that there are."""
    return {room_of(name) for name in modules(root)}


def room_of(module: str) -> str:
    """`hil.rig` of `hil.rig.specs`; `golden` of `golden.taps`; of others the name before the first dot."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "hil" else parts[0]


def floor_of(room: str) -> int | None:
    """Number of a room's floor, from the ground; None for what is no room."""
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def upwards(found: list[Import]) -> list[Import]:
    """Imports that do not go down, between two rooms."""
    wrong = []
    for one in found:
        room, other = room_of(one.importer), room_of(one.target)
        here, there = floor_of(room), floor_of(other)
        if room != other and here is not None and there is not None and there >= here:
            wrong.append(one)
    return wrong


def circles(found: list[Import]) -> list[list[str]]:
    """Groups of files that reach each other by imports; empty in a good house."""
    below: dict[str, set[str]] = {}
    for one in found:
        if one.importer != one.target:
            below.setdefault(one.importer, set()).add(one.target)
    reached = {name: _reach(name, below) for name in below}
    groups = {
        tuple(sorted(other for other in reach if name in reached.get(other, ()))) for name, reach in reached.items()
    }
    return sorted(list(group) for group in groups if group)


def _reach(start: str, below: dict[str, set[str]]) -> set[str]:
    """Every file that can be come to from `start`, itself only through others."""
    reached: set[str] = set()
    waiting = list(below.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += below.get(name, ())
    return reached
