"""What the fuzzers found, each with its input: it stays mended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.errors import RigError
from hil.model.checkpoint import read_config
from hil.model.shard import read_joined_headers, read_shard_header
from hil.model.tokenizer import Tokenizer
from hil.nightly.record import Night, from_json, to_json
from hil.pictures.wavejson import WaveError, wavejson
from hil.rig.config import load_rig
from tests.fuzz.targets import sample_night

BOARDS = '[[board]]\nrank = 0\nport = "/dev/ttyUSB0"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rig = -0.0", "[rig]: -0.0 is not a table of `key = value`; known keys are baud, "),
        ("[[sim]]\nboards = 4", "[sim]: [{'boards': 4}] is not a table"),
        ("board = nan", "[[board]]: nan is not a list of tables; write [[...]] with two brackets"),
        ("[board]\nrank = 0", "[[board]]: {'rank': 0} is not a list of tables"),
        ("board = [1]", "[[board]]: 1 is not a table"),
        ("[sim]\nboards = {}", "[sim]: boards = {}: give a whole number"),
        ("[sim]\nboards = 4.0", "[sim]: boards = 4.0: give a whole number"),
        ("[sim]\nboards = true", "[sim]: boards = True: give a whole number"),
        ("[sim]\nboards = 4\ndrift_ppm = 5", "drift_ppm = 5: give a list of numbers from -10000 to 10000"),
        ("[sim]\nboards = 4\ndrift_ppm = [-1e6]", "drift_ppm = [-1000000.0]: give a list of numbers"),
        ("[sim]\nboards = 4\ndrift_ppm = [nan]", "drift_ppm = [nan]: give a list of numbers"),
        (
            '[sim]\nboards = 4\nstart_delay_ms = ["a"]',
            "start_delay_ms = ['a']: give a list of numbers from 0 to 3600000",
        ),
        ("[sim]\nboards = 4\nstart_delay_ms = [-1]", "start_delay_ms = [-1]: give a list of numbers"),
        ("[sim]\nboards = 4\ncards = false", "[sim] cards = False: give a list with one folder or image"),
        ('[sim]\nboards = 1\ncards = ["\\u0000"]', "does not exist; `hil sd write` makes one"),
        ('[[board]]\nrank = 0\nport = "a"\nserial = 5', "[[board]]: serial = 5: give the 16 hexadecimal digits"),
        ('[[board]]\nrank = 0\nport = "a"\nserial = ""', "[[board]]: serial = '': give the 16 hexadecimal digits"),
        ('[[board]]\nrank = 0\nport = "a"\nserial = "-1"', "[[board]]: serial = '-1': give the 16 hexadecimal digits"),
        ('[[board]]\nrank = "x"\nport = "a"', "[[board]]: rank = 'x': give a whole number"),
        ('[[board]]\nrank = inf\nport = "a"', "[[board]]: rank = inf: give a whole number"),
        (f"link = 3\n{BOARDS}", "[[link]]: 3 is not a list of tables"),
        (f"{BOARDS}[[link]]\nfrom = {{}}\nto = 0", "[[link]]: from = {}: give a whole number"),
        (f'{BOARDS}[rig]\npower = {{ uhubctl = "1", ports = 3 }}', 'power: write uhubctl = "HUB", ports = [one port'),
    ],
)
def test_wrong_rig_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "rig.toml"
    path.write_text(text)
    with pytest.raises(RigError) as caught:
        load_rig(str(path))
    assert str(caught.value).startswith(f"rig {path}: ")
    assert sentence in str(caught.value)


def test_recording_with_an_upscope_too_many_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wires.vcd"
    path.write_text("$scope module a $end $upscope $end $upscope $end $enddefinitions $end #0\n")
    with pytest.raises(WaveError, match=r"cannot be read: \$upscope without its \$scope"):
        wavejson(path, "1->2")


@pytest.mark.parametrize(
    ("change", "value", "error"),
    [
        (("checks", 0), [], TypeError),
        (("checks", 0, "figures"), [1], TypeError),
        (("checks", 0, "links", 0, "phases_us"), [], TypeError),
        (("boards",), "x", TypeError),
        (("checks", 0, "seconds"), 10**400, ValueError),
    ],
)
def test_record_of_another_shape_is_refused_as_promised(change: tuple[Any, ...], value: Any, error: type) -> None:
    record = json.loads(json.dumps(to_json(sample_night())))
    assert from_json(Night, record) == sample_night()
    at: Any = record
    for key in change[:-1]:
        at = at[key]
    at[change[-1]] = value
    with pytest.raises(error):
        from_json(Night, record)


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    ("read", "what"),
    [
        (read_config, "checkpoint"),
        (read_shard_header, "shard"),
        (read_joined_headers, "shard"),
        (lambda path: Tokenizer.load(path, 300), "tokenizer"),
    ],
)
def test_what_never_ends_is_not_read(tmp_path: Path, read: Callable[[Path], Any], what: str, kind: str) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ValueError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: cannot read the {what}: it is a pipe or a device, not a file; check the path"
