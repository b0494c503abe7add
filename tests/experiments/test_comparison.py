"""The comparison of systems, against an enumeration of all resamples and in cases with known results."""

import json
import math
import random
import re
import statistics
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

import tagger
from tagger import config
from tagger.config import Config
from tagger.errors import ConfigError, DataError, ModelError, StorageError
from tagger.evaluation import SPANS, TOKENS, Counts, resampling
from tagger.experiments import compare, significance
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
    (compared,) = result.differences
    assert result.score == score.__name__
    assert result.baseline.scores == pytest.approx(list(map(float, ours)))
    assert (result.baseline.mean, compared.system.mean) == pytest.approx(
        (float(statistics.mean(ours)), float(statistics.mean(theirs)))
    )
    assert result.baseline.sd == (pytest.approx(statistics.stdev(map(float, ours))) if len(ours) > 1 else None)
    assert compared.difference == pytest.approx(float(difference))
    every = every_difference(first, second, score)
    fraction = sum(abs(value - difference) >= abs(difference) for value in every) / len(every)
    assert compared.bootstrap_p == pytest.approx(fraction, abs=0.006)  # five standard errors of the simulation
    for bound, quantile in zip(compared.interval, (0.025, 0.975), strict=True):
        near = [every[math.floor((quantile + by) * len(every))] for by in (-0.003, 0.003)]
        assert float(near[0]) - 1e-9 <= bound <= float(near[1]) + 1e-9


def test_each_difference_is_computed_from_the_drawn_sentences_and_seeds() -> None:
    draw = random.Random(1)
    runs = [
        [[(draw.randint(0, 1), draw.randint(1, 2), draw.randint(1, 3)) for _ in range(5)] for _ in range(3)]
        for _ in "ab"
    ]
    terms = [resampling.stack_terms([Counts("d", SPANS, tuple(rows)) for rows in run]) for run in runs]
    result = significance.resample(*terms, samples=7, random=np.random.default_rng(3))
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
    (result,) = compare(run, run, samples=500).differences
    assert (result.difference, result.bootstrap_p, result.randomisation_p) == (0, 1, 1)
    assert result.interval[0] <= 0 <= result.interval[1]
    assert (result.interval == (0, 0)) == (seeds == 1)


def test_a_clearly_better_run_is_significant_with_the_right_difference(tmp_path: Path) -> None:
    worse = write_run(tmp_path / "a", [rows(400, 0.6, seed) for seed in range(3)])
    better = write_run(tmp_path / "b", [rows(400, 0.8, seed) for seed in range(3, 6)])
    comparison = compare(worse, better, samples=1000)
    (result,), (back,) = comparison.differences, compare(better, worse, samples=1000).differences
    assert 0 < result.interval[0] < 15 < 25 < result.interval[1] + 8
    assert result.bootstrap_p == back.bootstrap_p == 1 / 1001
    assert result.randomisation_p == back.randomisation_p == 2 / math.comb(6, 3)
    assert result.difference == pytest.approx(20, abs=4)
    assert back.difference == -result.difference
    assert re.search(r"/b +\d\d\.\d\d ± \d\.\d\d +\+\d\d\.\d\d +\+", str(comparison))
    assert "randomisation exchanges trainings; with 3 and 3 of them its p is at least 0.1000" in str(comparison)


def test_resampled_seeds_have_the_variance_of_a_mean(tmp_path: Path) -> None:
    """All sentences have the same counts, so that only the seeds vary."""
    first, second = ([[(n, 100, 100)] * 4 for n in numbers] for numbers in ((80, 84, 91), (70, 71)))
    terms = [resampling.stack_terms([Counts("d", SPANS, tuple(rows)) for rows in run]) for run in (first, second)]
    result = significance.resample(*terms, samples=100_000, random=np.random.default_rng(0))
    expected = statistics.variance((80, 84, 91)) / 3 + statistics.variance((70, 71)) / 2
    assert np.var(result) == pytest.approx(expected, rel=0.02)


def test_equal_seeds_give_equal_figures_for_any_chunk_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (write_run(tmp_path / name, [rows(30, 0.7, ord(name) + n) for n in range(2)]) for name in "ab")
    result = compare(first, second, samples=100)
    assert compare(first, second, samples=100) == result
    assert compare(first, second, samples=100, seed=1).differences != result.differences
    monkeypatch.setattr(resampling, "_CELLS", 1)
    assert compare(first, second, samples=100) == result


def test_a_run_of_one_seed_is_compared_with_a_note(tmp_path: Path) -> None:
    result = compare(
        single(tmp_path / "a", rows(20, 0.5, 1)), write_run(tmp_path / "b", [rows(20, 0.5, n) for n in (2, 3)])
    )
    assert (result.baseline.seeds, result.baseline.sd) == ((1,), None)
    assert f"{tmp_path}/a has one seed: the variation between seeds is not included" in str(result)
    assert f"{tmp_path}/b has one seed" not in str(result)
    assert "F1 on test, mean ± sd of seeds; differences" in str(result)
    twice = str(compare(tmp_path / "a", tmp_path / "a", samples=10))
    assert twice.count("has one seed") == 1


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
    assert compare(run, run, samples=10).baseline.seeds == (0, 2)
    assert "unfinished seeds are omitted: 1" in caplog.text


def exact_p(values: Sequence[Fraction], difference: Fraction) -> float:
    """Returns the fraction of differences that are at least as large as a difference."""
    return sum(abs(value) >= abs(difference) for value in values) / len(values)


@pytest.mark.parametrize(
    ("columns", "first", "second", "score"),
    [
        (SPANS, [(1, 1, 2), (0, 2, 1), (2, 2, 2), (0, 0, 1)], [(2, 2, 2), (1, 1, 1), (2, 3, 2), (1, 1, 1)], f1),
        (SPANS, [(1, 3, 2), (0, 0, 0), (1, 1, 1)], [(0, 1, 2), (0, 0, 0), (1, 2, 1)], f1),
        (TOKENS, [(3, 5), (1, 1), (0, 4)], [(5, 5), (0, 1), (3, 4)], accuracy),
    ],
)
def test_randomisation_of_two_models_agrees_with_every_exchange_of_sentences(columns, first, second, score) -> None:
    differences = []
    for is_exchanged in product((False, True), repeat=len(first)):
        pairs = [pair[::-1] if swap else pair for swap, *pair in zip(is_exchanged, first, second, strict=True)]
        ours, theirs = zip(*pairs, strict=True)
        differences.append(score(theirs) - score(ours))
    terms = [resampling.stack_terms([Counts("d", columns, tuple(each))]) for each in (first, second)]
    p = significance.randomisation_p(*terms, samples=100_000, random=np.random.default_rng(0))
    assert p == pytest.approx(exact_p(differences, score(second) - score(first)), abs=0.006)


@pytest.mark.parametrize(("sizes", "samples"), [((2, 3), 100), ((3, 3), 100), ((1, 3), 100), ((5, 6), 100_000)])
def test_randomisation_of_several_seeds_agrees_with_every_exchange_of_trainings(sizes, samples) -> None:
    draw = random.Random(5)
    runs = [[[(draw.randint(0, 2), 2, draw.randint(1, 3)) for _ in range(4)] for _ in range(size)] for size in sizes]
    scores = [f1(rows) for run in runs for rows in run]
    differences = [
        statistics.mean(scores[n] for n in range(len(scores)) if n not in chosen)
        - statistics.mean(scores[n] for n in chosen)
        for chosen in combinations(range(len(scores)), sizes[0])
    ]
    terms = [resampling.stack_terms([Counts("d", SPANS, tuple(rows)) for rows in run]) for run in runs]
    expected = exact_p(differences, differences[0])
    p = significance.randomisation_p(*terms, samples=samples, random=np.random.default_rng(0))
    assert p == (pytest.approx(expected, abs=1e-12 if len(differences) <= samples else 0.006))
    random_p = significance.randomisation_p(*terms, samples=4, random=np.random.default_rng(0))
    assert random_p in [count / 5 for count in range(1, 6)] or len(differences) <= 4


def test_the_smallest_p_is_that_of_trainings_of_which_all_of_a_run_are_better() -> None:
    for sizes in ((2, 2), (3, 3), (1, 3), (2, 5)):
        runs = [
            [[(count, 9, 9)] for count in range(start, start + size)] for start, size in zip((0, 6), sizes, strict=True)
        ]
        terms = [resampling.stack_terms([Counts("d", SPANS, tuple(rows)) for rows in run]) for run in runs]
        p = significance.randomisation_p(*terms, samples=1000, random=np.random.default_rng(0))
        assert p == pytest.approx(significance.smallest_p(*sizes))


def test_corrected_p_values_are_those_of_the_closed_test() -> None:
    """Holm's method rejects a hypothesis if Bonferroni's rejects every set of hypotheses with it."""
    draw = random.Random(6)
    for _ in range(100):
        values = [draw.choice([0.001, 0.01, 0.02, 0.04, 0.2, 0.6, draw.random()]) for _ in range(draw.randint(1, 5))]
        expected = [
            max(
                min(1, len(subset) * min(values[n] for n in subset))
                for size in range(1, len(values) + 1)
                for subset in combinations(range(len(values)), size)
                if index in subset
            )
            for index in range(len(values))
        ]
        assert significance.correct_by_holm(values) == pytest.approx(expected)


@pytest.mark.parametrize(("seeds", "sentences", "pairs"), [(1, 40, 500), (5, 20, 500)])
def test_equal_systems_differ_significantly_in_about_one_of_twenty_pairs(
    seeds: int, sentences: int, pairs: int
) -> None:
    """Sentences differ in difficulty and, with several seeds, trainings in quality."""
    draw = np.random.default_rng(7)
    difficulty = draw.uniform(0.3, 0.9, (pairs, sentences, 1))
    significant = 0
    for each in difficulty:
        quality = draw.normal(0, 0.1, 2 * seeds) if seeds > 1 else 0
        correct = draw.binomial(3, np.clip(each + quality, 0, 1), (sentences, 2 * seeds))
        terms = np.stack([correct, np.full_like(correct, 3)]).astype(float)
        p = significance.randomisation_p(terms[..., :seeds], terms[..., seeds:], samples=400, random=draw)
        significant += p < 0.05
    assert 0.02 < significant / pairs < 0.08


def test_several_systems_are_one_table_with_corrected_p_values(tmp_path: Path) -> None:
    first, second, third = (
        single(tmp_path / name, rows(60, right, seed))
        for seed, (name, right) in enumerate(zip("abc", (0.5, 0.9, 0.6), strict=True))
    )
    result = compare(first, second, third, samples=200)
    assert [each.system.name for each in result.differences] == [str(second), str(third)]
    alone = [compare(first, other, samples=200).differences[0] for other in (second, third)]
    for name in ("bootstrap", "randomisation"):
        values = [getattr(each, f"{name}_p") for each in alone]
        assert [getattr(each, f"{name}_corrected") for each in alone] == values
        assert [getattr(each, f"{name}_p") for each in result.differences] == values
        assert min(values) == values[0] < 0.01
        corrected = [getattr(each, f"{name}_corrected") for each in result.differences]
        assert corrected == pytest.approx([2 * values[0], max(values[1], 2 * values[0])])
    back = compare(first, second, third, baseline=third, samples=200)
    assert back.baseline.name == str(third)
    assert [each.system.name for each in back.differences] == [str(first), str(second)]
    table = [line.split() for line in str(result).splitlines()[2:5]]
    assert [row[0] for row in table] == [str(first), str(second), str(third)]
    for each, row in zip(result.differences, table[1:], strict=True):
        shown = each.system.mean, each.difference, *each.interval
        tests = each.bootstrap_p, each.bootstrap_corrected, each.randomisation_p, each.randomisation_corrected
        assert row[1:] == "{:.2f} {:+.2f} {:+.2f} to {:+.2f} {:.4f} {:.4f} {:.4f} {:.4f}".format(*shown, *tests).split()
    with pytest.raises(ConfigError, match=r"/d: the `baseline` is none of the systems .*/a or .*/b"):
        compare(first, second, baseline=tmp_path / "d")
    with pytest.raises(ConfigError, match="expected at least two `systems`"):
        compare(first)


GOLD = [["B-X", "I-X", "O"], ["B-Y"], ["O", "B-X"]]
PREDICTIONS = [[["B-X", "O", "O"], ["B-Y"], ["O", "B-X"]], [["B-X", "I-X", "O"], ["B-X"], ["O", "O"]]]


def columns(path: Path, *sides: Sequence[Sequence[str]]) -> Path:
    """Writes sentences of the tokens t0, t1, … with columns of tags."""
    sentences = (zip(*sentence, strict=True) for sentence in zip(*sides, strict=True))
    path.write_text("\n".join("".join(f"t{n} {' '.join(row)}\n" for n, row in enumerate(each)) for each in sentences))
    return path


def test_files_of_predictions_and_tagged_files_are_compared(tmp_path: Path) -> None:
    gold, paths, both = columns(tmp_path / "gold.conll", GOLD), [], []
    for number, predicted in enumerate(PREDICTIONS):
        lines = [
            {"tokens": [f"t{n}" for n in range(len(tags))], "gold": tags, "predicted": other, "probabilities": [0.5]}
            for tags, other in zip(GOLD, predicted, strict=True)
        ]
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        paths.append((path, columns(tmp_path / f"{number}.conll", predicted)))
        both.append(columns(tmp_path / f"both{number}.conll", GOLD, predicted))
    (written, tagged) = zip(*paths, strict=True)
    results = [
        tagger.compare(*written, samples=50),
        tagger.compare(*tagged, gold=gold, samples=50),
        tagger.compare(*both, predicted_column=2, samples=50),
    ]
    assert [result.baseline.scores for result in results] == [(pytest.approx(200 / 3),)] * 3
    assert [result.differences[0].system.mean for result in results] == [pytest.approx(40)] * 3
    assert len({(result.data, result.differences[0].bootstrap_p, result.on) for result in results}) == 1
    assert (results[0].on, results[0].baseline.seeds) == (None, ())
    assert "seeds" not in str(results[0])
    wrong = re.escape("0.conll: expected gold and predicted tags, found a file of the format columns; name the file")
    for options in ({}, {"input_format": "columns"}, {"tag_column": 1}):
        with pytest.raises(ConfigError, match=wrong):
            tagger.compare(*tagged, **options)
    named = [path.rename(path.with_suffix(".out")) for path in written]
    assert tagger.compare(*named, input_format="jsonl", samples=50).baseline.scores == results[0].baseline.scores
    with pytest.raises(DataError, match=r"swapped.conll: was scored on other data than .*both0.conll: expected sha256"):
        tagger.compare(both[0], columns(tmp_path / "swapped.conll", PREDICTIONS[1], GOLD), predicted_column=2)
    run = write_run(tmp_path / "run", [[(1, 1, 1)] * 3], data=results[0].data)
    assert tagger.compare(run, named[0], samples=50).differences[0].system.scores == results[0].baseline.scores
