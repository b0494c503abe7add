"""Scores of resampled sentences, computed from the counts of each sentence.

Shapes in this module: R resamples, N sentences, S seeds of a run.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tagger.evaluation.report import SPANS, Counts

Floats = NDArray[np.float64]
_CELLS = 1_000_000  # sentences that are drawn together, so that they fit into the processor's cache


def stack_terms(counts: Sequence[Counts]) -> Floats:
    """Returns the terms (2, N, S) that each sentence adds to the numerator and the denominator of each seed's score.

    The score is F1 for counts of spans and accuracy for counts of tokens.
    """
    columns = counts[0].columns
    rows = np.array([part.rows for part in counts], dtype=np.float64).reshape(len(counts), -1, len(columns))
    rows = rows.transpose(2, 1, 0)  # (columns, N, S)
    if columns == SPANS:
        correct, predicted, gold = rows
        return np.stack([2 * correct, predicted + gold])
    return rows


def divide_terms(numerator: Floats, denominator: Floats) -> Floats:
    """Returns scores in percent; 0 where nothing is to be scored."""
    scores: Floats = np.divide(100 * numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return scores


def score_weighted(weights: Floats, terms: Floats) -> Floats:
    """Returns the scores (R, S) in percent; `weights` (R, N) holds how often each sentence counts."""
    return divide_terms(weights @ terms[0], weights @ terms[1])


def draw_sentences(sentences: int, samples: int, random: Generator) -> Iterator[Floats]:
    """Yields how often each sentence is drawn (R, N) with replacement, in chunks of `samples` rows in all."""
    for rows in split_into_chunks(sentences, samples):
        indices = random.integers(sentences, size=(rows, sentences)) + sentences * np.arange(rows)[:, None]
        counts = np.bincount(indices.ravel(), minlength=rows * sentences)
        yield counts.reshape(rows, sentences).astype(np.float64)


def split_into_chunks(sentences: int, samples: int) -> Iterator[int]:
    """Yields the numbers of resamples that are drawn together, `samples` in all."""
    max_rows = max(1, _CELLS // sentences)
    for start in range(0, samples, max_rows):
        yield min(max_rows, samples - start)
