"""The Python API of `tagger train`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tagger import experiments, model_names
from tagger.api import recipe_settings
from tagger.choices import Device
from tagger.config import Config, setting_names
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
    **misplaced: object,
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
        device: auto, cpu, cuda or cuda:N.
        init_from: a model of the same shape to take the initial weights from, a directory or `hub:USER/NAME`.
        resume: continue a run from its last checkpoint, of `out` or, without `out` and `seeds`, of `recipe`.
        callback: is called with the events of the training, if `jobs` is 1.
        misplaced: names of settings such as epochs, which are an error that says where they belong.

    Raises:
        ConfigError: the recipe or an option is invalid, with a line for each fault.
        DataError: a data file cannot be read.
        StorageError: `out` holds another training or cannot be written.
        ModelError: `init_from` or a checkpoint is damaged.
        TrainingError: the training cannot continue, such as after a loss that is not finite.
        Stopped: by a signal, after a checkpoint; `resume=True` continues from there.
    """
    _refuse_misplaced(misplaced)
    if jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1, got {jobs}")
    if isinstance(seeds, str) or not isinstance(seed, int | None):
        raise ConfigError(f"`seed` is an integer and `seeds` a list of integers, got {seed!r} and {seeds!r}")
    if seed is not None and seeds is not None:
        raise ConfigError("`seed` and `seeds` exclude each other; pass one of them")
    paths = {
        name: None if path is None else Path(path) for name, path in (("train", train), ("dev", dev), ("test", test))
    }
    folder = None if data is None else Path(data)
    tables = [Path(vectors)] if isinstance(vectors, str | Path) else [Path(path) for path in vectors]
    run = None if isinstance(recipe, Config) else Path(recipe)
    if resume and run is not None and (_is_run(run) or (out is None and seeds is None)):
        _refuse({"vectors": tables or None, "out": out, "seed": seed, "seeds": seeds, "init_from": init_from})
        run_dir.check_is_run(run)
        config = recipe_settings.load(run / run_dir.CONFIG, settings)
        config = corpora.with_paths(config, folder=folder, parts=paths, vectors=())
        return experiments.resume(run, jobs=jobs, device=device, callback=callback, config=config)
    config = corpora.with_paths(recipe_settings.load(recipe, settings), folder=folder, parts=paths, vectors=tables)
    return experiments.train(
        config,
        seed if seeds is None else seeds,
        _run_dir(recipe, out),
        jobs=jobs,
        device=device,
        init_from=None if init_from is None else model_names.find(init_from),
        resume=resume,
        callback=callback,
    )


def _refuse_misplaced(misplaced: Mapping[str, object]) -> None:
    """Raises ConfigError, with a line for each, if there are other arguments; it names the settings that they mean."""
    faults = []
    for name, value in misplaced.items():
        known = setting_names.find(name)
        advice = (
            f"pass settings={{{known[0]!r}: {value!r}}}" if len(known) == 1 else "settings are passed in `settings`"
        )
        faults.append(f"{name} is not a parameter of train; {advice}{setting_names.suggest(name) * (len(known) != 1)}")
    if faults:
        raise ConfigError(*faults)


def _run_dir(recipe: str | Path | Config, out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    if isinstance(recipe, Config):
        raise ConfigError("a config has no name for the directory of the run; pass `out`")
    return Path("runs") / Path(recipe).stem


def _is_run(path: Path) -> bool:
    return runs.has_seed_dirs(path) or (path / run_dir.CONFIG).is_file()


def _refuse(fixed: Mapping[str, object]) -> None:
    """Raises ConfigError if an option is set that a resumed run cannot change."""
    if refused := [f"`{name}`" for name, value in fixed.items() if value is not None]:
        raise ConfigError(
            f"a resumed run keeps its {', '.join(refused)}; it takes only `device`, `jobs`, other paths of the same"
            " data and the setting training.epochs"
        )
