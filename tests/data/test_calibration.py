"""Bounds of a precision and the thresholds that they select, against sums of binomial probabilities."""

import math
import random

import pytest

from tagger.data.calibration import CONFIDENCE, Calibration, find_threshold, lower_bound


def tail(count: int, correct: int, precision: float) -> float:
    """Returns the probability of at least `correct` of `count` cases."""
    return math.fsum(
        math.comb(count, hits) * precision**hits * (1 - precision) ** (count - hits)
        for hits in range(correct, count + 1)
    )


@pytest.mark.parametrize(("correct", "count"), [(1, 1), (3, 7), (50, 50), (95, 100), (1, 200), (199, 200)])
@pytest.mark.parametrize("error", [0.05, 0.001])
def test_at_the_lower_bound_as_many_hits_have_just_the_probability_of_the_error(
    correct: int, count: int, error: float
) -> None:
    assert tail(count, correct, lower_bound(correct, count, error)) == pytest.approx(error)


def test_without_a_hit_the_bound_is_zero() -> None:
    assert lower_bound(0, 10, 0.05) == 0


def test_the_lowest_threshold_with_the_precision_is_selected() -> None:
    rows = ((0.0, 1000, 900), (0.5, 900, 880), (0.9, 800, 795), (0.99, 20, 20))
    calibration = Calibration(thresholds={"PER": rows, "LOC": ((0.0, 30, 29),), "ORG": ()})
    bounds = [lower_bound(correct, count, 1 - CONFIDENCE) for _, count, correct in rows]
    assert bounds[0] < 0.9 < bounds[1] < 0.98 < bounds[2]
    assert calibration.find_thresholds(0.9) == {"PER": 0.5, "LOC": None, "ORG": None}
    assert calibration.find_thresholds(0.98)["PER"] == 0.9
    assert calibration.find_thresholds(0.999)["PER"] is None
    assert calibration.find_thresholds(0.0)["PER"] == 0.0


def test_a_threshold_is_tested_only_while_all_higher_ones_pass() -> None:
    passing, failing = (400, 399), (500, 450)
    rows = ((0.0, 1000, 990), (0.5, 600, 595), (0.7, *failing), (0.9, *passing))
    assert Calibration(thresholds={"X": rows}).find_thresholds(0.95) == {"X": 0.9}
    assert Calibration(thresholds={"X": rows[:2]}).find_thresholds(0.95) == {"X": 0.0}


@pytest.mark.parametrize(("highest", "all_spans", "expected"), [(200, 979, 0.0), (190, 979, None), (190, 980, 0.0)])
def test_if_the_highest_spans_fail_all_spans_are_tested_with_four_fifths_of_the_error(
    highest: int, all_spans: int, expected: float | None
) -> None:
    promise = 0.9695
    assert lower_bound(979, 1000, 0.05) > promise > lower_bound(979, 1000, 0.04)
    assert lower_bound(980, 1000, 0.04) > promise
    rows = ((0.0, 1000, all_spans), (0.9, 200, highest))
    assert Calibration(thresholds={"X": rows}).find_thresholds(promise)["X"] == expected


def test_a_precision_that_no_threshold_has_is_promised_in_at_most_one_of_twenty_draws() -> None:
    source = random.Random(7)
    promised = 0
    for _ in range(1000):
        correct = [source.random() < 0.9 for _ in range(320)]
        rows = tuple((number / 320, 320 - number, sum(correct[number:])) for number in range(0, 320, 16))
        promised += Calibration(thresholds={"X": rows}).find_thresholds(0.9)["X"] is not None
    assert 10 < promised <= 50


def test_the_promised_precision_is_missed_in_at_most_one_of_twenty_draws() -> None:
    """The precision of a span is its probability, so that the true precision at each threshold is known."""
    source = random.Random(11)
    probabilities = sorted(1 - 0.3 * source.random() ** 2 for _ in range(600))
    thresholds = [probabilities[number] for number in range(0, 570, 30)]
    missed = selected = 0
    for _ in range(400):
        correct = [source.random() < probability for probability in probabilities]
        rows = []
        for threshold in thresholds:
            above = [hit for hit, probability in zip(correct, probabilities, strict=True) if probability >= threshold]
            rows.append((threshold, len(above), sum(above)))
        threshold = Calibration(thresholds={"X": tuple(rows)}).find_thresholds(0.93)["X"]
        if threshold is not None:
            selected += 1
            above = [probability for probability in probabilities if probability >= threshold]
            missed += sum(above) / len(above) < 0.93
    assert selected > 350
    assert missed / 400 <= 0.05


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"temperature": 1e9},
        {"type_temperatures": {"PER": -1.0}},
        {"thresholds": {"PER": ((1.5, 1, 1),)}},
        {"thresholds": {"PER": ((0.5, 1, 2),)}},
        {"thresholds": {"PER": ((0.5, 1, 1),) * 2000}},
    ],
)
def test_numbers_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"temperature|thresholds"):
        Calibration(**values)  # type: ignore[arg-type]


def test_the_steps_give_the_threshold_of_every_precision() -> None:
    draw = random.Random(3)
    for _ in range(20):
        total = draw.randint(0, 400)
        spans = sorted((draw.random(), draw.random()) for _ in range(total))
        rows = tuple(
            (spans[first][0], total - first, sum(error < probability for probability, error in spans[first:]))
            for first in range(0, total, 1 + total // 25)
        )
        calibration = Calibration(thresholds={"X": rows})
        steps = calibration.list_threshold_steps()["X"]
        assert [precision for precision, _ in steps] == sorted({precision for precision, _ in steps})
        around = [math.nextafter(precision, side) for precision, _ in steps for side in (-math.inf, math.inf)]
        for precision in [draw.random() for _ in range(50)] + [value for value in around if 0 <= value <= 1]:
            assert find_threshold(steps, precision) == calibration.find_thresholds(precision)["X"]


def test_a_step_may_have_no_threshold_although_the_next_one_has() -> None:
    rows = ((0.0, 1000, 979), (0.9, 149, 100))  # the few spans lose their error unless they are too few to pass
    calibration = Calibration(thresholds={"X": rows})
    steps = calibration.list_threshold_steps()["X"]
    thresholds = {0.969: 0.0, 0.9694: None, 0.9697: 0.0, 0.97: None}
    for precision, threshold in thresholds.items():
        assert calibration.find_thresholds(precision) == {"X": threshold}
        assert find_threshold(steps, precision) == threshold
