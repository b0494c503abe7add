"""Comparison of systems with a baseline: whether a difference exceeds the variation between seeds and sentences."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tagger import choices, streams
from tagger.choices import Scored
from tagger.errors import ConfigError
from tagger.evaluation import SCORE_NAMES, SPANS
from tagger.evaluation.intervals import QUANTILES
from tagger.experiments import compared_systems, significance
from tagger.experiments.compared_systems import ComparedFiles, ComparedScores, ComparedSystem

MAX_SAMPLES = 1_000_000


@dataclass(frozen=True)
class Difference:
    """The difference between a system and the baseline.

    Attributes:
        system: the system.
        difference: its mean score minus that of the baseline, in percentage points.
        interval: the bounds of the middle 95 % of the bootstrap's differences.
        bootstrap_p: the p-value of the paired bootstrap.
        bootstrap_corrected: the same, corrected for the number of comparisons by Holm's method.
        randomisation_p: the p-value of approximate randomisation.
        randomisation_corrected: the same, corrected.
    """

    system: ComparedScores
    difference: float
    interval: tuple[float, float]
    bootstrap_p: float
    bootstrap_corrected: float
    randomisation_p: float
    randomisation_corrected: float

    def __str__(self) -> str:
        low, high = self.interval
        figures = f"{self.system!s:>14}{self.difference:>+12.2f}{f'{low:+.2f} to {high:+.2f}':>18}"
        bootstrap = f"{self.bootstrap_p:13.4f}{self.bootstrap_corrected:11.4f}"
        return f"{figures}{bootstrap}{self.randomisation_p:17.4f}{self.randomisation_corrected:11.4f}"


@dataclass(frozen=True)
class Comparison:
    """The differences between systems and a baseline.

    Attributes:
        on: the part of the data, test or dev; None if no run is compared.
        score: f1 or accuracy.
        data: the hash of the gold data.
        sentences: the number of its sentences.
        baseline: the baseline.
        differences: those of all other systems.
        samples: the number of resamples and of exchanges.
        seed: the seed of their random choice.
    """

    on: Scored | None
    score: choices.Selection
    data: str
    sentences: int
    baseline: ComparedScores
    differences: tuple[Difference, ...]
    samples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Returns every figure under its attribute's name."""
        return asdict(self)

    def __str__(self) -> str:
        part = f" on {self.on}" if self.on else ""
        name = SCORE_NAMES[self.score]
        systems = [self.baseline, *(each.system for each in self.differences)]
        names = [streams.escape_line(system.name) for system in systems]
        space = max(map(len, names)) + 2
        tests = f"{'bootstrap p':>13}{'corrected':>11}{'randomisation p':>17}{'corrected':>11}"
        means = ", mean ± sd of seeds" * self._has_seeds
        lines = [
            f"{name}{part}{means}; differences from {names[0]}",
            f"{'':{space}}{name:>14}{'difference':>12}{'95 % interval':>18}{tests}",
            f"{names[0]:{space}}{self.baseline!s:>14}",
        ]
        lines += [f"{row:{space}}{each}" for row, each in zip(names[1:], self.differences, strict=True)]
        return "\n".join([*lines, *dict.fromkeys(self._notes(systems)), self._describe_samples()])

    @property
    def _has_seeds(self) -> bool:
        return any(system.seeds for system in (self.baseline, *(each.system for each in self.differences)))

    def _notes(self, systems: Sequence[ComparedScores]) -> list[str]:
        notes = [
            f"{system.name} has one seed: the variation between seeds is not included"
            for system in systems
            if len(system.seeds) == 1
        ]
        for each in self.differences:
            counts = len(self.baseline.scores), len(each.system.scores)
            if (smallest := significance.smallest_p(*counts)) > 1 / (self.samples + 1):
                notes.append(
                    f"{each.system.name}: randomisation exchanges trainings; with {counts[0]} and {counts[1]} of them"
                    f" its p is at least {smallest:.4f}"
                )
        return notes

    def _describe_samples(self) -> str:
        seeds = " and of the seeds" * self._has_seeds
        corrected = f"corrected by Holm's method for {choices.counted(len(self.differences), 'comparison')}"
        drawn = (
            f"{corrected}; {self.samples} resamples of {self.sentences} sentences{seeds}, drawn with seed {self.seed}"
        )
        return f"{drawn} | data=sha256:{self.data[:12]}"


def compare(
    *systems: Path,
    baseline: Path | None = None,
    on: Scored = "test",
    files: ComparedFiles | None = None,
    samples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Returns the differences between systems and a baseline; unfinished seeds are omitted with a log message.

    Args:
        systems: directories of runs of one or several seeds, and files; at least two, all scored on the same data.
        baseline: one of them; None for the first.
        on: the part of the data, for runs.
        files: how files are read; None for files of predictions with gold tags.
        samples: the number of resamples and of exchanges.
        seed: the seed of their random choice; equal seeds give equal figures.

    Raises:
        StorageError: a run is not finished, or keeps no scores on that part.
        ModelError: a run cannot be read, or runs were scored on different data.
        DataError: a file cannot be read, or was scored on different data.
        ConfigError: `samples` is not in [1, MAX_SAMPLES], the seed is negative, there is one system, or the baseline
            is none of the systems.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"samples must be from 1 to {MAX_SAMPLES}, got {samples}")
    if not 0 <= seed < choices.SEED_LIMIT:
        raise ConfigError(f"the seed must be at least 0 and below 2**63, got {seed}")
    ordered = _order(systems, baseline)
    first, *rest = compared_systems.read_systems(ordered, on, files or ComparedFiles())
    differences = [_compare_two(first, other, samples, seed) for other in rest]
    return Comparison(
        on if any(system.is_run for system in (first, *rest)) else None,
        "f1" if first.first.columns == SPANS else "accuracy",
        first.first.data,
        len(first.first.rows),
        first.score(),
        _correct(differences),
        samples,
        seed,
    )


def _order(systems: Sequence[Path], baseline: Path | None) -> list[Path]:
    """Returns the systems, the baseline first."""
    if len(systems) < 2:
        raise ConfigError("expected at least two `systems` to compare")
    if baseline is None:
        return list(systems)
    if baseline not in systems:
        raise ConfigError(
            f"{baseline}: the `baseline` is none of the systems {choices.listed(tuple(map(str, systems)))}"
        )
    index = list(systems).index(baseline)
    return [baseline, *systems[:index], *systems[index + 1 :]]


def _compare_two(first: ComparedSystem, second: ComparedSystem, samples: int, seed: int) -> Difference:
    """Returns the difference of two systems; its p-values are not corrected yet."""
    ours, theirs = first.terms, second.terms
    score = second.score()
    difference = score.mean - first.score().mean
    random, exchanging = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    resampled = significance.resample(ours, theirs, samples=samples, random=random)
    low, high = np.quantile(resampled, QUANTILES)
    bootstrap = significance.bootstrap_p(resampled, difference)
    randomisation = significance.randomisation_p(ours, theirs, samples=samples, random=exchanging)
    interval = float(low), float(high)
    return Difference(score, difference, interval, bootstrap, bootstrap, randomisation, randomisation)


def _correct(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """Returns the differences with p-values that are corrected for their number."""
    bootstrap, randomisation = (
        significance.correct_by_holm([getattr(each, name) for each in differences])
        for name in ("bootstrap_p", "randomisation_p")
    )
    return tuple(
        replace(each, bootstrap_corrected=first, randomisation_corrected=second)
        for each, first, second in zip(differences, bootstrap, randomisation, strict=True)
    )
