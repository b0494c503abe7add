"""The reliability of probabilities: diagrams, expected calibration error, scores by threshold.

The expected calibration error is that of Naeini et al. (2015) with bins of equal mass (Nguyen and O'Connor, 2015).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagger.evaluation import MatchCounts

Floats = NDArray[np.float64]
NUM_BINS = 15


class Bin(NamedTuple):
    """Predictions of similar probability.

    Attributes:
        probability: the mean of their probabilities.
        precision: the fraction of them that is correct.
        predictions: their number.
    """

    probability: float
    precision: float
    predictions: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well probabilities agree with precision.

    Attributes:
        bins: predictions in bins of equal size, by rising probability.
        error: the expected calibration error, from 0 to 1: the mean distance of probability and precision of the bins.
        brier: the mean squared distance of each probability from 1 if its prediction is correct, else from 0.
        count: the number of predictions.
    """

    bins: tuple[Bin, ...]
    error: float
    brier: float
    count: int

    def __str__(self) -> str:
        return f"expected calibration error {self.error:.4f} over {self.count:,} predictions"


class ThresholdScore(NamedTuple):
    """Precision, recall and F1 in percent of the predictions that are at least as probable as a threshold."""

    threshold: float
    precision: float
    recall: float
    f1: float
    predicted: int


def measure_reliability(
    probabilities: Sequence[float], is_correct: Sequence[bool], bins: int = NUM_BINS
) -> Reliability:
    """Returns the reliability of predictions with these probabilities.

    >>> measure_reliability([0.5, 0.5, 1.0, 1.0], [True, False, True, True], 2).error
    0.0
    """
    values, correct = np.asarray(probabilities, np.float64), np.asarray(is_correct, np.float64)
    if not len(values):
        return Reliability((), 0.0, 0.0, 0)
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    rows = tuple(Bin(float(values[part].mean()), float(correct[part].mean()), len(part)) for part in parts)
    error = sum(each.predictions * abs(each.probability - each.precision) for each in rows) / len(values)
    return Reliability(rows, error, float(((values - correct) ** 2).mean()), len(values))


def score_thresholds(
    probabilities: Sequence[float], is_correct: Sequence[bool], gold: int, thresholds: Sequence[float]
) -> list[ThresholdScore]:
    """Returns the scores of the predictions at each threshold.

    Args:
        probabilities: of each prediction; 1 for a prediction without a probability, which no threshold removes.
        is_correct: whether each prediction is correct.
        gold: the number of gold spans, or of tokens if tags are plain.
        thresholds: the thresholds.
    """
    values, correct = np.asarray(probabilities, np.float64), np.asarray(is_correct, bool)
    scores = []
    for threshold in thresholds:
        is_probable = values >= threshold
        hits, predicted = int(correct[is_probable].sum()), int(is_probable.sum())
        counts = MatchCounts(hits, predicted, gold)
        scores.append(ThresholdScore(threshold, counts.precision, counts.recall, counts.f1, predicted))
    return scores
