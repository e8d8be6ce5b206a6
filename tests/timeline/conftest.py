"""A ring whose boards' clocks differ at random, and what its simulator knows about them."""

import random
from pathlib import Path

import pytest

from golden.optimizer import Sgd
from hil.checks.model.training import windows
from hil.ring.training import Plan, RingTraining
from hil.session import Session
from hil.settings import Settings
from hil.sim import TIMER_START_US
from hil.timeline.capture import start_tracing, stop_tracing
from hil.toolchain import Image

BOARDS, DRIFT_PPM, SKEW_MS = 4, 100, 300
LINE = Path("fixtures/corpus.txt").read_text().splitlines()[0]


class Truth:
    """The boards' clocks as the simulator runs them."""

    def __init__(self, simulation, drift_ppm):
        self._start_ps = [simulation.start_ps(rank) for rank in range(len(drift_ppm))]
        self._rate = [1 + drift * 1e-6 for drift in drift_ppm]

    def at_us(self, rank: int, reading_us: float, reference: int) -> float:
        """What the reference's timer shows when board `rank`'s shows reading_us."""
        time_ps = self._start_ps[rank] + (reading_us - TIMER_START_US) * 1e6 / self._rate[rank]
        return TIMER_START_US + (time_ps - self._start_ps[reference]) * self._rate[reference] / 1e6


def drifted_run(folder: Path, seed: int, *, image: Image | None = None, faults: tuple[str, ...] = ()):
    """Four boards with clocks of random rate and start generate, or train, for a random while: (capture, truth)."""
    rng = random.Random(seed)
    drift = [rng.uniform(-DRIFT_PPM, DRIFT_PPM) for _ in range(BOARDS)]
    skew = [rng.uniform(0, SKEW_MS) for _ in range(BOARDS)]
    print(f"seed {seed}: drift {drift} ppm, start {skew} ms")
    rig = folder / f"drifting{seed}.toml"
    rig.write_text(f"[sim]\nboards = {BOARDS}\ndrift_ppm = {drift}\nstart_delay_ms = {skew}\n")
    session = Session(Settings(rig=str(rig), seed=seed, logs=folder / "logs", work=folder / "work"))
    ring = session.open_ring()
    with ring.desk:
        ring.boot(image or session.image("ring"))
        ring.desk.set_faults(faults)
        ring.desk.simulation.run(ring.desk.simulation.time_ns + rng.randrange(2_000_000))
        truth = Truth(ring.desk.simulation, drift)
        start_tracing(ring)
        if rng.random() < 0.5:
            positions = rng.randrange(2, 12)
            ring.generate(session.model.encode_prompt("", positions), positions, taps=rng.random() < 0.5)
        else:
            microbatches = rng.randrange(1, 4)
            plan = Plan(Sgd(0.01), rng.randrange(2, 8), microbatches, microbatches)
            training = RingTraining(ring, session.model.weights.config, plan)
            training.step(windows(session.model.tokenizer.encode(LINE), plan, 1)[0])
        return stop_tracing(ring), truth


@pytest.fixture(scope="session")
def one_run(tmp_path_factory):
    """(capture, truth) of one drifted run."""
    return drifted_run(tmp_path_factory.mktemp("drifted"), 1)
