"""The result of a training, returned when it ends and read from the directory of a finished run."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tagger import tagging
from tagger.errors import ModelError
from tagger.evaluation import Report, Scores
from tagger.tagging import Tagger
from tagger.training import records
from tagger.training.epoch_record import EpochRecord
from tagger.training.run_dir import BEST, METRICS


@dataclass(frozen=True)
class TrainedRun:
    """A run directory with its best model.

    Attributes:
        run_dir: the directory of the run.
    """

    run_dir: Path

    @property
    def model_dir(self) -> Path:
        """The directory of the best model on the dev data."""
        return self.run_dir / BEST

    @cached_property
    def tagger(self) -> Tagger:
        """The best model, loaded on first access."""
        return tagging.load(self.model_dir)


@dataclass(frozen=True)
class TrainingResult(TrainedRun):
    """The result of training a recipe with one seed.

    Attributes:
        seed: the random seed.
        history: the record of each epoch.
        test: the scores of the best model on the test data, None without test data.
    """

    seed: int
    history: tuple[EpochRecord, ...]
    test: Report | None

    @property
    def best(self) -> EpochRecord:
        """The record of the epoch with the highest dev score, the first of equals."""
        return next(record for record in reversed(self.history) if record.best)

    @property
    def dev(self) -> Scores:
        """The dev scores of the best epoch."""
        return self.best.dev

    @property
    def seconds(self) -> float:
        """The time spent on training and on scoring the dev data."""
        return sum(record.seconds + record.dev_seconds for record in self.history)

    def __str__(self) -> str:
        test = f", test {self.test.score:.2f}" if self.test else ""
        scores = f"dev {self.dev.name} {self.dev.score:.2f}{test}"
        return f"seed {self.seed}: {scores}, {len(self.history)} epochs, {self.seconds:.0f} s"


def read_result(run_dir: Path, seed: int) -> TrainingResult:
    """Returns the result of a finished training from its metrics.jsonl.

    Raises:
        ModelError: the file cannot be read, or does not hold the records of a training.
    """
    history, test = records.read_metrics(run_dir)
    if not any(record.best for record in history):
        raise ModelError(f"{run_dir / METRICS}: these are not the records of a training; no epoch is the best")
    return TrainingResult(run_dir, seed, tuple(history), test)
