"""Value change dumps of nets."""

from __future__ import annotations

import io
from pathlib import Path

from hil.sim import Netlist, Wire
from hil.sim.vcd import VcdWriter, identifier
from tests.sim.programs import BOOTED_NS, simulate

PULSE = """
main:
    ldr r4, =GPIO
    ldr r0, =1 << 18
    str r0, [r4, #GPFSEL1]
    mov r5, #1 << 16
    str r5, [r4, #GPSET0]
    str r5, [r4, #GPCLR0]
    str r5, [r4, #GPSET0]
    b stop
"""


def test_pulse_is_dumped_with_its_width(tmp_path: Path) -> None:
    out = io.StringIO()
    pads = {"clk": (0, 16), "other end": (1, 10), "idle": (1, 11)}
    with (
        simulate(tmp_path, PULSE, "main:\n b stop\n", netlist=Netlist([Wire(0, 16, 1, 10)])) as sim,
        VcdWriter(sim, out, pads) as vcd,
    ):
        sim.run(BOOTED_NS)
        vcd.flush()
    header, _, body = out.getvalue().partition("$enddefinitions $end\n")
    assert '$var wire 1 " other_end $end' in header
    lines = body.splitlines()
    values = [line for line in lines if line.endswith("!")]
    assert values == ["0!", "1!", "0!", "1!"]
    assert [line for line in lines if line.endswith('"')] == ['0"', '1"', '0"', '1"'], "one net, two names"
    assert [line for line in lines if line.endswith("#") and line != "#"] == ["0#"], "a net that never moves"
    times = [int(line[1:]) for line in lines if line.startswith("#")]
    assert times == sorted(times)
    rise, fall = times[1], times[2]
    assert 20_000 < fall - rise < 30_000, "one write of 22 ns, in ps"
    assert times[-1] == BOOTED_NS * 1000


def test_identifiers_are_distinct() -> None:
    names = [identifier(i) for i in range(1000)]
    assert len(set(names)) == 1000
    assert names[0] == "!"
