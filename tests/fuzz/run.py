"""`make fuzz FOR=1h`: every harness and target for its share of the time, on all processors; a line for each parser.

Exit code 1 if anything was found. Inputs that break a promise lie in build/fuzz/findings, with what they did; harnesses
in C keep what they learn in build/fuzz/corpus. How to go on from there: docs/hardening.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz import harness
from tests.fuzz.engine import Report, fuzz
from tests.fuzz.harness import BUILD, HARNESSES, Outcome
from tests.fuzz.targets import TARGETS

FINDINGS = BUILD / "findings"
UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration_s(text: str) -> int:
    """Seconds of a text such as 90, 90s, 5m or 1h. Raises ValueError for any other, and for none at all."""
    match = re.fullmatch(r"(\d{1,6})([smh]?)", text)
    if match is None or not int(match[1]):
        raise ValueError(f"{text!r} is no time; write 90s, 5m or 1h")
    return int(match[1]) * UNITS_S[match[2]]


def keep(name: str, report: Report) -> str:
    """Write the findings of a target in Python to files; return what they are, in short."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    for data, text in report.findings:
        path = FINDINGS / f"{name.replace(' ', '-')}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(text)
    return "\n".join(text for _, text in report.findings)


def fuzz_c(name: str, seconds: int, seed: int) -> Outcome:
    """A harness in C for a time; what it finds stays in FINDINGS."""
    program = harness.built(HARNESSES[name])
    return harness.run(HARNESSES[name], program, FINDINGS, seed=seed, seconds=seconds, corpus=BUILD / "corpus" / name)


def fuzz_python(name: str, seconds: int, seed: int) -> Outcome:
    """A target in Python for a time, in a process of its own."""
    command = [sys.executable, "-m", "tests.fuzz.run", "--target", name, "--for", f"{seconds}s", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=harness.REPOSITORY)
    inputs, _, finding = done.stdout.partition("\n")
    if done.returncode not in (0, 1) or not inputs.isdecimal():
        return Outcome(0, done.stderr or f"ended with {done.returncode}")
    return Outcome(int(inputs), finding.strip())


def replay(name: str, path: Path) -> int:
    """Give one input to a parser, for a debugger or an error's text."""
    if name in HARNESSES:
        return subprocess.run([str(harness.built(HARNESSES[name])), str(path)], check=False).returncode
    TARGETS[name].run(path.read_bytes())
    return 0


def run_all(seconds: int, seed: int, names: list[str]) -> int:
    """All parsers side by side on as many processors as there are; prints the table."""
    jobs: list[tuple[str, str, Callable[[str, int, int], Outcome]]] = []
    if harness.has_clang():
        jobs += [(f"C {name}", found.what, fuzz_c) for name, found in HARNESSES.items()]
    else:
        print(f"parsers in C are left out: {harness.NO_CLANG}")
    jobs += [(f"Python {name}", found.what, fuzz_python) for name, found in TARGETS.items()]
    jobs = [job for job in jobs if not names or job[0].split(" ", 1)[1] in names]
    workers = os.cpu_count() or 1
    share = max(1, seconds * workers // len(jobs))
    print(f"{len(jobs)} parsers, {share} s each on {workers} processors, seed {seed}", flush=True)
    found = False
    with ThreadPoolExecutor(workers) as pool:
        runs = [pool.submit(job, name.split(" ", 1)[1], share, seed) for name, _, job in jobs]
        for (name, what, _), run in zip(jobs, runs, strict=True):
            outcome = run.result()
            found = found or bool(outcome.finding)
            print(
                f"{name:20} {outcome.inputs:>11} inputs  {'FOUND' if outcome.finding else 'nothing'}  {what}",
                flush=True,
            )
            if outcome.finding:
                print(outcome.finding)
    if found:
        print(f"the inputs are in {FINDINGS}; one again: python -m tests.fuzz.run --again PARSER FILE")
    return int(found)


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="tests.fuzz.run", description="Fuzz every parser that bytes from outside reach."
    )
    parser.add_argument("--for", dest="seconds", type=duration_s, default=60, help="time for all together: 90s, 5m, 1h")
    parser.add_argument("--seed", type=int, default=1, help="the same seed begins with the same inputs")
    parser.add_argument("--only", nargs="+", default=[], choices=[*HARNESSES, *TARGETS], help="these parsers alone")
    parser.add_argument("--again", nargs=2, metavar=("PARSER", "FILE"), help="give one input to a parser")
    parser.add_argument("--target", choices=TARGETS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.again:
        return replay(options.again[0], Path(options.again[1]))
    if options.target:
        report = fuzz(TARGETS[options.target], seed=options.seed, seconds=options.seconds)
        finding = keep(options.target, report)
        print(report.inputs, finding, sep="\n")
        return int(bool(finding))
    return run_all(options.seconds, options.seed, options.only)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
