"""Tensors as text: what is printed is read back bit for bit, among other text, and every damage is a sentence."""

import random
import zlib

import numpy as np
import pytest

from golden.taps import NO_LAYER, Op, TapKey
from hil.checks.model.tensor_text import TensorTextError, read_tensors, tensor_lines

VALUES = np.array([1.5, -0.0, np.pi, 1e-45, np.nan, np.inf, 3e38] * 5, np.float32)


def signed(body: str) -> str:
    return f"{body} crc={zlib.crc32(body.encode()):08x}"


ONE = signed("TENSOR Q at=0 of=1 3f800000")


@pytest.mark.parametrize("seed", range(5))
def test_tensors_come_back_among_other_text_and_in_any_order(seed):
    rng = random.Random(seed)
    lines = tensor_lines("Q", VALUES, layer=2, position=3, microbatch=1) + tensor_lines("wq", VALUES, layer=0)
    lines += [f"pi0|  12.5 {line}" for line in tensor_lines("LOGITS", VALUES[:1], position=7)]
    lines += ["TENSORS are fun", "DONE!!!", lines[0]]  # the same line twice says nothing new
    rng.shuffle(lines)
    found = read_tensors("\r\n".join(lines))
    assert found.lines == 8
    for taps, key, values in (
        (found.tensors[1], TapKey(3, 2, Op.Q), VALUES),
        (found.tensors[0], TapKey(7, NO_LAYER, Op.LOGITS), VALUES[:1]),
        (found.gradients, ("wq", 0), VALUES),
    ):
        assert taps[key].view(np.uint32).tolist() == values.view(np.uint32).tolist()


def test_decimal_numbers_are_read_where_they_have_a_point():
    found = read_tensors(signed("TENSOR EMBED position=0 at=0 of=4 1.5 -2.0e-3 nan 3e800000"))
    values = found.tensors[0][TapKey(0, NO_LAYER, Op.EMBED)]
    assert values[:2].tolist() == [1.5, np.float32(-2.0e-3)]
    assert np.isnan(values[2])
    assert values[3] == 0.25, "eight hexadecimal digits are a word, whatever else they may look like"


def test_text_without_tensors_reports_none():
    assert read_tensors("hello\nDONE!!!\n").lines == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("TENSOR Q layer=0 position=0 at=0 of=1 3f800000", "line 1: a TENSOR line ends in crc= and eight"),
        ("x\nTENSOR Q at=0 of=1 3f800000 crc=00000000", "line 2: the CRC-32 is 2548ce79, the line says 00000000"),
        (signed("TENSOR SOFTMAX at=0 of=1 3f800000"), "'SOFTMAX' is no name of a TENSOR; names are EMBED, ATT_NORM"),
        (signed("GRADIENT Q at=0 of=1 3f800000"), "'Q' is no name of a GRADIENT; names are tok_emb, rms_att"),
        (signed("TENSOR Q layer=x at=0 of=1 3f800000"), "'layer=x': give layer, position, microbatch, at, of"),
        (signed("GRADIENT wq position=1 at=0 of=1 3f800000"), "'position=1': give layer, at, of and whole numbers"),
        (signed("TENSOR Q of=1 3f800000"), "at= and of= are missing"),
        (signed("TENSOR Q at=1 of=1 3f800000"), "1 values from at=1 do not fit of=1"),
        (signed("TENSOR Q at=0 of=999999999 3f800000"), "1 values from at=0 do not fit of=999999999"),
        (signed("TENSOR Q at=0 of=1"), "0 values from at=0 do not fit of=1"),
        (signed("TENSOR Q layer=300 at=0 of=1 3f800000"), "layer=300: at most 254"),
        (signed("TENSOR Q at=0 of=1 12"), "'12' is neither eight hexadecimal digits nor a number with a decimal point"),
        (signed("TENSOR Q at=0 of=20 3f800000"), "Q: 19 of 20 values never came, the first is [1]"),
        (f"{ONE}\n{signed('TENSOR Q at=0 of=3 3f800000')}", "line 2: Q has 3 values here and 1 in line 1"),
        (f"{ONE}\n{signed('TENSOR Q at=0 of=1 3f800001')}", "line 2: Q: values from [0] on differ"),
    ],
)  # fmt: skip
def test_damaged_line_is_a_sentence(text, sentence):
    with pytest.raises(TensorTextError) as error:
        read_tensors(text)
    assert sentence in str(error.value)
    assert str(error.value).endswith("; format: docs/close.md")


@pytest.mark.parametrize("seed", range(200))
def test_any_damage_is_read_as_sent_or_refused(seed):
    """A byte changed, lost or doubled anywhere: the tensor never comes back with other values."""
    rng = random.Random(seed)
    text = "\n".join(tensor_lines("K", VALUES, layer=1, position=2))
    at = rng.randrange(len(text))
    how = rng.choice(["change", "lose", "double"])
    middle = {"change": chr(rng.randrange(32, 127)), "lose": "", "double": text[at] * 2}[how]
    try:
        found = read_tensors(text[:at] + middle + text[at + 1 :])
    except TensorTextError:
        return
    for taps in found.tensors.values():
        for key, values in taps.items():
            assert (key.op, values.view(np.uint32).tolist()) == (Op.K, VALUES.view(np.uint32).tolist())
