"""Training of a recipe with one or several seeds: start, resume, summarize."""

import logging
import re
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from tagger import model_dir, training
from tagger.config import Config, changed_settings, fixed_changes, loader
from tagger.device import select_device
from tagger.errors import ConfigError, StorageError
from tagger.experiments import processes, runs
from tagger.experiments.processes import Faults, Task
from tagger.experiments.runs import MAX_SEEDS, ExperimentResult
from tagger.io import atomic, directories
from tagger.training import Callback, Inputs, TrainingResult, corpora
from tagger.training.run_dir import CONFIG, check_free, check_is_run, lock_run_dir
from tagger.training.train import check_no_tables

log = logging.getLogger(__name__)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Returns the seeds in a list of numbers and ranges.

    >>> parse_seeds("1-3,7")
    (1, 2, 3, 7)

    Raises:
        ConfigError: the text is not such a list, or has over a thousand seeds.
    """
    seeds: list[int] = []
    for part in text.split(","):
        numbers = re.fullmatch(r" *([0-9]{1,19})(?:-([0-9]{1,19}))? *", part)
        if not numbers:
            raise ConfigError(
                f"`seeds` {text!r}: expected numbers such as 1,2,3 or a range such as 1-5, found {part!r}"
            )
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if last < first or len(seeds) + last - first >= MAX_SEEDS:
            raise ConfigError(
                f"`seeds` {text!r}: expected rising ranges and at most {MAX_SEEDS} seeds in all, found {part!r}"
            )
        seeds += range(first, last + 1)
    return tuple(seeds)


def train(
    config: Config,
    seeds: int | Sequence[int] | None,
    run_dir: Path,
    *,
    jobs: int = 1,
    device: str = "auto",
    init_from: Path | None = None,
    resume: bool = False,
    callback: Callback = lambda event: None,
) -> ExperimentResult:
    """Trains a recipe with one or several seeds and returns the result.

    A sequence of seeds, even of one, trains each in a sub-directory `seed-N` and copies the model best on dev to
    `model-best`; a seed that fails is reported in the result, and the others continue. A single number trains in
    `run_dir` itself; its faults are raised.

    Args:
        config: the recipe.
        seeds: distinct seeds, or a single one; None for the recipe's. They replace `training.seed`.
        run_dir: the directory; without `resume` it must not hold a training yet.
        jobs: the number of seeds to train in parallel; above 1 in processes, which share the threads.
        device: auto, cpu, cuda or cuda:N.
        init_from: a model of the same shape to take the first weights from.
        resume: continue a training that the directory holds; more seeds may be added, finished ones stay unchanged.
            Without a training there, a log line says that it starts from the beginning.
        callback: is called with the events of the training if `jobs` is 1.

    Raises:
        TaggerError: invalid input, before anything is written; the directory holds another training or cannot be
            written.
        Stopped: by a signal, after a checkpoint; `resume` continues from there.
    """
    init_from = init_from.resolve() if init_from else None
    if seeds is None or isinstance(seeds, int):
        seed = config.training.seed if seeds is None else seeds
        runs.check_seeds([seed])
        _check_single_job(jobs)
        config = processes.with_seed(config, seed)
        if resume and runs.has_seed_dirs(run_dir):
            raise StorageError(f"{run_dir}: holds a run of several seeds; pass all of them as `seeds`")
        if resume and runs.is_started(run_dir):
            result = training.resume(run_dir, device=device, callback=callback, config=config)
        else:
            if resume:
                directories.log_new_start(run_dir, "run")
            result = training.train(config, run_dir, device=device, init_from=init_from, callback=callback)
        return _single_result(result, init_from)
    processes.check_alone()
    runs.check_seeds(seeds)
    if resume and runs.has_seed_dirs(run_dir):
        _check_same(run_dir, config, seeds, init_from)
    else:
        if resume and model_dir.list_checkpoints(run_dir):
            raise StorageError(f"{run_dir}: holds a run of one seed, to which none can be added; choose another `out`")
        check_free(run_dir)
        if resume:
            directories.log_new_start(run_dir, "run")
        resume = False
    pending = ExperimentResult(run_dir, tuple(seeds), init_from)
    return _train_seeds(config, pending, jobs, device, callback, start=not resume)


def resume(
    run_dir: Path,
    *,
    jobs: int = 1,
    device: str = "auto",
    callback: Callback = lambda event: None,
    config: Config | None = None,
) -> ExperimentResult:
    """Resumes the unfinished seeds of a run, of one seed or of several; other arguments as for `train`.

    `config` is the run's config with other `training.epochs` or data paths; None for the run's own.

    Raises:
        TaggerError: there is no run, its data or another setting has changed, or it cannot be written.
        Stopped: by a signal, after a checkpoint.
    """
    check_is_run(run_dir)
    if not runs.has_seed_dirs(run_dir):
        _check_single_job(jobs)
        return _single_result(training.resume(run_dir, device=device, callback=callback, config=config), None)
    processes.check_alone()
    seeds, init_from = runs.read_seeds(run_dir)
    if config is not None:
        _check_settings(run_dir, config)
    config = config or loader.load(str(run_dir / CONFIG))
    pending = ExperimentResult(run_dir, seeds, init_from)
    return _train_seeds(config, pending, jobs, device, callback, start=False)


def _single_result(result: TrainingResult, init_from: Path | None) -> ExperimentResult:
    return ExperimentResult(result.run_dir, (result.seed,), init_from, (result,))


def _check_single_job(jobs: int) -> None:
    if jobs > 1:
        raise ConfigError("`jobs` is the number of `seeds` to train in parallel; pass `seeds`, too")


def _check_same(run_dir: Path, config: Config, seeds: Sequence[int], init_from: Path | None) -> None:
    """Checks that `train` was called with the arguments of the run that it resumes."""
    before, started_from = runs.read_seeds(run_dir)
    if missing := [str(seed) for seed in before if seed not in seeds]:
        raise StorageError(f"{run_dir}: was started with seeds that `seeds` lacks: {', '.join(missing)}")
    if started_from != init_from:
        raise StorageError(f"{run_dir}: was started from {started_from or 'no model'}, now {init_from or 'no model'}")
    _check_settings(run_dir, config)


def _check_settings(run_dir: Path, config: Config) -> None:
    """Raises ConfigError, with a line for each, if a setting differs that a resumed run may not change."""
    before = loader.load(str(run_dir / CONFIG))
    if config.training.epochs < before.training.epochs:
        fault = f"training.epochs was {before.training.epochs}, now {config.training.epochs}"
        raise ConfigError(f"{run_dir}: {fault}; a run of several seeds cannot have fewer epochs than it started with")
    if faults := fixed_changes(changed_settings(before, config)):
        raise ConfigError(*(f"{run_dir}: {fault}; resume the run without this change" for fault in faults))


def _train_seeds(
    config: Config, pending: ExperimentResult, jobs: int, device: str, callback: Callback, *, start: bool
) -> ExperimentResult:
    select_device(device)
    run_dir, seeds, init_from = pending.run_dir, pending.seeds, pending.init_from
    threads, started_from = processes.threads_per_job(jobs), str(init_from) if init_from else None
    recipe = str(run_dir / CONFIG)
    tasks = [
        Task(f"seed {seed}", str(runs.seed_dir(run_dir, seed)), seed, recipe, device, started_from, threads)
        for seed in seeds
        if start or not runs.is_complete(runs.seed_dir(run_dir, seed), config)
    ]
    check_no_tables(config, init_from)
    inputs = _read_inputs(config, tasks, shared=jobs == 1)
    with lock_run_dir(run_dir):
        if start:
            check_free(run_dir)  # again: another training may have used it while this one read its data
        with atomic.wrap_os_errors(run_dir):
            atomic.replace(run_dir / CONFIG, loader.dump(config).encode())
        result = runs.collect_results(run_dir, seeds, init_from)
        runs.write_results(result)
        failures: dict[int, Faults] = {}
        with closing(
            processes.run_tasks(
                partial(next, iter(tasks), None), jobs=jobs, callback=callback, read_inputs=lambda task: inputs
            )
        ) as ended:
            for task, faults in ended:
                if faults:
                    failures[task.seed] = faults
                result = runs.collect_results(run_dir, seeds, init_from, failures)
                runs.write_results(result)
                _log_result(task.seed, result)
    return result


def _read_inputs(config: Config, tasks: Sequence[Task], *, shared: bool) -> Inputs | None:
    """Reads the data, so that its faults are raised before anything is written.

    Returns:
        The inputs if all seeds can share them.
    """
    if not tasks:
        return None
    needs_tables = any(task.init_from is None and not task.is_started for task in tasks)
    splits_off_dev = corpora.is_dev_split_off(config.data)
    inputs = training.read_inputs(config, is_new=needs_tables and shared and not splits_off_dev)
    if splits_off_dev:
        log.warning("no dev data: each seed splits off other sentences, so that dev scores differ by their data too")
    return inputs if shared and not splits_off_dev else None


def _log_result(seed: int, result: ExperimentResult) -> None:
    for fault in result.failures.get(seed, ()):
        log.warning("seed %d: %s", seed, fault)
    for each in result.results:
        if each.seed == seed:
            log.info("%s", each)
