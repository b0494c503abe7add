"""Words as numbers: vocabulary ids, character ids, casing and document context keys, for training and tagging alike.

Shapes in this module: U words.
"""

from collections.abc import Collection, Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np

from tagger.data.vocab import Vocab, casing
from tagger.data.word_cache import Ids

MAX_CHARACTERS = 64
"""Number of leading characters of a word that its character features read."""


class EncodedWords(NamedTuple):
    """Words as arrays.

    Attributes:
        ids: (U,) word ids.
        characters: character ids of the first MAX_CHARACTERS characters, word after word.
        lengths: (U,) character ids per word, at least 1.
        casing: (U,) casing ids.
    """

    ids: Ids
    characters: Ids
    lengths: Ids
    casing: Ids


def encode_words(words: Collection[str], vocab: Vocab, characters: Vocab) -> EncodedWords:
    """Returns words, none of them empty, as arrays."""
    encoded = [characters.encode(word[:MAX_CHARACTERS]) for word in words]
    return EncodedWords(
        _to_array(map(vocab.lookup, words), len(words)),
        np.array(list(chain.from_iterable(encoded)), np.int64),
        _to_array(map(len, encoded), len(words)),
        encode_casing(words),
    )


def encode_casing(words: Collection[str]) -> Ids:
    """Returns the casing ids (U,) of words."""
    return _to_array(map(casing, words), len(words))


def number_keys(words: Collection[str], known: dict[str, int] | None = None) -> Ids:
    """Returns numbers (U,) that are equal for words that share document context, which ignores case.

    `known` has the numbers of earlier words, lower-cased; new words are added to it.
    """
    numbers = {} if known is None else known
    return _to_array((numbers.setdefault(word.lower(), len(numbers)) for word in words), len(words))


def _to_array(values: Iterable[int], count: int) -> Ids:
    return np.fromiter(values, np.int64, count)
