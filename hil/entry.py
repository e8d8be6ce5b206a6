"""Where the `hil` command begins: Ctrl-C is one line from the first moment, while everything else is still loading."""

from __future__ import annotations

import os
import signal
import sys


def _interrupted(*_: object) -> None:
    os.write(2, b"hil: interrupted\n")
    os._exit(130)


def main() -> int:
    """Load the command line and run it; returns the exit code."""
    before = signal.signal(signal.SIGINT, _interrupted)
    from hil.cli import main as run

    signal.signal(signal.SIGINT, before)
    return run()


if __name__ == "__main__":
    sys.exit(main())
