"""The `hil` command: one verb per job. Thin: options in, a check called, text out.

Exit codes: 0 well, 1 a check failed or something is wrong with the rig or a setting, 2 wrong usage, 130 interrupted,
141 the reader of its output has gone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from hil.commands.options import add_verbs
from hil.errors import HilError

INTERRUPTED, BROKEN_PIPE = 130, 141
"""As a shell shows what SIGINT and SIGPIPE ended."""

VERBS = {
    "generate": (
        "hil.commands.generate:add_verb",
        "boot the ring, tell a story, compare every activation with the golden",
    ),
    "train": ("hil.commands.train:add_verb", "train the ring on a text, compare every gradient with the golden"),
    "verify": (
        "hil.commands.verify:add_verb",
        "compare every tensor and parameter with the golden; name the first wrong number and its cause",
    ),
    "close": ("hil.commands.close:add_verb", "check tensors that firmware of another make printed, op by op"),
    "wiring": ("hil.commands.wiring:add_verb", "scan every wire; say what is wrong, where, and what to do"),
    "probe": ("hil.commands.probe:add_verb", "test one board's link through an FT232H"),
    "trace": ("hil.commands.trace:add_verb", "record what every board does and when; draw it on one clock"),
    "run": ("hil.commands.run:add_run", "boot any image and stream the text that it prints"),
    "reset": ("hil.commands.run:add_reset", "reset boards and see each go away and come back"),
    "console": ("hil.commands.console:add_verb", "talk to one board; Ctrl-] ends"),
    "ports": ("hil.commands.ports:add_verb", "list the serial ports of this computer"),
    "rig": ("hil.commands.rig:add_verb", "write a rig file for the boards that are plugged in"),
    "sd": ("hil.commands.sd:add_sd", "write a board's SD card, or the image of one"),
    "firmware": ("hil.commands.sd:add_firmware", "build kernel.img and ring.img"),
    "shard": ("hil.commands.shard:add_shard", "cut a checkpoint into one file per board"),
    "synth": ("hil.commands.shard:add_synth", "write a checkpoint with random weights"),
    "checks": (
        "hil.commands.checks:add_verb",
        "print every check, and what a rig must have for it",
    ),
    "plan": ("hil.commands.plan:add_verb", "bytes of a run in every board's memory, before anything boots"),
    "sim": ("hil.commands.sim:add_sim", "run the simulated ring behind pseudo-terminals, for any serial program"),
    "sim-control": ("hil.commands.sim:add_control", "reset, switch or break boards of a running `hil sim --pty`"),
    "nightly": ("hil.commands.nightly:add_verb", "run all checks for a night, keep a history, write a report"),
    "report": ("hil.commands.report:add_verb", "look into the history of nights"),
    "bench": ("hil.bench:add_verb", "measure; the last line of --json is one JSON object"),
}
"""Every verb: who declares it, and its help."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the `hil` command."""
    parser = argparse.ArgumentParser(prog="hil", description="Hardware-in-the-loop tests for a ring of Pi Zeros.")
    add_verbs(parser, VERBS, dest="verb", metavar="VERB")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code. A HilError is shown as its sentence, without a traceback."""
    verb = _verb(sys.argv[1:] if arguments is None else arguments)
    try:
        options = build_parser().parse_args(arguments)
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except HilError as error:
        return _end(1, f"{verb}: {error}")
    except BrokenPipeError:
        _silence(sys.stdout)
        return BROKEN_PIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _end(1, f"{verb}: {where}{error.strerror or error}; is there room, and may you read and write there?")
    except KeyboardInterrupt:
        return _end(INTERRUPTED, f"{verb}: interrupted")


def _verb(arguments: Sequence[str]) -> str:
    """How messages begin: `hil generate`."""
    return " ".join(["hil", *(word for word in arguments[:1] if word in VERBS)])


def _end(code: int, sentence: str) -> int:
    """Say it, and leave what cannot be written any more, on a full disk for instance, unwritten."""
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"{sentence}\n")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            _silence(stream)
    return code


def _silence(stream: TextIO) -> None:
    """Let Python's own flush at the end find a file that takes everything."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
