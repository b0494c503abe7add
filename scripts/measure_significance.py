"""Measures how often the tests of `tagger compare` report a difference between equal systems.

    python scripts/measure_significance.py [--pairs N] [--sentences N] [--samples N] [--json FILE]

Each row simulates pairs of systems whose trainings have one distribution. A sentence has three spans. Each training
finds a span with a probability that depends on the sentence and on the luck of its seed. A right test reports p < 0.05
for 5 % of the pairs.

    none     seeds have no luck: trainings differ from sentence to sentence only
    alike    the luck of seeds varies the score as much as the choice of sentences does
    larger   it varies the score three times as much

The column `sentences` shows why trainings are the unit of exchange where a system has several seeds: it exchanges
the predictions of all seeds sentence by sentence.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.random import Generator

from tagger.evaluation.resampling import Floats
from tagger.experiments import significance

SEEDS = (1, 2, 3, 5, 10)
LUCK = {"none": 0.0, "alike": 1.0, "larger": 3.0}
SPANS = 3
TESTS = ("bootstrap", "randomisation", "sentences")


def main() -> None:
    """Prints a row for each number of seeds and each amount of luck."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000, help="Number of simulated pairs of each row.")
    parser.add_argument("--sentences", type=int, default=300, help="Number of sentences.")
    parser.add_argument("--samples", type=int, default=500, help="Number of samples of each test.")
    parser.add_argument("--json", type=Path, help="File for the rates.")
    options = parser.parse_args()
    print(f"{'seeds':>5} {'luck':>7}" + "".join(f"{name:>15}" for name in TESTS))
    rows = []
    for seeds in SEEDS:
        for name, luck in LUCK.items():
            if seeds == 1 and luck:
                continue  # one training cannot show the luck of its seed
            rates = measure(seeds, luck, options.pairs, options.sentences, options.samples)
            rows.append({"seeds": seeds, "luck": name, **rates})
            print(f"{seeds:>5} {name:>7}" + "".join(f"{rates[test]:>15.3f}" for test in TESTS), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(seeds: int, luck: float, pairs: int, sentences: int, samples: int) -> dict[str, float]:
    """Returns the fraction of pairs of equal systems with p < 0.05, by test."""
    random = np.random.default_rng(1)
    counts = dict.fromkeys(TESTS, 0)
    for _ in range(pairs):
        first, second = simulate(seeds, luck, sentences, random)
        difference = float(percent(second) - percent(first))
        resampled = significance.resample(first, second, samples=samples, random=random)
        summed = (side.sum(axis=2, keepdims=True) for side in (first, second))
        values = (
            significance.bootstrap_p(resampled, difference),
            significance.randomisation_p(first, second, samples=samples, random=random),
            significance.randomisation_p(*summed, samples=samples, random=random),
        )
        for test, value in zip(TESTS, values, strict=True):
            counts[test] += value < 0.05
    return {test: count / pairs for test, count in counts.items()}


def simulate(seeds: int, luck: float, sentences: int, random: Generator) -> tuple[Floats, Floats]:
    """Returns the terms (2, sentences, seeds) of two systems with trainings of one distribution."""
    difficulty = random.beta(4, 1, (sentences, 1))
    deviation = luck * np.sqrt(0.8 * 0.2 / (SPANS * sentences))  # of the score of a training
    found = random.binomial(SPANS, np.clip(difficulty + deviation * random.normal(size=2 * seeds), 0, 1))
    terms = np.stack([found, np.full_like(found, SPANS)]).astype(np.float64)
    return terms[..., :seeds], terms[..., seeds:]


def percent(terms: Floats) -> Floats:
    """Returns the mean score of the seeds."""
    scores: Floats = 100 * terms[0].sum(axis=0) / terms[1].sum(axis=0)
    return scores.mean()


if __name__ == "__main__":
    main()
