"""10,000 wrong rig files: wrong types, missing and unknown keys anywhere. Each is a rig or one sentence."""

import copy
import random

from hil.errors import RigError
from hil.rig.config import load_rig

SEED = 0x5EED
FILES = 10_000
REAL = {
    "rig": {"name": "desk", "baud": 921600, "boot_baud": 115200, "watchdog_s": 10.0, "memory_mb": [512, 512],
            "gpu_mem": 64},
    "board": [
        {"rank": 0, "port": "/dev/ttyUSB0", "serial": "00000000a5c0ffee"}, {"rank": 1, "port": "ftdi://ftdi:232h/1"},
    ],
    "link": [{"from": 0, "to": 1}, {"from": 1, "to": 0}],
}  # fmt: skip
POWER = [
    {"reset": "pull-run {rank}"}, {"uhubctl": "1-1", "ports": [1, 2]}, {"person": True}, {"sim": "127.0.0.1:99"},
    {"cbus": ["ftdi://ftdi:232r/1", "ftdi://ftdi:232r/2"], "pin": 1},
    {"gpio": "ftdi://ftdi:232h/1", "pins": ["AC0", "AC1"]},
]  # fmt: skip
PROBED = {"board": [{"rank": 0, "port": "a"}], "probe": {"url": "ftdi://ftdi:232h/1", "board": 0, "bank": "upstream"}}
SIMULATED = {
    "rig": {"name": "s"},
    "sim": {"boards": 2, "drift_ppm": [1.5, -2], "start_delay_ms": [0, 5], "faults": ["open:0-1.D3"], "cards": []},
    "probe": {"board": 0, "bank": "upstream"},
    "link": [{"from": 0, "to": 1}],
}
VALUES = (
    0, 1, -1, 3, 17, 1 << 70, True, False, 0.5, -0.0, float("nan"), float("inf"), float("-inf"), 1e300,
    "", "x", "0", "-1",
    "a]b", "]", "ä\u202e", "\0", "\n", "sim", "ftdi://", "{", "{rank.x}", "%s", "9" * 300, [], [1], ["x"], [[]], [{}],
    [None], {}, {"a": 1}, {"reset": 1}, {"from": "x"},
)  # fmt: skip


def toml(value):
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return (
            '"'
            + "".join(f"\\U{ord(letter):08X}" if letter in '"\\' or ord(letter) < 32 else letter for letter in value)
            + '"'
        )
    if isinstance(value, list):
        return "[" + ", ".join(toml(one) for one in value if one is not None) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(one)}" for key, one in value.items()) + "}"
    return repr(value)


def spoiled(draw, table):
    """The table with one thing wrong, somewhere."""
    table = copy.deepcopy(table)
    place, key = draw.choice(list(places(table)))
    kind = draw.random()
    if kind < 0.7:
        place[key] = draw.choice(VALUES)
    elif kind < 0.8:
        del place[key]
    elif isinstance(place, list):
        place.append(draw.choice(VALUES))
    else:
        place[draw.choice(["unknown", "a]b", "", "rank", "boards"])] = draw.choice(VALUES)
    return table


def places(node):
    """Every (container, key) in a table."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


def test_no_wrong_rig_file_is_more_than_a_sentence(tmp_path):
    print(f"seed {SEED:#x}")
    draw = random.Random(SEED)
    path, refused = tmp_path / "rig.toml", 0
    for number in range(FILES):
        real = REAL | {"rig": REAL["rig"] | {"power": draw.choice(POWER)}}
        table = draw.choice([real, SIMULATED, PROBED])
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            if list(places(table)):
                table = spoiled(draw, table)
        text = "".join(f"{toml(key)} = {toml(value)}\n" for key, value in table.items())
        path.write_text(text, encoding="utf-8")
        try:
            load_rig(str(path))
            continue
        except Exception as error:
            found = error
        good = isinstance(found, RigError) and str(found).startswith(f"rig {path}") and "\n" not in str(found)
        assert good, f"file {number}: {type(found).__name__}: {found}\n{text}"
        refused += 1
    assert refused > FILES // 2, "the files are hardly wrong"


def test_files_that_are_spoiled_here_are_right_before(tmp_path):
    """Negative twin: without the spoiling each is a rig."""
    path = tmp_path / "rig.toml"
    for table in [
        *(REAL | {"rig": REAL["rig"] | {"power": power}} for power in POWER),
        SIMULATED | {"probe": {}},
        PROBED,
    ]:
        table = {key: value for key, value in table.items() if value != {}}
        path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in table.items()), encoding="utf-8")
        assert load_rig(str(path)).boards
