"""A recipe trained with several seeds: begun, gone on with, summed up."""

import logging
import re
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from tagger import config, files, runtime, training
from tagger.config import Config
from tagger.errors import CheckpointError, ConfigError, TaggerError
from tagger.experiments import processes, runs
from tagger.experiments.processes import Faults, Task
from tagger.experiments.runs import Results
from tagger.training import Inputs, Listener, corpora
from tagger.training.fit import CONFIG, refuse_tables, refuse_taken

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
                f"--seeds {text!r}: expected numbers such as 1,2,3 or a range such as 1-5, found {part!r}"
            )
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if last < first or len(found) + last - first >= _MOST:
            raise ConfigError(f"--seeds {text!r}: {part!r} must rise, and all be {_MOST} seeds at most")
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
    listen: Listener = lambda event: None,
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
        listen: is told of steps and epochs, if `jobs` is 1.

    Raises:
        TaggerError: bad input, before anything is written; the directory holds another training or cannot be written.
        Stopped: by a signal, after a checkpoint; with `resume` it goes on from there.
    """
    _check(seeds)
    init_from = init_from.resolve() if init_from else None
    if resume and runs.exists(run):
        _check_same(run, settings, seeds, init_from)
    else:
        if resume and any(run.glob("checkpoint-*")):
            raise CheckpointError(f"{run}: is a run of one seed, to which none can be added; choose another --out")
        refuse_taken(run)
        resume = False
    return _train(settings, Results(run, tuple(seeds), init_from), jobs, device, listen, begin=not resume)


def resume(run: Path, *, jobs: int = 1, device: str = "auto", listen: Listener = lambda event: None) -> Results:
    """Goes on with the seeds of a run where they stopped; arguments as of `train`.

    Raises:
        TaggerError: the run is none of several seeds, its data has changed, or it cannot be written.
        Stopped: by a signal, after a checkpoint.
    """
    seeds, init_from = runs.load(run)
    settings = config.load(str(run / CONFIG))
    return _train(settings, Results(run, seeds, init_from), jobs, device, listen, begin=False)


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
        raise CheckpointError(f"{run}: was begun with seeds that are not given now: {', '.join(left)}")
    if (config.dump(config.load(str(run / CONFIG))), started_from) != (config.dump(settings), init_from):
        raise CheckpointError(f"{run}: was begun with other settings; go on without them: tagger train {run} --resume")


def _train(settings: Config, begun: Results, jobs: int, device: str, listen: Listener, *, begin: bool) -> Results:
    runtime.device(device)
    run, seeds, init_from = begun.run, begun.seeds, begun.init_from
    threads = torch.get_num_threads() if jobs == 1 else max(1, torch.get_num_threads() // jobs)
    started_from = str(init_from) if init_from else None
    tasks = [
        Task(str(runs.directory(run, seed)), seed, str(run / CONFIG), device, started_from, threads)
        for seed in seeds
        if begin or not runs.is_finished(runs.directory(run, seed))
    ]
    refuse_tables(settings, init_from)
    inputs = _read(settings, tasks, shared=jobs == 1)
    with files.own(run):
        if begin:
            refuse_taken(run)  # again: another may have come and gone while this one read its data
            with files.writing(run):
                files.replace(run / CONFIG, config.dump(settings).encode())
        results = runs.collect(run, seeds, init_from)
        runs.save(results)
        failed: dict[int, Faults] = {}
        each = _in_turn(tasks, listen, inputs) if jobs == 1 else processes.train_all(tasks, jobs=jobs)
        with closing(each):
            for task, faults in each:
                if faults:
                    failed[task.seed] = faults
                results = runs.collect(run, seeds, init_from, failed)
                runs.save(results)
                _tell(task.seed, results)
    return results


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
    tasks: Sequence[Task], listen: Listener, inputs: Inputs | None
) -> Generator[tuple[Task, Faults], None, None]:
    for task in tasks:
        log.info("seed %d", task.seed)
        try:
            processes.train(task, listen=listen, inputs=inputs)
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
