"""Messages: one definition, the same bytes in Python and C."""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from golden.taps import Op
from hil.protocol import messages
from hil.protocol.cheader import c_header
from hil.protocol.fields import MessageError


def test_every_command_and_event_has_a_payload_class():
    assert set(messages.COMMANDS) == set(messages.Command)
    assert set(messages.EVENTS) == set(messages.Event)


def test_message_comes_back():
    event = messages.Token(job=7, position=63, token=511, forced=1, time_us=1 << 40)
    assert messages.Token.unpack(event.pack()) == event


def test_tail_takes_the_rest():
    part = messages.TapsPart(total=9, first=3, keys_crc32=1, dropped=0, data=b"\x01\x02\x03")
    assert messages.TapsPart.unpack(part.pack()) == part


def test_wrong_length_is_refused_with_both_lengths():
    with pytest.raises(MessageError, match="Token: 3 bytes, expected 17"):
        messages.Token.unpack(b"abc")


def test_value_out_of_range_is_refused_by_name():
    with pytest.raises(MessageError, match=r"Token\.token = 70000 does not fit uint16_t"):
        messages.Token(job=1, position=0, token=70000, forced=0, time_us=0).pack()


def test_c_header_lists_every_op_and_fixed_message():
    text = c_header()
    for op in Op:
        assert f"OP_{op.name} = {op.value}," in text
    assert "struct msg_crashed {" in text


@pytest.mark.parametrize(
    ("edit", "good"), [(lambda t: t, True), (lambda t: t.replace("registers[13]", "registers[12]"), False)]
)
def test_c_struct_sizes_are_checked_by_the_compiler(tmp_path: Path, edit, good):
    (tmp_path / "messages.h").write_text(edit(c_header()))
    source = tmp_path / "check.c"
    source.write_text('#include "messages.h"\n')
    compiler = ["python", "-m", "ziglang", "cc", "-target", "arm-freestanding-eabihf", "-mcpu=arm1176jzf_s"]
    done = subprocess.run(
        [*_python(compiler), "-c", str(source), "-o", str(tmp_path / "check.o")], capture_output=True, check=False
    )
    assert (done.returncode == 0) is good, done.stderr.decode()


def _python(command: list[str]) -> list[str]:
    import sys

    return [sys.executable, *command[1:]]


def test_fields_of_all_messages_have_wire_types():
    for request, response in messages.COMMANDS.values():
        for cls in (request, response):
            assert len(cls.layout()) == len(dataclasses.fields(cls))
