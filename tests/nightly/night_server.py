"""A program for test_survival.py: runs a night for each line it reads, each in a process of its own, the real runner.

Line: SEED. It says `pid N` before and `ended` after each; the night's own lines come in between. The checks are small
(a board echoes), so that a night takes a second.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from hil.checks.check import Result
from hil.nightly.record import CheckKind, LinkFigures, WireFigures
from hil.nightly.rounds import Planned, plan_round
from hil.nightly.runner import Runner, Wish
from hil.protocol.messages import Blob, Command
from hil.session import Session
from hil.settings import Settings
from tests.nightly.conftest import SMALL

CHECKS = 40


def echo(setup, seed):
    data = seed.to_bytes(4, "little") * 16
    assert setup.ring.boards[0].command(Command.PING, Blob(data), Blob).data == data
    wires = [WireFigures("0->1", f"D{n}", seed, seed % 7) for n in range(8)]
    return Result(figures={"seed": seed}, wires=wires, links=[LinkFigures("0->1", seed, 1, 0, 0, 300.0)])


def main(out: Path) -> None:
    session = Session(Settings(world_size=1, logs=out / "logs"))
    session.image("ring"), session.image("kernel")
    boot = plan_round(session.config, SMALL)[0]
    plan = [boot, *(Planned(f"echo {n}", CheckKind.LINK, echo) for n in range(CHECKS))]
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            session.settings = replace(session.settings, seed=int(line))
            night = Runner(session, Wish(out, SMALL), plan=plan).run()
            os._exit(0 if night.good else 1)
        print(f"pid {child}", flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
