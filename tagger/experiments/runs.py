"""The results of an experiment: the layout of its directory, and its summary in seeds.json.

run/  config.yaml  seeds.json  model-best/ (the best model on dev)  seed-1/  seed-2/  ... (each a training run)

seeds.json, all scores in percent:
    seeds       the seeds to train
    init_from   the model with the initial weights of all seeds, or null
    best        the seed of model-best, null while no seed is finished
    dev, test   `mean` and `sd` (sample standard deviation, null for one seed) of the scores that select
                the best epoch, and their `signature` (null if the data of the seeds differ); null without scores
    results     an object per finished seed: `seed`; `dev` and `test` (null without test data) with the `score`, its
                name `selection`, `f1`, `precision`, `recall`, `macro_f1`, `accuracy` and `signature` of the best epoch;
                the number of this `epoch`; the number of `epochs`; the `seconds` of training and of scoring dev
    failed      for each failed seed, its faults, one line each
"""

import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tagger import choices, model_card, model_dir, streams
from tagger.config import Config, loader
from tagger.errors import ConfigError, ModelError
from tagger.evaluation import Scores
from tagger.io import atomic, json_files, regular_file
from tagger.training import EpochRecord, TrainingResult, read_result
from tagger.training.result import TrainedRun
from tagger.training.run_dir import CONFIG, COUNTS, SEEDS

_MAX_BYTES = 16 << 20
MAX_SEEDS = 1000
"""The most seeds of an experiment."""


@dataclass(frozen=True)
class ScoreSummary:
    """The mean and sample standard deviation of the seeds' scores, in percent.

    Attributes:
        mean: the mean of the scores.
        sd: the standard deviation; None for one seed.
        signature: the score with all that it depends on; None if the data of the seeds differ.
    """

    mean: float
    sd: float | None
    signature: str | None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.sd:.2f}" if self.sd is not None else "")


@dataclass(frozen=True)
class ExperimentResult(TrainedRun):
    """The result of training a recipe with one or several seeds; its best model is that of the best seed.

    Attributes:
        seeds: the seeds to train.
        init_from: the model with the initial weights of all seeds.
        results: those of the finished seeds, in the order of `seeds`.
        failures: by seed, the faults that ended its training.
    """

    seeds: tuple[int, ...]
    init_from: Path | None = None
    results: tuple[TrainingResult, ...] = ()
    failures: Mapping[int, Sequence[str]] = field(default_factory=dict)

    @property
    def best(self) -> TrainingResult | None:
        """The result of the best seed on dev, the first among equals; None if no seed is finished."""
        return max(self.results, key=lambda result: result.dev.score, default=None)

    @property
    def history(self) -> tuple[EpochRecord, ...]:
        """The record of each epoch of the best seed."""
        return self.best.history if self.best else ()

    @property
    def dev(self) -> ScoreSummary | None:
        """The dev scores; None if no seed is finished."""
        return _summarize({result.seed: result.dev for result in self.results})

    @property
    def test(self) -> ScoreSummary | None:
        """The test scores; None if there are none."""
        return _summarize({result.seed: result.test.scores for result in self.results if result.test})

    def to_json(self) -> dict[str, Any]:
        """Returns the content of seeds.json."""
        summaries = {"dev": self.dev, "test": self.test}
        return {
            "seeds": self.seeds,
            "init_from": str(self.init_from) if self.init_from else None,
            "best": self.best.seed if self.best else None,
            **{part: asdict(summary) if summary else None for part, summary in summaries.items()},
            "results": [_result_to_json(result) for result in self.results],
            "failed": dict(self.failures),
        }

    def __str__(self) -> str:
        if not self.best or not self.dev:
            return "no seed is finished"
        if self.best.run_dir == self.run_dir:
            return _describe_single(self.best)
        lines = [f"{'seed':>10}{'dev':>8}{'test':>8}{'epochs':>8}{'seconds':>9}"]
        for result in self.results:
            test = f"{result.test.score:.2f}" if result.test else "-"
            figures = f"{result.dev.score:>8.2f}{test:>8}{len(result.history):>8}{result.seconds:>9.0f}"
            lines.append(f"{result.seed:>10}{figures}")
        summaries = {"dev": self.dev, "test": self.test}
        score = self.best.dev.name
        lines += [f"{part} {score}, mean ± sd: {summary}" for part, summary in summaries.items() if summary]
        lines += [summary.signature for summary in summaries.values() if summary and summary.signature]
        return "\n".join([*lines, f"model: {streams.escape_line(str(self.model_dir))}, of seed {self.best.seed}"])


def _describe_single(result: TrainingResult) -> str:
    lines = [f"best epoch {result.best.epoch}, dev {result.dev.name} {result.dev.score:.2f}"]
    if result.test is not None:
        lines.append(f"test scores of the best model:\n{result.test}")
    return "\n".join([*lines, f"model: {streams.escape_line(str(result.model_dir))}"])


def _card_lines(result: ExperimentResult) -> list[str]:
    """Returns what the card of the best model says about the scores of all seeds."""
    assert result.best is not None
    score = result.best.dev.name
    rows = [f"| seed | dev {score} | test {score} |", "| --- | --- | --- |"]
    for each in result.results:
        test = f"{each.test.score:.2f}" if each.test else ""
        rows.append(f"| {each.seed} | {each.dev.score:.2f} | {test} |")
    rows.append(f"| mean ± sd | {result.dev} | {result.test or ''} |")
    note = f"This model has seed {result.best.seed}, the best on the dev data. Compare models by the means."
    return ["Scores of all seeds:", "", *rows, "", note]


def _result_to_json(result: TrainingResult) -> dict[str, Any]:
    return {
        "seed": result.seed,
        "dev": asdict(result.dev),
        "test": asdict(result.test.scores) if result.test else None,
        "epoch": result.best.epoch,
        "epochs": len(result.history),
        "seconds": result.seconds,
    }


def _summarize(scores: Mapping[int, Scores]) -> ScoreSummary | None:
    """Returns the summary of scores by seed."""
    if not scores:
        return None
    values = [each.score for each in scores.values()]
    summary = ScoreSummary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, None)
    origins = {each.signature.partition(" | ")[2] for each in scores.values()}
    if len(origins) > 1:
        return summary
    name = next(iter(scores.values())).name.lower()
    seeds = ",".join(map(str, scores))
    score = f"{name}={summary}".replace(" ", "")
    return ScoreSummary(summary.mean, summary.sd, f"{score} | seeds={seeds} | {origins.pop()}")


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises ConfigError unless there are seeds, each in its range and once."""
    if not seeds:
        raise ConfigError("`seeds` is empty; expected at least one seed")
    repeated = [str(seed) for seed, count in Counter(seeds).items() if count > 1]
    if repeated:
        raise ConfigError(f"each seed can be trained once; `seeds` repeats {', '.join(repeated)}")
    if outside := [str(seed) for seed in seeds if not 0 <= seed < choices.SEED_LIMIT]:
        raise ConfigError(f"a seed must be at least 0 and below 2**63, got {', '.join(outside)}")


def has_seed_dirs(run_dir: Path) -> bool:
    """Returns whether a directory is that of an experiment with a sub-directory per seed."""
    return (run_dir / SEEDS).is_file() and not is_started(run_dir)


def seed_dir(run_dir: Path, seed: int) -> Path:
    """Returns the directory in which a seed is trained."""
    return run_dir / f"seed-{seed}"


def is_started(run_dir: Path) -> bool:
    """Returns whether the directory of a single training holds a checkpoint to resume from."""
    return bool(model_dir.list_checkpoints(run_dir))


def is_finished(run_dir: Path) -> bool:
    """Returns whether the directory of a single training holds all files of a finished one."""
    return (run_dir / COUNTS).is_file()


def is_complete(run_dir: Path, config: Config) -> bool:
    """Returns whether the directory of a single training is finished, with all epochs of a config."""
    return is_finished(run_dir) and loader.load(str(run_dir / CONFIG)).training.epochs >= config.training.epochs


def collect_results(
    run_dir: Path, seeds: Sequence[int], init_from: Path | None, failures: Mapping[int, Sequence[str]] | None = None
) -> ExperimentResult:
    """Returns the result of an experiment from the directories of its seeds.

    Raises:
        ModelError: the records of a seed cannot be read.
    """
    directories = {seed: seed_dir(run_dir, seed) for seed in seeds}
    results = tuple(read_result(path, seed) for seed, path in directories.items() if is_finished(path))
    return ExperimentResult(run_dir, tuple(seeds), init_from, results, failures or {})


def read_seeds(run_dir: Path) -> tuple[tuple[int, ...], Path | None]:
    """Returns the seeds of an experiment and the model that they take their first weights from.

    Raises:
        ModelError: seeds.json cannot be read.
    """
    path = run_dir / SEEDS
    data = regular_file.read(path, limit=_MAX_BYTES)
    try:
        value = json_files.parse(bytes(data))
        if not isinstance(value, dict) or not value.keys() >= {"seeds", "init_from"}:
            raise ValueError("expected an object with seeds and init_from")
        seeds, init_from = value["seeds"], value["init_from"]
        if not isinstance(seeds, list) or not all(
            type(seed) is int and 0 <= seed < choices.SEED_LIMIT for seed in seeds
        ):
            raise ValueError("seeds must be whole numbers from 0 to 2**63 - 1")
        if not 1 <= len(seeds) <= MAX_SEEDS or len(set(seeds)) < len(seeds):
            raise ValueError(f"expected 1 to {MAX_SEEDS} seeds, none of them twice")
        if not (init_from is None or isinstance(init_from, str)) or "\0" in (init_from or ""):
            raise ValueError("init_from must be a path or null")
        os.fsencode(init_from or "")
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    return tuple(seeds), Path(init_from) if init_from else None


def read_results(run_dir: Path) -> ExperimentResult:
    """Returns the result of an experiment so far, without failures.

    Raises:
        ModelError: seeds.json or the records of a seed cannot be read.
    """
    return collect_results(run_dir, *read_seeds(run_dir))


def write_results(result: ExperimentResult) -> None:
    """Writes seeds.json, and copies the best seed's model to model-best unless it is there.

    Raises:
        StorageError: a file cannot be written; the files before stay unchanged.
    """
    if result.best:
        best = result.best.model_dir
        if not result.model_dir.is_dir() or model_dir.compute_digest(best) != model_dir.compute_digest(
            result.model_dir
        ):
            model_dir.copy(best, result.model_dir)
        if len(result.results) > 1 and (card := model_dir.read_card(result.model_dir)):
            model_dir.write_card(result.model_dir, model_card.with_seeds(card, _card_lines(result)))
    with atomic.wrap_os_errors(result.run_dir):
        atomic.replace(result.run_dir / SEEDS, json_files.dump(result.to_json(), indent=1) + b"\n")
