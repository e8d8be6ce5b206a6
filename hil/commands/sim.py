"""`hil sim`: the simulated ring behind pseudo-terminals, for any serial program."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from hil.commands.options import on_rig
from hil.desk.desk import own_folder
from hil.desk.faulty import apply_faults
from hil.desk.sim_desk import REQUESTS, SimDesk, control
from hil.desk.simulated import simulate
from hil.errors import RigError
from hil.rig.config import load_rig
from hil.rig.faults import parse_fault
from hil.rig.specs import RigConfig
from hil.session import Session
from hil.sim import Simulation
from hil.sim.control import ControlServer
from hil.sim.pty import serve

RIG_FILE = "rig.toml"


def add_sim(parser: argparse.ArgumentParser) -> None:
    """Declare `hil sim`."""
    parser.add_argument("--pty", type=Path, required=True, metavar="DIR", help="folder for the links pi0, pi1, ...")
    parser.add_argument("--fast", action="store_true", help="as fast as possible instead of real time")
    on_rig(parser, serve_ptys)


def serve_ptys(session: Session, options: argparse.Namespace) -> int:
    """Serve until interrupted. Writes a rig file for the ports into the folder.

    Returns: 1 if two outputs met on a wire meanwhile, else 0.
    """
    config = session.config
    if config.sim is None:
        raise RigError(f"rig {config.name} has real ports; `hil sim` needs a simulated one")
    if config.probe is not None:
        raise RigError(f"rig {config.name} has a probe, which `hil sim` cannot hand to another process; use --rig sim")
    faults = [parse_fault(fault, config) for fault in (*config.sim.faults, *session.settings.faults)]
    with own_folder(session.logs) as cards:
        simulation = simulate(
            config,
            seed=session.settings.seed,
            kernel=session.image("kernel"),
            shards=session.card_shards(config),
            work=session.settings.work or cards,
        )
        try:
            apply_faults(simulation, config, faults)
            return _serve(session, simulation, options.pty, real_time=not options.fast)
        finally:
            simulation.close()


def _serve(session: Session, simulation: Simulation, folder: Path, *, real_time: bool) -> int:
    config, seed = session.config, session.settings.seed
    folder.mkdir(parents=True, exist_ok=True)
    links = [folder / f"pi{spec.rank}" for spec in config.boards]
    server = ControlServer(SimDesk(simulation, config).execute)
    (folder / RIG_FILE).write_text(_rig_file(config, links, server.address), encoding="utf-8")
    for rank in range(config.world_size):
        simulation.power_on(rank)

    def ready(_: Sequence[str]) -> None:
        last = f" .. pi{config.world_size - 1}" if config.world_size > 1 else ""
        print(f"{config.world_size} boards at {folder}/pi0{last}, seed {seed:#x}")
        print(f"try: hil generate --rig {folder / RIG_FILE}      (Ctrl-C here ends it)", flush=True)

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with contextlib.closing(server), contextlib.suppress(KeyboardInterrupt):
        serve(simulation, links, stop=stopping.is_set, ready=ready, paced=real_time, control=server)
    met = simulation.contentions
    print("\n".join([f"outputs met on a wire {len(met)} times", *map(str, met)]))
    return 1 if met else 0


def _rig_file(config: RigConfig, links: Sequence[Path], control_address: str) -> str:
    """TOML. A string of TOML is written as one of JSON."""
    lines = ["[rig]", f"name = {json.dumps(f'{config.name}-pty')}", f"baud = {config.baud}"]
    lines += [f"boot_baud = {config.baud_at_boot}"] if config.boot_baud is not None else []
    lines += [f"power = {{sim = {json.dumps(control_address)}}}"]
    for spec, link in zip(config.boards, links, strict=True):
        port = str(link.parent.resolve() / link.name)
        lines += ["", "[[board]]", f"rank = {spec.rank}", f"port = {json.dumps(port)}"]
    for wire in config.links:
        lines += ["", "[[link]]", f"from = {wire.source}", f"to = {wire.target}"]
    return "\n".join(lines) + "\n"


def add_control(parser: argparse.ArgumentParser) -> None:
    """Declare `hil sim-control`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of `hil sim --pty DIR`")
    parser.add_argument("request", choices=REQUESTS, help="reset N, on N, off N, faults [FAULT...], status")
    parser.add_argument(
        "words", nargs="*", metavar="N|FAULT", help="a board's rank, or faults as docs/rigs.md has them"
    )
    parser.set_defaults(run=sim_control)


def sim_control(options: argparse.Namespace) -> int:
    """Ask a running `hil sim --pty` for something and print its answer."""
    path = options.folder / RIG_FILE
    power = load_rig(str(path)).power
    if power is None or power.kind != "sim":
        raise RigError(f"rig {path}: was not written by `hil sim --pty`")
    print(control(power.address, " ".join([options.request, *options.words])))
    return 0
