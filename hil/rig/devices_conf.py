"""devices.conf: a rig as existing rings write it down.

Lines `INDEX SERIAL_SUFFIX SD_LABEL "DESCRIPTION"`, `#` comments. Format and what a suffix means: docs/rigs.md.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from hil.errors import RigError
from hil.rig.specs import BAUD_DEFAULT, BAUD_MAX, BAUD_MIN, BoardSpec, RigConfig, by_rank, ring_links

DEVICES_SUFFIX = ".conf"
_BAUD = re.compile(r"^\s*#\s*hil:\s*baud\s*=\s*(\S+)\s*$", re.MULTILINE)
"""A comment to those who wrote the format: the baud to raise the line to after boot."""


def devices_rig(path: Path) -> RigConfig:
    """The rig of a devices.conf: a ring that boots at 115200 baud. Raises RigError naming the line that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RigError(f"rig {path}: cannot be read: {error}") from None
    boards = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise RigError(f"rig {path}: line {number}: {error}; close the quotes") from None
        if not words:
            continue
        if not 3 <= len(words) <= 4 or not words[0].isdecimal():
            raise RigError(
                f"rig {path}: line {number} has {len(words)} words ({line.strip()!r}); "
                'write INDEX SERIAL_SUFFIX SD_LABEL "DESCRIPTION"'
            )
        boards.append(BoardSpec(int(words[0]), words[1]))
    ranked = by_rank(boards, f"rig {path}", "indices")
    links = ring_links(len(ranked))
    return RigConfig(path.stem, ranked, links, _raised_baud(text, path), source=path, boot_baud=BAUD_DEFAULT)


def _raised_baud(text: str, path: Path) -> int:
    """Of a line `# hil: baud = 921600`; without one, that of the boot."""
    found = _BAUD.findall(text)
    if not found:
        return BAUD_DEFAULT
    if len(found) > 1 or not found[0].isdecimal() or not BAUD_MIN <= int(found[0]) <= BAUD_MAX:
        raise RigError(f"rig {path}: # hil: baud = {found[-1]}: give one whole number from {BAUD_MIN} to {BAUD_MAX}")
    return int(found[0])
