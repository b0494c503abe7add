"""Sentences as arrays of numbers, in which each distinct word is encoded once; without torch.

Shapes in this module: B sentences, T tokens in the longest one, U distinct words, C characters in the longest of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagger.data.batch_order import Lengths
from tagger.data.document_context import DocumentContext, OccurrenceIndex, Occurrences, find_occurrences
from tagger.data.vocab import Vocab
from tagger.data.word_cache import Ids
from tagger.data.word_encoding import MAX_CHARACTERS, EncodedWords, encode_words, number_keys


@dataclass(frozen=True, slots=True)
class WordArrays:
    """Sentences as arrays.

    Attributes:
        words: (U,) word ids of the distinct words.
        characters: (U, C) character ids, 0 in padding.
        character_lengths: (U,) characters per word, at least 1.
        casing: (U,) casing ids.
        index: (B, T) distinct word of each token, 0 in padding.
        lengths: (B,) tokens per sentence.
        document_context: that of all tokens, sentence after sentence; None if it is not needed.
    """

    words: Ids
    characters: Ids
    character_lengths: Ids
    casing: Ids
    index: Ids
    lengths: Ids
    document_context: DocumentContext | None = None


class WordEncoder:
    """Numbers distinct words by an index from 0, and encodes each of them once."""

    def __init__(self, words: Vocab, characters: Vocab) -> None:
        self._words, self._characters = words, characters
        self._indices: dict[str, int] = {}
        self._encoded: EncodedWords | None = None
        self._starts = np.zeros(0, np.int64)  # of each word in `_encoded.characters`

    def add(self, words: Sequence[str]) -> None:
        """Numbers distinct words from 0; the encoder must be new."""
        self._indices, self._encoded = {word: index for index, word in enumerate(words)}, None

    def indices(self, words: Iterable[str]) -> Ids:
        """Returns the indices (N,) of words; a new word gets the next one."""
        known, count = self._indices, len(self._indices)
        indices = np.array([known.setdefault(word, len(known)) for word in words], np.int64)
        if len(known) > count:
            self._encoded = None
        return indices

    def occurrences(self, tokens: Ids, lengths: Ids, passages: Sequence[int]) -> OccurrenceIndex:
        """Returns the occurrences of words in sentences.

        Args:
            tokens: (N,) word index of each token.
            lengths: (S,) tokens per sentence.
            passages: (S,) passage number of each sentence.
        """
        encoded, keys = self._encode(), number_keys(self._indices)[tokens]
        numbers = np.array(passages, np.int64)
        return OccurrenceIndex(find_occurrences(lengths, numbers, keys, encoded.ids[tokens], encoded.casing[tokens]))

    def index_occurrences(self, occurrences: Occurrences) -> OccurrenceIndex:
        """Returns occurrences whose neighbours are word indices + 1."""
        return OccurrenceIndex(occurrences, np.concatenate([np.zeros(1, np.int64), self._encode().ids]))

    def arrays(self, sentences: Sequence[Ids], document_context: DocumentContext | None = None) -> WordArrays:
        """Returns sentences of word indices as arrays, in their order."""
        encoded = self._encode()
        lengths = np.array([len(tokens) for tokens in sentences], np.int64)
        distinct, inverse = np.unique(np.concatenate(sentences), return_inverse=True)
        character_lengths = encoded.lengths[distinct]
        positions = np.arange(character_lengths.max())
        # Beyond the end of a shorter word this reads the characters of the next words, which are then set to 0.
        characters = encoded.characters[self._starts[distinct, None] + positions]
        characters[positions >= character_lengths[:, None]] = 0
        return WordArrays(
            encoded.ids[distinct],
            characters,
            character_lengths,
            encoded.casing[distinct],
            pad(inverse, lengths),
            lengths,
            document_context,
        )

    def ids(self, indices: Ids) -> Ids:
        """Returns the word ids of words, given their indices."""
        return self._encode().ids[indices]

    def _encode(self) -> EncodedWords:
        """Returns all words as arrays, with MAX_CHARACTERS further characters at the end."""
        if self._encoded is None:
            encoded = encode_words(self._indices, self._words, self._characters)
            padding = np.zeros(MAX_CHARACTERS, np.int64)
            self._starts = np.cumsum(encoded.lengths) - encoded.lengths
            self._encoded = encoded._replace(characters=np.concatenate([encoded.characters, padding]))
        return self._encoded


def pad(flat: Ids, lengths: NDArray[np.integer[Any]]) -> Ids:
    """Returns concatenated sequences of the given lengths as rows (B, T), padded with 0."""
    padded = np.zeros((len(lengths), lengths.max()), np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    return padded


def token_indices(starts: Ids, lengths: Lengths, positions: Sequence[int]) -> Ids:
    """Returns the indices, among the tokens of all sentences, of the tokens of the sentences at these positions.

    >>> token_indices(np.array([0, 2, 5]), [2, 3, 1], [2, 0]).tolist()
    [5, 0, 1]
    """
    counts = np.fromiter((lengths[position] for position in positions), np.int64, len(positions))
    indices: Ids = np.arange(counts.sum()) + np.repeat(starts[list(positions)] - (np.cumsum(counts) - counts), counts)
    return indices
