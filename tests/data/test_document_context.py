"""What documents say of words against a plain count."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from tagger.data import document_context
from tagger.data.batching import EncodedCorpus, WordEncoder
from tagger.data.document_context import CASING_FEATURES, PassageNumbering, number_passages
from tagger.data.sentence import Sentence
from tagger.data.vocab import CASINGS, SPECIAL, Vocab

WORDS = Vocab((*SPECIAL, "the", "Cat", "sat", "cat", "on"))
CHARACTERS = Vocab((*SPECIAL, *"acehnost"))
TEXT = ["The cat sat", "CAT on the Cat", "on", "the Cat", "Sat the cat on cat"]
NUMBERS = [0, 0, 0, 1, 1]


def sentences(text: Sequence[str] = TEXT) -> list[Sentence]:
    return [
        Sentence(tuple(line.split()), document=number) for line, number in zip(text, NUMBERS * len(text), strict=False)
    ]


def counted(given: Sequence[Sentence], document: int, word: str) -> tuple[list[tuple[int, int]], list[float]]:
    """Returns what stands beside a word in a document, and how it is capitalised there, by looking at each token."""
    beside, kinds = [], [0.0] * CASING_FEATURES
    for sentence in given:
        for place, token in enumerate(sentence.tokens):
            if sentence.document == document and token.lower() == word.lower():
                ids = [0, *map(WORDS.lookup, sentence.tokens), 0]
                beside.append((ids[place], ids[place + 2]))
                kind = "upper" if token.isupper() else "initial" if token[0].isupper() else "lower"
                kinds[0 if kind == "initial" and not place else CASINGS.index(kind)] += 1
    return beside, [*(count / len(beside) for count in kinds[:-1]), math.log(len(beside))]


@pytest.mark.parametrize("positions", [[0], [4, 1], [2, 3, 0, 1, 4]])
def test_a_batch_holds_what_each_document_says_of_its_words(positions: list[int]) -> None:
    given = sentences()
    encoded = EncodedCorpus(given, WordEncoder(WORDS, CHARACTERS), passages=number_passages(given))
    batch = encoded.batch(positions)
    which, words, beside, places, casing = (part.numpy() for part in batch.document_context)
    starts = np.cumsum(places) - places
    for row, position in enumerate(positions):
        for place, token in enumerate(given[position].tokens):
            pair = which[row, place]
            around = words[beside[starts[pair] : starts[pair] + places[pair]]]
            expected, kinds = counted(given, given[position].document, token)
            assert sorted(map(tuple, around.tolist())) == sorted(expected)
            np.testing.assert_allclose(casing[pair], kinds, rtol=1e-6)
        assert not which[row, len(given[position]) :].any()


def test_the_first_places_of_a_frequent_word_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_context, "_MOST", 2)
    given = sentences()
    batch = EncodedCorpus(given, WordEncoder(WORDS, CHARACTERS), passages=number_passages(given)).batch([0])
    which, words, beside, places, _ = batch.document_context
    the = which[0, 0]
    start = int(places[:the].sum())
    assert list(map(tuple, words[beside[start : start + 2]].tolist())) == counted(given, 0, "the")[0][:2]
    assert places.max() == 2


def test_passages_are_documents_and_stretches_of_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert number_passages(sentences()) == [0, 0, 0, 1, 1]
    monkeypatch.setattr(document_context, "_PASSAGE_TOKENS", 4)
    assert number_passages(sentences()) == [0, 0, 1, 2, 2]
    numbers = PassageNumbering()
    assert [numbers.assign(document, 1) for document in ("a", "a", None, ("b", 1), "a")] == [0, 0, 1, 2, 3]
