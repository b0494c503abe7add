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


class OccurrenceIndex:
    """The occurrences of words in the documents of some sentences.

    Args:
        lengths: (S,) tokens per sentence.
        passages: (S,) passage number of each sentence.
        keys: (N,) number of each token's lower-cased word, from `word_encoding.number_keys`.
        words: (N,) id of each token's word vector, or any other positive number that identifies the word.
        casings: (N,) casing id of each token.
    """

    def __init__(self, lengths: Ids, passages: Ids, keys: Ids, words: Ids, casings: Ids) -> None:
        starts = np.cumsum(lengths) - lengths
        token_passages = np.repeat(passages, lengths)
        _, self._pairs = np.unique(token_passages * (keys.max() + 1) + keys, return_inverse=True)
        counts = np.bincount(self._pairs)
        order = np.argsort(self._pairs, kind="stable")
        first = np.cumsum(counts) - counts
        rank = np.arange(len(order)) - np.repeat(first, counts)
        used = order[rank < MAX_OCCURRENCES]
        self._counts = np.minimum(counts, MAX_OCCURRENCES)
        self._first = np.cumsum(self._counts) - self._counts
        left, right = np.roll(words, 1), np.roll(words, -1)
        left[starts], right[starts + lengths - 1] = 0, 0
        self._neighbours = np.stack([left[used], right[used]], 1)
        casings = casings.copy()
        casings[starts[casings[starts] == _INITIAL]] = 0
        self._casing = np.zeros((len(counts), CASING_FEATURES), np.float32)
        np.add.at(self._casing, (self._pairs, casings), 1)
        self._casing[:, :-1] /= counts[:, None]
        self._casing[:, -1] = np.log(counts)

    def select(self, tokens: Ids) -> DocumentContext:
        """Returns the document context of tokens, given by their index among all tokens."""
        pairs, index = np.unique(self._pairs[tokens], return_inverse=True)
        counts = self._counts[pairs]
        ends = np.cumsum(counts)
        occurrences = np.arange(ends[-1]) + np.repeat(self._first[pairs] - (ends - counts), counts)
        return DocumentContext(index, self._neighbours[occurrences], counts, self._casing[pairs])
