"""`make sanitize`: pytest on a core that is built under AddressSanitizer and UndefinedBehaviorSanitizer.

Without arguments, the simulator's own tests, hostile guests, and the hardware suite on a simulated ring; otherwise
those of pytest's arguments. A finding ends the process with its report. What is not instrumented: docs/hardening.md.
"""

from __future__ import annotations

import os
import subprocess
import sys

from hil.sim.build import BuildError, sanitizer_environment
from tests.fuzz.harness import REPOSITORY

RUNS = (("tests/sim", "tests/fuzz/test_guests.py"), ("-m", "ring", "hil/suite"))


def main(arguments: list[str]) -> int:
    """The first exit code of pytest that is not 0."""
    try:
        environment = {**os.environ, **sanitizer_environment()}
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    for run in [arguments] if arguments else RUNS:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *run]
        code = subprocess.run(command, env=environment, cwd=REPOSITORY, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
