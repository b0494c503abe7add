"""Document context: the neighbours of a word, and its casing, at all its occurrences in a document.

Shapes in this module: S sentences, N tokens of all sentences concatenated, R pairs of a document and a word (ignoring
case), O occurrences of those words.
"""

from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagger.data.sentence import Sentence
from tagger.data.vocab import CASINGS
from tagger.data.word_cache import Ids

CASING_FEATURES = len(CASINGS) + 1
"""Number of casing features of a word in a document: the fraction of each casing, and ln of the occurrences."""
_INITIAL = CASINGS.index("initial")
PASSAGE_TOKENS = 4096
"""Tokens after which a long document is continued as a new passage at the next sentence."""
MAX_OCCURRENCES = 16
"""The first occurrences of a word in its document, whose neighbours are used."""


class PassageNumbering:
    """Numbers passages in reading order. A passage is a document, or a part of a long document, to bound the memory."""

    def __init__(self) -> None:
        self._document: Hashable = None
        self._tokens = 0
        self._number = -1

    def assign(self, document: Hashable, tokens: int) -> int:
        """Returns the passage number of the next `tokens` tokens of a document."""
        if self._number < 0 or document != self._document or self._tokens >= PASSAGE_TOKENS:
            self._document, self._tokens, self._number = document, 0, self._number + 1
        self._tokens += tokens
        return self._number


def number_passages(sentences: Iterable[Sentence]) -> list[int]:
    """Returns the passage number of each sentence."""
    numbering = PassageNumbering()
    return [numbering.assign(sentence.document, len(sentence)) for sentence in sentences]


class DocumentContext(NamedTuple):
    """Document context of some tokens.

    Attributes:
        pairs: (N,) pair of each token.
        neighbours: (O, 2) ids of the left and right neighbour at each occurrence, pair after pair; 0 for none.
        counts: (R,) number of those occurrences of each pair, at least 1.
        casing: (R, CASING_FEATURES) fraction of each of `vocab.CASINGS` among the word's occurrences in its document,
            the first of which counts capitalised words at a sentence's start; then ln of the number of occurrences.
    """

    pairs: Ids
    neighbours: Ids
    counts: Ids
    casing: NDArray[np.float32]


class Occurrences(NamedTuple):
    """The occurrences of words in the documents of some sentences.

    Attributes:
        pairs: (N,) pair of each token.
        first: (R,) index of the first occurrence of each pair in `neighbours`.
        counts: (R,) occurrences of each pair whose neighbours are used, at least 1.
        neighbours: (O, 2) left and right neighbour at each occurrence, pair after pair; 0 for none.
        casing: (R, CASING_FEATURES) casing features, as in `DocumentContext`.
    """

    pairs: Ids
    first: Ids
    counts: Ids
    neighbours: Ids
    casing: NDArray[np.float32]


def find_occurrences(lengths: Ids, passages: Ids, keys: Ids, words: Ids, casings: Ids) -> Occurrences:
    """Returns the occurrences of words in whole passages.

    Args:
        lengths: (S,) tokens per sentence.
        passages: (S,) passage number of each sentence.
        keys: (N,) number of each token's lower-cased word, such as that of `word_encoding.number_keys`.
        words: (N,) id of each token's word vector, or any other positive number that identifies the word.
        casings: (N,) casing id of each token.
    """
    starts = np.cumsum(lengths) - lengths
    token_passages = np.repeat(passages, lengths)
    _, pairs = np.unique(token_passages * (keys.max() + 1) + keys, return_inverse=True)
    counts = np.bincount(pairs)
    order = np.argsort(pairs, kind="stable")
    first = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - np.repeat(first, counts)
    used = order[rank < MAX_OCCURRENCES]
    used_counts = np.minimum(counts, MAX_OCCURRENCES)
    left, right = np.roll(words, 1), np.roll(words, -1)
    left[starts], right[starts + lengths - 1] = 0, 0
    casings = casings.copy()
    casings[starts[casings[starts] == _INITIAL]] = 0
    features = np.zeros((len(counts), CASING_FEATURES), np.float32)
    np.add.at(features, (pairs, casings), 1)
    features[:, :-1] /= counts[:, None]
    features[:, -1] = np.log(counts)
    neighbours = np.stack([left[used], right[used]], 1)
    return Occurrences(pairs, np.cumsum(used_counts) - used_counts, used_counts, neighbours, features)


class OccurrenceIndex:
    """Selects the document context of tokens from the occurrences in their documents.

    Args:
        occurrences: the occurrences.
        ids: the id of each number that identifies a neighbour, 0 for 0; None if these numbers are the ids.
    """

    def __init__(self, occurrences: Occurrences, ids: Ids | None = None) -> None:
        self._occurrences, self._ids = occurrences, ids

    def select(self, tokens: Ids) -> DocumentContext:
        """Returns the document context of tokens, given by their index among all tokens."""
        all_pairs, first, all_counts, neighbours, casing = self._occurrences
        pairs, index = np.unique(all_pairs[tokens], return_inverse=True)
        counts = all_counts[pairs].astype(np.int64, copy=False)
        ends = np.cumsum(counts)
        selected = np.arange(ends[-1]) + np.repeat(first[pairs] - (ends - counts), counts)
        chosen = neighbours[selected] if self._ids is None else self._ids[neighbours[selected]]
        return DocumentContext(index, chosen, counts, casing[pairs])
