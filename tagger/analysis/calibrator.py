"""Fits the calibration of a model to annotated data that it was not trained on."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagger import evaluation
from tagger.analysis import reliability, span_errors
from tagger.analysis.reliability import Reliability
from tagger.choices import Scheme
from tagger.data.calibration import CONFIDENCE, Calibration, ThresholdCounts, scale_log_odds
from tagger.data.corpus import Corpus
from tagger.errors import DataError
from tagger.tagging import DecodingOptions, EncodedPool, Tagger

Floats = NDArray[np.float64]
_RANGE = (0.25, 4.0)
"""Temperatures that are tried."""
_TRIALS = 12  # of the search for a temperature: the range shrinks by a factor of 0.62 each time
_MIN_ERRORS = 30  # of a type that may have a temperature of its own, and as many correct spans
_FEWEST_ERRORS = 5  # of all predictions, and as many correct ones
_CHANCE = 2.33  # standard errors by which a temperature of a type has to lower the log loss: 99 % confidence
_NUM_THRESHOLDS = 20  # for each type; more find a lower one, but each is a test that can fail
_FEWEST_SPANS = 30  # at the highest threshold
_SMALLEST = 1e-7  # probability, about the precision of float32


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predicted spans, or tokens with plain tags.

    Attributes:
        types: their types or tags.
        probabilities: (N,) their probabilities.
        is_correct: (N,) whether they are correct.
        sentences: (N,) the numbers of their sentences.
        gold: the number of gold spans, or tokens, by type or tag.
    """

    types: Sequence[str]
    probabilities: Floats
    is_correct: NDArray[np.bool_]
    sentences: NDArray[np.int64]
    gold: Mapping[str, int] = field(default_factory=dict)

    def select(self, chosen: NDArray[np.bool_]) -> "Predictions":
        """Returns some of them."""
        types = [kind for kind, is_chosen in zip(self.types, chosen, strict=True) if is_chosen]
        return replace(
            self,
            types=types,
            probabilities=self.probabilities[chosen],
            is_correct=self.is_correct[chosen],
            sentences=self.sentences[chosen],
        )

    def losses(self, temperature: float = 1.0) -> Floats:
        """Returns (N,) the log losses of the probabilities, their log-odds divided by a temperature."""
        values = scale_log_odds(self.probabilities, temperature).clip(_SMALLEST, 1 - _SMALLEST)
        losses: Floats = -np.log(np.where(self.is_correct, values, 1 - values))
        return losses

    def loss(self, temperature: float = 1.0) -> float:
        """Returns the mean of `losses`."""
        return float(self.losses(temperature).mean())

    def reliability(self) -> Reliability:
        """Returns how well the probabilities agree with precision."""
        return reliability.measure_reliability(self.probabilities.tolist(), self.is_correct.tolist())


@dataclass(frozen=True)
class CalibrationResult:
    """The calibration of a model, and what it changes on the data that it was fitted to.

    Attributes:
        calibration: the calibration.
        before, after: the reliability of the predictions without and with it.
        precisions: the precisions for which thresholds are shown.
        gold: the number of gold spans, or tokens, by type or tag.
    """

    calibration: Calibration
    before: Reliability
    after: Reliability
    precisions: tuple[float, ...]
    gold: Mapping[str, int]

    @property
    def thresholds(self) -> dict[float, dict[str, float | None]]:
        """By precision and type, the lowest threshold with this precision; None if there is none."""
        return {precision: self.calibration.find_thresholds(precision) for precision in self.precisions}

    @property
    def recall(self) -> dict[float, dict[str, float]]:
        """By precision and type, the percentage of gold spans that are found at the threshold, if there is one."""
        return {precision: self._find_recall(precision) for precision in self.precisions}

    @property
    def full_recall(self) -> dict[str, float]:
        """By type, the percentage of gold spans that are found without a threshold."""
        return self._find_recall(0.0)

    def _find_recall(self, precision: float) -> dict[str, float]:
        counts = self.calibration.thresholds
        return {
            kind: 100 * next(row[2] for row in counts[kind] if row[0] == threshold) / max(self.gold.get(kind, 0), 1)
            for kind, threshold in self.calibration.find_thresholds(precision).items()
            if threshold is not None
        }

    def to_json(self) -> dict[str, Any]:
        """Returns temperatures, calibration errors, and thresholds with their recall by precision and type."""
        return {
            "temperature": self.calibration.temperature,
            "type_temperatures": self.calibration.type_temperatures,
            "calibration_error": {"before": self.before.error, "after": self.after.error},
            "brier": {"before": self.before.brier, "after": self.after.brier},
            "predictions": self.after.count,
            "thresholds": {str(precision): by_type for precision, by_type in self.thresholds.items()},
            "recall": {str(precision): by_type for precision, by_type in self.recall.items()},
            "full_recall": self.full_recall,
        }

    def __str__(self) -> str:
        types = "".join(f", {name} {value:.3f}" for name, value in self.calibration.type_temperatures.items())
        lines = [
            f"temperature {self.calibration.temperature:.3f}{types}",
            f"expected calibration error {self.before.error:.4f} before, {self.after.error:.4f} after,"
            f" over {self.after.count:,} predictions",
            f"Brier score {self.before.brier:.4f} before, {self.after.brier:.4f} after",
        ]
        for precision, by_type in self.thresholds.items():
            if by_type:
                lines.append(f"precision {precision:g} with {100 * CONFIDENCE:.0f} % confidence:")
                lines += [f"  {kind}: {self._describe(precision, kind)}" for kind in by_type]
        return "\n".join(lines)

    def _describe(self, precision: float, kind: str) -> str:
        threshold = self.thresholds[precision][kind]
        if threshold is None:
            return "no threshold"
        recall = f"recall {self.recall[precision][kind]:.2f}"
        if threshold == 0:
            return f"all spans, {recall}"
        return f"threshold {threshold:.4f}, {recall} instead of {self.full_recall[kind]:.2f}"


def fit(
    tagger: Tagger,
    corpus: Corpus,
    *,
    precisions: Sequence[float] = (0.9, 0.95, 0.99),
    on_batch: Callable[[], None] = lambda: None,
) -> CalibrationResult:
    """Returns the calibration of a model that fits data best; an earlier calibration is replaced.

    The temperature minimizes the log loss of the predictions' correctness. A type gets a temperature of its own if
    it has enough errors, and if the temperature of each half of the data lowers the log loss on the other half by more
    than chance does.

    Args:
        tagger: the tagger; its model stays unchanged.
        corpus: annotated sentences that the model was not trained on.
        precisions: the precisions for which the result shows thresholds.
        on_batch: is called between batches; it may raise to end the calibration.

    Raises:
        DataError: the data has tags of another kind than the model, or too few predictions.
    """
    scheme = evaluation.find_gold_scheme(tagger, evaluation.check_gold(tagger, corpus))
    pools = tagger.encode(corpus.sentences)

    def predict_with(calibration: Calibration) -> Predictions:
        return predict(corpus, scheme, tagger.with_calibration(calibration), pools, on_batch)

    before = predict_with(Calibration())
    _check_size(corpus, before)
    temperature = _minimize(lambda value: predict_with(Calibration(value)).loss())
    tempered = predict_with(Calibration(temperature))
    type_temperatures = dict(fit_types(tempered)) if scheme else {}
    calibration = Calibration(temperature, type_temperatures, data=corpus.digest())
    after = predict_with(calibration)
    if scheme:
        thresholds = {kind: count_thresholds(after, kind) for kind in tagger.span_types}
        calibration = replace(calibration, thresholds=thresholds)
    return CalibrationResult(calibration, before.reliability(), after.reliability(), tuple(precisions), after.gold)


def _check_size(corpus: Corpus, predictions: Predictions) -> None:
    """Raises DataError if there are too few predictions, or too few of them are wrong or correct."""
    correct, count = int(predictions.is_correct.sum()), len(predictions.types)
    if count < 2 * _MIN_ERRORS:
        raise DataError(f"{corpus.name}: {count} predictions are too few to calibrate; expected {2 * _MIN_ERRORS}")
    if min(correct, count - correct) < _FEWEST_ERRORS:
        raise DataError(
            f"{corpus.name}: {correct} of {count} predictions are correct; a calibration needs at least"
            f" {_FEWEST_ERRORS} correct and wrong ones. Was the model trained on this data?"
        )


def predict(
    corpus: Corpus,
    scheme: Scheme | None,
    tagger: Tagger,
    pools: Sequence[EncodedPool],
    on_batch: Callable[[], None] = lambda: None,
) -> Predictions:
    """Returns the predictions of a tagger whose correctness is known.

    Args:
        corpus: the sentences with gold tags.
        scheme: the scheme of the gold tags; None for plain tags.
        tagger: the tagger.
        pools: the sentences, encoded.
        on_batch: is called between batches.
    """
    tagged = chain.from_iterable(tagger.tag_encoded(pools, DecodingOptions(probabilities=True), on_batch=on_batch))
    rows, gold = [], Counter[str]()
    for number, pair in span_errors.pair_sentences(corpus.sentences, tagged, scheme):
        gold.update([pair.gold.type] if pair.gold else [])
        if pair.predicted and pair.predicted.probability is not None:
            rows.append((pair.predicted.type, pair.predicted.probability, pair.is_correct, number))
    types, probabilities, is_correct, sentences = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Predictions(
        types, np.array(probabilities, np.float64), np.array(is_correct, bool), np.array(sentences, np.int64), gold
    )


def _minimize(loss: Callable[[float], float]) -> float:
    """Returns the temperature with the lowest loss, by golden-section search over its logarithm (Kiefer, 1953)."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = map(math.log, _RANGE)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(math.exp(left)), loss(math.exp(right))
    for _ in range(_TRIALS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(math.exp(right))
    return math.exp((low + high) / 2)


def fit_types(predictions: Predictions) -> Iterator[tuple[str, float]]:
    """Yields the types that get a temperature of their own, and the temperature."""
    for kind in sorted(set(predictions.types)):
        chosen = predictions.select(np.array([each == kind for each in predictions.types]))
        correct = int(chosen.is_correct.sum())
        if min(correct, len(chosen.types) - correct) < _MIN_ERRORS:
            continue
        halves = [chosen.select(chosen.sentences % 2 == half) for half in (0, 1)]
        if all(half.types for half in halves) and _is_gain(*halves):
            yield kind, _minimize(chosen.loss)


def _is_gain(first: Predictions, second: Predictions) -> bool:
    """Returns whether the temperature of each half of predictions lowers the log loss of the other half."""
    gains = np.concatenate(
        [half.losses() - half.losses(_minimize(other.loss)) for half, other in ((first, second), (second, first))]
    )
    return bool(gains.mean() > _CHANCE * gains.std() / math.sqrt(len(gains)))


def count_thresholds(predictions: Predictions, kind: str) -> ThresholdCounts:
    """Returns the counts at thresholds that split the predictions of a type into parts of equal size."""
    chosen = predictions.select(np.array([each == kind for each in predictions.types], bool))
    if not len(chosen.types):
        return ()
    ranked = np.sort(chosen.probabilities)
    last = max(len(ranked) - _FEWEST_SPANS, 0)
    positions = np.unique(np.linspace(0, last, _NUM_THRESHOLDS).round().astype(int))
    thresholds = np.unique(np.where(positions > 0, ranked[positions], 0.0))
    rows = []
    for threshold in thresholds.tolist():
        is_probable = chosen.probabilities >= threshold
        rows.append((threshold, int(is_probable.sum()), int(chosen.is_correct[is_probable].sum())))
    return tuple(rows)
