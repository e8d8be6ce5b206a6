"""Grammar and vocabulary training: deterministic, consistent within a story, exact word by word."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from fixtures.bpe import split_words, train_bpe
from fixtures.grammar import BOYS, GIRLS, PLACES, RULES, stories, story, vocabulary, words
from hil.model.tokenizer import FIRST_PIECE, Tokenizer

SAMPLE = list(itertools.islice(stories(0x5EED), 500))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    pieces, scores = train_bpe(SAMPLE, 512)
    return Tokenizer(tuple(pieces), tuple(scores))


def test_same_seed_gives_same_stories() -> None:
    assert list(itertools.islice(stories(0x5EED), 500)) == SAMPLE
    assert list(itertools.islice(stories(0x5EEE), 500)) != SAMPLE


def test_known_seed_gives_known_story() -> None:
    """A change of the grammar or of Python's random numbers would silently orphan the tiny model."""
    assert story(random.Random(1)) == KNOWN_STORY


def test_every_word_is_in_the_vocabulary_and_used() -> None:
    seen = {word for text in itertools.islice(stories(1), 4000) for word in words(text)}
    assert seen == vocabulary()
    assert 200 <= len(seen) <= 400


def test_every_rule_is_reachable_and_filled() -> None:
    named = {name for alternatives in RULES.values() for text in alternatives for name in re.findall(r"<(\w+)>", text)}
    assert named | {"story"} == set(RULES)
    assert not any(mark in text for text in SAMPLE for mark in "<>{}")


@pytest.mark.parametrize("text", SAMPLE[:100])
def test_story_keeps_its_hero_pronoun_and_place(text: str) -> None:
    seen = set(words(text))
    heroes = [name for name in GIRLS + BOYS if name.lower() in seen]
    assert len(heroes) == 1
    assert not seen & ({"he", "him", "his", "boy"} if heroes[0] in GIRLS else {"she", "her", "girl"})
    # "forest" and "river" are never anything but the place; "bird house" and "little boat" share words with others.
    assert sum(place in seen for place, _ in PLACES) <= 1


def test_story_is_plain_sentences() -> None:
    for text in SAMPLE:
        assert re.fullmatch(r"[A-Z][A-Za-z ,.!?\"]*[.!\"]", text), text
        assert "  " not in text
        assert not re.search(r"\b[Aa] [aeiou]", text), text
        assert text.count('"') % 2 == 0
        assert 35 <= len(words(text)) <= 110


def test_trained_vocabulary_has_the_size_and_the_marks(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab_size == 512
    assert tokenizer.pieces[:4] == (b"<unk>", b"\n<s>\n", b"\n</s>\n", b"<0x00>")
    assert len(set(tokenizer.pieces)) == 512
    assert tokenizer.scores[FIRST_PIECE:] == tuple(-float(order) for order in range(512 - FIRST_PIECE))


def test_words_encode_alone_as_inside_a_text(tokenizer: Tokenizer) -> None:
    """Training encodes word by word with a cache; it must be what the tokenizer does with the text."""
    for text in SAMPLE[:200]:
        by_word = [token for word in split_words(" " + text) for token in tokenizer.encode_exact(word)]
        assert by_word == tokenizer.encode(text, bos=False)
        assert tokenizer.decode_all(by_word) == text


def test_stories_have_no_byte_tokens_and_fit_the_context(tokenizer: Tokenizer) -> None:
    for text in SAMPLE[:200]:
        tokens = tokenizer.encode(text, bos=False)
        assert min(tokens) >= FIRST_PIECE
        assert 60 <= len(tokens) <= 220


def test_too_little_text_for_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="only 3 merges in the texts, 249 wanted: give more text"):
        train_bpe(["abc"], 512)


KNOWN_STORY = (
    "Sue was a little girl who lived near the forest. She loved to play in the forest. One warm day, her "
    'mom gave her a cookie. Sue went to the forest to eat it. A funny duck sat under a tree. "Can I have '
    'some?" asked the duck. Sue wanted to eat it all, but she was kind. She gave the duck some of the '
    'cookie. "Thank you, Sue. You are a good friend," said the duck. From that day on, Sue was never sad '
    "again."
)
