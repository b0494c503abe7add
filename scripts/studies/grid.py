"""Trains variations of a recipe, each with several seeds, and reads their scores.

Each variation is one run of `tagger train RECIPE --seeds …` in its own directory. Finished seeds are not trained again,
and interrupted ones resume. The checkpoints of finished seeds are deleted; their models and records remain.
"""

import os
import shutil
import subprocess
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arguments
import torch
from arguments import integer_type
from matplotlib.figure import Figure
from writing import Row, Tables

from tagger import config, experiments, import_path
from tagger.errors import ConfigError, TaggerError, TrainingError
from tagger.experiments import runs
from tagger.experiments.runs import ExperimentResult
from tagger.training.corpora import with_paths
from tagger.training.run_dir import CONFIG

NER, UPOS = "NER", "UPOS"
RECIPES = {NER: "ner-conll2003-fast", UPOS: "pos-ewt"}
SHORT = (
    "training.epochs=6",
    "training.ema_decay=0.998",
    "model.encoder.hidden_size=100",
    "model.document_context.output_dim=0",
)
SHORT_SETTINGS = {NER: SHORT, UPOS: (*SHORT, "training.batch_size=32", "training.optimizer.learning_rate=0.04")}


@dataclass(frozen=True)
class Corpus:
    """The data of a study and its recipe.

    Attributes:
        data: the directory of the files.
        task: `NER` or `UPOS`.
        recipe: the name or file of a recipe.
        settings: the overrides of all variations, as for `--set`.
        vectors: tables of word vectors.
    """

    data: Path
    task: str
    recipe: str
    settings: tuple[str, ...] = ()
    vectors: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """The name of the data directory and the task.

        >>> Corpus(Path("data/conll2003"), NER, "recipe").title
        'conll2003 NER'
        """
        return f"{self.data.resolve().name} {self.task}"


@dataclass(frozen=True)
class Variation:
    """A corpus with additional settings, and the directory of its run."""

    corpus: Corpus
    settings: tuple[str, ...]
    run: Path

    def results(self) -> ExperimentResult | None:
        """Returns the results of the finished seeds, None if no seed is finished.

        Raises:
            ConfigError: the run was started with other settings.
        """
        if not runs.has_seed_dirs(self.run):
            return None
        self._check_settings()
        results = runs.read_results(self.run)
        return results if results.results else None

    def train(self, seeds: Sequence[int], threads: int) -> str:
        """Trains the unfinished seeds and returns the error message, empty on success."""
        seed_dirs = [runs.seed_dir(self.run, seed) for seed in seeds]
        if not all(map(runs.is_finished, seed_dirs)):
            process = subprocess.run(
                self._command(seeds),
                check=False,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            if process.returncode:
                return f"{self.run}: exit code {process.returncode}\n{process.stderr[-2000:]}"
        for seed_dir in filter(runs.is_finished, seed_dirs):
            for checkpoint in seed_dir.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
        print(f"{self.run.name}: {self.results()}", file=sys.stderr)
        return ""

    def _check_settings(self) -> None:
        corpus, parts = self.corpus, dict.fromkeys(("train", "dev", "test"))
        expected = config.load(corpus.recipe, [*corpus.settings, *self.settings])
        expected = with_paths(expected, folder=corpus.data, parts=parts, vectors=corpus.vectors)
        if config.dump(config.load(str(self.run / CONFIG))) != config.dump(expected):
            raise ConfigError(f"{self.run}: the run was started with other settings; use those or another --runs")

    def _command(self, seeds: Sequence[int]) -> list[str]:
        started = runs.read_seeds(self.run)[0] if runs.has_seed_dirs(self.run) else ()
        all_seeds = ",".join(map(str, dict.fromkeys((*started, *seeds))))
        command = import_path.command("from tagger.cli import main; main()")
        command += ["train", self.corpus.recipe, "--data", str(self.corpus.data)]
        command += [part for table in self.corpus.vectors for part in ("--vectors", str(table))]
        command += [part for setting in (*self.corpus.settings, *self.settings) for part in ("--set", setting)]
        command += ["--seeds", all_seeds, "--out", str(self.run), "--device", "cpu"]
        return [*command, "--resume"] if started else command


def name_run(folder: Path, *names: str) -> Path:
    """Returns the directory of a run, named after its corpus and variation.

    >>> name_run(Path("runs"), "ud_ewt UPOS", "LSTM, self-attention").name
    'ud_ewt-upos-lstm-self-attention'
    """
    return folder / "-".join(names).replace(",", "").replace(" ", "-").lower()


def train_variations(variations: Mapping[Variation, Sequence[int]], *, jobs: int) -> None:
    """Trains the seeds of all variations in order, `jobs` variations at a time.

    Raises:
        TrainingError: a training failed; the others are finished.
    """
    threads = max(1, torch.get_num_threads() // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            errors = list(filter(None, pool.map(lambda item: item[0].train(item[1], threads), variations.items())))
        except KeyboardInterrupt:  # the child processes receive the signal as well, and save
            pool.shutdown(cancel_futures=True)
            raise
    if errors:
        raise TrainingError(*errors)


def score_columns(variation: Variation, reference: Variation) -> dict[str, Any] | None:
    """Returns the number of seeds, the scores and the comparison with a reference; None if no seed is finished."""
    results = variation.results()
    if results is None:
        return None
    assert results.dev is not None
    assert results.test is not None
    row: dict[str, Any] = {
        "seeds": len(results.results),
        "dev": results.dev.mean,
        "dev sd": results.dev.sd,
        "test": results.test.mean,
        "test sd": results.test.sd,
    }
    if variation != reference and reference.results():
        return row | compare(variation, reference)
    return row | {"difference": None, "p": None}


def compare(variation: Variation, reference: Variation) -> dict[str, float]:
    """Returns the difference of the test scores, positive if the reference is lower, and its p-value."""
    (compared,) = experiments.compare(reference.run, variation.run).differences
    return {"difference": compared.difference, "p": compared.bootstrap_p}


def drop_empty_tables(tables: Tables) -> dict[str, Sequence[Row]]:
    """Returns the tables that have rows.

    Raises:
        ConfigError: all tables are empty.
    """
    filled = {title: rows for title, rows in tables.items() if rows}
    if not filled:
        raise ConfigError("--runs contains no finished training; run again without --no-train")
    return filled


def group_rows(rows: Sequence[Row], *, columns: Sequence[str], name: str) -> dict[tuple[str, ...], dict[str, Row]]:
    """Returns rows by their values in `columns`, then by their value in the column `name`."""
    groups: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[title]) for title in columns), {})[str(row[name])] = row
    return groups


def draw_scores(tables: Tables, *, columns: Sequence[str], name: str) -> Figure:
    """Draws the test scores of each corpus by the values of the column `name`, with one mark per group of rows."""
    figure = Figure(figsize=(6 * len(tables), 4.5), layout="constrained")
    for panel, (title, rows) in enumerate(tables.items(), 1):
        axes = figure.add_subplot(1, len(tables), panel)
        names = list(dict.fromkeys(row[name] for row in rows))
        groups = group_rows(rows, columns=columns, name=name)
        for index, (group, by_name) in enumerate(groups.items()):
            positions = [names.index(row_name) + 0.12 * (index - (len(groups) - 1) / 2) for row_name in by_name]
            scores = [row["test"] for row in by_name.values()]
            deviations = [row["test sd"] or 0.0 for row in by_name.values()]
            axes.errorbar(positions, scores, deviations, fmt="o", capsize=2, markersize=4, label=", ".join(group))
        axes.set_xticks(range(len(names)), [textwrap.fill(row_name, 12) for row_name in names], fontsize=7)
        axes.set_title(f"{title}: test score, mean ± sd", fontsize=9)
        axes.grid(alpha=0.3)
        if len(groups) > 1:
            axes.legend(fontsize=7, loc="lower left")
    return figure


def run_study(main: Callable[[], None]) -> None:
    """Runs a study; reports errors of options and data, and an interruption, in one line each."""
    try:
        main()
    except TaggerError as error:
        print(*error.faults, sep="\n", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; repeat the command to resume", file=sys.stderr)
        raise SystemExit(130) from None


def create_parser(doc: str | None, names: Iterable[str]) -> ArgumentParser:
    """Returns a parser with the options of studies that train on corpora; `names` are the values of `--only`."""
    parser = arguments.create_parser(doc)
    add = parser.add_argument
    add("--ner", type=Path, metavar="DIR", help="Data in CoNLL-2003 columns: train.txt, valid.txt, test.txt.")
    add("--upos", type=Path, metavar="DIR", help="Data of UD English-EWT: en_ewt-ud-train.conllu, …")
    add(
        "--vectors", type=Path, action="append", default=[], metavar="TABLE", help="Table of word vectors (repeatable)."
    )
    add("--runs", type=Path, required=True, metavar="DIR", help="Directory for the trainings.")
    add("--seeds", type=experiments.parse_seeds, default=(1, 2, 3), help="Seeds, as 1,2,3 or 1-3 [1-3].")
    add("--jobs", type=integer_type(1), default=2, help="Number of parallel trainings [2].")
    add("--whole", action="store_true", help="Use the recipes unchanged instead of shortened.")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="Override a setting (repeatable).")
    add("--only", action="append", choices=list(names), help="Train only this variation (repeatable).")
    add("--no-train", action="store_true", help="Write the results of finished trainings only.")
    return parser


def select_corpora(options: Namespace) -> list[Corpus]:
    """Returns the corpora of the options `--ner` and `--upos`.

    Shortened recipes have six epochs, a shorter weight average and half the hidden size; UPOS uses the batch size and
    learning rate of NER. Document context is off, since it would show a single direction the tokens on its other side.
    """
    vectors = tuple(options.vectors)
    corpora = [
        Corpus(data, task, RECIPES[task], (*(() if options.whole else SHORT_SETTINGS[task]), *options.set), vectors)
        for task, data in ((NER, options.ner), (UPOS, options.upos))
        if data
    ]
    if not corpora:
        raise ConfigError("no data was given; pass --ner, --upos or both")
    return corpora
