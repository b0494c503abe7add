"""Near-duplicates: sentences or documents that share most of their token trigrams."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_EDGE = ""  # stands for the edges of a sentence; no token is empty

Tokens = tuple[str, ...]


def normalize(tokens: Iterable[str]) -> Tokens:
    """Returns tokens in lower case, with each number in them as 0.

    >>> normalize(["On", "12/05/2024", "B52"])
    ('on', '0', 'b0')
    """
    return tuple([_NUMBER.sub("0", token.lower()) for token in tokens])


def find_trigrams(sentences: Iterable[Tokens]) -> frozenset[int]:
    """Returns hashes of all trigrams of normalized tokens; the edges of a sentence count as tokens.

    Their number is at most that of the tokens. Hashes are valid within one process.
    """
    return frozenset(
        hash(trigram)
        for tokens in sentences
        for trigram in zip((_EDGE, *tokens), tokens, (*tokens[1:], _EDGE), strict=False)
    )


class SimilarityIndex:
    """Sets of trigrams, by which similar sets are found without a comparison with each of them.

    Two sets are similar if their Jaccard similarity, the size of the intersection divided by that of the union, is at
    least a threshold. It holds an integer for each trigram of each set.

    Args:
        threshold: above 0, at most 1.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._sizes: list[int] = []
        self._sets: dict[int, list[int]] = {}  # by trigram, the numbers of the sets that hold it

    def add(self, trigrams: frozenset[int]) -> None:
        """Adds a set that is not empty."""
        for trigram in trigrams:
            self._sets.setdefault(trigram, []).append(len(self._sizes))
        self._sizes.append(len(trigrams))

    def has_similar(self, trigrams: frozenset[int]) -> bool:
        """Returns whether a set that is not empty is similar to one that was added."""
        # A similar set shares at least this number of trigrams, so one of all but these.
        least = math.ceil(self._threshold * len(trigrams) - 1e-9)
        rarest = sorted(trigrams, key=self._count)[: len(trigrams) - least + 1]
        if not any(map(self._count, rarest)):
            return False
        common = Counter(number for trigram in trigrams for number in self._sets.get(trigram, ()))
        return any(
            count >= self._threshold * (len(trigrams) + self._sizes[number] - count) - 1e-9
            for number, count in common.items()
        )

    def _count(self, trigram: int) -> int:
        return len(self._sets.get(trigram, ()))


def describe(sentences: Sequence[Sequence[str]]) -> tuple[int, frozenset[int]]:
    """Returns a hash of the normalized tokens of sentences in their order, and their trigrams."""
    normalized = tuple(map(normalize, sentences))
    return hash(normalized), find_trigrams(normalized)
