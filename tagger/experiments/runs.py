"""The runs of several seeds: where they stand, which are finished, and what they came to.

run/  config.yaml  seeds.json  model-best/ (the model best on dev)  seed-1/  seed-2/  ... (each a run by itself)

seeds.json, all scores in percent:
    seeds       those to train
    init_from   the model whose weights all start from, or null
    best        the seed whose model is model-best, null while none is finished
    dev, test   `mean` and `sd` (sample standard deviation, null for one seed) of the scores, F1 or for plain tags
                accuracy, and their `signature` (null where the seeds' data differ); null where there are none
    results     for each seed that is finished `seed`; `dev` and `test` (null without test data), each the `score`,
                `f1`, `precision` and `recall` (null for plain tags), `accuracy` and `signature` of the epoch best on
                dev; that `epoch`; the `epochs` trained; and the `seconds` that training and scoring dev took
    failed      for each seed that could not go on its faults, a line each
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tagger import model_dir
from tagger.errors import ModelError
from tagger.io import atomic, json_files, regular_file
from tagger.training import records, run_dir
from tagger.training.run_dir import BEST, COUNTS, SEEDS

_MAX_BYTES = 16 << 20
_MAX_SEEDS = 1000
_FIGURES = ("score", "f1", "precision", "recall", "accuracy", "signature")


@dataclass(frozen=True)
class Result:
    """What a seed came to; fields as in seeds.json."""

    seed: int
    dev: dict[str, Any]
    test: dict[str, Any] | None
    epoch: int
    epochs: int
    seconds: float

    def __str__(self) -> str:
        test = f", test {self.test['score']:.2f}" if self.test else ""
        return f"seed {self.seed}: dev {self.dev['score']:.2f}{test}, {self.epochs} epochs, {self.seconds:.0f} s"


@dataclass(frozen=True)
class Spread:
    """The mean of scores, their sample standard deviation, None for a single one, and what they depend on."""

    mean: float
    sd: float | None
    signature: str | None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.sd:.2f}" if self.sd is not None else "")


@dataclass(frozen=True)
class Results:
    """What the seeds of a run came to so far.

    Attributes:
        run: the directory.
        seeds: those to train.
        init_from: the model whose weights all start from.
        results: of the finished ones, in the order of `seeds`.
        failed: the faults of those that could not go on.
    """

    run: Path
    seeds: tuple[int, ...]
    init_from: Path | None = None
    results: tuple[Result, ...] = ()
    failed: Mapping[int, Sequence[str]] = field(default_factory=dict)

    @property
    def best(self) -> Result | None:
        """The seed best on dev, of equals the first."""
        return max(self.results, key=lambda result: result.dev["score"], default=None)

    @property
    def model(self) -> Path:
        """The directory of the best seed's model."""
        return self.run / BEST

    @property
    def dev(self) -> Spread | None:
        """The scores on dev, None if no seed is finished."""
        return _spread([(result.seed, result.dev) for result in self.results])

    @property
    def test(self) -> Spread | None:
        """The scores on test, None if there are none."""
        return _spread([(result.seed, result.test) for result in self.results if result.test])

    def to_json(self) -> dict[str, Any]:
        """Returns what seeds.json holds."""
        spreads = {"dev": self.dev, "test": self.test}
        return {
            "seeds": self.seeds,
            "init_from": str(self.init_from) if self.init_from else None,
            "best": self.best.seed if self.best else None,
            **{part: asdict(found) if found else None for part, found in spreads.items()},
            "results": [asdict(result) for result in self.results],
            "failed": dict(self.failed),
        }

    def __str__(self) -> str:
        if not self.best or not self.dev:
            return "no seed is finished"
        lines = [f"{'seed':>10}{'dev':>8}{'test':>8}{'epochs':>8}{'seconds':>9}"]
        for result in self.results:
            test = f"{result.test['score']:.2f}" if result.test else "-"
            score = result.dev["score"]
            lines.append(f"{result.seed:>10}{score:>8.2f}{test:>8}{result.epochs:>8}{result.seconds:>9.0f}")
        spreads = {"dev": self.dev, "test": self.test}
        lines += [f"{part}, mean ± sd: {found}" for part, found in spreads.items() if found]
        lines += [found.signature for found in spreads.values() if found and found.signature]
        return "\n".join([*lines, f"model: {self.model}, of seed {self.best.seed}"])


def _spread(figures: Sequence[tuple[int, Mapping[str, Any]]]) -> Spread | None:
    if not figures:
        return None
    scores = [found["score"] for _, found in figures]
    spread = Spread(statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else None, None)
    origins = {found["signature"].partition(" | ")[2] for _, found in figures}
    if len(origins) > 1:
        return spread
    name = "accuracy" if figures[0][1]["f1"] is None else "f1"
    seeds = ",".join(str(seed) for seed, _ in figures)
    score = f"{name}={spread}".replace(" ", "")
    return Spread(spread.mean, spread.sd, f"{score} | seeds={seeds} | {origins.pop()}")


def exists(run: Path) -> bool:
    """Tells whether a directory is that of several seeds."""
    return (run / SEEDS).is_file() and not is_begun(run)


def directory(run: Path, seed: int) -> Path:
    """Returns where a seed is trained."""
    return run / f"seed-{seed}"


def is_begun(run: Path) -> bool:
    """Tells whether the directory of a single training holds something to go on from."""
    return bool(model_dir.checkpoints(run))


def is_finished(run: Path) -> bool:
    """Tells whether the directory of a single training holds all that it leaves."""
    return (run / COUNTS).is_file()


def collect(
    run: Path, seeds: Sequence[int], init_from: Path | None, failed: Mapping[int, Sequence[str]] | None = None
) -> Results:
    """Returns what the directories of the seeds hold.

    Raises:
        ModelError: the records of a seed cannot be read.
    """
    finished = [seed for seed in seeds if is_finished(directory(run, seed))]
    results = tuple(_result(seed, directory(run, seed)) for seed in finished)
    return Results(run, tuple(seeds), init_from, results, failed or {})


def _result(seed: int, run: Path) -> Result:
    found = records.read_metrics(run)
    epochs = [record for record in found if "dev" in record]
    tested = [record["test"] for record in found if "test" in record]
    try:
        if len(tested) > 1:
            raise ValueError("the test data was scored more than once")
        for scores in tested:
            records.check_scores(scores, "test")
        best = [record for record in epochs if record["best"]][-1]
    except (IndexError, ValueError) as error:
        raise ModelError(f"{run / run_dir.METRICS}: these are not the records of a training") from error
    dev, test = ({key: part[key] for key in _FIGURES} if part else None for part in (best["dev"], *(tested or [None])))
    assert dev is not None
    seconds = sum(record["seconds"] + record["dev_seconds"] for record in epochs)
    return Result(seed, dev, test, best["epoch"], len(epochs), seconds)


def load(run: Path) -> tuple[tuple[int, ...], Path | None]:
    """Returns the seeds of a run and the model that they start from.

    Raises:
        ModelError: seeds.json cannot be read.
    """
    path = run / SEEDS
    data = regular_file.read(path, limit=_MAX_BYTES)
    try:
        found = json_files.parse(bytes(data))
        if not isinstance(found, dict) or not found.keys() >= {"seeds", "init_from"}:
            raise ValueError("expected an object with seeds and init_from")
        seeds, init_from = found["seeds"], found["init_from"]
        if not isinstance(seeds, list) or not all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds):
            raise ValueError("seeds must be whole numbers from 0 to 2**63 - 1")
        if not 1 <= len(seeds) <= _MAX_SEEDS or len(set(seeds)) < len(seeds):
            raise ValueError(f"expected 1 to {_MAX_SEEDS} seeds, none of them twice")
        if not (init_from is None or isinstance(init_from, str)) or "\0" in (init_from or ""):
            raise ValueError("init_from must be a path or null")
        os.fsencode(init_from or "")
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    return tuple(seeds), Path(init_from) if init_from else None


def save(results: Results) -> None:
    """Writes seeds.json, and the best model if it is another than that which is there.

    Raises:
        StorageError: something cannot be written; what was there before stays.
    """
    if results.best:
        model = directory(results.run, results.best.seed) / BEST
        if not results.model.is_dir() or model_dir.digest(model) != model_dir.digest(results.model):
            model_dir.copy(model, results.model)
    with atomic.wrap_os_errors(results.run):
        atomic.replace(results.run / SEEDS, json_files.dump(results.to_json(), indent=1) + b"\n")
