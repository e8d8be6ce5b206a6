"""Benches: what is measured, and how well the checks find what is wrong. `hil bench WHAT`."""

from __future__ import annotations

import argparse

from hil.commands.options import add_verbs

BENCHES = {
    "sim": ("hil.bench.sim:add_verb", "speed of the simulated ring"),
    "link": ("hil.bench.link:add_verb", "cost of a byte on a link"),
    "serial": ("hil.bench.serial:add_verb", "round trips and bytes on serial ports"),
    "faults": ("hil.bench.faults:add_verb", "wiring faults found and named"),
    "accusations": ("hil.bench.accusations:add_verb", "whom sentences accuse, for faults while a job runs"),
    "golden": ("hil.bench.golden:add_verb", "time of NumPy against that of the simulated boards"),
    "divergence": ("hil.bench.divergence_bench:add_verb", "faults in ops, memory and hops found and named"),
}


def add_verb(parser: argparse.ArgumentParser) -> None:
    """Declare `hil bench`."""
    add_verbs(parser, BENCHES, dest="what", metavar="WHAT")
