"""What a document says elsewhere of a word: which words stand beside it there, and how it is capitalised.

Shapes in this module: S sentences, N tokens of all of them one after another, R pairs of a document and a word in it
(lower-cased), O places of those words.
"""

from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagger.data.sentence import Sentence
from tagger.data.vocab import CASINGS
from tagger.data.word_cache import Ids

CASING_FEATURES = len(CASINGS) + 1
"""The numbers that say how a word is capitalised: shares of its places, and the logarithm of how many there are."""
_INITIAL = CASINGS.index("initial")
_PASSAGE_TOKENS = 4096
_MOST = 16  # places of a word, the first of its document, whose neighbours count


class PassageNumbering:
    """Tells passages apart, as they come: documents, and stretches of long ones, so that none fills the memory."""

    def __init__(self) -> None:
        self._document: Hashable = None
        self._tokens = 0
        self._number = -1

    def assign(self, document: Hashable, tokens: int) -> int:
        """Returns the number of the passage that the next so many tokens, of this document, belong to."""
        if self._number < 0 or document != self._document or self._tokens >= _PASSAGE_TOKENS:
            self._document, self._tokens, self._number = document, 0, self._number + 1
        self._tokens += tokens
        return self._number


def number_passages(sentences: Iterable[Sentence]) -> list[int]:
    """Returns the number of each sentence's passage."""
    numbers = PassageNumbering()
    return [numbers.assign(sentence.document, len(sentence)) for sentence in sentences]


class DocumentContext(NamedTuple):
    """What documents say of the words of some tokens.

    Attributes:
        which: (N,) the pair that each token is of.
        beside: (O, 2) the ids of the words before and after each place, 0 where the sentence ends.
        places: (R,) how many of those places are each pair's, at least 1.
        casing: (R, CASING_FEATURES) how the word is capitalised in its document: the fraction of each of
            `vocab.CASINGS`, the first of which counts capitalised words at a sentence's start; then ln of their number.
    """

    which: Ids
    beside: Ids
    places: Ids
    casing: NDArray[np.float32]


class Documents:
    """The places of the words of some sentences.

    Args:
        lengths: (S,) tokens in each sentence.
        passages: (S,) the number of each sentence's passage.
        keys: (N,) the number of each token's word, lower-cased.
        words: (N,) the id of each token's vector, or what else above 0 stands for its word.
        kinds: (N,) how each token is capitalised, as a place in `vocab.CAPITALS`.
    """

    def __init__(self, lengths: Ids, passages: Ids, keys: Ids, words: Ids, kinds: Ids) -> None:
        starts = np.cumsum(lengths) - lengths
        of_token = np.repeat(passages, lengths)
        _, self._index = np.unique(of_token * (keys.max() + 1) + keys, return_inverse=True)
        counts = np.bincount(self._index)
        order = np.argsort(self._index, kind="stable")
        first = np.cumsum(counts) - counts
        rank = np.arange(len(order)) - np.repeat(first, counts)
        kept = order[rank < _MOST]
        self._counts = np.minimum(counts, _MOST)
        self._first = np.cumsum(self._counts) - self._counts
        before, after = np.roll(words, 1), np.roll(words, -1)
        before[starts], after[starts + lengths - 1] = 0, 0
        self._beside = np.stack([before[kept], after[kept]], 1)
        kinds = kinds.copy()
        kinds[starts[kinds[starts] == _INITIAL]] = 0
        shares = np.zeros((len(counts), CASING_FEATURES), np.float32)
        np.add.at(shares, (self._index, kinds), 1)
        shares[:, :-1] /= counts[:, None]
        shares[:, -1] = np.log(counts)
        self._capitals = shares

    def of(self, tokens: Ids) -> DocumentContext:
        """Returns what documents say of the words of tokens, given by their places among all."""
        pairs, index = np.unique(self._index[tokens], return_inverse=True)
        counts = self._counts[pairs]
        ends = np.cumsum(counts)
        places = np.arange(ends[-1]) + np.repeat(self._first[pairs] - (ends - counts), counts)
        return DocumentContext(index, self._beside[places], counts, self._capitals[pairs])
