"""The parsers in Python that bytes from outside reach, what each may raise, and what must hold. Engine: engine.py."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import random
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from golden.weights import Config
from hil.errors import RigError
from hil.model.card import check_config, config_text
from hil.model.checkpoint import CheckpointError, header_words, read_checkpoint, write_checkpoint
from hil.model.fat import write_image
from hil.model.shard import read_joined_headers, read_shard, unpack_shards, write_shards
from hil.model.synth import random_weights
from hil.model.tokenizer import Tokenizer, TokenizerError, base_pieces, write_tokenizer
from hil.nightly.record import (
    Attempt,
    Cause,
    CheckKind,
    CheckRecord,
    Failure,
    LinkFigures,
    LogLine,
    Night,
    Outcome,
    WireFigures,
    from_json,
    to_json,
)
from hil.pictures.wavejson import WaveError, wavejson
from hil.protocol import frames, link_frames
from hil.protocol.boot import BootError, BootSession, BootWord, Print, Send, Skipped
from hil.protocol.fields import MessageError
from hil.protocol.messages import Command, Event
from hil.rig.config import load_rig
from hil.rig.faults import FAULTS, parse_fault
from hil.rig.specs import sim_rig
from hil.sim.card import CORE_MHZ, MIB, UART_HZ, read_card
from hil.sim.card_folder import CardFileError
from hil.sim.fat import FatError, FatVolume
from tests.fuzz.engine import Target

_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Files that live for a millisecond need no disk."""
_folder = functools.cache(lambda: tempfile.TemporaryDirectory(prefix="hil-fuzz-", dir=_MEMORY))


def scratch(name: str) -> Path:
    """A file's path, or a folder's, in a folder that goes away with the process."""
    return Path(_folder().name) / name


def _file(name: str, data: bytes) -> Path:
    path = scratch(name)
    path.write_bytes(data)
    return path


def _pieces(data: bytes) -> list[bytes]:
    """The input cut where its own bytes say."""
    size = data[0] % 7 + 1 if data else 1
    return [data[at : at + size * 97] for at in range(0, len(data), size * 97)]


# ---- what boards send ----


def _frames(data: bytes) -> None:
    decoder = frames.FrameDecoder()
    found = b""
    for piece in _pieces(data):
        for item in decoder.feed(piece):
            if isinstance(item, frames.Frame):
                assert frames.decode_piece(frames.encode_frame(item)[1:-1]) == item
                found += b"".join(frames.encode_frame(item).split(b"\0"))
            else:
                found += item.data
        assert len(decoder.pending()) <= frames.FRAME_BYTES_MAX
    assert found + decoder.pending() == data.replace(b"\0", b"")


MESSAGES = sorted(
    {kind for c in Command for kind in (c.request, c.response)} | {e.payload for e in Event}, key=lambda k: k.__name__
)


def _messages(data: bytes) -> None:
    kind = MESSAGES[data[0] % len(MESSAGES)] if data else MESSAGES[0]
    try:
        message = kind.unpack(data[1:])
    except MessageError:
        return
    if all(not isinstance(v := getattr(message, f.name), float) or not math.isnan(v) for f in fields(message)):
        assert message.pack() == data[1:]


def _link_frames(data: bytes) -> None:
    header = link_frames.parse_header(data)
    if header is not None:
        assert link_frames.pack_frame(header.type, header.source, header.sequence, b"")[:8] == data[:8]
        assert header.length <= link_frames.PAYLOAD_BYTES_MAX


def _boot(data: bytes) -> None:
    session = BootSession(b"image" * 9, board_serial=0x42 if data[:1] == b"s" else None)
    seen = 0
    try:
        for piece in _pieces(data):
            for action in session.feed(piece):
                assert isinstance(action, Send | Print | Skipped)
                seen += len(action.data if isinstance(action, Skipped) else b"")
    except BootError:
        return
    assert seen + session.word_bytes + len(session.leftover) <= len(data)


def _word(*words: BootWord | int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


_GREETING = b"board serial 0000000000000042, reset status 0x00001000\n"
_CRC = 0
for _action in (_session := BootSession(b"image" * 9)).feed(_word(BootWord.GET_PROG_INFO)):
    assert isinstance(_action, Send)
    _CRC = struct.unpack("<4I", _action.data)[3]
_BOOTED = (
    _word(BootWord.PRINT_STRING, len(_GREETING)) + _GREETING + _word(BootWord.GET_PROG_INFO)
    + _word(BootWord.GET_CODE, _CRC, BootWord.BOOT_SUCCESS) + b"ready"
)  # fmt: skip


# ---- rigs ----


def _rig(name: str, data: bytes) -> None:
    try:
        rig = load_rig(str(_file(name, data)))
    except RigError:
        return
    assert 1 <= len(rig.boards) <= 16


_RIG = b"""[rig]
name = "desk"
baud = 460800
boot_baud = 115200
watchdog_s = 2.5
memory_mb = [512, 256]
gpu_mem = 32
power = { uhubctl = "1-1", ports = [1, 2] }
[[board]]
rank = 0
port = "/dev/ttyUSB0"
serial = "a5c0ffee"
[[board]]
rank = 1
port = "/dev/ttyUSB1"
[[link]]
from = 0
to = 1
"""
_SIM_RIG = b"""[rig]
name = "sim"
[sim]
boards = 4
drift_ppm = [0, 50, -50, 20]
start_delay_ms = [0, 1, 2, 3]
faults = ["open:1-2.D3"]
[probe]
board = 1
bank = "upstream"
"""
_KEYS = {
    "rig": ["name", "baud", "boot_baud", "power", "watchdog_s", "memory_mb", "gpu_mem", "bus"],
    "board": ["rank", "port", "serial", "speed"],
    "link": ["from", "to", "wire"],
    "sim": ["boards", "drift_ppm", "start_delay_ms", "faults", "cards", "seed"],
    "probe": ["url", "board", "bank", "pin"],
    "else": ["x"],
}
_VALUES = (
    *[
        "0",
        "1",
        "2",
        "4",
        "-1",
        "16",
        "17",
        "512",
        "64",
        "1200",
        "115200",
        "99999999999999999999",
        "1.5",
        "-0.0",
        "1e300",
        "inf",
        "nan",
        "true",
        "false",
    ],
    *(
        '"a"',
        '"1f"',
        '"zz"',
        '""',
        '"/dev/ttyUSB0"',
        '"ftdi://ftdi:232h/1"',
        '"upstream"',
        '"open:1-2.D3"',
        '"\\u0000"',
    ),
    *(
        "1979-05-27",
        "07:32:00",
        "[]",
        "[1, 2]",
        "[[1], {}]",
        '["a", "b"]',
        "[true]",
        "[inf, nan]",
        "[0, 0, 0, 0]",
        "{}",
    ),
    *('{ reset = "x {port}" }', '{ reset = "{" }', '{ reset = "{port.x!r}" }', "{ person = false }", "{ sim = 7 }"),
    *('{ uhubctl = "1", ports = 3 }', '{ uhubctl = 1, ports = ["a"] }', '{ uhubctl = "1", ports = [true] }'),
    *(
        '{ cbus = "x", pin = 9 }',
        "{ cbus = [1], pin = 1 }",
        "{ gpio = 1, pins = [[]] }",
        '{ cbus = ["ftdi://x/1"], pin = 1 }',
    ),
    *(
        '{ gpio = "ftdi://x/1", pins = [0, 99] }',
        '{ sim = "host" }',
        '{ sim = "host:99999999" }',
        '{ sim = "a:1", x = 1 }',
    ),
)


_TABLES = tuple(value for value in _VALUES if value.startswith("{"))


def _value(key: str, source: random.Random) -> str:
    return source.choice(_TABLES if key == "power" and source.random() < 0.8 else _VALUES)


def _make_rig(source: random.Random) -> bytes:
    """A rig file with keys of the format, and values of all kinds: a good one with a few other values, or any."""
    if source.random() < 0.6:
        lines = source.choice((_RIG, _SIM_RIG)).decode().splitlines()
        for _ in range(source.randrange(1, 4)):
            at = source.randrange(1, len(lines))
            key = source.choice(_KEYS["rig"]) if lines[at][0] == "[" else lines[at].split(" = ")[0]
            lines[at : at + (lines[at][0] != "[")] = [f"{key} = {_value(key, source)}"]
        return "\n".join(lines).encode()
    lines = []
    for table in source.sample(list(_KEYS), source.randrange(1, len(_KEYS))):
        if source.random() < 0.05:
            lines.append(f"{table} = {source.choice(_VALUES)}")
            continue
        for _ in range(source.randrange(1, 4) if table in ("board", "link") else 1):
            plain = source.random() < 0.9
            lines.append(f"[[{table}]]" if (table in ("board", "link")) == plain else f"[{table}]")
            known = _KEYS[table][:-1] if plain else _KEYS[table]
            chosen = source.sample(known, source.randrange(len(known) + 1))
            lines += [f"{key} = {_value(key, source)}" for key in chosen]
    return "\n".join(lines).encode()


def _fault(data: bytes) -> None:
    config = sim_rig(4)
    try:
        fault = parse_fault(data.decode("utf-8", "surrogateescape"), config)
    except RigError:
        return
    assert parse_fault(str(fault), config) == fault


# ---- models ----

_CONFIG = Config(dim=8, hidden_dim=8, n_layers=2, n_heads=2, n_kv_heads=1, vocab_size=5, seq_len=4)


@functools.cache
def _model_files() -> list[bytes]:
    weights = random_weights(_CONFIG, seed=1)
    shards = [path.read_bytes() for path in write_shards(weights, 2, scratch("shards"))]
    return [*shards, b"".join(shards)]


def _model_file() -> bytes:
    path = scratch("good-model.bin")
    write_checkpoint(random_weights(_CONFIG, seed=1), path)
    return path.read_bytes()


def _checkpoint(data: bytes) -> None:
    try:
        weights = read_checkpoint(_file("model.bin", data))
    except CheckpointError:
        return
    assert weights.tok_emb.shape == (weights.config.vocab_size, weights.config.dim)


def _shard(data: bytes) -> None:
    path = _file("shard.bin", data)
    readers: Sequence[Callable[[], Any]] = (
        lambda: read_shard(path, expect_world=2),
        lambda: read_joined_headers(path),
        lambda: unpack_shards(data, "shard"),
    )
    for reader in readers:
        with contextlib.suppress(CheckpointError):
            reader()


def _tokenizer(data: bytes) -> None:
    try:
        tokenizer = Tokenizer.load(_file("tokenizer.bin", data), 260)
    except TokenizerError:
        return
    tokens = tokenizer.encode("A small \u00e9\ud800 text")
    assert all(0 <= token < 260 for token in tokens)
    tokenizer.decode_all(tokens)


@functools.cache
def _tokenizer_file() -> bytes:
    path = scratch("good-tokenizer.bin")
    write_tokenizer(path, [*base_pieces(), b" a"], [0.0] * 259 + [1.0])
    return path.read_bytes()


# ---- cards ----


def _config(data: bytes) -> None:
    folder = scratch("card")
    folder.mkdir(exist_ok=True)
    (folder / "kernel.img").write_bytes(b"kernel")
    (folder / "shard.bin").write_bytes(b"shard" * 99)
    (folder / "config.txt").write_bytes(data)
    _check_boot(folder, 512 * MIB)
    problems = check_config(data.decode("utf-8", "replace"), {"kernel.img": 6, "shard.bin": 495})
    assert all(isinstance(problem, str) for problem in problems)


def _check_boot(card: Path, ram_bytes: int) -> None:
    boot = read_card(card, ram_bytes=ram_bytes)
    assert all(
        0 <= load.address <= load.address + len(load.data) <= ram_bytes - boot.gpu_mem_bytes for load in boot.loads
    )
    assert 100_000_000 <= boot.arm_hz <= boot.arm_hz_max <= 1_500_000_000
    assert CORE_MHZ[0] <= boot.core_hz / 1_000_000 <= CORE_MHZ[1]
    assert UART_HZ[0] <= boot.uart_hz <= UART_HZ[1]
    assert boot.entry is None or 16 * MIB <= boot.gpu_mem_bytes <= ram_bytes // 2
    assert 0 <= (boot.pull_up_mask | boot.pull_down_mask | boot.pull_none_mask) < 1 << 54
    assert 1_000_000_000 <= boot.delay_ns <= 3700 * 10**9
    assert boot.entry is not None or boot.notes
    assert len(boot.notes) < 20


IMAGE_PLACES = (0, 446, 1 << 20, (1 << 20) + 32 * 512)
"""Partition table and its entry, boot sector, table of clusters; and, found when there is an image, the root folder."""
PATCH = struct.Struct("<BHB")
"""An input for images: records of place, offset there, count of bytes, and the bytes."""


@functools.cache
def _image() -> tuple[Path, int]:
    """A good image, and where its root folder lies."""
    path = scratch("card.img")
    files = {"kernel.img": b"k" * 5000, "config.txt": b"initramfs shard.bin 0x2000000\n", "shard.bin": b"s" * 3000}
    write_image(path, files, label="CARD")
    with path.open("rb") as image:
        image.seek((1 << 20) + 36)
        (fat_sectors,) = struct.unpack("<I", image.read(4))
    return path, (1 << 20) + (32 + 2 * fat_sectors) * 512


def _fat(data: bytes) -> None:
    path, root = _image()
    places = (*IMAGE_PLACES, root, root + 32)
    undo: list[tuple[int, bytes]] = []
    with path.open("r+b") as image:
        at = 0
        while at + PATCH.size < len(data):
            place, offset, count = PATCH.unpack_from(data, at)
            at += PATCH.size
            where = places[place % len(places)] + offset % 512
            image.seek(where)
            undo.append((where, image.read(count % 64)))
            image.seek(where)
            image.write(data[at : at + count % 64])
            at += count % 64
    try:
        _check_boot(path, 64 * MIB)
        volume = FatVolume(path)
        for name in volume.files:
            volume.read(name, MIB)
    except (FatError, CardFileError):
        pass
    finally:
        with path.open("r+b") as image:
            for where, old in reversed(undo):
                image.seek(where)
                image.write(old)


def _patch(place: int, offset: int, data: bytes) -> bytes:
    return PATCH.pack(place, offset, len(data)) + data


_FAT_SEEDS = (
    _patch(2, 13, b"\x08"), _patch(2, 32, struct.pack("<II", 130000, 1009)), _patch(3, 8, struct.pack("<3I", 3, 4, 2)),
    _patch(3, 12, struct.pack("<2I", 4, 3)) + _patch(5, 28, struct.pack("<I", 0xFFFFFFFF)), _patch(4, 11, b"\x0f"),
)  # fmt: skip


# ---- recordings and histories ----

_VCD = b"""$timescale 1 ns $end
$scope module link_1_2 $end
$var wire 1 ! CLK $end
$var wire 1 " ACK $end
$var wire 1 # D0 $end
$var wire 1 $ CLK_far $end
$upscope $end
$enddefinitions $end
#0
$dumpvars
0!
0"
z#
$end
#10
1!
#20
1"
#30
0!
#45
0"
"""


def _vcd(data: bytes) -> None:
    try:
        picture = wavejson(_file("wires.vcd", data), "1->2")
    except WaveError:
        return
    json.dumps(picture)


def sample_night() -> Night:
    """A night with one of everything that a record may hold."""
    failure = Failure("link 1->2: stopped", Cause.WIRING, "pytest x", [LogLine(0, 1.5, "hello")], {"signal": []})
    check = CheckRecord(
        1, 1, "link", CheckKind.LINK, Outcome.FAILED, 7, "2026-01-01T00:00:00.000Z", 1.5, "x", {"skew_s": 0.5},
        [LinkFigures("1->2", 10, 1, 0, 0, 99.5, {"grant": [1.0, 2.0]})], [WireFigures("1->2", "D3", 8, 1)], [1.5],
        [1.5], [Attempt("rig", False, 1.0)], failure,
    )  # fmt: skip
    return Night("a", "sim", True, 4, "smoke", 7, "x", None, None, "1", "ab", "cd", "zig", "tiny", checks=[check])


def _history(data: bytes) -> None:
    try:
        night = from_json(Night, json.loads(data))
    except (KeyError, TypeError, ValueError):
        return
    assert from_json(Night, to_json(night)) == night or "NaN" in data.decode()


def _make_history(source: random.Random) -> bytes:
    """A record with one value of another kind somewhere."""
    value = json.loads(json.dumps(to_json(sample_night())))
    at: Any = value
    while True:
        key = source.choice(list(at) if isinstance(at, dict) else range(len(at)))
        if isinstance(at[key], dict | list) and at[key] and source.random() < 0.8:
            at = at[key]
            continue
        at[key] = source.choice([None, 1, -1.5, "", "x", [], {}, [1], [[]], {"a": 1}, True, 10**400])
        return json.dumps(value).encode()


def _lines(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


TARGETS = {
    target.name: target
    for target in (
        Target(
            "frames",
            "serial frames: hil/protocol/frames.py",
            _frames,
            (frames.encode_frame(frames.Frame(frames.Kind.LOG, 1, 2, b"text")), b"\0" + b"x" * 5000, b"\3ab\0\xff\0"),
            (b"\0",),
        ),
        Target(
            "messages",
            "payloads: hil/protocol/messages.py",
            _messages,
            tuple(bytes([n]) + bytes(kind.fixed_size_bytes()) for n, kind in enumerate(MESSAGES)),
            runs=5000,
        ),
        Target(
            "link frames",
            "frames seen by the probe: hil/protocol/link_frames.py",
            _link_frames,
            (link_frames.pack_frame(1, 0, 7, b"payload"), link_frames.pack_frame(3, 0, 1, b"")),
        ),
        Target(
            "boot",
            "the bootloader's words: hil/protocol/boot.py",
            _boot,
            (_BOOTED, b"s" + _BOOTED, b"junk" + _BOOTED),
            (*(_word(word) for word in BootWord), _word(BootWord.PRINT_STRING, 3) + b"abc", _word(_CRC), _GREETING),
        ),
        Target(
            "devices",
            "devices.conf: hil/rig/devices_conf.py",
            functools.partial(_rig, "devices.conf"),
            _lines('0 1330 PIE0 "first"\n1 /dev/ttyUSB1 PIE1\n# hil: baud = 921600\n', "0 a b"),
            (b"\n", b'"', b"#", b"# hil: baud = "),
        ),
        Target(
            "rig",
            "rig files: hil/rig/config.py",
            functools.partial(_rig, "rig.toml"),
            (_RIG, _SIM_RIG),
            (*_lines(*_VALUES), b"[sim]\n", b"[[board]]\n", b"[[link]]\n", b"[probe]\n", b"\n"),
            _make_rig,
            runs=10_000,
        ),
        Target(
            "faults",
            "faults of a simulated rig: hil/rig/faults.py",
            _fault,
            _lines(*(example for kind in FAULTS for example in kind.EXAMPLES)),
            (b":", b"-", b".", b",", b"=", b"@", b"byte", b"1e-4", b"/"),
        ),
        Target(
            "checkpoint",
            "checkpoints: hil/model/checkpoint.py",
            _checkpoint,
            (header_words(_CONFIG).pack(), _model_file()),
        ),
        Target("shard", "shards: hil/model/shard.py", _shard, tuple(_model_files())),
        Target(
            "tokenizer", "tokenizers: hil/model/tokenizer.py", _tokenizer, (_tokenizer_file(), b"\1\0\0\0"), runs=1500
        ),
        Target(
            "config",
            "config.txt: hil/sim/card.py, hil/model/card.py",
            _config,
            (
                config_text(has_shard=True).encode(),
                b"kernel=a\nkernel_address=0x10\ngpio=4=pu\n[pi4]\nramfsfile=shard.bin\nramfsaddr=0x100\n",
            ),
            _lines(
                "initramfs ",
                "kernel=",
                "gpio=",
                "0x",
                "-",
                "../",
                "arm_freq=",
                "core_freq=",
                "gpu_mem=",
                "[all]\n",
                "\n",
                "#",
                "init_uart_clock=",
                "boot_delay=",
            ),
            runs=1500,
        ),
        Target("fat", "card images: hil/sim/fat.py", _fat, _FAT_SEEDS, runs=400),
        Target(
            "vcd",
            "recordings of wires: hil/pictures/wavejson.py",
            _vcd,
            (_VCD,),
            _lines(
                "$var wire 1 ! CLK $end",
                "$scope module",
                "$end",
                "$upscope",
                "#",
                "x!",
                "b01 !",
                "$timescale 3 fs $end",
            ),
        ),
        Target(
            "history",
            "records of nights: hil/nightly/record.py",
            _history,
            (json.dumps(to_json(sample_night())).encode(),),
            _lines("null", "{}", "[]", "NaN", "-1", '"x"', "true", "1e999"),
            _make_history,
            runs=1500,
        ),
    )
}
