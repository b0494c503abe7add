"""Tests of the difference between two systems: a paired bootstrap, approximate randomisation, and Holm's correction.

**Paired bootstrap** (Efron and Tibshirani, 1993, chapter 16; for taggers and similar tasks Koehn, 2004;
Berg-Kirkpatrick et al., 2012; Dror et al., 2018). Sentences are drawn with replacement, the same for both systems,
because both tagged them. Seeds are drawn for each system separately, even if both have the same seeds: from one seed,
networks of two shapes draw different weights, so that equal seeds are no pairs.

Drawing sentences and seeds at once is the bootstrap of Owen (2007), which errs towards wider intervals. Of S seeds,
S - 1 are drawn, as Rao and Wu (1988) do for small samples: drawing S would make the variance of their mean too small by
a factor of (S - 1) / S. With few seeds the test still reports too many differences. In simulated pairs of equal systems
whose seeds vary more than their sentences, p < 0.05 occurred in 21 % of the pairs with two seeds, 9 % with three, 8 %
with five and 5 % with ten. Where both vary alike, it occurred in 7, 4 and 3 % with two, three and five seeds.

**Approximate randomisation** (Noreen, 1989; for F1 Yeh, 2000). Under the null hypothesis, what is exchanged could as
well come from the other system. The unit of exchange depends on the number of trainings:

- One training of each system: the unit is the sentence. The predictions of both systems for a sentence are exchanged
  with probability 1/2. The null hypothesis is about these two models.
- Several trainings: the unit is the training, that is all predictions of a seed. The null hypothesis is about the
  recipes: all trainings have one distribution. Sentences are no unit then. A good seed is good on many sentences, so
  that exchanging sentences one by one would take the luck of a seed for a difference between recipes. The test is
  exact, but p is at least 2 / C(2S, S) with S seeds each: 0.33, 0.10 and 0.008 with two, three and five seeds.

In 1,000 simulated pairs of equal systems (`scripts/measure_significance.py`), p < 0.05 of randomisation occurred in 5 %
of the pairs with one training each, in 5 to 6 % with five, in 4 to 5 % with ten, and never with two or three.
Exchanging sentences gave p < 0.05 in 15 to 18 % of the pairs with several trainings whose luck varies the score as much
as the choice of sentences does, and in 55 % if their luck varies it three times as much.

Shapes in this module: R resamples, N sentences, S seeds of a system.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tagger.evaluation import resampling
from tagger.evaluation.resampling import Floats

_TIE = 1e-9  # percent; smaller differences are due to rounding


def resample(first: Floats, second: Floats, *, samples: int, random: Generator) -> Floats:
    """Returns differences (samples,) of mean scores, second minus first, for resampled sentences and seeds.

    Args:
        first: (2, N, S) terms that each sentence adds to the numerator and the denominator of each seed's score.
        second: the same for the other system, of the same sentences.
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


def bootstrap_p(resampled: Floats, difference: float) -> float:
    """Returns the fraction of resamples that deviate from the difference by at least as much as it deviates from 0."""
    return _fraction(np.abs(resampled - difference), difference)


def randomisation_p(first: Floats, second: Floats, *, samples: int, random: Generator) -> float:
    """Returns the fraction of exchanges whose difference of mean scores is at least as large as without exchange.

    Trainings are exchanged in every way if that takes at most `samples` exchanges, else at random.

    Args:
        first: (2, N, S) terms that each sentence adds to the numerator and the denominator of each seed's score.
        second: the same for the other system, of the same sentences.
        samples: the number of random exchanges.
        random: the random generator.
    """
    scores = [resampling.score_weighted(np.ones((1, side.shape[1])), side)[0] for side in (first, second)]
    difference = float(scores[1].mean() - scores[0].mean())
    if first.shape[2] == second.shape[2] == 1:
        return _fraction(np.abs(_exchange_sentences(first, second, samples, random)), difference)
    pooled, count = np.concatenate(scores), len(scores[1])
    if math.comb(len(pooled), count) <= samples:
        every = _exchange_trainings(pooled, np.array(list(combinations(range(len(pooled)), count))))
        return float((np.abs(every) >= abs(difference) - _TIE).mean())
    orders = random.permuted(np.tile(np.arange(len(pooled)), (samples, 1)), axis=1)
    return _fraction(np.abs(_exchange_trainings(pooled, orders[:, :count])), difference)


def smallest_p(first_seeds: int, second_seeds: int) -> float:
    """Returns the smallest p of randomisation that so many trainings allow; 0 where sentences are exchanged.

    >>> smallest_p(1, 1), smallest_p(3, 3), smallest_p(1, 3)
    (0.0, 0.1, 0.25)
    """
    if first_seeds == second_seeds == 1:
        return 0.0
    return (1 + (first_seeds == second_seeds)) / math.comb(first_seeds + second_seeds, first_seeds)


def correct_by_holm(values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number, by the step-down method of Holm (1979).

    >>> correct_by_holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    corrected, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = largest
    return corrected


def _exchange_sentences(first: Floats, second: Floats, samples: int, random: Generator) -> Floats:
    """Returns differences (samples,) of scores after each sentence was exchanged with probability 1/2."""
    ours, theirs = first[:, :, 0], second[:, :, 0]
    change = (theirs - ours).T  # (N, 2)
    chunks = []
    for rows in resampling.split_into_chunks(len(change), samples):
        moved = random.integers(2, size=(rows, len(change)), dtype=np.int8).astype(np.float64) @ change
        exchanged = (
            resampling.divide_terms(*(ours.sum(1) + moved).T),
            resampling.divide_terms(*(theirs.sum(1) - moved).T),
        )
        chunks.append(exchanged[1] - exchanged[0])
    return np.concatenate(chunks)


def _exchange_trainings(scores: Floats, chosen: NDArray[np.int64]) -> Floats:
    """Returns (R,) the means of chosen scores, by their indices (R, S), minus those of all others."""
    sums = scores[chosen].sum(axis=1)
    count = chosen.shape[1]
    differences: Floats = sums / count - (scores.sum() - sums) / (len(scores) - count)
    return differences


def _fraction(deviations: Floats, difference: float) -> float:
    """Returns the fraction of deviations that are at least as large as the difference, which counts as one of them."""
    return float((1 + int((deviations >= abs(difference) - _TIE).sum())) / (len(deviations) + 1))
