"""The simulator's C core in layers: a file uses what stands below it. The one circle is nets and faults."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hil.sim.build import CORE
from tests.house.c_calls import uses, wrong_uses

LAYERS = (
    ("coroutine.c",),
    ("clrsb.c", "lint.c", "ram.c", "selftest.c"),
    ("sched.c",),
    ("faults.c", "nets.c"),
    ("uart.c",),
    ("uart_mini.c",),
    ("uart_pl011.c",),
    ("gpio.c",),
    ("qpu_alu.c", "qpu_decode.c", "qpu_rules.c", "qpu_sfu.c", "v3d_counters.c", "vpm.c"),
    ("qpu_io.c",),
    ("qpu.c",),
    ("v3d.c",),
    ("gpu_memory.c",),
    ("mailbox.c",),
    ("clocks.c",),
    ("timer.c",),
    ("irq.c",),
    ("poll.c",),
    ("mmio.c",),
    ("abort.c",),
    ("cpu.c",),
    ("power.c",),
    ("outside.c",),
    ("sim.c",),
)
"""Lowest first. Twin: the order of the declarations in core/internal.h."""


def test_no_file_of_the_core_uses_what_stands_above_it() -> None:
    assert wrong_uses(uses(CORE), LAYERS) == []


def test_header_declares_the_files_in_the_order_of_their_layers() -> None:
    text = (CORE / "internal.h").read_text()
    order = [file for layer in LAYERS for file in layer if f"/* {file} */" in text]
    assert len(order) > 10
    assert sorted(order, key=lambda file: text.index(f"/* {file} */")) == [
        *order[: order.index("faults.c")], "nets.c", "faults.c", *order[order.index("nets.c") + 1 :],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("faults.c", "void x(board_t *b) { board_strike(b, 0); }", "faults.c uses board_strike of power.c"),
        ("sched.c", "void x(sim_t *s) { net_update(s, 0, 0, 0); }", "sched.c uses net_update of nets.c"),
        ("lint.c", "uint8_t x(void) { return LEVEL_DRIVEN[0]; }", "lint.c uses LEVEL_DRIVEN of nets.c"),
        ("new.c", "int new_thing;", "new.c stands in no layer"),
    ],
)
def test_call_upwards_is_named(tmp_path: Path, file: str, line: str, said: str) -> None:
    copy = tmp_path / "core"
    shutil.copytree(CORE, copy)
    with (copy / file).open("a") as out:
        out.write(line + "\n")
    assert any(sentence.startswith(said) for sentence in wrong_uses(uses(copy), LAYERS))


def test_comments_strings_and_own_statics_are_no_calls(tmp_path: Path) -> None:
    (tmp_path / "low.c").write_text(
        '/* high() */\nstatic int shared(void) { return 1; }\nint low(void) { say("high()"); return shared(); }\n'
    )
    (tmp_path / "high.c").write_text("int shared(void) { return 2; }\nint high(void) { return low(); }\n")
    assert uses(tmp_path) == {"high.c": {"low.c": ["low"]}, "low.c": {}}
