"""Measures the calibration of a model: the calibration error on test data, and how often a promised precision fails.

    python scripts/measure_calibration.py MODEL DEV TEST [--precision 0.95] [--halves 200] [--json FILE]

The model is calibrated on DEV in a temporary copy. Printed are the expected calibration error of spans on TEST before
and after, and for random halves of TEST how often the precision at the threshold chosen on one half is below the
promise on the other half: of all selected spans, and of the spans of each type. Chance alone makes a precision of
exactly the promise fail in half of the draws.
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tagger
from tagger import evaluation
from tagger.analysis import calibrator
from tagger.data import tagged_files
from tagger.data.tagged_files import FileOptions


def measure_errors(model: Path, dev: Path, test: Path) -> dict[str, Any]:
    """Returns calibration errors on the test data before and after `model` is calibrated on the dev data."""
    before = tagger.evaluate(model, test).calibration
    result = tagger.calibrate(model, dev)
    after = tagger.evaluate(model, test).calibration
    return {
        "temperature": result.calibration.temperature,
        "type_temperatures": result.calibration.type_temperatures,
        "dev": {"before": result.before.error, "after": result.after.error},
        "test": {"before": before.error, "after": after.error},
        "predictions": after.count,
    }


def measure_promise(model: Path, test: Path, precision: float, halves: int) -> dict[str, Any]:
    """Returns how often the precision on one half of the data is below the promise made on the other half."""
    loaded = tagger.load(model)
    corpus = tagged_files.read_file(test, loaded.model.config.data, FileOptions())
    pools = loaded.encode(corpus.sentences)
    scheme = evaluation.find_gold_scheme(loaded, evaluation.check_gold(loaded, corpus))
    predictions = calibrator.predict(corpus, scheme, loaded, pools)
    random = np.random.default_rng(1)
    failures: dict[str, list[bool]] = {"all": []}
    selected, correct = 0, 0
    for _ in range(halves):
        is_chosen = random.permutation(len(corpus.sentences)) % 2 == 0
        on_first = is_chosen[predictions.sentences]
        first, second = predictions.select(on_first), predictions.select(~on_first)
        thresholds = replace(
            loaded.model.calibration,
            thresholds={kind: calibrator.count_thresholds(first, kind) for kind in loaded.span_types},
        ).find_thresholds(precision)
        kinds = np.array(second.types)
        kept = np.zeros(len(kinds), bool)
        for kind, threshold in thresholds.items():
            if threshold is None:
                continue
            of_kind = (kinds == kind) & (second.probabilities >= threshold)
            kept |= of_kind
            failures.setdefault(kind, []).append(bool(second.is_correct[of_kind].mean() < precision))
        if kept.any():
            failures["all"].append(bool(second.is_correct[kept].mean() < precision))
            selected += int(kept.sum())
            correct += int(second.is_correct[kept].sum())
    return {
        "precision": precision,
        "halves": halves,
        "failed": {name: float(np.mean(values)) for name, values in failures.items() if values},
        "draws": {name: len(values) for name, values in failures.items()},
        "mean precision": correct / max(selected, 1),
        "fraction of predictions": selected / max(halves * len(predictions.types) / 2, 1),
    }


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="Model directory; it stays unchanged.")
    parser.add_argument("dev", type=Path, help="Data to calibrate on.")
    parser.add_argument("test", type=Path, help="Data to measure on.")
    parser.add_argument("--precision", type=float, default=0.95, help="Promised precision.")
    parser.add_argument("--halves", type=int, default=200, help="Number of random halves.")
    parser.add_argument("--json", type=Path, help="File for the figures.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(shutil.copytree(options.model, Path(folder) / "model"))
        figures = measure_errors(model, options.dev, options.test)
        figures["promise"] = measure_promise(model, options.test, options.precision, options.halves)
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
