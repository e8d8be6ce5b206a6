"""The verbs of the desk: cards, ports, rig files, other people's images. Registered by hil/cli.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from hil.commands import ports, rig, sd, shard

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

_VERBS: tuple[
    tuple[str, str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]],
    ...,
] = (
    ("shard", "cut a checkpoint into one file per board", shard.add_shard_options, shard.shard),
    ("synth", "write a checkpoint with random weights", shard.add_synth_options, shard.synth),
    ("sd", "write a board's SD card, or the image of one", sd.add_options, sd.write),
    ("ports", "list the serial ports of this computer", ports.add_options, ports.ports),
    ("rig", "write a rig file for the boards that are plugged in", rig.add_options, rig.init),
)


def add_verbs(verbs: Verbs) -> None:
    """Declare every verb of the desk."""
    for name, text, declare, run in _VERBS:
        parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        declare(parser)
        parser.set_defaults(run=run)
