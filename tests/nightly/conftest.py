"""Nights for the tests: run_night(...) runs one on a small simulated ring; its profile does a little of everything."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from hil.nightly.history import HISTORY_NAME, History
from hil.nightly.record import Night
from hil.nightly.rounds import Profile
from hil.nightly.runner import Runner, Wish
from hil.session import Session
from hil.settings import Settings

SEED = 0x5EED
SMALL = Profile("quick", ber=3e-3, soak_frames=1, layer_positions=4, story_positions=8, steps=1, rounds=1, hours=None)


@dataclass
class Result:
    """A night that was run: as the runner gave it, as the history has it, and what stood on the terminal."""

    night: Night
    kept: Night
    text: str
    out: Path

    def check(self, name: str, round_number: int = 1):
        (found,) = [c for c in self.night.checks if c.name == name and c.round == round_number]
        return found


@pytest.fixture
def run_night(tmp_path):
    """run_night(profile=SMALL, rounds=, limit_s=, image=, plan=, utc=, **settings) -> Result."""

    def run(*, profile=SMALL, rounds=None, limit_s=None, name="out", **values) -> Result:
        keys = ("image", "plan", "utc")
        runner_values = {key: values.pop(key) for key in keys if key in values}
        session = Session(Settings(**{"world_size": 2, "seed": SEED, "logs": tmp_path / "logs"} | values))
        stream, out = io.StringIO(), tmp_path / name
        night = Runner(session, Wish(out, profile, rounds, limit_s), stream=stream, **runner_values).run()
        with History(out / HISTORY_NAME) as history:
            return Result(night, history.night(night.id), stream.getvalue(), out)

    return run
