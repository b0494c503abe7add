"""Measures the memory and the speed of training on data that exceed the memory (`training.corpus_cache`).

    python scripts/benchmark_large_corpus.py RECIPE --data DIR [--copies 490] [--steps 300] [--folder TMP] [--json FILE]

The benchmark trains RECIPE for `--steps` steps in a new process each: on the training data in memory; on the same data
in a cache; and on `--copies` copies of them in one file, twice. The second training finds the cache filled. DIR has
CoNLL columns. The other options are those of `tagger train`.

    tokens      tokens of the training data
    start       seconds from the start of the training to its first step
    step        milliseconds of a step, the median
    anonymous   peak of resident anonymous memory in 10^6 bytes, sampled every 20 ms; mapped files are not part of it
    growth      that peak minus the one of the data in memory
    cache       size of the cache in 10^6 bytes

A last line says whether all trainings on one copy have the same losses.
"""

import argparse
import contextlib
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COLUMNS = ("tokens", "start", "step", "anonymous", "growth", "cache")
SAMPLING_SECONDS = 0.02


class MeasuringDone(Exception):  # noqa: N818  # not an error
    """Ends the training after the last step."""


def main() -> None:
    if sys.argv[1:2] == ["measure"]:
        measure(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="Recipe name or YAML file.")
    parser.add_argument("--data", type=Path, required=True, help="Directory of the corpus, with train.txt.")
    parser.add_argument("--vectors", type=Path, action="append", default=[], help="Table of word vectors (repeatable).")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="Override a setting."
    )
    parser.add_argument("--copies", type=int, default=490, help="Number of copies in the large corpus [490].")
    parser.add_argument("--steps", type=int, default=300, help="Number of steps of each training [300].")
    parser.add_argument("--folder", type=Path, help="Directory for temporary files [the system's].")
    parser.add_argument("--json", type=Path, help="Write the rows as JSON.")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{'':18}" + "".join(f"{name:>14}" for name in COLUMNS))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        large = folder / "train.txt"
        with large.open("wb") as stream:
            content = (options.data / "train.txt").read_bytes().rstrip(b"\n") + b"\n\n"
            for _ in range(options.copies):
                stream.write(content)
        small = options.data / "train.txt"
        for kind, train, cache in (
            ("memory", small, None),
            ("cache", small, folder / "small"),
            ("large", large, folder / "large"),
            ("large, again", large, folder / "large"),
        ):
            row = run(options, folder, kind, train, cache)
            rows.append(row | {"growth": row["anonymous"] - (rows or [row])[0]["anonymous"]})
            print(f"{kind:18}" + "".join(f"{rows[-1][name]:>14,.1f}" for name in COLUMNS), flush=True)
    print(f"losses of memory and cache are equal: {rows[0]['losses'] == rows[1]['losses']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def run(options: argparse.Namespace, folder: Path, kind: str, train: Path, cache: Path | None) -> dict[str, Any]:
    """Returns the row of a training in a new process."""
    overrides = [*options.overrides, *([f"training.corpus_cache={cache}"] if cache else [])]
    result = folder / "result.json"
    job = {
        "recipe": options.recipe,
        "overrides": overrides,
        "data": str(options.data),
        "train": str(train),
        "vectors": [str(path) for path in options.vectors],
        "steps": options.steps,
        "run": str(folder / "run"),
        "result": str(result),
    }
    process = subprocess.Popen([sys.executable, __file__, "measure", json.dumps(job)])
    peak = 0
    while process.poll() is None:
        peak = max(peak, read_anonymous(process.pid))
        time.sleep(SAMPLING_SECONDS)
    if process.returncode:
        raise SystemExit(process.returncode)
    shutil.rmtree(folder / "run")
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) if cache else 0
    return {"kind": kind} | json.loads(result.read_text()) | {"anonymous": peak / 1e6, "cache": size / 1e6}


def read_anonymous(process: int) -> int:
    """Returns the resident anonymous memory of a process in bytes; 0 if it has ended."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])
    return 0


def measure(job: dict[str, Any]) -> None:
    """Trains for some steps, and writes the figures of the training to a file."""
    from tagger import config, training
    from tagger.training import corpora
    from tagger.training.events import StepEnd

    started = time.perf_counter()
    times: list[float] = []
    losses: list[float] = []

    def callback(event: object) -> None:
        if isinstance(event, StepEnd):
            times.append(time.perf_counter())
            losses.append(event.loss)
            if event.step >= job["steps"]:
                raise MeasuringDone

    settings = config.load(job["recipe"], overrides=job["overrides"])
    parts = {"train": Path(job["train"]), "dev": None, "test": None}
    settings = corpora.with_paths(
        settings, folder=Path(job["data"]), parts=parts, vectors=[Path(path) for path in job["vectors"]]
    )
    inputs = training.read_inputs(settings)
    tokens = inputs.data.train.tokens
    with contextlib.suppress(MeasuringDone):
        training.train(settings, Path(job["run"]), inputs=inputs, callback=callback)
    step = statistics.median(end - start for start, end in itertools.pairwise(times))
    figures = {"tokens": tokens, "start": times[0] - started, "step": 1000 * step, "losses": losses}
    Path(job["result"]).write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
