"""Fixtures: the committed files are those that MANIFEST describes, and the tiny model tells stories."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fixtures.bpe import train_bpe
from fixtures.grammar import stories, vocabulary, words
from golden.weights import Weights
from hil.model.checkpoint import read_checkpoint
from hil.model.synth import SHAPES, random_weights
from hil.model.tokenizer import BOS, FIRST_PIECE, Tokenizer, write_tokenizer

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
STORY_LOSS_MAX = 0.25
"""Mean loss per token in nats. The grammar's own entropy is 0.18, a model that guesses evenly has 6.24."""


def manifest() -> dict[str, tuple[int, str]]:
    """Size in bytes and SHA-256 of each file; the indented lines below an entry say how it was made."""
    entries = {}
    for line in (FIXTURES / "MANIFEST").read_text().splitlines():
        if line and line[0] not in "# ":
            name, size_bytes, sha256 = line.split()
            entries[name] = (int(size_bytes), sha256)
    return entries


def problems_with(folder: Path) -> list[str]:
    """Files whose size or SHA-256 is not what MANIFEST says."""
    found = []
    for name, expected in manifest().items():
        data = (folder / name).read_bytes()
        if (len(data), hashlib.sha256(data).hexdigest()) != expected:
            found.append(name)
    return found


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(FIXTURES / "tiny_tokenizer.bin", 512)


@pytest.fixture(scope="module")
def tiny() -> Weights:
    return in_float64(read_checkpoint(FIXTURES / "tiny.bin"))


def in_float64(weights: Weights) -> Weights:
    """The same numbers, wider: NumPy then converts nothing per product."""
    tensors = {name: getattr(weights, name).astype(np.float64) for name in weights.__slots__ if name != "config"}
    return Weights(config=weights.config, **tensors)


def logits_of(weights: Weights, tokens: list[int]) -> np.ndarray:
    """A forward pass of its own, float64, all positions at once: (T, V). Independent of golden/forward.py."""
    c = weights.config
    count, pairs, group = len(tokens), c.head_size // 2, c.n_heads // c.n_kv_heads
    turn = (weights.freq_cos + 1j * weights.freq_sin)[:count, None, :]
    future = np.triu(np.full((count, count), -np.inf), 1)

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * gain

    def rotated(x: np.ndarray, heads: int) -> np.ndarray:
        pair = x.reshape(count, heads, pairs, 2)
        z = (pair[..., 0] + 1j * pair[..., 1]) * turn
        return np.stack((z.real, z.imag), -1).reshape(count, heads, c.head_size)

    x = weights.tok_emb[tokens]
    for layer in range(c.n_layers):
        h = norm(x, weights.rms_att[layer])
        q = rotated(h @ weights.wq[layer].T, c.n_heads)
        k = rotated(h @ weights.wk[layer].T, c.n_kv_heads).repeat(group, axis=1)
        v = (h @ weights.wv[layer].T).reshape(count, c.n_kv_heads, c.head_size).repeat(group, axis=1)
        scores = q.transpose(1, 0, 2) @ k.transpose(1, 2, 0) / np.sqrt(c.head_size) + future
        prob = np.exp(scores - scores.max(-1, keepdims=True))
        prob /= prob.sum(-1, keepdims=True)
        mix = (prob @ v.transpose(1, 0, 2)).transpose(1, 0, 2)
        x = x + mix.reshape(count, c.dim) @ weights.wo[layer].T
        h = norm(x, weights.rms_ffn[layer])
        gate = h @ weights.w1[layer].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ weights.w3[layer].T)) @ weights.w2[layer].T
    return norm(x, weights.rms_final) @ weights.wcls.T


def loss_of(weights: Weights, tokens: list[int]) -> float:
    """Mean loss per token in nats of predicting tokens[1:]."""
    logits = logits_of(weights, tokens[:-1])
    top = logits.max(-1)
    chosen = logits[np.arange(len(tokens) - 1), tokens[1:]]
    return float(np.mean(top + np.log(np.exp(logits - top[:, None]).sum(-1)) - chosen))


def tell(weights: Weights, tokenizer: Tokenizer, prompt: str, seed: int | None, limit: int = 220) -> list[int]:
    """Tokens after BOS until the model predicts BOS or the limit; seed None is greedy, else temperature 1."""
    rng = np.random.default_rng(seed)
    tokens = tokenizer.encode(prompt)
    while len(tokens) < limit:
        logits = logits_of(weights, tokens)[-1]
        if seed is not None:
            logits = logits + rng.gumbel(size=len(logits))
        token = int(logits.argmax())
        if token == BOS:
            break
        tokens.append(token)
    return tokens[1:]


def fraction_known(text: str) -> float:
    """Share of a text's words that the grammar has."""
    found = words(text)
    return sum(word in vocabulary() for word in found) / len(found)


def test_files_are_those_of_the_manifest() -> None:
    assert set(manifest()) == {"tiny.bin", "tiny_tokenizer.bin", "corpus.txt"}
    assert problems_with(FIXTURES) == []


def test_changed_file_is_noticed(tmp_path: Path) -> None:
    for name in manifest():
        (tmp_path / name).write_bytes((FIXTURES / name).read_bytes())
    data = bytearray((tmp_path / "tiny.bin").read_bytes())
    data[-1] ^= 1
    (tmp_path / "tiny.bin").write_bytes(data)
    assert problems_with(tmp_path) == ["tiny.bin"]


def test_corpus_is_what_its_command_prints() -> None:
    command = [sys.executable, "-m", "fixtures.grammar", "--seed", "11", "--count", "16"]
    printed = subprocess.run(command, cwd=FIXTURES.parent, check=True, capture_output=True).stdout
    assert printed == (FIXTURES / "corpus.txt").read_bytes()


def test_tokenizer_is_what_its_command_makes(tmp_path: Path) -> None:
    pieces, scores = train_bpe(itertools.islice(stories(7), 20000), 512)
    write_tokenizer(tmp_path / "t.bin", pieces, scores)
    assert (tmp_path / "t.bin").read_bytes() == (FIXTURES / "tiny_tokenizer.bin").read_bytes()


def test_committed_bytes_stay_small() -> None:
    assert sum(path.stat().st_size for path in FIXTURES.iterdir() if path.is_file()) <= 1_300_000


def test_tiny_model_has_the_shape_that_exercises_everything(tiny: Weights) -> None:
    assert tiny.config == SHAPES["260K"]
    assert tiny.config.n_kv_heads < tiny.config.n_heads
    assert tiny.config.n_layers % 3 != 0


def test_prompts_need_no_byte_tokens(tokenizer: Tokenizer) -> None:
    prompts = (FIXTURES / "prompts.txt").read_text().splitlines()
    assert len(prompts) >= 4
    for prompt in prompts:
        assert min(tokenizer.encode(prompt, bos=False)) >= FIRST_PIECE, prompt
        assert fraction_known(prompt) == 1.0, prompt


def test_unseen_stories_are_predicted_near_the_grammars_entropy(tiny: Weights, tokenizer: Tokenizer) -> None:
    source = stories(0xBEEF)
    losses = [loss_of(tiny, [*tokenizer.encode(next(source)), BOS]) for _ in range(20)]
    assert np.mean(losses) <= STORY_LOSS_MAX


def test_other_weights_do_not_predict_stories(tokenizer: Tokenizer) -> None:
    """The bound above can fail: random weights of the same shape are far from it."""
    weights = in_float64(random_weights(SHAPES["260K"], seed=1))
    assert loss_of(weights, [*tokenizer.encode(next(stories(0xBEEF))), BOS]) > 10 * STORY_LOSS_MAX


@pytest.mark.parametrize("seed", [None, 1], ids=["greedy", "seed1"])
@pytest.mark.parametrize("prompt", ["", "There was once a brave boy named Max."])
def test_generated_story_reads_as_english(tiny: Weights, tokenizer: Tokenizer, prompt: str, seed: int | None) -> None:
    tokens = tell(tiny, tokenizer, prompt, seed)
    text = tokenizer.decode_all([BOS, *tokens])
    assert text.startswith(prompt)
    assert fraction_known(text) >= 0.95, text
    assert 60 <= len(tokens) < 219, "the story ends by itself"
    assert text[-1] in '."!', text


def test_text_of_random_weights_does_not_read_as_english(tokenizer: Tokenizer) -> None:
    weights = in_float64(random_weights(SHAPES["260K"], seed=1))
    text = tokenizer.decode_all([BOS, *tell(weights, tokenizer, "Once upon a time", seed=1, limit=80)])
    assert fraction_known(text) < 0.7, text
