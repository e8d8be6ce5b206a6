"""How fast QPUs are simulated: `python -m tests.sim.qpu_figures` prints millions of 16-lane instructions a second.

A loop of a memory lookup, two fmul, two fadd, a counted branch with its delay slots, on one QPU and on twelve.
"""

from __future__ import annotations

import statistics
import time

from tests.sim.programs import MS
from tests.sim.qpu_asm import Asm
from tests.sim.qpu_bench import BUS, INPUT, launch

ROUNDS = 400_000
RUNS = 5


def loop() -> bytes:
    """11 instructions a round."""
    asm = Asm()
    asm.load("r1", ROUNDS)
    asm.load("ra20", 0)
    asm.load("ra21", 0)
    asm.load("r3", 0.5)
    asm.label("loop")
    asm.load("t0s", BUS + INPUT)
    asm.nop(sig="ldtmu0")
    asm.mul("fmul", "r0", "r3", "r4")
    asm.add("fadd", "ra20", "ra20", "r0", mul=("fmul", "r2", "r3", "r3"))
    asm.nop()
    asm.add("fadd", "ra21", "ra21", "r2")
    asm.add("sub", "r1", "r1", 1, sf=True)
    asm.branch("anynz", "loop")
    asm.nop(3)
    asm.end()
    return asm.code()


def main() -> None:
    """Print one line for each number of QPUs; medians of five runs."""
    for qpus in (1, 12):
        rates = []
        for _ in range(RUNS):
            started = time.perf_counter()
            ran = launch([(loop(), [])] * qpus, limit_ns=1000 * MS)
            assert ran.finished
            rates.append(ran.sim.counters(0).qpu_instructions / (time.perf_counter() - started) / 1e6)
            ran.sim.close()
        print(f"{qpus:2} QPUs: {statistics.median(rates):.1f} million instructions of 16 lanes a second")


if __name__ == "__main__":
    main()
