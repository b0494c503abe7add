"""Trainings of one recipe with many variations, each under several seeds: begun, gone on with and read.

Each variation is a run of `tagger train RECIPE --seeds …` by itself, in a directory of its own. What is finished is not
trained again, and what was stopped goes on; of what is finished the checkpoints are deleted, models and records stay.
"""

import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arguments
import torch
from arguments import whole_number
from matplotlib.figure import Figure
from writing import Row

from tagger import config, experiments, import_path
from tagger.errors import ConfigError, TaggerError, TrainingError
from tagger.experiments import runs
from tagger.experiments.runs import ExperimentResult
from tagger.training.corpora import with_paths
from tagger.training.run_dir import CONFIG

NER = "CoNLL-2003 NER"


@dataclass(frozen=True)
class Corpus:
    """What is trained on, and how.

    Attributes:
        name: of the corpus and the task.
        data: the directory of its files.
        recipe: a name or a file.
        settings: what differs from the recipe in all variations, as `--set` takes it.
        vectors: tables of word vectors.
    """

    name: str
    data: Path
    recipe: str
    settings: tuple[str, ...]
    vectors: tuple[Path, ...]


@dataclass(frozen=True)
class Variation:
    """A corpus' recipe with some settings of its own, and the directory of its run."""

    corpus: Corpus
    settings: tuple[str, ...]
    run: Path

    def results(self) -> ExperimentResult | None:
        """Returns what the seeds that are finished came to, None if there are none.

        Raises:
            ConfigError: the run has other settings.
        """
        if not runs.has_seed_dirs(self.run):
            return None
        self._check_same()
        found = runs.collect_results(self.run, runs.read_seeds(self.run)[0], None)
        return found if found.results else None

    def train(self, seeds: Sequence[int], threads: int) -> str:
        """Trains the seeds that are not finished; returns what went wrong, if anything."""
        places = [runs.seed_dir(self.run, seed) for seed in seeds]
        if not all(map(runs.is_finished, places)):
            done = subprocess.run(
                self._command(seeds),
                check=False,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            if done.returncode:
                return f"{self.run}: exit code {done.returncode}\n{done.stderr[-2000:]}"
        for place in filter(runs.is_finished, places):
            for checkpoint in place.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
        print(f"{self.run.name}: {self.results()}", file=sys.stderr)
        return ""

    def _check_same(self) -> None:
        corpus, parts = self.corpus, dict.fromkeys(("train", "dev", "test"))
        wanted = config.load(corpus.recipe, [*corpus.settings, *self.settings])
        wanted = with_paths(wanted, folder=corpus.data, parts=parts, vectors=corpus.vectors)
        if config.dump(config.load(str(self.run / CONFIG))) != config.dump(wanted):
            raise ConfigError(f"{self.run}: was begun with other settings; take them, or another --runs")

    def _command(self, seeds: Sequence[int]) -> list[str]:
        before = runs.read_seeds(self.run)[0] if runs.has_seed_dirs(self.run) else ()
        given = ",".join(map(str, dict.fromkeys((*before, *seeds))))
        command = import_path.command("from tagger.cli import main; main()")
        command += ["train", self.corpus.recipe, "--data", str(self.corpus.data)]
        command += [part for table in self.corpus.vectors for part in ("--vectors", str(table))]
        command += [part for setting in (*self.corpus.settings, *self.settings) for part in ("--set", setting)]
        return [*command, "--seeds", given, "--out", str(self.run), "--device", "cpu", *["--resume"] * bool(before)]


def place(folder: Path, *names: str) -> Path:
    """Returns the directory of a training that is called by some names.

    >>> place(Path("runs"), "UD-EWT UPOS", "LSTM, self-attention").name
    'ud-ewt-upos-lstm-self-attention'
    """
    return folder / "-".join(names).replace(",", "").replace(" ", "-").lower()


def train(variations: Mapping[Variation, Sequence[int]], *, jobs: int) -> None:
    """Trains the seeds of all variations, `jobs` variations at a time, in their order.

    Raises:
        TrainingError: a training failed; the others are finished.
    """
    threads = max(1, torch.get_num_threads() // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            faults = list(filter(None, pool.map(lambda each: each[0].train(each[1], threads), variations.items())))
        except KeyboardInterrupt:  # what runs was told so too, and saves
            pool.shutdown(cancel_futures=True)
            raise
    if faults:
        raise TrainingError(*faults)


def scored(variation: Variation, against: Variation) -> dict[str, Any] | None:
    """Returns a variation's columns of a table: seeds, scores and what `compared` says; None if no seed is finished."""
    found = variation.results()
    if found is None:
        return None
    assert found.dev is not None
    assert found.test is not None
    row: dict[str, Any] = {
        "seeds": len(found.results),
        "dev": found.dev.mean,
        "dev sd": found.dev.sd,
        "test": found.test.mean,
        "test sd": found.test.sd,
    }
    if variation != against and against.results():
        return row | compared(variation, against)
    return row | {"difference": None, "p": None}


def compared(variation: Variation, against: Variation) -> dict[str, float]:
    """Returns by how much a variation's test score is above another's, and the p-value of `tagger compare`."""
    found = experiments.compare(against.run, variation.run)
    return {"difference": found.difference, "p": found.p}


def finished(tables: Mapping[str, Sequence[Row]]) -> dict[str, Sequence[Row]]:
    """Returns the tables that have a row.

    Raises:
        ConfigError: none has.
    """
    found = {title: rows for title, rows in tables.items() if rows}
    if not found:
        raise ConfigError("no training in --runs is finished; leave out --no-train")
    return found


def grouped(rows: Sequence[Row], *, by: Sequence[str], then: str) -> dict[tuple[str, ...], dict[str, Row]]:
    """Returns rows by what they have in some columns, then by another."""
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        found.setdefault(tuple(str(row[title]) for title in by), {})[str(row[then])] = row
    return found


def picture(tables: Mapping[str, Sequence[Row]], *, by: Sequence[str], then: str) -> Figure:
    """Draws each corpus' test scores over a column's values, a mark for each group of others."""
    figure = Figure(figsize=(6 * len(tables), 4.5), layout="constrained")
    for place, (title, rows) in enumerate(tables.items(), 1):
        axes = figure.add_subplot(1, len(tables), place)
        names = list(dict.fromkeys(row[then] for row in rows))
        found = grouped(rows, by=by, then=then)
        for number, (group, by_name) in enumerate(found.items()):
            places = [names.index(name) + 0.12 * (number - (len(found) - 1) / 2) for name in by_name]
            scores = [row["test"] for row in by_name.values()]
            spread = [row["test sd"] or 0.0 for row in by_name.values()]
            axes.errorbar(places, scores, spread, fmt="o", capsize=2, markersize=4, label=", ".join(group))
        axes.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names], fontsize=8)
        axes.set_title(f"{title}: test, mean ± sd", fontsize=9)
        axes.grid(alpha=0.3)
        if len(found) > 1:
            axes.legend(fontsize=7, loc="lower left")
    return figure


def run(main: Callable[[], None]) -> None:
    """Runs a study; tells a fault of its options or data, and that it was stopped, in a line each."""
    try:
        main()
    except TaggerError as error:
        print(*error.faults, sep="\n", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        raise SystemExit(130) from None


def parser(doc: str | None, names: Iterable[str]) -> ArgumentParser:
    """Returns a parser of the options that studies of trainings have, over encoders or cells of some names."""
    found = arguments.parser(doc)
    found.add_argument("--ner", type=Path, metavar="DIR", help="CoNLL-2003 in columns: train.txt, valid.txt, test.txt")
    found.add_argument("--upos", type=Path, metavar="DIR", help="UD English-EWT: en_ewt-ud-train.conllu, …")
    found.add_argument("--vectors", type=Path, action="append", default=[], metavar="TABLE", help="once or more")
    found.add_argument("--runs", type=Path, required=True, metavar="DIR", help="where trainings are kept")
    found.add_argument("--seeds", type=experiments.parse_seeds, default=(1, 2, 3), help="1,2,3 or 1-3")
    found.add_argument("--jobs", type=whole_number(1), default=2, help="trainings at a time")
    found.add_argument("--whole", action="store_true", help="take the recipes as they are, not cut down")
    found.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every recipe")
    found.add_argument("--only", action="append", choices=list(names), help="to train, once or more")
    found.add_argument("--no-train", action="store_true", help="write what is finished")
    return found


def corpora(options: Namespace) -> list[Corpus]:
    """Returns the corpora that the options name, each with its recipe, or that cut down, so that many can be trained.

    Cut down it has six epochs, whose weights are averaged over a shorter time to suit them, and layers half as wide;
    UPOS has the batches and the rate of NER. Documents are not read: they would tell one direction what stands on the
    other side.
    """
    short = (
        "training.epochs=6",
        "training.ema_decay=0.998",
        "model.encoder.hidden_size=100",
        "model.document_context.output_dim=0",
    )
    large = ("training.batch_size=32", "training.optimizer.learning_rate=0.04")
    less = ((), ()) if options.whole else (short, (*short, *large))
    given = ((NER, options.ner, "ner-conll2003-fast"), ("UD-EWT UPOS", options.upos, "pos-ewt"))
    found = [
        Corpus(name, data, recipe, (*settings, *options.set), tuple(options.vectors))
        for (name, data, recipe), settings in zip(given, less, strict=True)
        if data
    ]
    if not found:
        raise ConfigError("give --ner, --upos or both")
    return found
