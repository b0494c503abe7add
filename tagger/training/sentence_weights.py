"""Sentence weights: factors of the loss of single training sentences, in a file that is verified against the data.

The file has a line of JSON for each training sentence, in the order of the data: a number, or an object with `weight`
and perhaps `sha256`, the fingerprint of the sentence. Other fields, such as `line`, are for the reader.
"""

import hashlib
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tagger.choices import counted
from tagger.data import tag_formats
from tagger.data.corpus import Corpus
from tagger.data.sentence import Sentence
from tagger.errors import DataError, limit_faults
from tagger.io import json_files, line_reader

WEIGHTS = "weights"
"""The name of the digest of sentence weights, among those of the data."""
_DIGITS = 16  # of a fingerprint: equal ones of two sentences of a corpus are as good as impossible
_MAX_WEIGHT = 1e6
_CHUNK = 1 << 16


def fingerprint(sentence: Sentence) -> str:
    """Returns 16 hexadecimal digits that depend on the tokens and the tags of a sentence as they were read.

    >>> fingerprint(Sentence(("Ada",), tags=("B-PER",)))
    '502d05c746b56b35'
    """
    rows = zip(sentence.tokens, sentence.tags, strict=True)
    text = "".join(f"{token}\t{tag}\n" for token, tag in rows)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def read(path: Path, corpus: Corpus) -> Sequence[float]:
    """Returns the weight of each sentence of the training data.

    Args:
        path: the file.
        corpus: the training data as read, before tags are converted to another scheme.

    Raises:
        DataError: the file cannot be read, a weight is not a finite number from 0, all are 0, or the weights are of
            other data.
    """
    weights, faults, lines = array("d"), [], 0
    for number, text in _read_rows(path):
        sentence = corpus.sentences[lines] if lines < len(corpus.sentences) else None
        lines += 1
        try:
            weights.append(_parse_row(text, sentence, corpus.name))
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
    if lines != len(corpus.sentences):
        expected = f"expected a weight for each of the {counted(len(corpus.sentences), 'sentence')} of {corpus.name}"
        raise DataError(f"{path}: {expected}, found {lines:,}; the weights are of other data")
    if faults:
        raise DataError(*limit_faults(faults))
    if not any(weights):
        raise DataError(f"{path}: every weight is 0, so that nothing would be learned")
    return weights


def digest(weights: Sequence[float]) -> str:
    """Returns the SHA-256 of weights, in hexadecimal."""
    digest = hashlib.sha256()
    for start in range(0, len(weights), _CHUNK):
        digest.update(("\n" * (start > 0) + "\n".join(map(repr, weights[start : start + _CHUNK]))).encode())
    return digest.hexdigest()


def dump(sentences: Iterable[Sentence], weights: Iterable[float]) -> bytes:
    """Returns the content of a file of weights."""
    rows = (
        {"line": sentence.line, "sha256": fingerprint(sentence), "weight": weight}
        for sentence, weight in zip(sentences, weights, strict=True)
    )
    return b"".join(json_files.dump(row) + b"\n" for row in rows)


def _read_rows(path: Path) -> Iterator[tuple[int, str]]:
    return ((number, text) for number, text in line_reader.read_lines(path) if text.strip(" \t\r\n\ufeff"))


def _parse_row(text: str, sentence: Sentence | None, name: str) -> float:
    """Returns the weight of a row.

    Raises:
        ValueError: the weight is not valid, or the row is of another sentence.
    """
    row = json_files.parse(text.strip(" \t\r\n\ufeff"))
    weight = row.get("weight") if isinstance(row, dict) else row
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ValueError(f"expected a number, or an object with the number 'weight', found {text.strip()[:60]!r}")
    if not (math.isfinite(weight) and 0 <= weight <= _MAX_WEIGHT):
        raise ValueError(f"expected a weight from 0 to {_MAX_WEIGHT:,.0f}, found {weight}")
    digits = row.get("sha256") if isinstance(row, dict) else None
    if sentence is not None and digits is not None and digits != fingerprint(sentence):
        line = tag_formats.find_line(sentence, 0)
        raise ValueError(f"the weight is of another sentence than {name}:{line}, or its tokens or tags have changed")
    return float(weight)
