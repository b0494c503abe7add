"""The Python API of `tagger tune`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tagger.api import recipe_settings
from tagger.choices import Device, Sampler
from tagger.config import Config, search_space
from tagger.errors import ConfigError
from tagger.experiments import tuning
from tagger.experiments.trials import TuningResult
from tagger.experiments.tuning import TuningOptions
from tagger.training import Callback, corpora


def tune(
    recipe: str | Path | Config,
    *,
    space: str | Path | Mapping[str, Any],
    trials: int = 20,
    data: str | Path | None = None,
    train: str | Path | None = None,
    dev: str | Path | None = None,
    vectors: str | Path | Sequence[str | Path] = (),
    out: str | Path | None = None,
    settings: Mapping[str, object] | Sequence[str] = (),
    seed: int | None = None,
    seeds: Sequence[int] | None = None,
    sampler: Sampler = "tpe",
    prune: bool = True,
    keep_models: bool = False,
    jobs: int = 1,
    device: Device = "auto",
    resume: bool = False,
    callback: Callback = lambda event: None,
) -> TuningResult:
    """Searches for the settings of a recipe with the highest dev score, as `tagger tune` does.

        space = {
            "model.encoder.hidden_size": [100, 200, 300],
            "training.optimizer.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
        }
        result = tagger.tune("mine.yaml", space=space, trials=20)
        print(result.best_settings, result.best.score)
        tagger.train(result.recipe, seeds=[1, 2, 3])

    The mean dev score of the seeds decides, each at its best epoch. The test data is not scored.

    Args:
        recipe: the name of a shipped recipe, a YAML file or a config.
        space: a YAML file, or a mapping, with a list of choices or a range (`low`, `high`, `log`, `step`) for each
            setting to tune.
        trials: the number of trials, without those whose settings cannot be combined.
        data: a directory with train and dev files under their usual names, or a saved dataset.
        train: the training file.
        dev: the development file; without one, a part of the training data is split off.
        vectors: one or several files of pretrained word vectors.
        out: the directory of the search; None for runs/RECIPE-tune.
        settings: overrides of the recipe's settings, by dotted name or nested, or as strings `KEY=VALUE`.
        seed: the random seed of the sampler and of the trainings; None for the recipe's.
        seeds: several seeds to train each trial with. A trial is pruned by its first seed, and the other seeds are
            trained only if it is not pruned.
        sampler: `tpe` samples near the best trials, `random` independently; `grid` tries all combinations in random
            order.
        prune: end a trial early if other trials have better dev scores at the same epoch.
        keep_models: keep the directories of all trials; otherwise only the best model remains.
        jobs: the number of trainings in parallel, each in a process.
        device: auto, cpu, cuda or cuda:N.
        resume: continue a search in `out`, also with more trials; finished trials are not repeated.
        callback: is called with the events of the trainings, if `jobs` is 1.

    Raises:
        ConfigError: the recipe, the space or an option is invalid, Optuna is missing, or a setting of a resumed search
            has changed.
        DataError: a data file cannot be read.
        StorageError: `out` holds another search, or cannot be written.
        ModelError: the data has changed since the search began, or its journal is damaged.
        Stopped: by a signal, after checkpoints; `resume=True` continues from there.
    """
    if jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1, got {jobs}")
    tables = [Path(vectors)] if isinstance(vectors, str | Path) else [Path(path) for path in vectors]
    parts = {name: None if path is None else Path(path) for name, path in (("train", train), ("dev", dev))}
    config = recipe_settings.load(recipe, settings)
    values = search_space.parse(space) if isinstance(space, Mapping) else search_space.load(space)
    folder = None if data is None else Path(data)
    config = corpora.with_paths(config, folder=folder, parts=parts, vectors=tables)
    first_seed = config.training.seed if seed is None else seed
    options = TuningOptions(
        trials, (first_seed,) if seeds is None else tuple(seeds), first_seed, sampler, prune, keep_models
    )
    return tuning.tune(
        config, values, _tuning_dir(recipe, out), options, jobs=jobs, device=device, resume=resume, callback=callback
    )


def _tuning_dir(recipe: str | Path | Config, out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    if isinstance(recipe, Config):
        raise ConfigError("a config has no name for the directory of the search; pass `out`")
    return Path("runs") / f"{Path(recipe).stem}-tune"
