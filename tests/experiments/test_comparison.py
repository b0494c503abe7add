"""The comparison of two runs, against an enumeration of all resamples and in cases with known results."""

import json
import math
import random
import statistics
from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tagger import config
from tagger.config import Config
from tagger.errors import ConfigError, ModelError, StorageError
from tagger.evaluation import SPANS, TOKENS, Counts, resampling
from tagger.experiments import compare, comparison
from tagger.training import records

Rows = Sequence[tuple[int, ...]]
ORACLE = [[(1, 1, 2), (0, 2, 1), (2, 2, 2)], [(2, 2, 2), (0, 0, 1), (1, 3, 2)], [(0, 1, 2), (1, 1, 1), (2, 4, 2)]]
"""Counts of three seeds on three sentences."""


def write_run(
    run: Path, seeds: Sequence[Rows], *, columns: tuple[str, ...] = SPANS, data: str = "d", on: str = "test"
) -> Path:
    """Writes the files of a run of several seeds, from the counts of each seed's sentences."""
    for seed, rows in enumerate(seeds):
        (run / f"seed-{seed}").mkdir(parents=True)
        records.write_counts(run / f"seed-{seed}", {on: Counts(data, columns, tuple(rows))})
    (run / "seeds.json").write_text(json.dumps({"seeds": list(range(len(seeds))), "init_from": None}))
    return run


def single(run: Path, rows: Rows) -> Path:
    """Writes the files of a run of one seed."""
    run.mkdir()
    (run / "config.yaml").write_text(config.dump(Config()))
    records.write_counts(run, {"test": Counts("d", SPANS, tuple(rows))})
    return run


def f1(rows: Rows) -> Fraction:
    """Returns the exact F1 of sentence counts, in percent."""
    correct, predicted, gold = map(sum, zip(*rows, strict=True))
    return Fraction(200 * correct, predicted + gold) if predicted + gold else Fraction(0)


def accuracy(rows: Rows) -> Fraction:
    """Returns the exact accuracy of sentence counts, in percent."""
    correct, tokens = map(sum, zip(*rows, strict=True))
    return Fraction(100 * correct, tokens)


def every_difference(first: Sequence[Rows], second: Sequence[Rows], score=f1) -> list[Fraction]:
    """Returns the sorted differences of all draws of N of N sentences and of S - 1 of S seeds of each run."""
    differences = []
    for indices in product(range(len(first[0])), repeat=len(first[0])):
        ours, theirs = ([score([rows[index] for index in indices]) for rows in run] for run in (first, second))
        for drawn in product(ours, repeat=max(len(ours) - 1, 1)):
            differences += [
                statistics.mean(other) - statistics.mean(drawn)
                for other in product(theirs, repeat=max(len(theirs) - 1, 1))
            ]
    return sorted(differences)


@pytest.mark.parametrize(
    ("columns", "first", "second", "score"),
    [
        (SPANS, ORACLE, [[(1, 1, 2), (1, 1, 1), (2, 2, 2)], [(2, 2, 2), (1, 1, 1), (2, 3, 2)]], f1),
        (SPANS, ORACLE[:1], ORACLE[1:2], f1),
        (SPANS, [[(0, 0, 0), (0, 1, 0), (1, 1, 1)]] * 2, [[(0, 0, 0), (0, 0, 0), (1, 1, 1)]], f1),
        (TOKENS, [[(3, 5), (1, 1), (0, 4)], [(4, 5), (1, 1), (1, 4)]], [[(5, 5), (0, 1), (3, 4)]] * 3, accuracy),
    ],
)
def test_the_distribution_agrees_with_an_enumeration_of_all_resamples(
    tmp_path: Path, columns, first, second, score
) -> None:
    result = compare(
        write_run(tmp_path / "a", first, columns=columns),
        write_run(tmp_path / "b", second, columns=columns),
        samples=200_000,
    )
    ours, theirs = (list(map(score, run)) for run in (first, second))
    difference = statistics.mean(theirs) - statistics.mean(ours)
    assert result.score == score.__name__
    assert result.first.scores == pytest.approx(list(map(float, ours)))
    assert (result.first.mean, result.second.mean) == pytest.approx(
        (float(statistics.mean(ours)), float(statistics.mean(theirs)))
    )
    assert result.first.sd == (pytest.approx(statistics.stdev(map(float, ours))) if len(ours) > 1 else None)
    assert result.difference == pytest.approx(float(difference))
    every = every_difference(first, second, score)
    fraction = sum(abs(value - difference) >= abs(difference) for value in every) / len(every)
    assert result.p == pytest.approx(fraction, abs=0.006)  # five standard errors of the simulation
    for bound, quantile in zip(result.interval, (0.025, 0.975), strict=True):
        near = [every[math.floor((quantile + by) * len(every))] for by in (-0.003, 0.003)]
        assert float(near[0]) - 1e-9 <= bound <= float(near[1]) + 1e-9


def test_each_difference_is_computed_from_the_drawn_sentences_and_seeds() -> None:
    draw = random.Random(1)
    runs = [
        [[(draw.randint(0, 1), draw.randint(1, 2), draw.randint(1, 3)) for _ in range(5)] for _ in range(3)]
        for _ in "ab"
    ]
    terms = [resampling.stack_terms([Counts("d", SPANS, tuple(rows)) for rows in run]) for run in runs]
    result = comparison.resample(*terms, samples=7, random=np.random.default_rng(3))
    generators = np.random.default_rng(3).spawn(3)
    indices, ours, theirs = (
        drawing.integers(upto, size=size)
        for drawing, upto, size in zip(generators, (5, 3, 3), ((7, 5), (7, 2), (7, 2)), strict=True)
    )
    for number in range(7):
        scores = [[f1([rows[index] for index in indices[number]]) for rows in run] for run in runs]
        means = [
            statistics.mean(each[seed] for seed in drawn[number])
            for each, drawn in zip(scores, (ours, theirs), strict=True)
        ]
        assert result[number] == pytest.approx(float(means[1] - means[0]))


def rows(sentences: int, right: float, seed: int) -> Rows:
    """Returns counts of sentences with two entities each, which are predicted with a probability."""
    draw = random.Random(seed)
    return [(sum(draw.random() < right for _ in range(2)), 2, 2) for _ in range(sentences)]


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_a_run_does_not_differ_from_itself(tmp_path: Path, seeds: int) -> None:
    run = write_run(tmp_path / "a", [rows(50, 0.8, seed) for seed in range(seeds)])
    result = compare(run, run, samples=500)
    assert (result.difference, result.p) == (0, 1)
    assert result.interval[0] <= 0 <= result.interval[1]
    assert (result.interval == (0, 0)) == (seeds == 1)


def test_a_clearly_better_run_is_significant_with_the_right_difference(tmp_path: Path) -> None:
    worse = write_run(tmp_path / "a", [rows(400, 0.6, seed) for seed in range(3)])
    better = write_run(tmp_path / "b", [rows(400, 0.8, seed) for seed in range(3, 6)])
    result, back = compare(worse, better, samples=1000), compare(better, worse, samples=1000)
    assert 0 < result.interval[0] < 15 < 25 < result.interval[1] + 8
    assert result.p == back.p == 1 / 1001
    assert result.difference == pytest.approx(20, abs=4)
    assert back.difference == -result.difference
    assert "difference +" in str(result)


def test_resampled_seeds_have_the_variance_of_a_mean(tmp_path: Path) -> None:
    """All sentences have the same counts, so that only the seeds vary."""
    first, second = ([[(n, 100, 100)] * 4 for n in numbers] for numbers in ((80, 84, 91), (70, 71)))
    terms = [resampling.stack_terms([Counts("d", SPANS, tuple(rows)) for rows in run]) for run in (first, second)]
    result = comparison.resample(*terms, samples=100_000, random=np.random.default_rng(0))
    expected = statistics.variance((80, 84, 91)) / 3 + statistics.variance((70, 71)) / 2
    assert np.var(result) == pytest.approx(expected, rel=0.02)


def test_equal_seeds_give_equal_figures_for_any_chunk_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (write_run(tmp_path / name, [rows(30, 0.7, ord(name) + n) for n in range(2)]) for name in "ab")
    result = compare(first, second, samples=100)
    assert compare(first, second, samples=100) == result
    assert compare(first, second, samples=100, seed=1).interval != result.interval
    monkeypatch.setattr(resampling, "_CELLS", 1)
    assert compare(first, second, samples=100) == result


def test_a_run_of_one_seed_is_compared_with_a_note(tmp_path: Path) -> None:
    result = compare(
        single(tmp_path / "a", rows(20, 0.5, 1)), write_run(tmp_path / "b", [rows(20, 0.5, n) for n in (2, 3)])
    )
    assert (result.first.seeds, result.first.sd) == ((1,), None)
    assert f"{tmp_path}/a has one seed: the variation between seeds is not included" in str(result)
    assert f"{tmp_path}/b has one seed" not in str(result)


def test_runs_on_other_data_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", ORACLE)
    for number, other in enumerate(
        (
            write_run(tmp_path / "b", ORACLE, data="other"),
            write_run(tmp_path / "c", [[(1, 2)] * 3], columns=TOKENS),
            write_run(tmp_path / "d", [ORACLE[0][:2]]),
        )
    ):
        with pytest.raises(
            ModelError, match=rf"/{'bcd'[number]}: was scored on other test data than .*/a: expected sha256"
        ):
            compare(run, other)


def test_a_run_without_scores_is_refused_in_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", ORACLE)
    (tmp_path / "none").mkdir()
    for path in (tmp_path / "none", tmp_path / "nowhere"):
        with pytest.raises(StorageError, match="holds no finished training to compare"):
            compare(run, path)
    with pytest.raises(StorageError, match="was trained without test data"):
        compare(run, write_run(tmp_path / "b", ORACLE, on="dev"))
    (tmp_path / "none" / "config.yaml").write_text(config.dump(Config()))
    with pytest.raises(StorageError, match=r"found no counts\.json; expected the directory of a finished training run"):
        compare(run, tmp_path / "none")
    with pytest.raises(ConfigError, match="samples must be from 1 to 1000000"):
        compare(run, run, samples=0)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"test": 1}', '{"test": {"data": "d", "columns": ["a"], "rows": [[1, 2]]}}', "[" * 10_000]
)
def test_damaged_counts_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    run = write_run(tmp_path / "a", ORACLE)
    (run / "seed-1" / "counts.json").write_text(text)
    with pytest.raises(ModelError, match=r"seed-1/counts.json: cannot be read"):
        compare(run, run)


def test_unfinished_seeds_are_omitted_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = write_run(tmp_path / "a", ORACLE)
    (run / "seed-1" / "counts.json").unlink()
    assert compare(run, run, samples=10).first.seeds == (0, 2)
    assert "unfinished seeds are omitted: 1" in caplog.text
