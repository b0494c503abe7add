"""The interval of one score, against an enumeration of all resamples."""

import math
from fractions import Fraction
from itertools import product

import pytest

from tagger.evaluation import SPANS, TOKENS, Counts, bootstrap_interval, resampling

SPAN_ROWS = ((1, 1, 2), (0, 2, 1), (2, 2, 2), (0, 0, 0), (3, 4, 3))
TOKEN_ROWS = ((3, 5), (1, 1), (0, 4), (7, 8), (2, 6))


def f1(rows: tuple[tuple[int, ...], ...]) -> Fraction:
    correct, predicted, gold = map(sum, zip(*rows, strict=True))
    return Fraction(200 * correct, predicted + gold) if predicted + gold else Fraction(0)


def accuracy(rows: tuple[tuple[int, ...], ...]) -> Fraction:
    correct, tokens = map(sum, zip(*rows, strict=True))
    return Fraction(100 * correct, tokens)


@pytest.mark.parametrize(("columns", "rows", "score"), [(SPANS, SPAN_ROWS, f1), (TOKENS, TOKEN_ROWS, accuracy)])
def test_the_bounds_are_quantiles_of_the_scores_of_all_resamples(columns, rows, score) -> None:
    every = sorted(score(drawn) for drawn in product(rows, repeat=len(rows)))
    bounds = bootstrap_interval(Counts("d", columns, rows), samples=100_000)
    for bound, quantile in zip(bounds, (0.025, 0.975), strict=True):
        near = [every[math.floor((quantile + by) * len(every))] for by in (-0.003, 0.003)]
        assert float(near[0]) - 1e-9 <= bound <= float(near[1]) + 1e-9


def test_equal_seeds_give_equal_bounds_for_any_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts("d", SPANS, SPAN_ROWS * 6)
    bounds = bootstrap_interval(counts)
    assert bootstrap_interval(counts) == bounds
    assert bootstrap_interval(counts, seed=1) != bounds
    monkeypatch.setattr(resampling, "_CELLS", 100)
    assert bootstrap_interval(counts) == bounds


@pytest.mark.parametrize("rows", [(), ((0, 0, 0),) * 3])
def test_data_without_spans_has_an_interval_of_zero(rows) -> None:
    assert bootstrap_interval(Counts("d", SPANS, rows)) == (0, 0)
