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
    pads = {"clk": (0, 16), "link.other end": (1, 10), "idle": (1, 11)}
    with (
        simulate(tmp_path, PULSE, "main:\n b stop\n", netlist=Netlist([Wire(0, 16, 1, 10)])) as sim,
        VcdWriter(sim, out, pads) as vcd,
    ):
        sim.run(BOOTED_NS)
        vcd.flush()
    header, _, body = out.getvalue().partition("$enddefinitions $end\n")
    assert "$scope module link $end\n$var wire 1 # other_end $end\n$upscope $end" in header
    now, changes = 0, []
    for line in body.splitlines():
        if line.startswith("#"):
            assert int(line[1:]) >= now, "time goes on"
            now = int(line[1:])
        else:
            changes.append((now, line))
    clk = [(time, line[0]) for time, line in changes if line.endswith('"')]
    assert [level for _, level in clk] == ["0", "1", "0", "1"]
    assert [(time, line[0]) for time, line in changes if line.endswith("#")] == clk, "one net, two names"
    assert [line for _, line in changes if line.endswith("$")] == ["0$"], "a net that never moves"
    assert 20_000 < clk[2][0] - clk[1][0] < 30_000, "one write of 22 ns, in ps"
    assert now == BOOTED_NS * 1000


def test_events_are_a_track_of_their_own(tmp_path: Path) -> None:
    out = io.StringIO()
    with simulate(tmp_path, PULSE) as sim:
        sim.mark("before the trace: not kept")
        with VcdWriter(sim, out, {"clk": (0, 16)}):
            sim.mark("two words\n\x07")
            sim.run(BOOTED_NS)
            sim.reset(0)
            sim.power_off(0)
    assert "$var string 1 ! events $end" in out.getvalue()
    marks = [line for line in out.getvalue().splitlines() if line.startswith("s")]
    assert marks == [
        "stwo_words\\n\\x07 !",
        "sboard_0_starts !",
        "sboard_0_reset !",
        "sboard_0_power_off !",
    ]


def test_identifiers_are_distinct() -> None:
    names = [identifier(i) for i in range(1000)]
    assert len(set(names)) == 1000
    assert names[0] == "!"


def test_only_the_latest_changes_are_kept_when_asked(tmp_path: Path) -> None:
    with simulate(tmp_path, PULSE) as sim:
        sim.trace_pad(0, 16, on=True)
        sim.run(BOOTED_NS)
        sim.keep_trace(2)
        last = sim.take_trace()
        assert len(last) == 2
        assert last[1].time_ps > last[0].time_ps
        sim.keep_trace(0)
        assert sim.take_trace() == []
