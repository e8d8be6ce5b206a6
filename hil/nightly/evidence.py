"""What is kept of a check beside its verdict: ends of the logs, recordings, the command that runs it again."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.nightly.record import LogLine
from hil.pictures.wavejson import WaveError, wavejson
from hil.settings import Settings, read_values, replay_words

if TYPE_CHECKING:
    from hil.nightly.rounds import Profile
    from hil.ring.ring import Ring

LOG_LINES = 40
TRACE_CHANGES = 100_000
"""How much of a recording of the wires is kept: the end of it."""
LOG_BYTES = 16384
_LINE = re.compile(r"\s*([0-9.]+) \+[0-9a-f]+ (.*)")


def log_ends(ring: Ring) -> list[LogLine]:
    """The last lines of every board's log, all in order of time."""
    lines = []
    for board in ring.boards:
        with board.log.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            text = file.read().decode("ascii", "backslashreplace")
        for line in text.splitlines()[-LOG_LINES:]:
            match = _LINE.fullmatch(line)
            if match:
                lines.append(LogLine(board.rank, float(match[1]), match[2]))
    return sorted(lines, key=lambda line: line.time_s)


@contextlib.contextmanager
def recorded_wires(ring: Ring, path: Path) -> Iterator[Callable[[bool], None]]:
    """Record the wires of a simulated rig while the block runs; gives what to call with whether the file is kept."""
    kept: list[bool] = []
    if ring.desk.simulation is not None:
        ring.desk.trace(path)
    try:
        yield kept.append
    finally:
        if any(kept):
            ring.desk.flush_trace(TRACE_CHANGES)
            ring.desk.end_trace()
        else:
            ring.desk.discard_trace()


def handshake(vcd: Path, sentence: str) -> dict[str, Any] | None:
    """The end of the handshake on the link that a sentence names, as WaveJSON; None where nothing was recorded."""
    link = re.search(r"link (\d+->\d+)", sentence)
    if link is None or not vcd.exists():
        return None
    try:
        return wavejson(vcd, link[1])
    except WaveError:
        return None


def replay_command(settings: Settings, profile: Profile, name: str, seed: int) -> str:
    """`hil nightly` for one check by itself, with all that decides how it goes."""
    from hil.nightly.rounds import PROFILES

    words = ["hil", "nightly", *replay_words(replace(settings, seed=seed), Settings(**read_values({})))]
    words += ["--profile", profile.name]
    if profile.name not in PROFILES or profile.ber != PROFILES[profile.name].ber:
        words += ["--ber", f"{profile.ber:g}"]
    return shlex.join([*words, "--check", name])
