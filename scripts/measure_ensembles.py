"""Measures the scores of ensembles of the models of a run, by their number.

    python scripts/measure_ensembles.py RUN FILE... [--sizes 1,2,3,5] [--draws 10] [--json FILE]

RUN is a run of several seeds (`tagger train RECIPE --seeds 1-6 --out RUN`); each FILE holds tagged data. For each size,
up to `--draws` subsets of the seeds become ensembles, drawn without repetition. They share members, so that their
standard deviation is lower than that of independent ensembles. Each row has the mean and the standard deviation of the
scores on each file: the F1 of spans, or the accuracy of plain tags. It also has the median of the sentences per second.
"""

import argparse
import itertools
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import tagger
from tagger.experiments import runs


def main() -> None:
    """Builds and scores the ensembles, and prints a row for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="Run of several seeds.")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="Tagged files, such as dev and test data.")
    parser.add_argument("--sizes", default="1,2,3,5", help="Numbers of models.")
    parser.add_argument("--draws", type=int, default=10, help="Largest number of ensembles of each size.")
    parser.add_argument("--json", type=Path, help="File for the rows.")
    options = parser.parse_args()
    models = [result.model_dir for result in runs.read_results(options.run).results]
    rows = []
    for size in map(int, options.sizes.split(",")):
        subsets = list(itertools.combinations(models, size))
        random.Random(0).shuffle(subsets)
        rows.append({"models": size, **measure(subsets[: options.draws], options.files)})
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(subsets: list[tuple[Path, ...]], files: list[Path]) -> dict[str, Any]:
    """Returns the scores on each file of the ensembles of subsets of models, and the speed."""
    scores: dict[str, list[float]] = {file.name: [] for file in files}
    speeds = []
    for subset in subsets:
        with tempfile.TemporaryDirectory() as temporary:
            model = subset[0] if len(subset) == 1 else tagger.ensemble(subset, Path(temporary) / "model").model_dir
            loaded = tagger.load(model)
        for file in files:
            report = tagger.evaluate(loaded, file)
            speeds.append(report.sentences_per_second)
            scores[file.name].append(report.score)
    summaries = {name: summarize(values) for name, values in scores.items()}
    return {**summaries, "ensembles": len(subsets), "sentences per second": round(statistics.median(speeds))}


def summarize(values: list[float]) -> str:
    """Returns the mean and the sample standard deviation of scores."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


if __name__ == "__main__":
    main()
