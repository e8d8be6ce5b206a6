"""Faults of a simulated rig: their texts, their enumeration, what they do to wires, and who refuses them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hil.cli import build_parser, main
from hil.desk.desk import Desk, open_desk
from hil.desk.faulty import apply_faults, faulty_wires, rig_wires
from hil.errors import RigError
from hil.rig.config import load_rig
from hil.rig.faults import (
    FAULTS,
    KINDS,
    Strike,
    WireRef,
    all_wires,
    example_of,
    fault_table,
    parse_fault,
    single_faults,
)
from hil.rig.specs import BoardSpec, LinkSpec, RigConfig, sim_rig
from hil.session import Session
from hil.settings import Settings
from hil.sim import BoardConfig, Netlist, Simulation

RIG = sim_rig(4)
DOCS = Path(__file__).parents[2] / "docs" / "rigs.md"


@pytest.mark.parametrize(
    "text",
    [
        *(example for kind in FAULTS for example in kind.EXAMPLES),
        "stuck1:3-0.CLK",
        "bridge-or:0-1.D0,0-1.D1",
        "delay:1-2.ACK=0.5ns",
        "glitch:1-2.D7=0.25/60ns",
        "glitch:1-2.D7=1",
        "halt:0@0.000000001s",
        "drift:1=-0.5ppm",
        "uart-drop:3=0.05",
        "uart-corrupt:3=2.5e-7",
    ],
)
def test_text_comes_back_from_the_fault(text):
    assert str(parse_fault(text, RIG)) == text


def test_every_word_of_a_kind_has_an_example():
    assert {"open", "stuck0", "stuck1", "bridge-or", "off", "uart-duplicate"} <= set(KINDS)
    assert all(parse_fault(example_of(word), RIG).__class__ is kind for word, kind in KINDS.items())


def test_table_in_the_docs_is_the_one_that_the_kinds_give():
    assert fault_table() in DOCS.read_text(), "put `fault_table()` of hil/rig/faults.py into docs/rigs.md"
    assert all(f"{word}:" in fault_table() for word in KINDS)


def test_wires_are_listed_as_the_rig_has_them():
    for name in ("sim", "sim-loopback", "sim-probe"):
        rig = load_rig(name)
        assert all_wires(rig) == list(rig_wires(rig))


def test_times_may_have_any_unit():
    assert parse_fault("off:2@200ms", RIG) == parse_fault("off:2@0.2s", RIG) == Strike("off", 2, after_ns=200_000_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("opne:1-2.D3", r"unknown kind `opne`; known are open, stuck0, .*uart-hangup"),
        ("open", r"must be two parts with one `\.` between them; an example is open:1-2\.D3"),
        ("open:1-2", r"`1-2` must be two parts with one `\.`"),
        ("open:1-3.D3", r"rig sim has no link `1-3`; its links are 0-1, 1-2, 2-3, 3-0"),
        ("open:1-2.D8", r"no wire is called `D8`; wires are D0, .* CLK, ACK"),
        ("bridge-and:1-2.D3", r"must be two parts with one `,` between them"),
        ("bridge-and:1-2.D3,1-2.D3", r"the two wires must differ"),
        ("swap:1-2.D3,D3", r"the two wires must differ"),
        ("swap:1-2.D3,1-2.D4", r"no wire is called `1-2\.D4`"),
        ("crossed:1-2,1-2", r"the two links must differ"),
        ("delay:1-2.D3=30", r"`30` must be a time, as 1\.5s"),
        ("delay:1-2.D3=1s", r"`1` must be a number from 0 to 0\.0001"),
        ("glitch:1-2.CLK=2", r"`2` must be a number from 0 to 1;"),
        ("glitch:1-2.CLK=nan", r"`nan` must be a number from 0 to 1;"),
        ("halt:4@1s", r"rig sim has no board `4`; its boards are 0\.\.3"),
        ("halt:2@soon", r"`soon` must be a time"),
        ("reset:2@byte0", r"`byte0` must be a byte's number from 1 on"),
        ("reset:2@bytex", r"`bytex` must be a byte's number from 1 on"),
        ("drift:1=50", r"`50` must be a number from -10000 to 10000 with ppm"),
        ("drift:1=20000ppm", r"`20000ppm` must be a number from -10000 to 10000 with ppm"),
        ("uart-drop:1=lots", r"`lots` must be a number from 0 to 1"),
        ("uart-hangup:1", r"must be two parts with one `@` between them"),
        ("open:\x1b[31m", r"fault 'open:\\x1b\[31m'"),
    ],
)  # fmt: skip
def test_wrong_part_is_named(text, said):
    with pytest.raises(RigError, match=said):
        parse_fault(text, RIG)


def test_every_single_wiring_fault_is_listed_once_and_has_a_text():
    faults = single_faults(RIG)
    texts = [str(fault) for fault in faults]
    assert len(set(texts)) == len(texts) == 40 + 80 + 2 * 780 + 4 * 45 + 4 + 4 + 6
    assert [parse_fault(text, RIG) for text in texts] == faults


def ends(*texts: str, config: RigConfig = RIG) -> dict[str, tuple[int, int]]:
    """Where the wires that do not go where they should end: name at the source -> board, pin."""
    right = rig_wires(config)
    wires = faulty_wires(config, [parse_fault(text, config) for text in texts])
    moved = {str(ref): (wire.board_b, wire.pin_b) for ref, wire in wires.items() if wire != right[ref]}
    return moved | {str(ref): (-1, -1) for ref in right if ref not in wires}


def test_wires_of_a_sound_rig_are_those_of_the_wiring_guide():
    assert ends() == {}
    assert set(rig_wires(RIG).values()) == set(Netlist.ring(4).wires)
    loopback = load_rig("sim-loopback")
    assert set(rig_wires(loopback).values()) == set(Netlist.loopback().wires)


def test_swap_exchanges_two_far_ends():
    assert ends("swap:1-2.D3,D4") == {"1-2.D3": (2, 8), "1-2.D4": (2, 7)}


def test_reversed_connector_mirrors_all_ten():
    assert ends("reversed:1-2") == {f"1-2.{name}": (2, 13 - k) for k, name in enumerate(
        ("D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "CLK", "ACK"))}  # fmt: skip


def test_crossed_links_exchange_their_targets():
    moved = ends("crossed:0-1,1-2")
    assert len(moved) == 20
    assert moved["0-1.D0"] == (2, 4)
    assert moved["1-2.ACK"] == (1, 13)


def test_missing_link_has_no_wires():
    assert set(ends("missing:3-0").values()) == {(-1, -1)}
    assert len(ends("missing:3-0")) == 10


def test_the_same_mistake_twice_is_none():
    assert ends("reversed:1-2", "reversed:1-2") == {}
    assert ends("crossed:0-1,1-2", "crossed:0-1,1-2") == {}


def test_faults_reach_the_simulation_and_go_again():
    with Simulation([BoardConfig(None)] * 4, Netlist(rig_wires(RIG).values()), seed=1) as simulation:
        texts = [example_of(word) for word in KINDS]
        for text in texts:
            fault = parse_fault(text, RIG)
            apply_faults(simulation, RIG, [fault])
            moves = text.startswith(("swap", "reversed", "crossed", "missing"))
            assert bool(simulation.faults) is not moves, text
            assert (set(simulation.netlist.wires) != set(Netlist.ring(4).wires)) is moves, text
        everything = [parse_fault(text, RIG) for text in texts]
        apply_faults(simulation, RIG, everything)
        apply_faults(simulation, RIG, [])
        assert simulation.faults == ()
        assert set(simulation.netlist.wires) == set(Netlist.ring(4).wires)


def test_fault_on_a_missing_link_has_no_effect():
    with Simulation([BoardConfig(None)] * 4, Netlist(), seed=1) as simulation:
        texts = ["missing:1-2", "open:1-2.D3", "stuck1:1-2.D3", "delay:1-2.D3=1ns", "glitch:1-2.D3=1", "noground:1-2"]
        apply_faults(simulation, RIG, [parse_fault(text, RIG) for text in texts])
        assert simulation.faults == ()


def test_real_rig_has_no_faults_to_set(tmp_path):
    real = RigConfig("bench", (BoardSpec(0, "loop://"),), ())
    with pytest.raises(RigError, match="fault open:0-1.D3: rig bench has real boards; faults can be set on simulated"):
        open_desk(real, tmp_path, seed=1, faults=["open:0-1.D3"])
    with Desk(replace(real, links=(LinkSpec(0, 0),)), tmp_path, seed=1) as desk:
        assert desk.set_faults([]) == ()
        with pytest.raises(RigError, match="fault open:0-0.D3: rig bench has real boards"):
            desk.set_faults(["open:0-0.D3"])
        with pytest.raises(RigError, match="only a simulated rig can record its wires"):
            desk.trace(tmp_path / "x.vcd")


def write_rig(tmp_path, faults: str):
    path = tmp_path / "broken.toml"
    path.write_text(f"[sim]\nboards = 2\nfaults = {faults}\n")
    return path


def test_rig_file_brings_its_faults(tmp_path):
    rig = write_rig(tmp_path, '["open:0-1.D3", "drift:1=+50ppm"]')
    ring = Session(Settings(rig=str(rig), logs=tmp_path / "logs", work=tmp_path, faults=("stuck1:1-0.D0",))).open_ring()
    with ring.desk as desk:
        assert len(desk.simulation.faults) == 3
        desk.set_faults(())
        assert desk.simulation.faults == ()


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ('"open:0-1.D3"', r"\[sim\] faults = 'open:0-1.D3': give a list of texts"),
        ("[1]", r"\[sim\] faults = \[1\]: give a list of texts"),
    ],
)
def test_rig_file_with_odd_faults_is_refused(tmp_path, faults, said):
    with pytest.raises(RigError, match=said):
        load_rig(str(write_rig(tmp_path, faults)))


def test_command_line_takes_faults_and_names_a_wrong_one(tmp_path, capsys):
    options = build_parser().parse_args(["generate", "--fault", "open:1-2.D3", "--fault", "halt:2@1s"])
    assert options.hil_fault == ["open:1-2.D3", "halt:2@1s"]
    code = main(["generate", "--world", "2", "--logs", str(tmp_path), "--fault", "open:1-2.D3"])
    assert code == 1
    assert "fault 'open:1-2.D3': rig sim has no link `1-2`; its links are 0-1, 1-0" in capsys.readouterr().err


def test_trace_names_wires_at_both_ends(tmp_path):
    with Session(Settings(world_size=2, logs=tmp_path / "logs", work=tmp_path)).open_ring().desk as desk:
        desk.trace(tmp_path / "wires" / "a.vcd", [WireRef(desk.config.links[0], 3)])
        desk.set_faults(["open:0-1.D3"])
        desk.end_trace()
        text = (tmp_path / "wires" / "a.vcd").read_text()
        assert "$scope module link_0_1 $end" in text
        assert "D3 $end" in text
        assert "D3_far $end" in text
        assert "sfaults:_open:0-1.D3 !" in text
