"""The calibration of a model: temperatures, and counts for thresholds with a guaranteed precision.

A temperature divides all scores of the CRF (Guo et al., 2017), so that all probabilities change together and remain
those of one distribution. A temperature of a type then divides the log-odds of its spans.
"""

from dataclasses import dataclass, field

CONFIDENCE = 0.95
"""The confidence with which the precision at a threshold is at least the one asked for."""
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.05, 20.0
_MAX_THRESHOLDS = 1000

ThresholdCounts = tuple[tuple[float, int, int], ...]
"""Thresholds in rising order; for each the number of spans at least as probable, and how many of them are correct."""


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

        The precision's lower bound is exact (Clopper and Pearson, 1934). Its confidence is divided among the
        thresholds of a type (Bonferroni), because the lowest of them is selected. None: no threshold has the precision.
        """
        return {kind: _find_threshold(rows, precision) for kind, rows in self.thresholds.items()}


def _find_threshold(rows: ThresholdCounts, precision: float) -> float | None:
    error = (1 - CONFIDENCE) / max(len(rows), 1)
    return next(
        (threshold for threshold, count, correct in rows if lower_bound(correct, count, error) >= precision), None
    )


def lower_bound(correct: int, count: int, error: float) -> float:
    """Returns the exact lower bound of a proportion, given `correct` of `count` cases.

    The true fraction is below the bound with a probability of at most `error`.

    >>> round(lower_bound(10, 10, 0.05), 4)
    0.7411
    """
    from scipy.special import betaincinv  # scikit-learn, which seqeval needs, brings it; it loads slowly

    return float(betaincinv(correct, count - correct + 1, error)) if correct else 0.0
