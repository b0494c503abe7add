"""Comparison of two runs: whether one is better, or was luckier in its seeds and in the sentences it was scored on.

It is a paired bootstrap (Efron and Tibshirani, 1993, chapter 16; for taggers and the like Koehn, 2004; Berg-Kirkpatrick
et al., 2012; Dror et al., 2018). Sentences are drawn with replacement, the same for both runs, since both tagged them.
Seeds are drawn for each run by itself, even where both have the same numbers: from one seed, networks of two shapes
draw other weights, so that a number in common pairs nothing. To draw both at once is the bootstrap of Owen (2007),
which errs towards wider intervals. Of S seeds S - 1 are drawn, as Rao and Wu (1988) do where there are few: drawing S
would make the variance of their mean too small by a factor of (S - 1) / S. Few seeds remain too sure: of simulated
pairs of equal runs whose seeds vary more than their sentences it told apart 21 % at p < 0.05 by two seeds, 9 % by
three, 8 % by five and 5 % by ten; where both vary alike 7, 4 and 3 % by two, three and five.

Shapes in this module: R resamples, N sentences, S seeds of a run.
"""

import logging
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tagger import choices, config
from tagger.choices import Scored
from tagger.errors import ConfigError, ModelError, StorageError
from tagger.evaluation import SPANS, Counts
from tagger.experiments import runs
from tagger.training import records
from tagger.training.run_dir import CONFIG

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
MAX_SAMPLES = 1_000_000
_CELLS = 1_000_000  # sentences drawn at once, so that they stay in the processor's cache
_TIE = 1e-9  # percent; nearer differences are equal but for rounding


@dataclass(frozen=True)
class RunScores:
    """One of two runs: its directory, seeds, their scores in percent, mean and sample standard deviation."""

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
    """What two runs differ by.

    Attributes:
        on: the part of the data, test or dev.
        score: f1 or accuracy.
        data: the hash of the gold data.
        sentences: how many it has.
        first, second: the runs.
        difference: of the means, second less first, in percent points.
        interval: from where to where 95 % of the resampled differences lie.
        p: the share of resamples that deviate from the difference by at least as much as it deviates from 0.
        samples: how many resamples were drawn.
        seed: of the drawing.
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
                lines.append(f"{side.run} has one seed: how scores vary between its seeds is not counted")
        drawn = f"{self.samples} resamples of {self.sentences} sentences and of the seeds, drawn with seed {self.seed}"
        return "\n".join([*lines, f"{drawn} | data=sha256:{self.data[:12]}"])


def compare(first: Path, second: Path, *, on: Scored = "test", samples: int = 10_000, seed: int = 0) -> Comparison:
    """Returns what two runs differ by, each of several seeds or of one; a seed not finished is left out, and told.

    Args:
        first: the directory of a run.
        second: that of another, scored on the same data.
        on: the part of the data.
        samples: how many resamples to draw.
        seed: of the drawing; the same gives the same figures.

    Raises:
        StorageError: a run is not finished, keeps no scores on that part, or was scored on other data.
        ConfigError: `samples` is not in [1, MAX_SAMPLES], or the seed is negative.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"samples must be from 1 to {MAX_SAMPLES}, got {samples}")
    if not 0 <= seed < choices.SEED_LIMIT:
        raise ConfigError(f"the seed must be at least 0 and below 2**63, got {seed}")
    found = [_counts(run, on) for run in (first, second)]
    ours, theirs = (next(iter(counts.values())) for counts in found)
    if (ours.data, ours.columns, len(ours.rows)) != (theirs.data, theirs.columns, len(theirs.rows)):
        hashes = f"sha256 {theirs.data[:12]}, not {ours.data[:12]}"
        raise ModelError(f"{second}: was scored on other {on} data than {first}: {hashes}")
    parts = [_stack_counts(list(counts.values())) for counts in found]
    before, after = (_run_scores(*one) for one in zip((first, second), map(list, found), parts, strict=True))
    difference = after.mean - before.mean
    drawn = resample(*parts, samples=samples, random=np.random.default_rng(seed))
    low, high = np.quantile(drawn, (0.025, 0.975))
    apart = np.abs(drawn - difference) >= abs(difference) - _TIE
    p = (1 + int(apart.sum())) / (samples + 1)
    score = "f1" if ours.columns == SPANS else "accuracy"
    interval = float(low), float(high)
    return Comparison(on, score, ours.data, len(ours.rows), before, after, difference, interval, p, samples, seed)


def _counts(run: Path, on: Scored) -> dict[int, Counts]:
    """Returns the counts of each finished seed of a run, all on the same data."""
    if runs.has_seed_dirs(run):
        seeds, _ = runs.read_seeds(run)
        places = {seed: runs.seed_dir(run, seed) for seed in seeds if runs.is_finished(runs.seed_dir(run, seed))}
        if left := [str(seed) for seed in seeds if seed not in places]:
            log.warning("%s: seeds not finished are left out: %s", run, ", ".join(left))
    elif (run / CONFIG).is_file():
        places = {config.load(str(run / CONFIG)).training.seed: run}
    else:
        places = {}
    if not places:
        raise StorageError(f"{run}: holds no finished training to compare")
    found = {seed: records.read_counts(place) for seed, place in places.items()}
    if not all(on in parts for parts in found.values()):
        raise StorageError(f"{run}: was trained without {on} data, so that it has no scores on it; pass `on` dev")
    counts = {seed: parts[on] for seed, parts in found.items()}
    if len({part.data for part in counts.values()}) > 1:
        raise ModelError(f"{run}: its seeds were scored on different {on} data, so that they have no common mean")
    if not all(part.rows for part in counts.values()):
        raise ModelError(f"{run}: its {on} data holds no sentences")
    if len({(part.columns, len(part.rows)) for part in counts.values()}) > 1:
        raise ModelError(f"{run}: the counts of its seeds do not fit one another")
    return counts


def _stack_counts(counts: list[Counts]) -> Floats:
    """Returns (2, N, S) what each sentence adds to a score's numerator and to its denominator."""
    rows: Floats = np.array([part.rows for part in counts], dtype=np.float64).transpose(2, 1, 0)  # (columns, N, S)
    if counts[0].columns == SPANS:
        correct, predicted, gold = rows
        return np.stack([2 * correct, predicted + gold])
    return rows


def _run_scores(run: Path, seeds: list[int], shares: Floats) -> RunScores:
    scores = _scores(np.ones((1, shares.shape[1])), shares)[0].tolist()
    sd = statistics.stdev(scores) if len(scores) > 1 else None
    return RunScores(str(run), tuple(seeds), tuple(scores), statistics.fmean(scores), sd)


def _scores(weights: Floats, shares: Floats) -> Floats:
    """Returns (R, S) the scores, in percent, where each sentence counts as often as `weights` (R, N) says."""
    right, all_ = weights @ shares[0], weights @ shares[1]
    scores: Floats = np.divide(100 * right, all_, out=np.zeros_like(right), where=all_ > 0)
    return scores


def resample(first: Floats, second: Floats, *, samples: int, random: Generator) -> Floats:
    """Returns (samples,) differences of mean scores, second less first, over sentences and seeds drawn anew.

    Args:
        first: (2, N, S) what each sentence adds to numerator and denominator of each seed's score.
        second: likewise, of the same sentences.
        samples: how many to draw.
        random: what to draw with.
    """
    sentences, ours, theirs = random.spawn(3)  # so that the size of the pieces changes nothing
    pieces = [
        _resample_seeds(_scores(weights, second), theirs) - _resample_seeds(_scores(weights, first), ours)
        for weights in _draw_counts(first.shape[1], samples, sentences)
    ]
    return np.concatenate(pieces)


def _draw_counts(sentences: int, samples: int, random: Generator) -> Iterator[Floats]:
    """Yields (R, N) how often each sentence is drawn, until there are so many samples."""
    most = max(1, _CELLS // sentences)
    for start in range(0, samples, most):
        rows = min(most, samples - start)
        places = random.integers(sentences, size=(rows, sentences)) + sentences * np.arange(rows)[:, None]
        counts = np.bincount(places.ravel(), minlength=rows * sentences)
        yield counts.reshape(rows, sentences).astype(np.float64)


def _resample_seeds(scores: Floats, random: Generator) -> Floats:
    """Returns (R,) the mean of S - 1 of the S scores (R, S) in each row, drawn with replacement; of 1 where S is 1."""
    rows, seeds = scores.shape
    places = random.integers(seeds, size=(rows, max(seeds - 1, 1)))
    drawn: Floats = np.take_along_axis(scores, places, axis=1).mean(axis=1)
    return drawn
