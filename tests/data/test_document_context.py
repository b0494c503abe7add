"""What documents say of words against a plain count."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from tagger.data import document_context
from tagger.data.batching import EncodedCorpus
from tagger.data.document_context import CASING_FEATURES, PassageNumbering, number_passages
from tagger.data.sentence import Sentence
from tagger.data.vocab import CASINGS, SPECIAL, Vocab
from tagger.data.word_arrays import WordEncoder

WORDS = Vocab((*SPECIAL, "the", "Cat", "sat", "cat", "on"))
CHARACTERS = Vocab((*SPECIAL, *"acehnost"))
TEXT = ["The cat sat", "CAT on the Cat", "on", "the Cat", "Sat the cat on cat"]
NUMBERS = [0, 0, 0, 1, 1]


def sentences(text: Sequence[str] = TEXT) -> list[Sentence]:
    return [
        Sentence(tuple(line.split()), document=number) for line, number in zip(text, NUMBERS * len(text), strict=False)
    ]


def count_by_hand(corpus: Sequence[Sentence], document: int, word: str) -> tuple[list[tuple[int, int]], list[float]]:
    """Returns what stands beside a word in a document, and how it is capitalised there, by looking at each token."""
    neighbour_index, casings = [], [0.0] * CASING_FEATURES
    for sentence in corpus:
        for place, token in enumerate(sentence.tokens):
            if sentence.document == document and token.lower() == word.lower():
                ids = [0, *map(WORDS.lookup, sentence.tokens), 0]
                neighbour_index.append((ids[place], ids[place + 2]))
                kind = "upper" if token.isupper() else "initial" if token[0].isupper() else "lower"
                casings[0 if kind == "initial" and not place else CASINGS.index(kind)] += 1
    return neighbour_index, [*(count / len(neighbour_index) for count in casings[:-1]), math.log(len(neighbour_index))]


@pytest.mark.parametrize("positions", [[0], [4, 1], [2, 3, 0, 1, 4]])
def test_a_batch_holds_the_document_context_of_its_words(positions: list[int]) -> None:
    corpus = sentences()
    encoded = EncodedCorpus(corpus, WordEncoder(WORDS, CHARACTERS), passages=number_passages(corpus))
    batch = encoded.batch(positions)
    assert batch.document_context is not None
    pairs, words, neighbour_index, counts, casing = (part.numpy() for part in batch.document_context)
    starts = np.cumsum(counts) - counts
    for row, position in enumerate(positions):
        for place, token in enumerate(corpus[position].tokens):
            pair = pairs[row, place]
            neighbours = words[neighbour_index[starts[pair] : starts[pair] + counts[pair]]]
            expected, casings = count_by_hand(corpus, corpus[position].document, token)
            assert sorted(map(tuple, neighbours.tolist())) == sorted(expected)
            np.testing.assert_allclose(casing[pair], casings, rtol=1e-6)
        assert not pairs[row, len(corpus[position]) :].any()


def test_only_the_first_occurrences_of_a_frequent_word_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_context, "MAX_OCCURRENCES", 2)
    corpus = sentences()
    batch = EncodedCorpus(corpus, WordEncoder(WORDS, CHARACTERS), passages=number_passages(corpus)).batch([0])
    assert batch.document_context is not None
    pairs, words, neighbour_index, counts, _ = batch.document_context
    the = pairs[0, 0]
    start = int(counts[:the].sum())
    assert (
        list(map(tuple, words[neighbour_index[start : start + 2]].tolist())) == count_by_hand(corpus, 0, "the")[0][:2]
    )
    assert counts.max() == 2


def test_passages_are_documents_or_parts_of_long_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    assert number_passages(sentences()) == [0, 0, 0, 1, 1]
    monkeypatch.setattr(document_context, "PASSAGE_TOKENS", 4)
    assert number_passages(sentences()) == [0, 0, 1, 2, 2]
    numbers = PassageNumbering()
    assert [numbers.assign(document, 1) for document in ("a", "a", None, ("b", 1), "a")] == [0, 0, 1, 2, 3]
