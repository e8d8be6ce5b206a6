"""Tokenizer: llama2.c's tokenizer.bin; text to tokens and back.

Format and rules: docs/formats.md. Host only: boards see token numbers. Owns: TokenizerError,
Tokenizer, TextStream, write_tokenizer.
"""

from __future__ import annotations

import codecs
import heapq
import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hil.model.checkpoint import plain_size_bytes

UNKNOWN = 0
BOS = 1
EOS = 2
FIRST_BYTE = 3
"""Token of byte 0x00; byte b is token FIRST_BYTE + b."""
FIRST_PIECE = FIRST_BYTE + 256

SPECIAL_PIECES = (b"<unk>", b"\n<s>\n", b"\n</s>\n")
PIECE_BYTES_MAX = 4096
"""Longest piece we believe; the longest in Llama 2's own vocabulary has 48 bytes."""
FILE_BYTES_MAX = 64 << 20

_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<fI")
_BYTE_PIECE = re.compile(rb"<0x([0-9A-Fa-f]{2})>")


class TokenizerError(ValueError):
    """A tokenizer file cannot be used; the message says where, what was found, and what to do."""


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary with scores. Token number = index in `pieces`."""

    pieces: tuple[bytes, ...]
    scores: tuple[float, ...]

    @cached_property
    def _tokens(self) -> dict[bytes, int]:
        """Token by piece; of pieces that stand twice the first counts."""
        return {self.pieces[token]: token for token in reversed(range(len(self.pieces)))}

    @cached_property
    def _text(self) -> tuple[bytes, ...]:
        return tuple(map(_text_of, self.pieces))

    @classmethod
    def load(cls, path: Path | str, vocab_size: int) -> Tokenizer:
        """Read tokenizer.bin for a model of `vocab_size` tokens.

        Raises: TokenizerError if the file is missing, damaged or holds another number of tokens.
        """
        path = Path(path)
        pieces, scores = _parse(path, _read(path))
        if len(pieces) != vocab_size:
            raise TokenizerError(
                f"{path}: holds {len(pieces)} tokens but the model's vocabulary has {vocab_size}; "
                "use the tokenizer that the checkpoint was trained with"
            )
        if len(pieces) < FIRST_PIECE:
            raise TokenizerError(
                f"{path}: holds {len(pieces)} tokens, fewer than the {FIRST_PIECE} that the specials and "
                "the 256 bytes need; this is not a llama2.c tokenizer"
            )
        return cls(tuple(pieces), tuple(scores))

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.pieces)

    def encode(self, text: str, bos: bool = True, eos: bool = False) -> list[int]:
        """Tokens of a text; a dummy space goes before it unless it is empty. Raises nothing for any str.

        A lone surrogate (undecodable input) becomes U+FFFD.
        """
        tokens = [BOS] if bos else []
        if text:
            tokens += self.encode_exact(" " + text)
        if eos:
            tokens.append(EOS)
        return tokens

    def encode_exact(self, text: str) -> list[int]:
        """Tokens of exactly this text: no BOS, no EOS, no dummy space."""
        return self._merge(self._start(text))

    def decode(self, prev: int, token: int) -> bytes:
        """Bytes of `token`; one leading space goes away after BOS. May be part of a code point only.

        A token that is in no vocabulary of this size, as a board may send one, is written `<?700>`.
        """
        text = self._text[token] if 0 <= token < len(self._text) else b"<?%d>" % token
        return text[1:] if prev == BOS and text.startswith(b" ") else text

    def decode_all(self, tokens: Iterable[int]) -> str:
        """Text of whole sequences. BOS and EOS give no text; bytes that are not UTF-8 become U+FFFD."""
        stream = TextStream(self)
        return "".join(stream.push(token) for token in tokens) + stream.finish()

    def _start(self, text: str) -> list[int]:
        """One token per code point, or one per byte where the vocabulary lacks the code point."""
        tokens: list[int] = []
        for char in text:
            data = char.encode("utf-8") if not 0xD800 <= ord(char) < 0xE000 else "\ufffd".encode()
            token = self._tokens.get(data)
            tokens += [token] if token is not None else [FIRST_BYTE + byte for byte in data]
        return tokens

    def _merge(self, tokens: list[int]) -> list[int]:
        """Merge the best-scoring adjacent pair, leftmost on ties, until no pair is in the vocabulary.

        A heap of candidate pairs over a linked list; an entry is stale when either side was merged since.
        """
        end = len(tokens)
        after = list(range(1, end + 1))
        before = list(range(-1, end - 1))
        heap: list[tuple[float, int, int, int, int]] = []

        def consider(left: int) -> None:
            right = after[left]
            if right < end:
                merged = self._tokens.get(self.pieces[tokens[left]] + self.pieces[tokens[right]])
                if merged is not None:
                    heapq.heappush(heap, (-self.scores[merged], left, tokens[left], tokens[right], merged))

        for left in range(end):
            consider(left)
        while heap:
            _, left, left_token, right_token, merged = heapq.heappop(heap)
            right = after[left]
            if tokens[left] != left_token or right >= end or tokens[right] != right_token:
                continue
            tokens[left], tokens[right] = merged, -1
            after[left] = after[right]
            if after[left] < end:
                before[after[left]] = left
            consider(left)
            if before[left] >= 0:
                consider(before[left])
        return [token for token in tokens if token >= 0]


class TextStream:
    """Text as tokens arrive: a code point split over tokens appears with its last byte."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._prev = BOS

    def push(self, token: int) -> str:
        """Take the next token; return the text that is complete now, perhaps none."""
        text = b"" if token in (BOS, EOS) else self._tokenizer.decode(self._prev, token)
        self._prev = token
        return self._decoder.decode(text)

    def finish(self) -> str:
        """End of the sequence: U+FFFD if a code point was left unfinished, else nothing."""
        return self._decoder.decode(b"", final=True)


def write_tokenizer(path: Path | str, pieces: Sequence[bytes], scores: Sequence[float]) -> None:
    """Write tokenizer.bin. Raises TokenizerError when a piece has no bytes or too many, or the lists differ."""
    if len(pieces) != len(scores):
        raise TokenizerError(f"{path}: {len(pieces)} pieces but {len(scores)} scores; give one score per piece")
    for token, piece in enumerate(pieces):
        if not 0 < len(piece) <= PIECE_BYTES_MAX:
            raise TokenizerError(f"{path}: token {token} has {len(piece)} bytes; a piece has 1 to {PIECE_BYTES_MAX}")
    with Path(path).open("wb") as file:
        file.write(_HEADER.pack(max((len(piece) for piece in pieces), default=0)))
        for piece, score in zip(pieces, scores, strict=True):
            file.write(_ENTRY.pack(score, len(piece)) + piece)


def base_pieces() -> list[bytes]:
    """The first 259 pieces of every llama2.c vocabulary: specials, then the 256 bytes."""
    return [*SPECIAL_PIECES, *(b"<0x%02X>" % byte for byte in range(256))]


def _text_of(piece: bytes) -> bytes:
    """What a piece prints: `<0x41>` stands for the byte itself."""
    match = _BYTE_PIECE.fullmatch(piece)
    return bytes([int(match[1], 16)]) if match else piece


def _read(path: Path) -> bytes:
    try:
        size_bytes = plain_size_bytes(path)
        if size_bytes > FILE_BYTES_MAX:
            raise TokenizerError(
                f"{path}: {size_bytes} bytes, more than the {FILE_BYTES_MAX} a tokenizer may have; is it a checkpoint?"
            )
        return path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path}: cannot read the tokenizer: {error.strerror}; check the path") from error


def _parse(path: Path, data: bytes) -> tuple[list[bytes], list[float]]:
    """Walk the whole file, so that the count of tokens is known before it is compared."""
    if len(data) < _HEADER.size:
        raise TokenizerError(f"{path}: {len(data)} bytes, shorter than the 4-byte header; copy the file again")
    (longest,) = _HEADER.unpack_from(data)
    if not 0 < longest <= PIECE_BYTES_MAX:
        raise TokenizerError(
            f"{path}: the longest token is said to have {longest} bytes, the limit is {PIECE_BYTES_MAX}; "
            "this is not a llama2.c tokenizer"
        )
    pieces: list[bytes] = []
    scores: list[float] = []
    offset = _HEADER.size
    while offset < len(data):
        if len(data) - offset < _ENTRY.size:
            raise _truncated(path, offset, len(pieces), len(data))
        score, length = _ENTRY.unpack_from(data, offset)
        offset += _ENTRY.size
        if not 0 < length <= longest or not math.isfinite(score):
            raise TokenizerError(
                f"{path}: token {len(pieces)} at byte {offset - _ENTRY.size} has length {length} and score "
                f"{score}; length must be 1 to {longest} and the score finite: the file is damaged"
            )
        if len(data) - offset < length:
            raise _truncated(path, offset, len(pieces), len(data))
        pieces.append(data[offset : offset + length])
        scores.append(score)
        offset += length
    return pieces, scores


def _truncated(path: Path, offset: int, token: int, size_bytes: int) -> TokenizerError:
    return TokenizerError(
        f"{path}: ends after {size_bytes} bytes inside token {token} (byte {offset}); copy the file again"
    )
