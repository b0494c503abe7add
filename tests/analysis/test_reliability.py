"""Calibration errors and scores by threshold, against plain loops."""

import random

import pytest

from tagger.analysis.reliability import measure_reliability, score_thresholds


def test_probabilities_that_are_frequencies_have_a_small_error_and_others_a_large_one() -> None:
    source = random.Random(2)
    probabilities = [source.random() for _ in range(20_000)]
    correct = [source.random() < probability for probability in probabilities]
    assert measure_reliability(probabilities, correct).error < 0.015
    wrong = [source.random() < probability**3 for probability in probabilities]
    assert measure_reliability(probabilities, wrong).error == pytest.approx(1 / 2 - 1 / 4, abs=0.02)


def test_bins_have_equal_mass_and_the_error_is_the_mean_distance() -> None:
    source = random.Random(3)
    probabilities = [source.random() for _ in range(97)]
    correct = [source.random() < 0.5 for _ in probabilities]
    found = measure_reliability(probabilities, correct, 10)
    assert {each.predictions for each in found.bins} == {9, 10}
    ranked = sorted(zip(probabilities, correct, strict=True))
    error, start = 0.0, 0
    for each in found.bins:
        part = ranked[start : start + each.predictions]
        start += each.predictions
        confidence, precision = (sum(column) / len(part) for column in zip(*part, strict=True))
        assert (each.probability, each.precision) == pytest.approx((confidence, precision))
        error += abs(confidence - precision) * len(part) / 97
    assert found.error == pytest.approx(error)
    assert found.brier == pytest.approx(sum((p - c) ** 2 for p, c in ranked) / 97)


def test_nothing_predicted_has_no_bins() -> None:
    found = measure_reliability([], [])
    assert (found.bins, found.error, found.count) == ((), 0.0, 0)


def test_scores_at_each_threshold_are_those_of_the_predictions_above_it() -> None:
    probabilities, correct = [0.2, 0.5, 0.9, 0.9], [False, True, True, False]
    scores = score_thresholds(probabilities, correct, 4, [0.0, 0.5, 0.91])
    assert [score.predicted for score in scores] == [4, 3, 0]
    assert [score.precision for score in scores] == pytest.approx([50, 200 / 3, 0])
    assert [score.recall for score in scores] == [50, 50, 0]
    assert [score.f1 for score in scores] == pytest.approx([50, 400 / 7, 0])
