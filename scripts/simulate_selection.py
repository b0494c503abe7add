"""Simulates annotation: how much data a model needs if `tagger select` selects the sentences, and if chance does.

    python scripts/simulate_selection.py TRAIN DEV TEST --vectors TABLE... [--by errors entropy] [--add 200]

The first sentences to annotate are drawn by chance. After each training, sentences of the rest of TRAIN are annotated
with their gold tags: those that a measure selects or, as the baseline, as many that chance selects. All share the first
model of a seed. The table has the mean F1 on TEST by the number of sentences, and the tokens to annotate. It also has
the factor by which random choice needs more sentences for the same F1, by linear interpolation.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, get_args

from measure_audit import read_sentences, write

import tagger
from tagger.choices import Uncertainty
from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.sentence import Sentence
from tagger.experiments import parse_seeds

RANDOM = "random"


class Point(NamedTuple):
    """A point of a curve: the F1 of a model, and the number of tokens that it was trained on."""

    f1: float
    tokens: int


Curves = dict[str, list[list[Point]]]
"""Of each measure, the points of each seed, by size."""


def main() -> None:
    """Runs the simulation, prints the table and writes the figures."""
    options = parse_options()
    sentences = read_sentences(options.train, options.sentences)
    curves: Curves = {by: [] for by in (*options.by, *([] if options.without_chance else [RANDOM]))}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in parse_seeds(options.seeds):
            for by, points in simulate(sentences, seed, list(curves), Path(temporary) / str(seed), options):
                curves[by].append(points)
                print(f"seed {seed}, {by}: {' '.join(f'{point.f1:.2f}' for point in points)}", flush=True)
    sizes = [options.start + options.add * number for number in range(options.rounds + 1)]
    figures = summarize(sizes, curves)
    print(format_table(figures, list(curves)))
    if options.json:
        result = {"sizes": sizes, "points": curves, "by size": figures, "recipe": options.recipe}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def parse_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("train", "dev", "test"):
        parser.add_argument(name, type=Path, help="File in columns, the token in the first one, the tag in the last.")
    parser.add_argument("--vectors", type=Path, nargs="+", default=[], help="Tables of word vectors.")
    parser.add_argument("--recipe", default="ner-conll2003-fast", help="Recipe of the models.")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="Override a setting (repeatable).")
    parser.add_argument("--epochs", type=int, help="Number of epochs of each training; the recipe's by default.")
    measures = get_args(Uncertainty)
    parser.add_argument("--by", nargs="+", choices=measures, default=["errors"], help="As of `tagger select`.")
    parser.add_argument("--without-chance", action="store_true", help="Omit the selection by chance.")
    parser.add_argument("--start", type=int, default=200, help="Number of sentences of the first model.")
    parser.add_argument("--add", type=int, default=200, help="Number of sentences to annotate in each round.")
    parser.add_argument("--rounds", type=int, default=10, help="Number of rounds.")
    parser.add_argument("--seeds", default="1-3", help="Seeds of the models and of the first sentences [1-3].")
    parser.add_argument("--sentences", type=int, help="Number of sentences of TRAIN to use; all by default.")
    parser.add_argument("--json", type=Path, help="File for the figures.")
    return parser.parse_args()


def simulate(
    sentences: Sequence[Sentence], seed: int, measures: Sequence[str], folder: Path, options: argparse.Namespace
) -> Iterator[tuple[str, list[Point]]]:
    """Yields the points of each measure or of chance, from the first model on."""
    draw = random.Random(seed)
    start = sorted(draw.sample(range(len(sentences)), options.start))
    state = draw.getstate()
    folder.mkdir(parents=True)
    first = train([sentences[number] for number in start], seed, folder / "first", options)
    for by in measures:
        draw.setstate(state)
        (point, model), annotated = first, list(start)
        points = [point]
        for number in range(options.rounds):
            rest = sorted(set(range(len(sentences))) - set(annotated))
            run = folder / f"{by}-{number + 1}"
            chosen = [] if by == RANDOM else select([sentences[index] for index in rest], by, model, run, options)
            # Chance fills a selection that near-duplicates make short.
            others = sorted(set(range(len(rest))) - set(chosen))
            chosen += draw.sample(others, options.add - len(chosen))
            annotated = sorted([*annotated, *(rest[index] for index in chosen)])
            point, model = train([sentences[index] for index in annotated], seed, run, options)
            points.append(point)
        yield by, points


def train(sentences: Sequence[Sentence], seed: int, run: Path, options: argparse.Namespace) -> tuple[Point, Path]:
    """Trains on sentences; returns the point of the model, and its directory."""
    data = run.with_name(f"{run.name}.conll")
    write(sentences, data)
    columns = ["data.columns=[]", "data.token=0", "data.tag=-1"]
    epochs = [] if options.epochs is None else [f"training.epochs={options.epochs}"]
    result = tagger.train(
        options.recipe,
        train=data,
        dev=options.dev,
        test=options.test,
        vectors=options.vectors,
        out=run,
        seed=seed,
        settings=[*columns, *epochs, *options.settings],
    )
    assert result.test is not None
    return Point(result.test.mean, sum(map(len, sentences))), result.model_dir


def select(rest: Sequence[Sentence], by: str, model: Path, run: Path, options: argparse.Namespace) -> list[int]:
    """Returns the positions of the sentences that `tagger select` selects."""
    pool = run.with_name(f"{run.name}-pool.conll")
    write(rest, pool)
    read = reader.read_sentences(pool, input_format="columns", layout=Layout(), tagged=True)
    positions = {line: number for number, line in enumerate(each.line for each in read if each.tokens)}
    items = tagger.select(model, pool, count=options.add, by=by, input_format="columns").items
    return [positions[item.line] for item in items]


def summarize(sizes: Sequence[int], curves: Curves) -> list[dict[str, Any]]:
    """Returns a row for each size, with the figures of each measure.

    The figures are mean and standard deviation of F1, the mean number of tokens, and how much more data chance needs.
    The factor is None where random choice reaches the mean F1 at no size that was simulated, or was not simulated.
    """
    columns = {by: list(zip(*seeds, strict=True)) for by, seeds in curves.items()}
    means = {by: [statistics.mean(point.f1 for point in points) for points in column] for by, column in columns.items()}
    rows = []
    for number, size in enumerate(sizes):
        row: dict[str, Any] = {"size": size}
        for by, column in columns.items():
            points, mean = column[number], means[by][number]
            needed = find_size(sizes, means[RANDOM], mean) if RANDOM in means else None
            row[by] = {
                "f1": round(mean, 2),
                "sd": round(statistics.stdev(point.f1 for point in points), 2) if len(points) > 1 else 0.0,
                "tokens": round(statistics.mean(point.tokens for point in points)),
                "factor": None if needed is None else round(needed / size, 2),
            }
        rows.append(row)
    return rows


def find_size(sizes: Sequence[int], scores: Sequence[float], score: float) -> float | None:
    """Returns the smallest size at which a curve reaches a score, None if it does not.

    >>> find_size([100, 200, 300], [50.0, 70.0, 80.0], 75.0)
    250.0
    """
    if scores[0] >= score:
        return float(sizes[0])
    for (left, low), (right, high) in pairwise(zip(sizes, scores, strict=True)):
        if high >= score:
            return left + (right - left) * (score - low) / (high - low)
    return None


def format_table(rows: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> str:
    """Returns the rows as a table."""
    lines = [f"{'sentences':<10}{'by':<18}{'F1':>6}{'sd':>7}{'tokens':>9}{'random needs':>14}"]
    for row in rows:
        for by in measures:
            each = row[by]
            factor = "" if by == RANDOM or RANDOM not in row else f"{each['factor']} x" if each["factor"] else "more"
            lines.append(
                f"{row['size']:<10}{by:<18}{each['f1']:>6.2f}{each['sd']:>7.2f}{each['tokens']:>9}{factor:>14}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
