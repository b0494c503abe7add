"""The confidence interval of one score."""

import numpy as np

from tagger.evaluation import resampling
from tagger.evaluation.report import Counts

QUANTILES = (0.025, 0.975)
"""The bounds of a 95 % interval."""


def bootstrap_interval(counts: Counts, *, samples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % interval of F1, or for plain tags of the accuracy, in percent.

    The bounds are percentiles of the score of sentences drawn with replacement (Efron and Tibshirani, 1993, ch. 13).
    They cover the choice of the sentences, not the variation between trainings.

    Args:
        counts: the counts of each sentence.
        samples: the number of resamples.
        seed: the seed of the resampling; equal seeds give equal bounds.
    """
    if not counts.rows:
        return 0.0, 0.0
    terms = resampling.stack_terms([counts])
    weights = resampling.draw_sentences(len(counts.rows), samples, np.random.default_rng(seed))
    scores = np.concatenate([resampling.score_weighted(chunk, terms) for chunk in weights])
    low, high = np.quantile(scores, QUANTILES)
    return float(low), float(high)
