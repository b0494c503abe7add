"""Pretrained word vectors: read from text tables, looked up by several spellings, joined side by side.

Shapes in this module: W words, D width of all tables together.
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
_PROBE = 100  # lines that tell the width of a table without a header


@dataclass
class Table:
    """Words and their vectors, in the order of their file; `rows` gives a word's row in `matrix` (W, D)."""

    rows: dict[str, int]
    matrix: Matrix

    @property
    def width(self) -> int:
        """The numbers in one vector."""
        return int(self.matrix.shape[1])

    def lookup(self, word: str) -> int:
        """Returns the row of a word as written, else lower-cased, else with digits as 0, else -1."""
        for form in forms(word):
            row = self.rows.get(form)
            if row is not None:
                return row
        return -1


@dataclass(frozen=True)
class Coverage:
    """How many types and tokens of a corpus have a vector."""

    types: int
    tokens: int
    covered_types: int
    covered_tokens: int

    def __str__(self) -> str:
        types = 100 * self.covered_types / max(self.types, 1)
        tokens = 100 * self.covered_tokens / max(self.tokens, 1)
        return f"{types:.1f} % of {self.types} types, {tokens:.1f} % of {self.tokens} tokens"


def read(path: Path, *, wanted: Collection[str], keep: int) -> Table:
    """Returns the vectors of the wanted words and of the first `keep` words of a text table, gzipped or not.

    A header line of two whole numbers is passed over, spaces within a word are kept, and of duplicates the first wins.

    Raises:
        DataError: a line has another width than the table, or a value that is no finite number.
    """
    source = line_reader.read_lines(path)
    head = [(number, line.removeprefix("\ufeff") if number == 1 else line) for number, line in islice(source, _PROBE)]
    header = _HEADER.fullmatch(head[0][1]) if head else None
    width = int(header[1]) if header else _usual_width([line for _, line in head])
    if width < 1:
        raise DataError(f"{path}: expected a word and its numbers on each line")
    rows: dict[str, int] = {}
    vectors: list[Matrix] = []
    for number, line in chain(head[1:] if header else head, source):
        # Splitting from the right by the table's width leaves the spaces within a word.
        word, *values = _trimmed(line).rsplit(" ", width)
        if word in rows or (len(rows) >= keep and word not in wanted):
            continue
        vectors.append(_vector(values, width, f"{path}:{number}"))
        rows[word] = len(rows)
    return Table(rows, np.stack(vectors) if vectors else np.zeros((0, width), np.float32))


def _usual_width(lines: Sequence[str]) -> int:
    """Returns how many numbers most lines have: a word with spaces makes its line longer, a fault makes it shorter."""
    counts = Counter(len(_trimmed(line).split(" ")) - 1 for line in lines)
    return max(counts, key=lambda width: (counts[width], -width), default=0)


def _trimmed(line: str) -> str:
    return line.rstrip("\r\n ")


def _vector(values: Sequence[str], width: int, place: str) -> Matrix:
    try:
        with np.errstate(over="ignore"):  # too large becomes infinite, which is reported below
            vector = np.array(values, np.float32)
    except ValueError as error:
        raise DataError(f"{place}: expected {width} numbers after the word: {error}") from error
    if len(vector) != width:
        raise DataError(f"{place}: expected {width} numbers after the word, found {len(vector)}")
    if not np.isfinite(vector).all():
        raise DataError(f"{place}: a value is not a finite number")
    return vector


def join(tables: Sequence[Table], words: Sequence[str]) -> Matrix:
    """Returns the vectors of words (W, D), tables side by side, 0 in the part of a table that lacks the word."""
    parts = []
    for table in tables:
        rows = np.array([table.lookup(word) for word in words], np.int64)
        part = np.zeros((len(words), table.width), np.float32)
        part[rows >= 0] = table.matrix[rows[rows >= 0]]
        parts.append(part)
    return np.concatenate(parts, axis=1)


def most_frequent(tables: Sequence[Table], limit: int, without: Collection[str]) -> list[str]:
    """Returns up to `limit` words of the tables, the best ranked in any first, leaving out those of `without`."""
    ranks: dict[str, int] = {}
    for table in tables:
        for rank, word in enumerate(table.rows):
            ranks[word] = min(rank, ranks.get(word, rank))
    return sorted((word for word in ranks if word not in without), key=lambda word: (ranks[word], word))[:limit]


def coverage(tables: Sequence[Table], counts: Counter[str]) -> Coverage:
    """Returns how much of a corpus, given as its words and their counts, has a vector in any table."""
    covered = [word for word in counts if any(table.lookup(word) >= 0 for table in tables)]
    return Coverage(len(counts), counts.total(), len(covered), sum(counts[word] for word in covered))
