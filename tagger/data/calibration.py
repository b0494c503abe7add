"""The calibration of a model: temperatures, and counts for thresholds with a guaranteed precision.

A temperature divides all scores of the CRF (Guo et al., 2017), so that all probabilities change together and remain
those of one distribution. A temperature of a type then divides the log-odds of its spans, each span by itself. No
distribution over tag sequences has these probabilities, so those of whole sequences (alternatives, uncertainty) are
without it.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
"""The confidence with which the precision at a threshold is at least the one asked for."""
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.05, 20.0
_MAX_THRESHOLDS = 1000
_STARTS = ((1 / 16, 0.2), (1 / 4, 0.8))
"""The thresholds from which on precisions are tested: the fraction of all spans, and of the permitted error."""

Floats = NDArray[np.floating]
ThresholdCounts = tuple[tuple[float, int, int], ...]
"""Thresholds in rising order; for each the number of spans at least as probable, and how many of them are correct."""
ThresholdSteps = tuple[tuple[float, float | None], ...]
"""Precisions in rising order; for each the threshold of all precisions down to the one before, None for no spans."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration of a model on data that it was not trained on.

    Attributes:
        temperature: divides all scores; above 1 it makes the model less confident.
        type_temperatures: divides the log-odds of the spans of a type.
        thresholds: by type, the counts of calibrated spans at each threshold.
        data: the hash of the data.

    Raises:
        ValueError: a number is out of range.
    """

    temperature: float = 1.0
    type_temperatures: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, ThresholdCounts] = field(default_factory=dict)
    data: str = ""

    def __post_init__(self) -> None:
        for name, value in [("", self.temperature), *self.type_temperatures.items()]:
            if not _MIN_TEMPERATURE <= value <= _MAX_TEMPERATURE:
                limits = f"{_MIN_TEMPERATURE} to {_MAX_TEMPERATURE}"
                raise ValueError(f"temperature{f' of {name[:60]!r}' * bool(name)}: expected {limits}, found {value}")
        for name, rows in self.thresholds.items():
            is_valid = all(0 <= threshold <= 1 and 0 <= correct <= count for threshold, count, correct in rows)
            if not is_valid or len(rows) > _MAX_THRESHOLDS:
                raise ValueError(f"thresholds of {name[:60]!r}: the counts are not valid")

    @property
    def is_identity(self) -> bool:
        """Whether it changes no probability and has no thresholds."""
        return self == Calibration()

    def find_thresholds(self, precision: float) -> dict[str, float | None]:
        """Returns for each type the lowest threshold whose precision is at least the one asked for, with confidence.

        Each threshold is tested by an exact lower bound (Clopper and Pearson, 1934), from the highest threshold down.
        The confidence holds for all tests of a type together. None: no threshold is known to have the precision.
        """
        return {kind: _find_threshold(rows, precision)[0] for kind, rows in self.thresholds.items()}

    def list_threshold_steps(self) -> dict[str, ThresholdSteps]:
        """Returns for each type the thresholds that `find_thresholds` returns for all precisions.

        The threshold of a precision is that of the first step whose precision is not lower; without one there is none.
        """
        return {kind: tuple(_list_steps(rows)) for kind, rows in self.thresholds.items()}


def find_threshold(steps: ThresholdSteps, precision: float) -> float | None:
    """Returns the threshold of a precision, given the steps of a type.

    >>> [find_threshold(((0.5, 0.1), (0.8, 0.4)), precision) for precision in (0.2, 0.6, 0.9)]
    [0.1, 0.4, None]
    """
    return next((threshold for highest, threshold in steps if highest >= precision), None)


def _list_steps(rows: ThresholdCounts) -> list[tuple[float, float | None]]:
    steps: list[tuple[float, float | None]] = []
    threshold, highest = _find_threshold(rows, 0.0)
    while highest < math.inf:
        if steps and steps[-1][1] == threshold:
            steps.pop()
        steps.append((highest, threshold))
        threshold, highest = _find_threshold(rows, math.nextafter(highest, math.inf))
    return steps


def _find_threshold(rows: ThresholdCounts, precision: float) -> tuple[float | None, float]:
    """Returns the lowest threshold that passes its test, and the highest precision for which it is the same.

    The tests follow the fallback procedure (Wiens, 2003). Each start adds its fraction of the permitted error. A
    threshold that passes hands the error on to the next lower one; one that fails loses it. Which thresholds are
    tested depends on numbers of spans alone, not on how many are correct.
    """
    starts = [(first * rows[0][1], (1 - CONFIDENCE) * fraction) for first, fraction in _STARTS] if rows else []
    selected, error, highest = None, 0.0, math.inf
    for threshold, count, correct in reversed(rows):
        while starts and count >= starts[0][0]:
            error += starts.pop(0)[1]
        best = lower_bound(count, count, error)
        if best < precision:
            continue  # too few spans to pass
        bound = lower_bound(correct, count, error)
        highest = min(highest, best)
        if bound >= precision:
            selected, highest = threshold, min(highest, bound)
        else:
            error = 0.0
    return selected, highest


@lru_cache(maxsize=1 << 14)
def lower_bound(correct: int, count: int, error: float) -> float:
    """Returns the exact lower bound of a proportion, given `correct` of `count` cases.

    The true fraction is below the bound with a probability of at most `error`.

    >>> round(lower_bound(10, 10, 0.05), 4)
    0.7411
    """
    from scipy.special import betaincinv  # scikit-learn, which seqeval needs, brings it; it loads slowly

    return float(betaincinv(correct, count - correct + 1, error)) if correct else 0.0


def scale_log_odds(probabilities: Floats, temperatures: Floats | float) -> Floats:
    """Returns probabilities (N,) after their log-odds are divided by temperatures (N,).

    >>> scale_log_odds(np.array([0.9, 1.0]), 2.0)
    array([0.75, 1.  ])
    """
    values = probabilities.astype(np.float64)
    with np.errstate(divide="ignore"):
        log_odds = np.log(values) - np.log1p(-values.clip(max=1.0))
    scaled: Floats = 1 / (1 + np.exp(-log_odds / temperatures))
    return scaled
