"""Messages: one definition, the same bytes in Python and C."""

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from golden.taps import Op
from hil.protocol import boot, link_frames, messages
from hil.protocol.cheader import headers, write_headers
from hil.protocol.fields import Message, MessageError
from hil.protocol.link_messages import RING_PINS
from hil.protocol.shard_header import SHARD_ADDRESS, SHARD_MAGIC
from hil.toolchain import firmware_folder


def test_every_command_and_event_has_a_payload_class():
    for command in messages.Command:
        assert issubclass(command.request, Message)
        assert issubclass(command.response, Message)
    for event in messages.Event:
        assert issubclass(event.payload, Message)
        assert event.payload is not messages.Empty


def test_message_comes_back():
    event = messages.Token(job=7, position=63, token=511, forced=1, time_us=1 << 40)
    assert messages.Token.unpack(event.pack()) == event


def test_tail_takes_the_rest():
    part = messages.TapsPart(
        total=9, first=3, keys_crc32=1, dropped=0, nonfinite=1, zero=2, flushed=3, data=b"\x01\x02\x03"
    )
    assert messages.TapsPart.unpack(part.pack()) == part


def test_wrong_length_is_refused_with_both_lengths():
    with pytest.raises(MessageError, match="Token: 3 bytes, expected 17"):
        messages.Token.unpack(b"abc")


def test_value_out_of_range_is_refused_by_name():
    with pytest.raises(MessageError, match=r"Token\.token = 70000 does not fit uint16_t"):
        messages.Token(job=1, position=0, token=70000, forced=0, time_us=0).pack()


def test_c_header_lists_every_op_and_fixed_message():
    text = headers()["messages.h"]
    for op in Op:
        assert f"OP_{op.name} = {op.value}," in text
    assert "struct msg_crashed {" in text


def test_records_one_behind_the_other_come_back_and_one_cut_off_is_refused():
    records = [messages.TapRecord(key, 1, 2, -1.0, 1.0, 0, 0) for key in range(3)]
    data = b"".join(record.pack() for record in records)
    assert messages.TapRecord.unpack_each(data) == records
    with pytest.raises(MessageError, match="TapRecord: 27 bytes, expected 28"):
        messages.TapRecord.unpack_each(data[:-1])


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("messages.h", "registers[13]", "registers[12]"),
        ("messages.h", "float minimum", "double minimum"),
        ("link_frames.h", "uint16_t magic", "uint32_t magic"),
        ("shard_header.h", "int32_t has_head", "int64_t has_head"),
    ],
)
@pytest.mark.parametrize("good", [True, False], ids=["as it is", "spoilt"])
def test_c_struct_sizes_are_checked_by_the_compiler(tmp_path: Path, name, right, wrong, good):
    write_headers(tmp_path)
    text = headers()[name]
    assert text.count(right) == 1
    if not good:
        (tmp_path / name).write_text(text.replace(right, wrong))
    source = tmp_path / "check.c"
    source.write_text(f'#include "{name}"\n')
    compiler = ["python", "-m", "ziglang", "cc", "-target", "arm-freestanding-eabihf", "-mcpu=arm1176jzf_s"]
    done = subprocess.run(
        [*_python(compiler), "-c", str(source), "-o", str(tmp_path / "check.o")], capture_output=True, check=False
    )
    assert (done.returncode == 0) is good, done.stderr.decode()


def _literals(text: str, values: set[int]) -> list[str]:
    """Numbers of C code, comments left out, that are among the values."""
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return [found for found in re.findall(r"\b(?:0x[0-9A-Fa-f]+|[1-9][0-9]*)", code) if int(found, 0) in values]


def test_numbers_that_mark_a_format_stand_in_no_c_file_of_the_firmware():
    marks = {link_frames.MAGIC, link_frames.CLAIM, RING_PINS, SHARD_ADDRESS, SHARD_MAGIC, *boot.BootWord}
    found = {path.name: _literals(path.read_text(), marks) for path in firmware_folder().glob("*/*.[ch]")}
    assert len(found) > 50
    assert {name: numbers for name, numbers in found.items() if numbers} == {}
    assert _literals("/* 0x4C52 */ enum { MAGIC = 0x4c52, OTHER = 1 };", marks) == ["0x4c52"]


def _python(command: list[str]) -> list[str]:
    import sys

    return [sys.executable, *command[1:]]


def test_fields_of_all_messages_have_wire_types():
    for command in messages.Command:
        for cls in (command.request, command.response):
            assert len(cls.layout()) == len(dataclasses.fields(cls))
