"""Which C file uses what which other file defines: read from the text, so that layers can be held by a test.

Knows functions and objects with external linkage, as clang-format lays them out: a definition begins in column 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|^#[^\n]*(?:\\\n[^\n]*)*', re.DOTALL | re.MULTILINE)
_DEFINITION = re.compile(
    r"^(?!static\b|typedef\b|extern\b)[A-Za-z_][\w \t*]*?\b(\w+)(?:\([^;{}]*\)\s*\{|(?:\[[^\]\n]*\])*\s*=)",
    re.MULTILINE,
)
_WORD = re.compile(r"(?<![.>\w])[A-Za-z_]\w*")


def code(path: Path) -> str:
    """A file's text without comments, strings and lines of the preprocessor."""
    return _NOT_CODE.sub(" ", path.read_text())


def uses(folder: Path, pattern: str = "*.c") -> dict[str, dict[str, list[str]]]:
    """File -> other file -> names of the other file that it uses, for the files of a folder."""
    texts = {path.relative_to(folder).as_posix(): code(path) for path in sorted(folder.glob(pattern))}
    home = {name: file for file, text in texts.items() for name in _DEFINITION.findall(text)}
    found: dict[str, dict[str, list[str]]] = {}
    for file, text in texts.items():
        found[file] = {}
        for name in sorted(set(_WORD.findall(text)) & set(home)):
            if home[name] != file and not re.search(rf"^static\b[^;{{}}]*\b{name}\b", text, re.MULTILINE):
                found[file].setdefault(home[name], []).append(name)
    return found


def wrong_uses(calls: Mapping[str, Mapping[str, Sequence[str]]], layers: Sequence[Sequence[str]]) -> list[str]:
    """What breaks the order, as sentences; layers: lowest first, the files of one layer may use each other.

    A file that no layer names breaks the order too.
    """
    floor = {file: number for number, layer in enumerate(layers) for file in layer}
    wrong = [f"{file} stands in no layer" for file in calls if file not in floor]
    wrong += [f"{file} is named in a layer and is not there" for file in floor if file not in calls]
    for file, others in calls.items():
        for other, names in others.items():
            if floor.get(other, -1) > floor.get(file, len(layers)):
                wrong.append(f"{file} uses {', '.join(names)} of {other}, which is above it")
    return wrong
