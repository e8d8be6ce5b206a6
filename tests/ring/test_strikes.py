"""No two outputs ever meet: with boards that differ in clock and start, and with boards that die at any moment."""

import random
from dataclasses import replace

import pytest

from hil.desk.desk import open_desk
from hil.errors import HilError
from hil.protocol.link_messages import Bank
from hil.rig.specs import SimSpec, sim_rig
from hil.ring.ring import Ring
from hil.session import Session
from hil.settings import Settings

SEEDS = [1, 2, 3, 4, 5]
SEEDS_SLOW = range(100, 1100)
DRIFT_PPM, SKEW_MS, PHASE_NS = 100, 50, 2_000_000
FRAMES = 3


@pytest.fixture
def session(tmp_path):
    """Two boards' session: its images are built once."""
    return Session(Settings(logs=tmp_path / "logs", work=tmp_path / "work", world_size=2))


def run_frames_both_ways(session: Session, seed: int, faults: tuple[str, ...] = ()) -> list[str]:
    """Boot two boards that differ at random, send frames to and fro at random moments; what went wrong."""
    rng = random.Random(seed)
    drift = tuple(rng.uniform(-DRIFT_PPM, DRIFT_PPM) for _ in range(2))
    skew = tuple(rng.uniform(0, SKEW_MS) for _ in range(2))
    print(f"seed {seed}: drift {drift} ppm, start {skew} ms")
    config = replace(sim_rig(2), sim=SimSpec(drift, skew))
    settings = session.settings
    with open_desk(config, settings.logs, seed=seed, kernel=session.image("kernel"), work=settings.work) as desk:
        ring = Ring(desk)
        ring.boot(session.image("ring"))
        desk.set_faults(faults)
        wrong = []
        for reverse in (False, True, False, True):
            desk.simulation.run(desk.simulation.time_ns + rng.randrange(PHASE_NS))
            length = rng.randrange(0, 300)
            try:
                states = ring.link_frames(
                    config.links[0], frames=FRAMES, length_bytes=length, seed=seed, reverse=reverse, timeout_s=5
                )
                wrong += [f"{state.detail} frames with wrong content" for state in states if state.detail]
            except HilError as error:
                wrong.append(str(error))
        delivered = sum(
            ring.link_counters(rank, bank).frames_received for rank, bank in enumerate((Bank.DOWNSTREAM, Bank.UPSTREAM))
        )
        if not wrong and delivered != 4 * FRAMES:
            wrong.append(f"{delivered} frames delivered instead of {4 * FRAMES}")
        return wrong + [str(contention) for contention in desk.contentions()]


@pytest.mark.parametrize("seed", SEEDS)
def test_boards_of_random_drift_and_start_exchange_frames(session, seed):
    assert run_frames_both_ways(session, seed) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_boards_of_a_thousand_random_drifts_and_starts_exchange_frames(session):
    failed = {seed: wrong for seed in SEEDS_SLOW if (wrong := run_frames_both_ways(session, seed))}
    assert failed == {}


def test_wire_that_pulses_at_every_byte_is_noticed(session):
    assert run_frames_both_ways(session, 1, faults=("glitch:0-1.ACK=1",)) != []


def strike_in_mid_story(session, ring, seed: int) -> None:
    """A random board halts, resets or loses power at a random moment of a generation; then all is well again."""
    rng = random.Random(seed)
    kind, board = rng.choice(("halt", "reset", "off")), rng.randrange(ring.world_size)
    when = rng.choice((f"{rng.randrange(1, 30_000_000)}ns", f"byte{rng.randrange(1, 6000)}"))
    fault = f"{kind}:{board}@{when}"
    print(f"seed {seed}: {fault}")
    prompt = session.model.encode_prompt("", 8)
    ring.desk.set_faults([fault])
    with pytest.raises(HilError, match=rf"board {board}\b"):
        ring.generate(prompt, 32)
    ring.desk.set_faults(())
    ring.boot(session.image("ring"))
    assert ring.desk.contentions() == [], fault
    assert ring.generate(prompt, 8).tokens == ring.generate(prompt, 8).tokens
    assert ring.desk.contentions() == [], fault


def test_board_that_is_struck_at_any_moment_is_named_and_the_ring_works_again(open_ring):
    session, ring = open_ring()
    for seed in range(3):
        strike_in_mid_story(session, ring, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_board_that_is_struck_at_a_hundred_moments(open_ring):
    session, ring = open_ring()
    for seed in range(100, 200):
        strike_in_mid_story(session, ring, seed)
