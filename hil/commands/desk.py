"""The verbs of the desk: cards, ports, rig files, other people's images. Registered by hil/cli.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from hil.commands import console, plan, ports, probe, rig, run, sd, shard, sim, trace
from hil.session import Session
from hil.settings import Settings

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]
    Declare = Callable[[argparse.ArgumentParser], None]

_VERBS: tuple[tuple[str, str, Declare, Callable[[argparse.Namespace], int]], ...] = (
    ("shard", "cut a checkpoint into one file per board", shard.add_shard_options, shard.shard),
    ("synth", "write a checkpoint with random weights", shard.add_synth_options, shard.synth),
    ("plan", "bytes of a run in every board's memory, before anything boots", plan.add_options, plan.plan),
    ("sd", "write a board's SD card, or the image of one", sd.add_options, sd.write),
    ("ports", "list the serial ports of this computer", ports.add_options, ports.ports),
    ("rig", "write a rig file for the boards that are plugged in", rig.add_options, rig.init),
    (
        "sim-control",
        "reset, switch or break boards of a running `hil sim --pty`",
        sim.add_control_options,
        sim.sim_control,
    ),
    ("console", "talk to one board; Ctrl-] ends", console.add_options, console.console),
)

_RIG_VERBS: tuple[tuple[str, str, Declare, Callable[[Session, argparse.Namespace], int]], ...] = (
    ("run", "boot any image and stream the text that it prints", run.add_options, run.run),
    ("probe", "test one board's link through an FT232H", probe.add_options, probe.probe),
    ("trace", "record what every board does and when; draw it on one clock", trace.add_options, trace.trace),
    ("reset", "reset boards and see each go away and come back", run.add_reset_options, run.reset),
)
"""Verbs that work on an open rig."""


def add_verbs(verbs: Verbs, add_rig_options: Declare, settings: Callable[[argparse.Namespace], Settings]) -> None:
    """Declare every verb of the desk.

    Args:
        add_rig_options: declares `--rig` and its companions.
        settings: what these say.
    """
    for name, text, declare, action in _VERBS:
        parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        declare(parser)
        parser.set_defaults(run=action)
    for name, text, declare, on_rig in _RIG_VERBS:
        parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        declare(parser)
        add_rig_options(parser)
        parser.set_defaults(run=lambda options, on_rig=on_rig: on_rig(Session(settings(options)), options))
