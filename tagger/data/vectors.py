"""Pretrained word vectors: reads tables, looks up words with fallbacks, concatenates the vectors of several tables.

Shapes in this module: W words, D numbers per vector of one table or, in `join`, of all tables together.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagger.data.vocab import forms
from tagger.errors import DataError
from tagger.io import line_reader

Matrix = NDArray[np.float32]
_HEADER = re.compile(r"\d+ (\d{1,6})\s*")
_PROBE_LINES = 100  # read to find the dimension of a table without a header


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


def read(path: Path, *, wanted: Collection[str], max_frozen_words: int) -> Table:
    """Returns the vectors of the wanted words, and of other words up to `max_frozen_words` words in total.

    The file is a text table, optionally compressed. A header line of two integers is skipped. Words may contain
    spaces. The first of several lines for a word counts.

    Raises:
        DataError: a line has another number of values than the table, or a value that is not a finite number.
    """
    source = line_reader.read_lines(path)
    head = [
        (number, line.removeprefix("\ufeff") if number == 1 else line) for number, line in islice(source, _PROBE_LINES)
    ]
    header = _HEADER.fullmatch(head[0][1]) if head else None
    dim = int(header[1]) if header else _most_common_dim([line for _, line in head])
    if dim < 1:
        raise DataError(f"{path}: expected a word and its numbers on each line")
    rows: dict[str, int] = {}
    vectors: list[Matrix] = []
    for number, line in chain(head[1:] if header else head, source):
        # Splitting from the right preserves the spaces within a word.
        word, *values = _strip_end(line).rsplit(" ", dim)
        if word in rows or (len(rows) >= max_frozen_words and word not in wanted):
            continue
        vectors.append(_parse_vector(values, dim, f"{path}:{number}"))
        rows[word] = len(rows)
    return Table(rows, np.stack(vectors) if vectors else np.zeros((0, dim), np.float32))


def _most_common_dim(lines: Sequence[str]) -> int:
    """Returns the number of values of most lines; words with spaces and faults have others."""
    counts = Counter(len(_strip_end(line).split(" ")) - 1 for line in lines)
    return max(counts, key=lambda dim: (counts[dim], -dim), default=0)


def _strip_end(line: str) -> str:
    return line.rstrip("\r\n ")


def _parse_vector(values: Sequence[str], dim: int, location: str) -> Matrix:
    try:
        with np.errstate(over="ignore"):  # a value that is too large becomes infinity, see below
            vector = np.array(values, np.float32)
    except ValueError as error:
        raise DataError(f"{location}: expected {dim} numbers after the word: {error}") from error
    if len(vector) != dim:
        raise DataError(f"{location}: expected {dim} numbers after the word, found {len(vector)}")
    if not np.isfinite(vector).all():
        raise DataError(f"{location}: a value is not a finite number; expected {dim} finite numbers")
    return vector


def join(tables: Sequence[Table], words: Sequence[str]) -> Matrix:
    """Returns the vectors of words (W, D), concatenated over tables; 0 where a table lacks the word."""
    parts = []
    for table in tables:
        rows = np.array([table.lookup(word) for word in words], np.int64)
        part = np.zeros((len(words), table.dim), np.float32)
        part[rows >= 0] = table.matrix[rows[rows >= 0]]
        parts.append(part)
    return np.concatenate(parts, axis=1)


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
