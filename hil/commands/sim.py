"""`hil sim`: the simulated ring behind pseudo-terminals, for any serial program."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from hil.errors import RigError
from hil.rig.simulated import simulate
from hil.session import Session
from hil.sim.pty import serve

RIG_FILE = "rig.toml"


def serve_ptys(session: Session, *, folder: Path, real_time: bool) -> int:
    """Serve until interrupted. Writes a rig file for the ports into the folder.

    Returns: 1 if two outputs met on a wire meanwhile, else 0.
    """
    config = session.config
    if config.sim is None:
        raise RigError(f"rig {config.name} has real ports; `hil sim` needs a simulated one")
    simulation = simulate(
        config,
        seed=session.settings.seed,
        kernel=session.image("kernel"),
        shards=session.model.shards(config.world_size),
        work=session.settings.work,
    )
    folder.mkdir(parents=True, exist_ok=True)
    links = [folder / f"pi{spec.rank}" for spec in config.boards]
    lines = ["[rig]", f'name = "{config.name}-pty"', f"baud = {config.baud}"]
    for spec, link in zip(config.boards, links, strict=True):
        lines += ["", "[[board]]", f"rank = {spec.rank}", f'port = "{folder.resolve() / link.name}"']
    for wire in config.links:
        lines += ["", "[[link]]", f"from = {wire.source}", f"to = {wire.target}"]
    (folder / RIG_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for rank in range(config.world_size):
        simulation.power_on(rank)

    def ready(_: Sequence[str]) -> None:
        seed = session.settings.seed
        print(f"{config.world_size} boards at {folder}/pi0 .. pi{config.world_size - 1}, seed {seed:#x}")
        print(f"try: hil generate --rig {folder / RIG_FILE}      (Ctrl-C here ends it)", flush=True)

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    try:
        with contextlib.suppress(KeyboardInterrupt):
            serve(simulation, links, stop=stopping.is_set, ready=ready, paced=real_time)
        met = simulation.contentions
        print("\n".join([f"outputs met on a wire {len(met)} times", *map(str, met)]))
        return 1 if met else 0
    finally:
        simulation.close()
