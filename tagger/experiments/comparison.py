"""Comparison of two runs: whether their difference exceeds the variation between seeds and between sentences.

The test is a paired bootstrap (Efron and Tibshirani, 1993, chapter 16; for taggers and similar tasks Koehn, 2004;
Berg-Kirkpatrick et al., 2012; Dror et al., 2018). Sentences are drawn with replacement, the same for both runs, because
both runs tagged them. Seeds are drawn for each run separately, even if both runs have the same seeds: from one seed,
networks of two shapes draw different weights, so that equal seeds are no pairs.

Drawing sentences and seeds at once is the bootstrap of Owen (2007), which errs towards wider intervals. Of S seeds,
S - 1 are drawn, as Rao and Wu (1988) do for small samples: drawing S would make the variance of their mean too small by
a factor of (S - 1) / S. With few seeds the test still reports too many differences. In simulated pairs of equal runs
whose seeds vary more than their sentences, p < 0.05 occurred in 21 % of the pairs with two seeds, 9 % with three, 8 %
with five and 5 % with ten. Where both vary alike, it occurred in 7, 4 and 3 % with two, three and five seeds.

Shapes in this module: R resamples, N sentences, S seeds of a run.
"""

import logging
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from tagger import choices, config
from tagger.choices import Scored
from tagger.errors import ConfigError, ModelError, StorageError
from tagger.evaluation import SPANS, Counts, resampling
from tagger.evaluation.intervals import QUANTILES
from tagger.evaluation.resampling import Floats
from tagger.experiments import runs
from tagger.training import records
from tagger.training.run_dir import CONFIG

log = logging.getLogger(__name__)

MAX_SAMPLES = 1_000_000
_TIE = 1e-9  # percent; smaller differences are due to rounding


@dataclass(frozen=True)
class RunScores:
    """A run: its directory, its seeds, their scores in percent, and the mean and sample standard deviation of these."""

    run: str
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    mean: float
    sd: float | None

    def __str__(self) -> str:
        spread = f" ± {self.sd:.2f}" if self.sd is not None else ""
        seeds = ", ".join(map(str, self.seeds))
        return f"{self.run}: {self.mean:.2f}{spread}, seed{'s' * (len(self.seeds) > 1)} {seeds}"


@dataclass(frozen=True)
class Comparison:
    """The difference of two runs.

    Attributes:
        on: the part of the data, test or dev.
        score: f1 or accuracy.
        data: the hash of the gold data.
        sentences: the number of its sentences.
        first, second: the runs.
        difference: the difference of the means, second minus first, in percentage points.
        interval: the bounds of the middle 95 % of the resampled differences.
        p: the fraction of resamples that deviate from the difference by at least as much as it deviates from 0.
        samples: the number of resamples.
        seed: the seed of the resampling.
    """

    on: Scored
    score: str
    data: str
    sentences: int
    first: RunScores
    second: RunScores
    difference: float
    interval: tuple[float, float]
    p: float
    samples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Returns every figure under its attribute's name."""
        return asdict(self)

    def __str__(self) -> str:
        low, high = self.interval
        name = "F1" if self.score == "f1" else self.score
        lines = [f"{name} on {self.on}, mean ± sd", str(self.first), str(self.second)]
        lines.append(f"difference {self.difference:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}, p = {self.p:.4f}")
        for side in (self.first, self.second):
            if len(side.seeds) == 1:
                lines.append(f"{side.run} has one seed: the variation between seeds is not included")
        drawn = f"{self.samples} resamples of {self.sentences} sentences and of the seeds, drawn with seed {self.seed}"
        return "\n".join([*lines, f"{drawn} | data=sha256:{self.data[:12]}"])


def compare(first: Path, second: Path, *, on: Scored = "test", samples: int = 10_000, seed: int = 0) -> Comparison:
    """Returns the difference of two runs of one or several seeds; unfinished seeds are omitted with a log message.

    Args:
        first: the directory of a run.
        second: the directory of another run, scored on the same data.
        on: the part of the data.
        samples: the number of resamples.
        seed: the seed of the resampling; equal seeds give equal figures.

    Raises:
        StorageError: a run is not finished, keeps no scores on that part, or was scored on other data.
        ConfigError: `samples` is not in [1, MAX_SAMPLES], or the seed is negative.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"samples must be from 1 to {MAX_SAMPLES}, got {samples}")
    if not 0 <= seed < choices.SEED_LIMIT:
        raise ConfigError(f"the seed must be at least 0 and below 2**63, got {seed}")
    counts = [_read_counts(run, on) for run in (first, second)]
    ours, theirs = (next(iter(by_seed.values())) for by_seed in counts)
    if (ours.data, ours.columns, len(ours.rows)) != (theirs.data, theirs.columns, len(theirs.rows)):
        hashes = f"expected sha256 {ours.data[:12]}, found {theirs.data[:12]}"
        raise ModelError(f"{second}: was scored on other {on} data than {first}: {hashes}")
    parts = [resampling.stack_terms(list(by_seed.values())) for by_seed in counts]
    before, after = map(_score_run, (first, second), map(list, counts), parts)
    difference = after.mean - before.mean
    drawn = resample(*parts, samples=samples, random=np.random.default_rng(seed))
    low, high = np.quantile(drawn, QUANTILES)
    is_extreme = np.abs(drawn - difference) >= abs(difference) - _TIE
    p = (1 + int(is_extreme.sum())) / (samples + 1)
    score = "f1" if ours.columns == SPANS else "accuracy"
    interval = float(low), float(high)
    return Comparison(on, score, ours.data, len(ours.rows), before, after, difference, interval, p, samples, seed)


def _read_counts(run: Path, on: Scored) -> dict[int, Counts]:
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
    counts = {seed: parts[on] for seed, parts in parts_by_seed.items()}
    if len({part.data for part in counts.values()}) > 1:
        raise ModelError(f"{run}: its seeds were scored on different {on} data, so that they have no common mean")
    if not all(part.rows for part in counts.values()):
        raise ModelError(f"{run}: its {on} data holds no sentences")
    if len({(part.columns, len(part.rows)) for part in counts.values()}) > 1:
        raise ModelError(f"{run}: the counts of its seeds differ in size")
    return counts


def _score_run(run: Path, seeds: list[int], terms: Floats) -> RunScores:
    scores = resampling.score_weighted(np.ones((1, terms.shape[1])), terms)[0].tolist()
    sd = statistics.stdev(scores) if len(scores) > 1 else None
    return RunScores(str(run), tuple(seeds), tuple(scores), statistics.fmean(scores), sd)


def resample(first: Floats, second: Floats, *, samples: int, random: Generator) -> Floats:
    """Returns differences (samples,) of mean scores, second minus first, for resampled sentences and seeds.

    Args:
        first: (2, N, S) terms that each sentence adds to the numerator and the denominator of each seed's score.
        second: the same for the other run, of the same sentences.
        samples: the number of resamples.
        random: the random generator.
    """
    sentences, ours, theirs = random.spawn(3)  # so that the result does not depend on the size of the chunks
    chunks = [
        _resample_seeds(resampling.score_weighted(weights, second), theirs)
        - _resample_seeds(resampling.score_weighted(weights, first), ours)
        for weights in resampling.draw_sentences(first.shape[1], samples, sentences)
    ]
    return np.concatenate(chunks)


def _resample_seeds(scores: Floats, random: Generator) -> Floats:
    """Returns the means (R,) of S - 1 scores, at least one, drawn with replacement from each row of scores (R, S)."""
    rows, seeds = scores.shape
    indices = random.integers(seeds, size=(rows, max(seeds - 1, 1)))
    drawn: Floats = np.take_along_axis(scores, indices, axis=1).mean(axis=1)
    return drawn
