"""The Python API of `tagger train`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tagger import config as recipes
from tagger import experiments
from tagger.choices import Device
from tagger.config import Config
from tagger.errors import ConfigError
from tagger.experiments import ExperimentResult, runs
from tagger.training import Callback, corpora, run_dir


def train(
    recipe: str | Path | Config,
    *,
    data: str | Path | None = None,
    train: str | Path | None = None,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    vectors: str | Path | Sequence[str | Path] = (),
    out: str | Path | None = None,
    settings: Mapping[str, object] | Sequence[str] = (),
    seed: int | None = None,
    seeds: Sequence[int] | None = None,
    jobs: int = 1,
    device: Device = "auto",
    init_from: str | Path | None = None,
    resume: bool = False,
    callback: Callback = lambda event: None,
) -> ExperimentResult:
    """Trains a recipe with one or several seeds, as `tagger train` does, and returns the result.

        result = tagger.train("sample", settings={"training.epochs": 2}, seeds=[1, 2, 3])
        print(result.test.mean, result.test.sd)
        result.tagger.tag(["Anna Velde joined Norvex Bank ."])

    Args:
        recipe: the name of a shipped recipe, a YAML file or a config; with `resume` alone, the directory of a run.
        data: a directory with train, dev and test files under their usual names, or a saved dataset.
        train: the training file.
        dev: the development file; without one, a part of the training data is split off.
        test: the test file, scored once after training.
        vectors: one or several files of pretrained word vectors.
        out: the directory of the run; None for runs/RECIPE.
        settings: overrides of the recipe's settings, by dotted name or nested, or as strings `KEY=VALUE`.
        seed: the random seed; None for the recipe's.
        seeds: several seeds, each trained in a sub-directory of `out`; the model best on dev is copied to `out`.
        jobs: the number of seeds to train in parallel, each in a process.
        device: auto, cpu or cuda.
        init_from: the directory of a model of the same shape to take the initial weights from.
        resume: continue a run from its last checkpoint, of `out` or, without `out` and `seeds`, of `recipe`.
        callback: is called with the events of the training, if `jobs` is 1.

    Raises:
        ConfigError: the recipe or an option is invalid, with a line for each fault.
        DataError: a data file cannot be read.
        StorageError: `out` holds another training or cannot be written.
        ModelError: `init_from` or a checkpoint is damaged.
        TrainingError: the training cannot continue, such as after a loss that is not finite.
        Stopped: by a signal, after a checkpoint; `resume=True` continues from there.
    """
    if seed is not None and seeds is not None:
        raise ConfigError("`seed` and `seeds` exclude each other; pass one of them")
    overrides = list(_overrides(settings)) if isinstance(settings, Mapping) else list(settings)
    paths = {
        name: None if path is None else Path(path) for name, path in (("train", train), ("dev", dev), ("test", test))
    }
    folder = None if data is None else Path(data)
    tables = [Path(vectors)] if isinstance(vectors, str | Path) else [Path(path) for path in vectors]
    initial = None if init_from is None else Path(init_from)
    run = None if isinstance(recipe, Config) else Path(recipe)
    if resume and seeds is None and run is not None and (out is None or run.is_dir()):
        _refuse({"vectors": tables or None, "out": out, "seed": seed, "init_from": init_from})
        _check_jobs(jobs, several=runs.has_seed_dirs(run))
        run_dir.check_is_run(run)
        config = recipes.load(str(run / run_dir.CONFIG), overrides)
        config = corpora.with_paths(config, folder=folder, parts=paths, vectors=())
        return experiments.resume(run, jobs=jobs, device=device, callback=callback, config=config)
    _check_jobs(jobs, several=seeds is not None)
    config = corpora.with_paths(_load(recipe, overrides), folder=folder, parts=paths, vectors=tables)
    return experiments.train(
        config,
        seed if seeds is None else seeds,
        _run_dir(recipe, out),
        jobs=jobs,
        device=device,
        init_from=initial,
        resume=resume,
        callback=callback,
    )


def _overrides(settings: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yields `a.b=value`, the value in YAML, for each setting of a mapping.

    >>> list(_overrides({"training.epochs": 2, "model": {"encoder": {"cell": "gru"}}}))
    ['training.epochs=2', 'model.encoder.cell="gru"']
    """
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _overrides(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={json.dumps(value, default=str)}"  # JSON is YAML


def _load(recipe: str | Path | Config, overrides: Sequence[str]) -> Config:
    if isinstance(recipe, Config):
        return recipes.parse(recipes.dump(recipe), "recipe", overrides=overrides)
    return recipes.load(str(recipe), overrides)


def _run_dir(recipe: str | Path | Config, out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    if isinstance(recipe, Config):
        raise ConfigError("a config has no name for the directory of the run; pass `out`")
    return Path("runs") / Path(recipe).stem


def _check_jobs(jobs: int, *, several: bool) -> None:
    if jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1, got {jobs}")
    if jobs > 1 and not several:
        raise ConfigError("`jobs` is the number of `seeds` to train in parallel; pass `seeds`, too")


def _refuse(fixed: Mapping[str, object]) -> None:
    """Raises ConfigError if an option is set that a resumed run cannot change."""
    if refused := [f"`{name}`" for name, value in fixed.items() if value is not None]:
        raise ConfigError(
            f"a resumed run keeps its {', '.join(refused)}; it takes only `device`, `jobs`, other paths of the same"
            " data and the setting training.epochs"
        )
