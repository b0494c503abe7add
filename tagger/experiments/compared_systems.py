"""Reads what is compared: runs, files of predictions, and tagged files beside a gold file."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tagger import config
from tagger.choices import Scored
from tagger.data import guessing
from tagger.data.corpus import Corpus
from tagger.data.tagged_files import FileOptions
from tagger.errors import ConfigError, DataError, ModelError, StorageError
from tagger.evaluation import Counts, resampling, systems
from tagger.evaluation.resampling import Floats
from tagger.evaluation.system_files import SystemFiles
from tagger.experiments import runs
from tagger.training import records
from tagger.training.run_dir import CONFIG

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ComparedScores:
    """A run or a file: its name, its seeds, their scores in percent, and the mean and sample standard deviation.

    A file has no seeds and one score.
    """

    name: str
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    mean: float
    sd: float | None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.sd:.2f}" if self.sd is not None else "")


@dataclass(frozen=True)
class ComparedSystem:
    """A run or a file, and the counts of each seed's sentences; a file has the seed None."""

    path: Path
    counts: Mapping[int | None, Counts]

    @property
    def is_run(self) -> bool:
        """Whether it is a run."""
        return None not in self.counts

    @property
    def first(self) -> Counts:
        """The counts of its first seed."""
        return next(iter(self.counts.values()))

    @property
    def terms(self) -> Floats:
        """(2, N, S) terms that each sentence adds to the numerator and the denominator of each seed's score."""
        return resampling.stack_terms(list(self.counts.values()))

    def score(self) -> ComparedScores:
        """Returns its scores."""
        terms = self.terms
        scores = resampling.score_weighted(np.ones((1, terms.shape[1])), terms)[0].tolist()
        sd = statistics.stdev(scores) if len(scores) > 1 else None
        seeds = tuple(seed for seed in self.counts if seed is not None)
        return ComparedScores(str(self.path), seeds, tuple(scores), statistics.fmean(scores), sd)


@dataclass(frozen=True, slots=True)
class ComparedFiles:
    """How files are read.

    Attributes:
        gold: the file with gold tags; None if each file has gold and predicted tags.
        files: the columns of the files.
    """

    gold: Path | None = None
    files: SystemFiles | None = None


def read_systems(paths: Sequence[Path], on: Scored, files: ComparedFiles) -> list[ComparedSystem]:
    """Returns runs and files that were scored on the same data.

    Args:
        paths: directories of runs, and files.
        on: the part of the data, for runs.
        files: how files are read.

    Raises:
        StorageError: a path does not exist, or a run is not finished or keeps no scores on that part.
        ModelError: the counts of a run cannot be read, or runs were scored on different data.
        DataError: a file cannot be read, or was scored on different data.
        ConfigError: an option does not fit a file.
    """
    gold = None if files.gold is None else _files(files).read_gold(files.gold)
    result: list[ComparedSystem] = []
    for path in paths:
        is_run = path.is_dir() and guessing.guess_format(path, tagged=True).format != "brat"
        if is_run or not path.exists():
            result.append(ComparedSystem(path, _read_run(path, on)))
        else:
            result.append(ComparedSystem(path, {None: _read_file(path, gold, files)}))
        _check_data(result[0], result[-1], on)
    return result


def _files(files: ComparedFiles) -> SystemFiles:
    return files.files or SystemFiles(FileOptions())


def _read_file(path: Path, gold: Corpus | None, files: ComparedFiles) -> Counts:
    """Returns the counts of a file with predicted tags, and with gold tags unless there is a gold file."""
    options = _files(files)
    if gold is not None:
        return systems.score(gold, options.read_predicted(path))[1]
    if options.predicted_column is None:
        options = _as_predictions(path, options)
    return systems.score(*options.read_both(path))[1]


def _as_predictions(path: Path, files: SystemFiles) -> SystemFiles:
    """Returns how a file of predictions that `tagger.evaluate` wrote is read.

    Raises:
        ConfigError: the file has another format.
    """
    options = files.options
    file_format = options.input_format or guessing.guess_format(path, tagged=True).format
    if file_format not in ("jsonl", "json"):
        raise ConfigError(
            f"{path}: expected gold and predicted tags, found a file of the format {file_format}; name the file with"
            " gold tags as `gold`, or the column of predicted tags as `predicted_column`"
        )
    options = replace(options, input_format=options.input_format or "jsonl", tag=options.tag or "gold")
    return replace(files, options=options, predicted_column="predicted")


def _check_data(first: ComparedSystem, other: ComparedSystem, on: Scored) -> None:
    ours, theirs = first.first, other.first
    if (ours.data, ours.columns, len(ours.rows)) != (theirs.data, theirs.columns, len(theirs.rows)):
        hashes = f"expected sha256 {ours.data[:12]}, found {theirs.data[:12]}"
        kind, error = (f"{on} data", ModelError) if first.is_run and other.is_run else ("data", DataError)
        raise error(f"{other.path}: was scored on other {kind} than {first.path}: {hashes}")


def _read_run(run: Path, on: Scored) -> dict[int | None, Counts]:
    """Returns the counts of each finished seed of a run, all on the same data."""
    if runs.has_seed_dirs(run):
        seeds, _ = runs.read_seeds(run)
        paths = {seed: runs.seed_dir(run, seed) for seed in seeds if runs.is_finished(runs.seed_dir(run, seed))}
        if unfinished := [str(seed) for seed in seeds if seed not in paths]:
            log.warning("%s: unfinished seeds are omitted: %s", run, ", ".join(unfinished))
    elif (run / CONFIG).is_file():
        paths = {config.load(str(run / CONFIG)).training.seed: run}
    else:
        paths = {}
    if not paths:
        raise StorageError(f"{run}: holds no finished training to compare")
    parts_by_seed = {seed: records.read_counts(path) for seed, path in paths.items()}
    if not all(on in parts for parts in parts_by_seed.values()):
        raise StorageError(f"{run}: was trained without {on} data and has no scores on it; pass dev as `on`")
    counts: dict[int | None, Counts] = {seed: parts[on] for seed, parts in parts_by_seed.items()}
    if len({part.data for part in counts.values()}) > 1:
        raise ModelError(f"{run}: its seeds were scored on different {on} data, so that they have no common mean")
    if not all(part.rows for part in counts.values()):
        raise ModelError(f"{run}: its {on} data holds no sentences")
    if len({(part.columns, len(part.rows)) for part in counts.values()}) > 1:
        raise ModelError(f"{run}: the counts of its seeds differ in size")
    return counts
