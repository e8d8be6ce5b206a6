"""Tokenizer: the merge rule against a plain search, UTF-8 over tokens, and every kind of bad file."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from hil.model.tokenizer import BOS, EOS, TextStream, Tokenizer, TokenizerError, base_pieces, write_tokenizer

WORDS = [b"he", b"el", b"ell", b"llo", b"hell", b"hello", b" hello", b"lo", b"aa", b"aaa", b"aaaa", b" a", b" h"]
CHARACTERS = [char.encode() for char in " abehlo"] + ["é".encode(), "😀".encode()]


def vocabulary() -> tuple[list[bytes], list[float]]:
    pieces = base_pieces() + WORDS + CHARACTERS
    ties = [-1.0, -1.0, -3.0, -2.0, -4.0, -5.0, -6.0, -2.0, -1.0, -1.0, -1.0, -7.0, -8.0]
    return pieces, [0.0] * 259 + ties + [-1000.0] * len(CHARACTERS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer.bin", *vocabulary())
    return tmp_path / "tokenizer.bin"


@pytest.fixture
def tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.load(path, len(vocabulary()[0]))


def encode_by_search(text: str) -> list[int]:
    """The rule as docs/formats.md says it: each round, scan all pairs from the left for the best score."""
    pieces, scores = vocabulary()
    tokens: list[int] = []
    for char in " " + text if text else "":
        data = char.encode()
        tokens += [pieces.index(data)] if data in pieces else [3 + byte for byte in data]
    while True:
        best, at = None, -1
        for index in range(len(tokens) - 1):
            union = pieces[tokens[index]] + pieces[tokens[index + 1]]
            if union in pieces and (best is None or scores[pieces.index(union)] > scores[best]):
                best, at = pieces.index(union), index
        if best is None:
            return tokens
        tokens[at : at + 2] = [best]


def test_random_texts_encode_as_by_search(tokenizer: Tokenizer) -> None:
    rng = random.Random(0x5EED)
    for _ in range(400):
        text = "".join(rng.choices("aaabhhellloo  éü😀\n", k=rng.randint(0, 40)))
        assert tokenizer.encode(text, bos=False) == encode_by_search(text), text


def test_marks_are_added_as_asked(tokenizer: Tokenizer) -> None:
    plain = tokenizer.encode("hello", bos=False)
    assert tokenizer.encode("hello") == [BOS, *plain]
    assert tokenizer.encode("hello", eos=True) == [BOS, *plain, EOS]
    assert tokenizer.encode("", eos=True) == [BOS, EOS], "an empty text gets no dummy space"


def test_unknown_characters_become_bytes(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("ü", bos=False)[1:] == [3 + 0xC3, 3 + 0xBC]


@pytest.mark.parametrize("text", ["hello", " hello", "  two  spaces ", "é😀ü\n\t\0", "aaaaaaa", ""])
def test_text_survives_encode_and_decode(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode_all(tokenizer.encode(text, eos=True)) == text


def test_decode_strips_one_space_after_bos_only(tokenizer: Tokenizer) -> None:
    (token,) = tokenizer.encode("hello", bos=False)
    assert tokenizer.decode(BOS, token) == b"hello"
    assert tokenizer.decode(token, token) == b" hello"


def test_code_point_over_three_tokens_appears_with_the_last(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer)
    assert [stream.push(3 + byte) for byte in "€".encode()] == ["", "", "€"]
    assert stream.finish() == ""


def test_unfinished_code_point_becomes_a_replacement(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer)
    assert stream.push(3 + 0xE2) == ""
    assert stream.finish() == "\ufffd"
    assert tokenizer.decode_all([3 + 0xFF, 3 + 0x61]) == "\ufffda"


def test_lone_surrogate_does_not_raise(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode_all(tokenizer.encode("a\udcffb")) == "a\ufffdb"


def test_long_text_is_merged_without_quadratic_work(tokenizer: Tokenizer) -> None:
    """100,000 characters; a search over all pairs per merge would run into the suite's time limit."""
    assert len(tokenizer.encode("hello" * 20000, bos=False)) == 20000


def test_other_vocabulary_size_is_refused_with_both_counts(path: Path) -> None:
    with pytest.raises(
        TokenizerError, match=r"tokenizer\.bin: holds 281 tokens but the model's vocabulary has 512; use"
    ):
        Tokenizer.load(path, 512)


def test_too_few_tokens_for_the_bytes_are_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "t.bin", [b"a"], [0.0])
    with pytest.raises(TokenizerError, match="holds 1 tokens, fewer than the 259"):
        Tokenizer.load(tmp_path / "t.bin", 1)


def test_every_truncation_is_refused(path: Path) -> None:
    """Cut at every byte: inside an entry it is damage, between entries another count of tokens."""
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(TokenizerError, match=r"shorter than the 4-byte header|inside token \d+|holds \d+ tokens"):
            Tokenizer.load(path, 281)


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (0, struct.pack("<I", 0), "longest token is said to have 0 bytes, the limit is 4096"),
        (0, struct.pack("<I", 2**31), "longest token is said to have 2147483648 bytes"),
        (8, struct.pack("<I", 0), "token 0 at byte 4 has length 0"),
        (8, struct.pack("<I", 0xFFFFFFFF), "token 0 at byte 4 has length 4294967295 .* length must be 1 to 6"),
        (4, struct.pack("<f", float("nan")), "token 0 at byte 4 has length 5 and score nan"),
    ],
)
def test_impossible_numbers_are_refused(path: Path, offset: int, value: bytes, words: str) -> None:
    data = bytearray(path.read_bytes())
    data[offset : offset + 4] = value
    path.write_bytes(data)
    with pytest.raises(TokenizerError, match=words):
        Tokenizer.load(path, 281)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"none\.bin: cannot read the tokenizer: No such file"):
        Tokenizer.load(tmp_path / "none.bin", 512)


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "big.bin").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(TokenizerError, match=r"67108865 bytes, more than the 67108864 .*; is it a checkpoint"):
        Tokenizer.load(tmp_path / "big.bin", 512)


def test_writer_refuses_what_the_reader_would(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="2 pieces but 1 scores"):
        write_tokenizer(tmp_path / "t.bin", [b"a", b"b"], [0.0])
    with pytest.raises(TokenizerError, match="token 1 has 0 bytes; a piece has 1 to 4096"):
        write_tokenizer(tmp_path / "t.bin", [b"a", b""], [0.0, 0.0])
    assert not (tmp_path / "t.bin").exists()


def test_file_begins_as_the_format_says(path: Path) -> None:
    assert path.read_bytes()[:30] == (
        struct.pack("<I", 6) + struct.pack("<fI", 0, 5) + b"<unk>" + struct.pack("<fI", 0, 5) + b"\n<s>\n"
    )


@pytest.mark.parametrize("token", [512, 65535, -1])
def test_token_beyond_the_vocabulary_is_written_as_what_it_is(tokenizer: Tokenizer, token: int) -> None:
    assert tokenizer.decode_all([1, token]) == f"<?{token}>"
