"""Simulates annotation: how much data a model needs if `tagger select` selects the sentences, and if chance does.

    python scripts/simulate_selection.py TRAIN DEV TEST --vectors TABLE... [--start 200] [--add 200] [--rounds 10]

The first sentences to annotate are drawn by chance. After each training, sentences of the rest of TRAIN are annotated
with their gold tags: those that the measure selects or, as the baseline, as many that chance selects. Both share the
first model of a seed. The table has the mean F1 on TEST by the number of sentences. It also has the factor by which
random choice needs more sentences for the same F1, by linear interpolation.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from measure_audit import read_sentences, write

import tagger
from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.sentence import Sentence
from tagger.experiments import parse_seeds

RANDOM = "random"


def main() -> None:
    """Runs the simulation, prints the table and writes the figures."""
    options = parse_options()
    sentences = read_sentences(options.train, options.sentences)
    curves: dict[str, list[list[float]]] = {options.by: [], RANDOM: []}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in parse_seeds(options.seeds):
            for by, scores in simulate(sentences, seed, Path(temporary) / str(seed), options).items():
                curves[by].append(scores)
                print(f"seed {seed}, {by}: {' '.join(f'{score:.2f}' for score in scores)}", flush=True)
    sizes = [options.start + options.add * number for number in range(options.rounds + 1)]
    figures = summarize(sizes, curves, options.by)
    print(format_table(figures, options.by))
    if options.json:
        result = {"sizes": sizes, "scores": curves, "by size": figures, "recipe": options.recipe}
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
    parser.add_argument("--by", default="entropy", help="Measure of uncertainty, as of `tagger select`.")
    parser.add_argument("--start", type=int, default=200, help="Number of sentences of the first model.")
    parser.add_argument("--add", type=int, default=200, help="Number of sentences to annotate in each round.")
    parser.add_argument("--rounds", type=int, default=10, help="Number of rounds.")
    parser.add_argument("--seeds", default="1-3", help="Seeds of the models and of the first sentences [1-3].")
    parser.add_argument("--sentences", type=int, help="Number of sentences of TRAIN to use; all by default.")
    parser.add_argument("--json", type=Path, help="File for the figures.")
    return parser.parse_args()


def simulate(
    sentences: Sequence[Sentence], seed: int, folder: Path, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Returns the F1 of the models after each round, by the measure and by chance."""
    draw = random.Random(seed)
    start = sorted(draw.sample(range(len(sentences)), options.start))
    folder.mkdir(parents=True)
    first = train([sentences[number] for number in start], seed, folder / "first", options)
    scores = {}
    for by in (options.by, RANDOM):
        (score, model), annotated = first, list(start)
        scores[by] = [score]
        for number in range(options.rounds):
            rest = sorted(set(range(len(sentences))) - set(annotated))
            run = folder / f"{by}-{number + 1}"
            chosen = [] if by == RANDOM else select([sentences[index] for index in rest], model, run, options)
            # Chance fills a selection that near-duplicates make short.
            others = sorted(set(range(len(rest))) - set(chosen))
            chosen += draw.sample(others, options.add - len(chosen))
            annotated = sorted([*annotated, *(rest[index] for index in chosen)])
            score, model = train([sentences[index] for index in annotated], seed, run, options)
            scores[by].append(score)
    return scores


def train(sentences: Sequence[Sentence], seed: int, run: Path, options: argparse.Namespace) -> tuple[float, Path]:
    """Trains on sentences; returns the F1 on the test data and the directory of the model."""
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
    return result.test.mean, result.model_dir


def select(rest: Sequence[Sentence], model: Path, run: Path, options: argparse.Namespace) -> list[int]:
    """Returns the positions of the sentences that `tagger select` selects."""
    pool = run.with_name(f"{run.name}-pool.conll")
    write(rest, pool)
    read = reader.read_sentences(pool, input_format="columns", layout=Layout(), tagged=True)
    positions = {line: number for number, line in enumerate(each.line for each in read if each.tokens)}
    items = tagger.select(model, pool, count=options.add, by=options.by, input_format="columns").items
    return [positions[item.line] for item in items]


def summarize(sizes: Sequence[int], curves: Mapping[str, Sequence[Sequence[float]]], by: str) -> list[dict[str, float]]:
    """Returns a row for each size: mean and standard deviation of both F1, and how much more data chance needs.

    The factor is None where random choice reaches the mean F1 at no size that was simulated.
    """
    means = {name: [statistics.mean(column) for column in zip(*rows, strict=True)] for name, rows in curves.items()}
    rows = []
    for number, size in enumerate(sizes):
        row: dict[str, float] = {"size": size}
        for name, scores in curves.items():
            column = [each[number] for each in scores]
            row[name] = round(means[name][number], 2)
            row[f"{name} sd"] = round(statistics.stdev(column), 2) if len(column) > 1 else 0.0
        needed = find_size(sizes, means[RANDOM], means[by][number])
        row["factor"] = None if needed is None else round(needed / size, 2)  # type: ignore[assignment]
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


def format_table(rows: Sequence[Mapping[str, float | None]], by: str) -> str:
    """Returns the rows as a table."""
    lines = [f"sentences{by:>18}{'sd':>7}{RANDOM:>9}{'sd':>7}{'random needs':>14}"]
    for row in rows:
        factor = "more" if row["factor"] is None else f"{row['factor']:.2f} x"
        scores = f"{row[by]:>18.2f}{row[f'{by} sd']:>7.2f}{row[RANDOM]:>9.2f}{row[f'{RANDOM} sd']:>7.2f}"
        lines.append(f"{row['size']:>9}{scores}{factor:>14}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
