"""A recipe trained with several seeds: begun, gone on with, summed up."""

import logging
import re
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from tagger import config, model_dir, training
from tagger.config import Config
from tagger.device import torch_device
from tagger.errors import ConfigError, StorageError, TaggerError
from tagger.experiments import processes, runs
from tagger.experiments.processes import Faults, Task
from tagger.experiments.runs import Results
from tagger.io import atomic
from tagger.training import Callback, Inputs, corpora, run_dir
from tagger.training.run_dir import CONFIG
from tagger.training.train import check_no_tables

log = logging.getLogger(__name__)

_MOST = 1000


def parse(text: str) -> tuple[int, ...]:
    """Returns the seeds of a list of numbers and ranges.

    >>> parse("1-3,7")
    (1, 2, 3, 7)

    Raises:
        ConfigError: it is no such list, or names over a thousand.
    """
    found: list[int] = []
    for part in text.split(","):
        numbers = re.fullmatch(r" *([0-9]{1,19})(?:-([0-9]{1,19}))? *", part)
        if not numbers:
            raise ConfigError(
                f"`seeds` {text!r}: expected numbers such as 1,2,3 or a range such as 1-5, found {part!r}"
            )
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if last < first or len(found) + last - first >= _MOST:
            raise ConfigError(f"`seeds` {text!r}: {part!r} must rise, and all be {_MOST} seeds at most")
        found += range(first, last + 1)
    return tuple(found)


def train(
    settings: Config,
    seeds: Sequence[int],
    run: Path,
    *,
    jobs: int = 1,
    device: str = "auto",
    init_from: Path | None = None,
    resume: bool = False,
    callback: Callback = lambda event: None,
) -> Results:
    """Trains a recipe with each of some seeds, and keeps the model best on dev.

    Each seed's run is what `training.fit` makes of it. A seed that fails is told in the results, and the others go on.

    Args:
        settings: the recipe; its own seed does not count.
        seeds: no two equal.
        run: the directory; without `resume` it must not hold a training yet.
        jobs: seeds trained at a time; above 1 in processes of their own, which share the threads.
        device: auto, cpu or cuda.
        init_from: a model of the same shape whose weights to start from.
        resume: go on if the directory holds these seeds, or some of them, already; finished ones stay as they are.
        callback: is told of steps and epochs, if `jobs` is 1.

    Raises:
        TaggerError: bad input, before anything is written; the directory holds another training or cannot be written.
        Stopped: by a signal, after a checkpoint; with `resume` it goes on from there.
    """
    _check(seeds)
    init_from = init_from.resolve() if init_from else None
    if resume and runs.exists(run):
        _check_same(run, settings, seeds, init_from)
    else:
        if resume and model_dir.checkpoints(run):
            raise StorageError(f"{run}: is a run of one seed, to which none can be added; choose another `out`")
        run_dir.check_free(run)
        resume = False
    return _train(settings, Results(run, tuple(seeds), init_from), jobs, device, callback, begin=not resume)


def resume(
    run: Path,
    *,
    jobs: int = 1,
    device: str = "auto",
    callback: Callback = lambda event: None,
    settings: Config | None = None,
) -> Results:
    """Goes on with the seeds of a run where they stopped; other arguments as of `train`.

    `settings` are the run's settings, changed in `training.epochs` or in where the data lie; its own if None.

    Raises:
        TaggerError: the run is none of several seeds, its data or another setting has changed, or it cannot be written.
        Stopped: by a signal, after a checkpoint.
    """
    run_dir.check_marked(run)
    seeds, init_from = runs.load(run)
    if settings is not None:
        _check_settings(run, settings)
    settings = settings or config.load(str(run / CONFIG))
    return _train(settings, Results(run, seeds, init_from), jobs, device, callback, begin=False)


def _check(seeds: Sequence[int]) -> None:
    if not seeds:
        raise ConfigError("no seed is given to train with")
    twice = [str(seed) for seed, count in Counter(seeds).items() if count > 1]
    if twice:
        raise ConfigError(f"each seed can be trained once; twice stands {', '.join(twice)}")
    if outside := [str(seed) for seed in seeds if not 0 <= seed < 2**63]:
        raise ConfigError(f"a seed must be at least 0 and below 2**63, got {', '.join(outside)}")


def _check_same(run: Path, settings: Config, seeds: Sequence[int], init_from: Path | None) -> None:
    before, started_from = runs.load(run)
    if left := [str(seed) for seed in before if seed not in seeds]:
        raise StorageError(f"{run}: was begun with seeds that are not given now: {', '.join(left)}")
    if started_from != init_from:
        raise StorageError(f"{run}: was begun from {started_from or 'no model'}, now {init_from or 'no model'}")
    _check_settings(run, settings)


def _check_settings(run: Path, settings: Config) -> None:
    """Raises ConfigError, with a line for each, if a setting differs that may not change in a run of several seeds."""
    begun = config.load(str(run / CONFIG))
    if settings.training.epochs < begun.training.epochs:
        fault = f"training.epochs was {begun.training.epochs}, now {settings.training.epochs}"
        raise ConfigError(f"{run}: {fault}; a run of several seeds cannot have fewer epochs than it was begun with")
    if faults := config.fixed_changes(config.changed_settings(begun, settings)):
        hint = "continue without this change"
        raise ConfigError(*(f"{run}: {fault}; {hint}" for fault in faults))


def _train(settings: Config, begun: Results, jobs: int, device: str, callback: Callback, *, begin: bool) -> Results:
    torch_device(device)
    run, seeds, init_from = begun.run, begun.seeds, begun.init_from
    threads = torch.get_num_threads() if jobs == 1 else max(1, torch.get_num_threads() // jobs)
    started_from = str(init_from) if init_from else None
    tasks = [
        Task(str(runs.directory(run, seed)), seed, str(run / CONFIG), device, started_from, threads)
        for seed in seeds
        if begin or not _is_finished(runs.directory(run, seed), settings)
    ]
    check_no_tables(settings, init_from)
    inputs = _read(settings, tasks, shared=jobs == 1)
    with run_dir.owned(run):
        if begin:
            run_dir.check_free(run)  # again: another may have come and gone while this one read its data
        with atomic.wrap_os_errors(run):
            atomic.replace(run / CONFIG, config.dump(settings).encode())
        results = runs.collect(run, seeds, init_from)
        runs.save(results)
        failed: dict[int, Faults] = {}
        each = _in_turn(tasks, callback, inputs) if jobs == 1 else processes.train_all(tasks, jobs=jobs)
        with closing(each):
            for task, faults in each:
                if faults:
                    failed[task.seed] = faults
                results = runs.collect(run, seeds, init_from, failed)
                runs.save(results)
                _tell(task.seed, results)
    return results


def _is_finished(run: Path, settings: Config) -> bool:
    """Returns whether a seed has trained for all epochs of the settings."""
    return runs.is_finished(run) and config.load(str(run / CONFIG)).training.epochs >= settings.training.epochs


def _read(settings: Config, tasks: Sequence[Task], *, shared: bool) -> Inputs | None:
    """Reads the data, so that its faults come before anything is written; returns it if all seeds can share it."""
    if not tasks:
        return None
    fresh = any(task.init_from is None and not runs.is_begun(Path(task.run)) for task in tasks)
    drawn = corpora.drawn(settings.data)
    inputs = training.read(settings, tables=fresh and shared and not drawn)
    if drawn:
        log.warning("no development data: each seed sets other sentences aside, in which their dev scores differ too")
    return inputs if shared and not drawn else None


def _in_turn(
    tasks: Sequence[Task], callback: Callback, inputs: Inputs | None
) -> Generator[tuple[Task, Faults], None, None]:
    for task in tasks:
        log.info("seed %d", task.seed)
        try:
            processes.train(task, callback=callback, inputs=inputs)
        except TaggerError as error:
            yield task, error.faults
        except Exception as error:
            yield task, (processes.unexpected(error, task),)
        else:
            yield task, ()


def _tell(seed: int, results: Results) -> None:
    for fault in results.failed.get(seed, ()):
        log.warning("seed %d: %s", seed, fault)
    for result in results.results:
        if result.seed == seed:
            log.info("%s", result)
