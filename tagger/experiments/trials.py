"""The trials of a search for settings: their settings, scores and states, and the table of all trials."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagger import streams
from tagger.choices import TrialState, counted
from tagger.config import setting_names
from tagger.training.result import TrainedRun

_STATES: tuple[TrialState, ...] = ("finished", "pruned", "unfinished", "failed", "refused")


@dataclass(frozen=True, slots=True)
class SeedScore:
    """The dev score of a seed in percent, the epoch that has it, the number of epochs, and the seconds of training."""

    seed: int
    score: float
    epoch: int
    epochs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial of a search.

    Attributes:
        number: the number of the trial, from 1.
        settings: the value of each setting that has an effect, by dotted name.
        state: `finished`, `pruned` after an epoch, `refused` because the settings cannot be combined, `failed`, or
            `unfinished`.
        curve: the dev score of each epoch of the first seed, in percent.
        epoch_seconds: the seconds of each of these epochs, for training and for scoring the dev data.
        seeds: the scores of the seeds; empty unless the trial is finished.
        faults: why a trial is refused or failed, one line each.
    """

    number: int
    settings: Mapping[str, Any]
    state: TrialState
    curve: tuple[float, ...] = ()
    epoch_seconds: tuple[float, ...] = ()
    seeds: tuple[SeedScore, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def score(self) -> float | None:
        """The mean dev score of the seeds, each at its best epoch; None unless the trial is finished."""
        return statistics.fmean(each.score for each in self.seeds) if self.seeds else None

    @property
    def best_score(self) -> float | None:
        """The score, or the highest dev score so far if the trial is not finished; None before the first epoch."""
        return max(self.curve, default=None) if self.score is None else self.score

    @property
    def sd(self) -> float | None:
        """The sample standard deviation of the seeds' scores; None without two seeds."""
        return statistics.stdev(each.score for each in self.seeds) if len(self.seeds) > 1 else None

    @property
    def epochs(self) -> int:
        """The number of epochs trained, of all seeds."""
        return sum(each.epochs for each in self.seeds) or len(self.curve)

    @property
    def seconds(self) -> float:
        """The seconds of all epochs."""
        return sum(each.seconds for each in self.seeds) or sum(self.epoch_seconds)

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes, and the score with its standard deviation."""
        return {"number": self.number, "state": self.state, "score": self.score, "sd": self.sd} | asdict(self)

    def describe_settings(self) -> str:
        """Returns the settings as one line."""
        return ", ".join(f"{shorten_name(name)} {format_value(value)}" for name, value in self.settings.items())


@dataclass(frozen=True)
class TuningResult(TrainedRun):
    """The result of a search for settings; `model_dir` has the model of the best trial.

    Attributes:
        trials: all trials, by number.
        score_name: the name of the dev score.
    """

    trials: tuple[Trial, ...]
    score_name: str

    @property
    def best(self) -> Trial | None:
        """The trial with the highest mean dev score, the first of equals; None if no trial is finished."""
        finished = [trial for trial in self.trials if trial.score is not None]
        return max(finished, key=lambda trial: trial.score or 0.0, default=None)

    @property
    def best_settings(self) -> dict[str, Any]:
        """The settings of the best trial, empty if no trial is finished."""
        return dict(self.best.settings) if self.best else {}

    @property
    def recipe(self) -> Path:
        """The recipe with the best settings."""
        return self.run_dir / "best.yaml"

    @property
    def picture(self) -> Path:
        """The picture of dev curves, and of scores by setting; it exists if matplotlib is installed."""
        return self.run_dir / "study.png"

    def to_json(self) -> dict[str, Any]:
        """Returns the best settings and all trials."""
        return {
            "best": self.best.number if self.best else None,
            "settings": self.best_settings,
            "score": self.best.score if self.best else None,
            "score_name": self.score_name,
            "recipe": str(self.recipe),
            "model": str(self.model_dir),
            "trials": [trial.to_json() for trial in self.trials],
        }

    def rows(self) -> list[list[str]]:
        """Returns the rows of the table, first that of the names of columns; the best trial is the second row."""
        names = dict.fromkeys(name for trial in self.trials for name in trial.settings)
        longest = max((len(trial.seeds) for trial in self.trials), default=0)
        header = ["trial", f"dev {self.score_name}", *(["sd"] if longest > 1 else []), "epochs", "seconds", "state"]
        rows = []
        for trial in sorted(self.trials, key=_order):
            sd = [f"{trial.sd:.2f}" if trial.sd is not None else "-"] if longest > 1 else []
            row = [str(trial.number), _format_score(trial), *sd, str(trial.epochs), f"{trial.seconds:.0f}", trial.state]
            values = [format_value(trial.settings[name]) if name in trial.settings else "-" for name in names]
            rows.append(row + values)
        return [[*header, *map(shorten_name, names)], *rows]

    def __str__(self) -> str:
        rows = self.rows()
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(f"{cell:>{size}}" for cell, size in zip(row, sizes, strict=True)) for row in rows]
        for trial in self.trials:
            lines += [f"trial {trial.number} {trial.state}: {fault}" for fault in trial.faults]
        return streams.escape_controls("\n".join([*lines, *self._describe()]))

    def _describe(self) -> list[str]:
        counts = [(state, sum(trial.state == state for trial in self.trials)) for state in _STATES]
        states = ", ".join(f"{count} {state}" for state, count in counts if count)
        trained = sum(trial.epochs for trial in self.trials)
        seconds = sum(trial.seconds for trial in self.trials)
        lines = [f"{counted(len(self.trials), 'trial')}: {states}; {counted(trained, 'epoch')}, {seconds:.0f} s"]
        if self.best is None:
            return [*lines, "no trial is finished"]
        lines.append(f"best: trial {self.best.number}, dev {self.score_name} {_format_score(self.best)}")
        return [*lines, f"recipe: {self.recipe}", f"model: {self.model_dir}"]


def _order(trial: Trial) -> tuple[int, float, int]:
    """Returns the key that sorts finished trials first, then pruned ones, by their scores."""
    return _STATES.index(trial.state), -(trial.best_score or 0.0), trial.number


def _format_score(trial: Trial) -> str:
    return "-" if trial.best_score is None else f"{trial.best_score:.2f}"


def format_value(value: object) -> str:
    """Returns a value of a setting as the table shows it.

    >>> [format_value(value) for value in (0.0123456, 200, "lstm", None, [0.9, 0.99])]
    ['0.01235', '200', 'lstm', 'null', '[0.9, 0.99]']
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def shorten_name(name: str) -> str:
    """Returns as many last parts of the name of a setting as distinguish it from all settings.

    >>> shorten_name("model.encoder.hidden_size"), shorten_name("model.words.dropout")
    ('hidden_size', 'words.dropout')
    """
    parts = name.split(".")
    endings = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    return next(
        end for end in endings if sum(f".{each}".endswith(f".{end}") for each in setting_names.all_names()) == 1
    )


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    r"""Returns rows as a table in Markdown.

    >>> print(to_markdown([["a", "b"], ["1", "x|y"]]))
    | a | b |
    |---|---|
    | 1 | x\|y |
    """
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
