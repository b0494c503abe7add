"""Compares a search for settings with and without pruning: training seconds and the best dev score of the same trials.

    python scripts/benchmark_tuning.py TRAIN DEV [--vectors TABLE] [--recipe NAME] [--space FILE] [--trials 20]
        [--epochs 5] [--sentences N] [--seed 1] [--pruned] [--json FILE]

All trials are trained without pruning, by `tagger tune` with the random sampler: their settings depend on no score.
Whether a trial is pruned depends on the dev curves of the trials before it alone. So pruning is replayed on the curves:
the same decisions in the same order as one job makes them. `--pruned` also runs the search with pruning, with the same
settings, and checks that it prunes the same trials.

Rows, in seconds of training and scoring dev, without reading data:

    without pruning, with pruning    all trials; `best` is the highest dev score, `epochs` the number of epochs
    pruned / whole                   the fraction of the time
    any order                        the mean of that fraction over 500 random orders of the trials, how often it is at
                                     most 0.5, and how often the best score is over 0.1 points below the best
"""

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark_rounds import report_rows
from benchmark_systems import Result

import tagger
from tagger.experiments import pruning
from tagger.experiments.trials import Trial

SPACE: dict[str, Any] = {
    "training.optimizer.learning_rate": {"low": 0.005, "high": 0.16, "log": True},
    "training.batch_size": [16, 32, 64],
    "model.encoder.hidden_size": {"low": 100, "high": 250, "step": 50},
    "model.dropout.input": {"low": 0.0, "high": 0.6},
    "model.words.dropout": {"low": 0.0, "high": 0.3},
}
_ORDERS = 500


def replay(trials: Sequence[Trial], epochs: int) -> list[int]:
    """Returns the number of epochs that each trial is trained for with pruning, one trial after the other."""
    rungs = pruning.list_rungs(epochs)
    curves: list[Sequence[float]] = []
    for trial in trials:
        ended = next((rung for rung in rungs if not pruning.is_promising(trial.curve[:rung], curves, rungs)), None)
        curves.append(trial.curve[:ended])
    return [len(curve) for curve in curves]


def summarize(trials: Sequence[Trial], lengths: Sequence[int]) -> tuple[float, float]:
    """Returns the seconds of trials that are trained for so many epochs, and the best score of those not pruned."""
    seconds = sum(sum(trial.epoch_seconds[:length]) for trial, length in zip(trials, lengths, strict=True))
    whole = [trial for trial, length in zip(trials, lengths, strict=True) if length == len(trial.curve)]
    return seconds, max(max(trial.curve) for trial in whole)


def list_rows(trials: Sequence[Trial], epochs: int) -> Iterator[Result]:
    """Yields the rows of the table."""
    whole = [len(trial.curve) for trial in trials]
    pruned = replay(trials, epochs)
    seconds = {}
    for name, lengths in (("without pruning", whole), ("with pruning", pruned)):
        seconds[name], best = summarize(trials, lengths)
        yield {"row": name, "unit": "s", "value": seconds[name], "best": best, "epochs": sum(lengths)}
    yield {"row": "pruned / whole", "unit": "x", "value": seconds["with pruning"] / seconds["without pruning"]}
    ratios, regrets, generator = [], [], random.Random(0)
    best = summarize(trials, whole)[1]
    for _ in range(_ORDERS):
        shuffled = generator.sample(trials, len(trials))
        spent, found = summarize(shuffled, replay(shuffled, epochs))
        ratios.append(spent / seconds["without pruning"])
        regrets.append(best - found)
    fractions = {
        "at most 0.5": statistics.fmean(ratio <= 0.5 for ratio in ratios),
        "0.1 below": statistics.fmean(regret > 0.1 for regret in regrets),
    }
    yield {"row": "any order", "unit": "x", "value": statistics.fmean(ratios)} | fractions


def write_first(source: Path, target: Path, sentences: int | None) -> Path:
    """Writes the first blocks of a file in columns; returns the file, the source itself without a number."""
    if sentences is None:
        return source
    blocks = source.read_text("utf-8").split("\n\n")
    target.write_text("\n\n".join(blocks[:sentences]) + "\n", "utf-8")
    return target


def warm_up(arguments: argparse.Namespace, folder: Path) -> None:
    """Trains for an epoch on a few sentences, so that kernels are compiled before a trial is measured."""
    few = write_first(arguments.dev, folder / "few.txt", 20)
    settings = {"training.epochs": 1, "data.test": None}
    tagger.train(
        arguments.recipe, train=few, dev=few, settings=settings, out=folder / "warm-up", device=arguments.device
    )


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[Result]:
    """Yields the rows of a search."""
    out = arguments.out or folder / "whole"
    options: dict[str, Any] = {
        "space": arguments.space or SPACE,
        "trials": arguments.trials,
        "train": write_first(arguments.train, folder / "train.txt", arguments.sentences),
        "dev": write_first(arguments.dev, folder / "dev.txt", arguments.dev_sentences),
        "vectors": arguments.vectors or (),
        "settings": {"training.epochs": arguments.epochs, "data.test": None},
        "seed": arguments.seed,
        "sampler": "random",
        "device": arguments.device,
        "resume": True,
    }
    warm_up(arguments, folder)
    whole = tagger.tune(arguments.recipe, out=out, prune=False, **options).trials
    trials = [trial for trial in whole if trial.state == "finished"]
    yield from list_rows(trials, arguments.epochs)
    if arguments.pruned:
        result = tagger.tune(arguments.recipe, out=folder / "pruned", **options)
        ran = [trial.epochs for trial in result.trials if trial.state in ("finished", "pruned")]
        seconds = sum(trial.seconds for trial in result.trials)
        same = ran == replay(trials, arguments.epochs)
        yield {
            "row": "with pruning, run",
            "unit": "s",
            "value": seconds,
            "best": result.best and result.best.score,
            "same": str(same),
        }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="training file")
    parser.add_argument("dev", type=Path, help="development file")
    parser.add_argument("--vectors", type=Path, help="text table of word vectors, plain or .gz")
    parser.add_argument("--recipe", default="ner-conll2003-fast", help="recipe name or YAML file")
    parser.add_argument("--space", type=Path, help="YAML file of a search space, in place of the one in this script")
    parser.add_argument("--trials", type=int, default=20, help="number of trials")
    parser.add_argument("--epochs", type=int, default=5, help="number of epochs of a trial")
    parser.add_argument("--sentences", type=int, help="train on the first sentences only")
    parser.add_argument("--dev-sentences", type=int, help="score the first sentences only")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the settings and of the trainings")
    parser.add_argument("--out", type=Path, help="directory of the search without pruning, to resume it")
    parser.add_argument("--pruned", action="store_true", help="also run the search with pruning")
    parser.add_argument("--device", default="cpu", help="device to compute on")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    if min(arguments.trials, arguments.epochs) < 1:
        parser.error("--trials and --epochs must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        try:
            report_rows(measure(arguments, Path(folder)), Path(__file__).name, arguments.json)
        except tagger.TaggerError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
