"""Handshakes out of recordings: by hand, and from a link that really stops on the simulated ring."""

from __future__ import annotations

import re

import pytest

from hil.pictures.waveform import waveform
from hil.pictures.wavejson import WaveError, wavejson

HEAD = "$timescale 1 ns $end\n$scope module ring $end\n$var string 1 ! events $end\n$scope module link_1_2 $end\n"
NAMES = [*(f"D{bit}" for bit in range(8)), "CLK", "ACK"]


def recording(tmp_path, changes, far=None):
    """A VCD of link 1->2. changes: (ns, wire, level); the far ends follow at once unless `far` says otherwise."""
    ids = {name: chr(34 + at) for at, name in enumerate(NAMES)} | {
        f"{name}_far": chr(60 + at) for at, name in enumerate(NAMES)
    }
    lines = [HEAD] + [f"$var wire 1 {short} {name} $end\n" for name, short in ids.items()]
    lines.append("$upscope $end\n$upscope $end\n$enddefinitions $end\n#0\n")
    lines += [f"0{short}\n" for short in ids.values()]
    for time, name, level in changes:
        lines.append(f"#{time}\n{level}{ids[name]}\n")
        if far is None or name not in far:
            lines.append(f"{level}{ids[name + '_far']}\n")
    lines.append("#9000\n")
    path = tmp_path / "check-1.vcd"
    path.write_text("".join(lines))
    return path


BYTE_A5 = [(100, f"D{bit}", 1) for bit in (0, 2, 5, 7)]
HANDSHAKE = [(200, "CLK", 1), (300, "ACK", 1), (400, "CLK", 0), (500, "ACK", 0)]


def test_a_byte_is_its_handshake_with_the_data_and_the_times(tmp_path):
    wave = wavejson(recording(tmp_path, BYTE_A5 + HANDSHAKE), "1->2")
    assert wave["signal"] == [
        {"name": "D at 1", "wave": "=....", "data": ["a5"]},
        {"name": "CLK at 1", "wave": "01.0."},
        {"name": "ACK at 1", "wave": "0.1.0"},
    ]
    assert wave["foot"]["tick"] == ["", "0.00", "0.10", "0.20", "0.30"]
    assert "ends 8.50 later" in wave["foot"]["text"]


def test_a_wire_that_does_not_arrive_shows_at_its_far_end(tmp_path):
    wave = wavejson(recording(tmp_path, BYTE_A5 + HANDSHAKE[:1], far={"CLK", "D5"}), "1->2")
    lanes = {lane["name"]: lane for lane in wave["signal"]}
    assert lanes["CLK at 1"]["wave"] == "01"
    assert lanes["CLK at 2"]["wave"] == "0."
    assert lanes["D at 2"]["data"] == ["85"]
    assert "ACK at 2" not in lanes


def test_only_the_last_edges_are_kept(tmp_path):
    changes = [(100 + 10 * at, "CLK", at % 2) for at in range(1, 100)]
    wave = wavejson(recording(tmp_path, changes), "1->2", edges=30)
    assert len(wave["signal"][1]["wave"]) == 31
    assert wave["head"]["text"] == "link 1->2: the last 30 edges of CLK and ACK"


def test_another_link_or_none_at_work_gives_nothing(tmp_path):
    path = recording(tmp_path, HANDSHAKE)
    assert wavejson(path, "0->1") is None
    assert wavejson(recording(tmp_path, BYTE_A5), "1->2") is None


def test_a_broken_recording_is_said_in_a_sentence(tmp_path):
    path = tmp_path / "broken.vcd"
    path.write_text("$timescale 1 ns")
    with pytest.raises(WaveError, match=r"recording .*broken\.vcd: cannot be read"):
        wavejson(path, "1->2")
    with pytest.raises(WaveError, match="No such file"):
        wavejson(tmp_path / "missing.vcd", "1->2")


def test_a_picture_is_drawn_of_it(tmp_path):
    picture = str(waveform(wavejson(recording(tmp_path, BYTE_A5 + HANDSHAKE), "1->2")))
    assert picture.count('class="signal"') >= 8
    assert ">a5<" in picture
    assert ">0.30<" in picture


@pytest.mark.parametrize(
    "wave",
    [
        {}, {"signal": []}, {"signal": "text"}, {"signal": [{"wave": 7}, {}, None, 3]},
        {"signal": [["group", ["inner", {"name": "a", "wave": "01"}]]]}, {"signal": [{"name": "<b>", "wave": "?!0"}]},
        {"signal": [{"wave": "=" * 5000, "data": {"no": "list"}}], "config": {"hscale": 10**9}, "foot": {"tick": 3}},
        {"signal": [{"wave": "pPnN.|zxud"}], "head": 3, "foot": {"tick": "1 2 3"}},
    ],
)  # fmt: skip
def test_any_wavejson_gives_a_picture_or_none(wave):
    picture = waveform(wave)
    assert picture is None or len(str(picture)) < 200_000
    assert "<b>" not in str(picture)


def test_ticks_that_would_run_into_each_other_are_left_out():
    wave = {"signal": [{"name": "a", "wave": "0101"}], "foot": {"tick": ["12345678", "12345678", "3", "4"]}}
    assert re.findall(r'class="tick"[^>]*>([^<]+)<', str(waveform(wave))) == ["12345678", "3", "4"]


def test_nested_groups_put_their_names_before():
    text = str(waveform({"signal": [["out", ["in", {"name": "a", "wave": "01"}]]]}))
    assert re.search(r">out in a<", text)
