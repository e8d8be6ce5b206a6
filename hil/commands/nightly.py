"""`hil nightly`: a night's run of all checks, or one of them again."""

from __future__ import annotations

import argparse
import re
import secrets
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from hil.commands.options import add_run_options, at_least_one, real
from hil.errors import HilError
from hil.session import Session
from hil.settings import Settings, read_values

if TYPE_CHECKING:
    from hil.nightly.rounds import Profile

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil nightly`."""
    add_run_options(parser, seed="every night draws one of its own")
    parser.add_argument("--out", type=Path, default=Path("nightly"), metavar="DIR",
                        help="folder of the history and of every night's report (default: nightly)")  # fmt: skip
    parser.add_argument("--profile", choices=("quick", "full"), default="quick", help="how much a round does")
    parser.add_argument("--for", dest="limit_s", type=_time_s, metavar="TIME",
                        help="rounds until so much time has passed on the rig's clock, such as 8h (virtual time on a "
                        "simulated rig)")  # fmt: skip
    parser.add_argument(
        "--rounds", type=at_least_one, metavar="N", help="rounds (default: quick 1; full: as time allows)"
    )
    parser.add_argument(
        "--ber", type=_rate, metavar="RATE", help="soak links to this bit error rate (default: profile)"
    )
    parser.add_argument("--check", metavar="NAME",
                        help="run this one check with --seed as its own seed; nothing enters the history")  # fmt: skip
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Unless the user gives a seed, every night draws one of its own."""
    values = read_values(vars(options))
    if options.check is not None and "seed" not in values:
        raise HilError("--check: give --seed too, as the failure's `again` line does")
    return nightly(Session(Settings(**{"seed": secrets.randbits(32)} | values), verb="nightly"), options)


def _time_s(text: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", text)
    if match is None or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text}: give a time such as 8h, 90m or 30s")
    return float(match[1]) * _UNITS[match[2]]


def _rate(text: str) -> float:
    return real(1e-15, 0.1, "a bit error rate of 1e-15 to 0.1")(text)


def nightly(session: Session, options: argparse.Namespace) -> int:
    """Run the night, or the one check; the exit code is 0 only if all is well."""
    from hil.nightly.rounds import PROFILES
    from hil.nightly.runner import Runner, Terminated, Wish
    from hil.nightly.verdict import exit_code

    profile = PROFILES[options.profile]
    if options.ber is not None:
        profile = replace(profile, ber=options.ber)
    if options.check is not None:
        return one_check(session, options.check, profile)

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        return exit_code(Runner(session, Wish(options.out, profile, options.rounds, options.limit_s)).run())
    finally:
        signal.signal(signal.SIGTERM, before)


def one_check(session: Session, name: str, profile: Profile) -> int:
    """Boot, run one check with the session's seed, print what it found; 0 if it passed."""
    from hil.checks.check import Setup
    from hil.nightly.rounds import plan_round
    from hil.nightly.triage import RIG, try_check

    planned = {check.name: check for check in plan_round(session.config, profile)}
    if name not in planned:
        raise HilError(f"check {name!r}: rig {session.config.name} has {', '.join(planned)}")
    image = session.image("ring")
    ring = session.open_ring()
    try:
        if name != "boot":
            with suppress(HilError):  # a board that is missing: the check says so where it matters
                ring.boot(image)
        trial = try_check(planned[name], Setup(ring, session.model, image, profile), session.settings.seed, RIG)
    finally:
        ring.desk.close()
    print(f"{name}, seed {session.settings.seed:#x}: {'passed' if trial.passed else 'FAILED'}")
    for text in (trial.attempt.sentence, trial.detail):
        if text:
            print(text)
    return 0 if trial.passed else 1
