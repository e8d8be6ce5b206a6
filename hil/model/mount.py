"""Mount: which file system is mounted at a path, so that a card is not taken for a folder of the same name.

Source: proc_pid_mountinfo(5) on Linux, the output of mount(8) on macOS. Owns: FAT_KINDS.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

FAT_KINDS = frozenset(("vfat", "msdos", "fat", "fat32"))
"""Names of FAT in mount tables. exFAT is not among them: the boot ROM of these boards cannot read it."""
_MOUNTINFO = Path("/proc/self/mountinfo")
_MAC_LINE = re.compile(r"^\S+ on (?P<path>.+) \((?P<kind>\w+)[,)]")


def mounted_filesystem(path: Path) -> str | None:
    """Kind of the file system that is mounted exactly at path (`vfat`), or None if nothing is mounted there."""
    if not path.is_mount():
        return None
    if _MOUNTINFO.exists():
        table = parse_mountinfo(_MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"))
    else:
        done = subprocess.run(["mount"], capture_output=True, text=True, timeout=10, check=False)
        table = parse_mount_output(done.stdout)
    return table.get(str(path.resolve()), "unknown")


def parse_mountinfo(text: str) -> dict[str, str]:
    """Kind by mount point; the last mount at a point counts. Blanks in paths are written as octal."""
    table: dict[str, str] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        if len(left.split()) > 4 and right:
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split()[4])
            table[point] = right.split()[0]
    return table


def parse_mount_output(text: str) -> dict[str, str]:
    """Kind by mount point, from lines `/dev/disk4s1 on /Volumes/PIE0 (msdos, local, nodev)`."""
    matches = (_MAC_LINE.match(line) for line in text.splitlines())
    return {match["path"]: match["kind"] for match in matches if match}
