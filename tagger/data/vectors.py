"""Pretrained word vectors: looks up words with fallbacks, concatenates the vectors of several tables.

Shapes in this module: W words, D numbers per vector of one table or, in `join`, of all tables together.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagger.data.vocab import forms

Matrix = NDArray[np.float32]
_CHUNK = 10_000  # words


@dataclass
class Table:
    """Words and vectors in the order of the file; `rows` maps a word to its row of `matrix` (W, D)."""

    rows: dict[str, int]
    matrix: Matrix

    @property
    def dim(self) -> int:
        """The dimension D of a vector."""
        return int(self.matrix.shape[1])

    def lookup(self, word: str) -> int:
        """Returns the row of the word, else of its lower-cased form, else of that with digits as 0, else -1."""
        for variant in forms(word):
            row = self.rows.get(variant)
            if row is not None:
                return row
        return -1


@dataclass(frozen=True)
class Coverage:
    """The numbers of distinct words and tokens of a corpus, and of those with a vector."""

    types: int
    tokens: int
    covered_types: int
    covered_tokens: int

    def __str__(self) -> str:
        types = 100 * self.covered_types / max(self.types, 1)
        tokens = 100 * self.covered_tokens / max(self.tokens, 1)
        return f"{types:.1f} % of {self.types} types, {tokens:.1f} % of {self.tokens} tokens"


def join(tables: Sequence[Table], words: Sequence[str]) -> Matrix:
    """Returns the vectors of words (W, D), concatenated over tables; 0 where a table lacks the word."""
    parts = []
    for table in tables:
        rows = np.array([table.lookup(word) for word in words], np.int64)
        part = np.zeros((len(words), table.dim), np.float32)
        part[rows >= 0] = table.matrix[rows[rows >= 0]]
        parts.append(part)
    return np.concatenate(parts, axis=1)


def reduce(tables: Sequence[Table], dim: int) -> Table:
    """Returns one table of all words, whose vectors of `dim` numbers are nearest to the concatenated ones.

    The vectors are projected on their principal components. They are not centered, so that a zero vector stays zero.
    Lengths and angles of vectors change as little as `dim` allows.
    """
    rows = {word: row for row, word in enumerate(dict.fromkeys(word for table in tables for word in table.rows))}
    matrix = join(tables, list(rows))
    chunks = (matrix[first : first + _CHUNK].astype(np.float64) for first in range(0, len(matrix), _CHUNK))
    _, components = np.linalg.eigh(sum(chunk.T @ chunk for chunk in chunks))  # by ascending eigenvalue
    components = components[:, ::-1][:, :dim]
    signs = np.sign(components[np.abs(components).argmax(0), np.arange(components.shape[1])])  # eigh may choose any
    return Table(rows, matrix @ (components * signs).astype(np.float32))


def most_frequent(tables: Sequence[Table], limit: int, without: Collection[str]) -> list[str]:
    """Returns up to `limit` words by their best rank in any table, without the words of `without`."""
    ranks: dict[str, int] = {}
    for table in tables:
        for rank, word in enumerate(table.rows):
            ranks[word] = min(rank, ranks.get(word, rank))
    return sorted((word for word in ranks if word not in without), key=lambda word: (ranks[word], word))[:limit]


def coverage(tables: Sequence[Table], counts: Counter[str]) -> Coverage:
    """Returns the coverage of a corpus, given by its word counts: words with a vector in any table."""
    covered = [word for word in counts if any(table.lookup(word) >= 0 for table in tables)]
    return Coverage(len(counts), counts.total(), len(covered), sum(counts[word] for word in covered))
