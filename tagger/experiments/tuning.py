"""A search for settings: trials with settings from a search space, in parallel, pruned by their dev curves.

The directory of a search:
    config.yaml    the recipe
    tune.json      the options and the hash of the data, which a resumed search compares
    study.journal  the trials, as Optuna's journal
    trial-0001/    a running trial: its recipe (config.yaml) and a run for each seed (seed-1/, ...)
    trials.jsonl   all trials: settings, scores, dev curves, seconds
    trials.md      a table of all trials, the best first
    best.yaml      the recipe with the best settings
    model-best/    the model of the best trial, of its best seed
    study.png      dev curves by epoch, and scores by setting

A trial is pruned by the dev curve of its first seed. Only trials that are not pruned are trained with the other seeds.
The mean over the seeds of the score of the best epoch decides which trial is the best. The test data is not scored.

One process samples settings, decides and writes the journal. With one job the trials depend on the seed alone, even if
the search is interrupted: unfinished and failed trials resume from their last checkpoints, before new ones start.
"""

import json
import logging
import re
import shutil
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tagger import choices, model_dir, training
from tagger.choices import Sampler
from tagger.config import Config, loader, search_space
from tagger.config.search_space import SearchSpace
from tagger.device import select_device
from tagger.errors import ConfigError
from tagger.evaluation import SCORE_NAMES, find_selection
from tagger.experiments import processes, pruning, resumable, runs, tuning_picture
from tagger.experiments import study as studies
from tagger.experiments.processes import Faults, Task
from tagger.experiments.resumable import ExperimentKind
from tagger.experiments.study import Study
from tagger.experiments.trials import SeedScore, Trial, TuningResult, to_markdown
from tagger.io import atomic, directories, json_files
from tagger.training import Callback, EpochRecord, Inputs, corpora, run_dir
from tagger.training.corpora import Corpora
from tagger.training.run_dir import BEST, CONFIG

log = logging.getLogger(__name__)

OPTIONS, JOURNAL = "tune.json", "study.journal"
MAX_TRIALS = 100_000
_TRIALS, _TABLE, _RECIPE, _PICTURE = "trials.jsonl", "trials.md", "best.yaml", "study.png"
_NAMES = {CONFIG, OPTIONS, JOURNAL, _TRIALS, _TABLE, _RECIPE, _PICTURE, BEST}
_MAX_REFUSED = 10  # for each trial that is not refused
_TRIAL = re.compile(r"trial-[0-9]{4,6}")


def _is_ours(name: str) -> bool:
    """Returns whether a search writes, replaces or removes a name in its directory."""
    return name in _NAMES or _TRIAL.fullmatch(name) is not None


_KIND = ExperimentKind("search", "a", OPTIONS, _is_ours)


@dataclass(frozen=True, slots=True)
class TuningOptions:
    """How settings are searched.

    Attributes:
        trials: the number of trials, without those whose settings cannot be combined.
        seeds: the seeds that each trial is trained with.
        seed: the random seed of the sampler.
        sampler: how settings are chosen: see `Study`.
        prune: whether unpromising trials end early.
        keep_models: whether the directories of all trials remain, with their models.

    Raises:
        ConfigError: a number is out of range.
    """

    trials: int = 20
    seeds: tuple[int, ...] = (1,)
    seed: int = 1
    sampler: Sampler = "tpe"
    prune: bool = True
    keep_models: bool = False

    def __post_init__(self) -> None:
        choices.check_choices(sampler=(self.sampler, Sampler))
        if not 1 <= self.trials <= MAX_TRIALS:
            raise ConfigError(f"`trials` must be from 1 to {MAX_TRIALS:,}, got {self.trials}")
        if not 0 <= self.seed < choices.SEED_LIMIT:
            raise ConfigError(f"`seed` must be at least 0 and below 2**63, got {self.seed}")
        runs.check_seeds(self.seeds)

    def stored(self, space: SearchSpace) -> dict[str, object]:
        """Returns what a resumed search must not change, by the names of parameters."""
        names = ("seeds", "seed", "sampler", "prune")
        return {name: getattr(self, name) for name in names} | {"space": space.to_json()}


@dataclass(frozen=True, slots=True)
class _Resources:
    """The device, the number of torch's threads of each job, and the name of the dev score."""

    device: str
    threads: int
    score_name: str


def tune(
    config: Config,
    space: SearchSpace,
    tuning_dir: Path,
    options: TuningOptions,
    *,
    jobs: int = 1,
    device: str = "auto",
    resume: bool = False,
    callback: Callback = lambda event: None,
) -> TuningResult:
    """Searches for the best settings of a recipe and returns all trials.

    Args:
        config: the recipe.
        space: the values of each setting.
        tuning_dir: the directory of the search.
        options: how settings are searched; a resumed search may have another number of trials.
        jobs: the number of trainings in parallel; above 1 in processes, which share the threads.
        device: auto, cpu, cuda or cuda:N.
        resume: continue a search that the directory holds; finished trials are not repeated.
        callback: is called with the events of the trainings if `jobs` is 1.

    Raises:
        TaggerError: invalid input, before anything is written; or the directory cannot be written.
        Stopped: by a signal, after checkpoints.
    """
    studies.check_library()
    processes.check_alone()
    select_device(device)
    if not resume:
        resumable.check_unused(tuning_dir, _KIND)  # before the data is read
    if options.sampler == "grid":
        studies.list_grid(space, options.seed)  # raises its faults before anything is written
    trained = corpora.without_test(config)
    inputs = _InputCache()
    data = (inputs.read(trained) if jobs == 1 else training.read_inputs(trained, is_new=False)).data
    stored = options.stored(space) | {resumable.DATA: data.digests()}
    with resumable.open_directory(tuning_dir, _KIND, config, stored, resume=resume):
        study = Study(tuning_dir / JOURNAL, space, options.sampler, options.seed, parallel=jobs > 1)
        resources = _Resources(device, processes.threads_per_job(jobs), _name_score(config, data))
        search = _Search(config, options, tuning_dir, study, resources)
        result = search.run(jobs, callback, inputs)
        tuning_picture.draw(result, space)
        return result


def _name_score(config: Config, data: Corpora) -> str:
    """Returns the name of the dev score that selects epochs and trials."""
    return SCORE_NAMES[find_selection(config, has_spans=data.source is not None)]


class _InputCache:
    """The data, vectors and transformer of the last recipe that was trained, which most trials share."""

    def __init__(self) -> None:
        self._key = ""
        self._inputs: Inputs | None = None

    def read(self, config: Config) -> Inputs:
        """Returns the inputs of a recipe, read only if other inputs were read last."""
        words, training_settings = config.model.words, config.training
        seed = training_settings.seed if corpora.is_dev_split_off(config.data) else None
        key = json.dumps(
            [
                config.data.model_dump(mode="json"),
                [words.vectors, words.max_dim, words.max_frozen_words],
                config.model.transformer.model_dump(mode="json"),
                [training_settings.sentence_weights, seed],
            ]
        )
        if key != self._key or self._inputs is None:
            self._key, self._inputs = key, None  # frees the inputs before others are read
            self._inputs = training.read_inputs(config)
        return self._inputs


class _Search:
    """A search in progress: starts trials, decides about them after each epoch, and stores their scores."""

    def __init__(
        self, config: Config, options: TuningOptions, tuning_dir: Path, study: Study, resources: _Resources
    ) -> None:
        self._config, self._options, self._dir = config, options, tuning_dir
        self._study, self._resources = study, resources
        self._ready: deque[Task] = deque()
        self._numbers: dict[str, int] = {}  # of trials, by the directories of their trainings
        self._configs: dict[int, Config] = {}
        self._pruned: set[int] = set()

    def run(self, jobs: int, callback: Callback, inputs: _InputCache) -> TuningResult:
        """Runs all trials and returns the result; the inputs are read for one job only."""
        self._resume_trials()
        with closing(
            processes.run_tasks(
                self._next_task,
                jobs=jobs,
                callback=callback,
                read_inputs=lambda task: inputs.read(self._config_of_task(task)),
                monitor=self._is_promising,
            )
        ) as ended:
            for task, faults in ended:
                self._end_task(task, faults)
        return self._write_results()

    def _resume_trials(self) -> None:
        """Prepares the unfinished and failed trials, and removes the directories of the others."""
        for trial in self._study.list_trials():
            if trial.state in ("failed", "unfinished"):
                self._study.set_faults(trial.number, ())
                self._prepare(trial)
            else:
                self._remove_directory(trial.number)

    def _next_task(self) -> Task | None:
        """Returns the next training, of a prepared trial or a new one; None if there is none now."""
        while not self._ready and self._can_start():
            self._prepare(self._study.start_trial())
        return self._ready.popleft() if self._ready else None

    def _can_start(self) -> bool:
        """Returns whether another trial can start; refused ones do not count, unless there are very many."""
        trials = self._study.list_trials()
        refused = sum(trial.state == "refused" for trial in trials)
        is_exhausted = self._study.max_trials is not None and len(trials) >= self._study.max_trials
        limit = self._options.trials
        return len(trials) - refused < limit and refused < _MAX_REFUSED * limit and not is_exhausted

    def _prepare(self, trial: Trial) -> None:
        """Writes the recipe of a trial, and prepares its next trainings; or refuses it."""
        try:
            config = corpora.without_test(self._config_of(trial))
        except ConfigError as error:
            log.warning("trial %d is refused: %s", trial.number, error)
            self._study.refuse(trial.number, error.faults)
            return
        log.info("trial %d: %s", trial.number, trial.describe_settings())
        directory = self._trial_dir(trial.number)
        with atomic.wrap_os_errors(directory):
            directory.mkdir(exist_ok=True)
            atomic.replace(directory / CONFIG, loader.dump(config).encode())
        self._prepare_seeds(trial.number, config)

    def _prepare_seeds(self, number: int, config: Config) -> None:
        """Prepares the trainings of a trial: that of the first seed, or of all others after it."""
        directory = self._trial_dir(number)
        missing = [seed for seed in self._options.seeds if not runs.is_complete(runs.seed_dir(directory, seed), config)]
        if not missing:
            self._finish(number)
        for seed in missing[:1] if self._options.seeds[0] in missing else missing:
            task = Task(
                f"trial {number}" if len(self._options.seeds) == 1 else f"trial {number}, seed {seed}",
                str(runs.seed_dir(directory, seed)),
                seed,
                str(directory / CONFIG),
                self._resources.device,
                None,
                self._resources.threads,
            )
            self._numbers[task.run_dir] = number
            self._ready.append(task)

    def _is_promising(self, task: Task, record: EpochRecord) -> bool:
        """Stores the score of an epoch; returns whether the trial continues, which its first seed decides."""
        number = self._numbers[task.run_dir]
        if task.seed != self._options.seeds[0]:
            return True
        trials = self._study.list_trials()
        if record.epoch == len(trials[number - 1].curve) + 1:
            self._study.report(number, record.dev.score, record.seconds + record.dev_seconds)
            trials = self._study.list_trials()
        if not self._options.prune:
            return True
        rungs = pruning.list_rungs(self._config_of(trials[number - 1]).training.epochs)
        curves = [trial.curve for trial in trials if trial.number != number]
        curve = trials[number - 1].curve
        if record.epoch < len(curve) or pruning.is_promising(curve, curves, rungs):
            return True
        self._pruned.add(number)
        return False

    def _end_task(self, task: Task, faults: Faults) -> None:
        """Stores how a training ended, and prepares the next one of its trial."""
        number = self._numbers[task.run_dir]
        if number in self._pruned:
            self._prune(number)
        elif faults:
            self._fail(task, faults)
        else:
            config = self._config_of_task(task)
            if task.seed == self._options.seeds[0]:
                self._report_rest(task)
                self._prepare_seeds(number, config)
            elif all(
                runs.is_complete(runs.seed_dir(self._trial_dir(number), seed), config) for seed in self._options.seeds
            ):
                self._finish(number)
        self._write_results()

    def _report_rest(self, task: Task) -> None:
        """Stores the scores of epochs that no monitor has seen, because the training ended at once."""
        number = self._numbers[task.run_dir]
        history = training.read_result(Path(task.run_dir), task.seed).history
        for record in history[len(self._study.list_trials()[number - 1].curve) :]:
            self._study.report(number, record.dev.score, record.seconds + record.dev_seconds)

    def _fail(self, task: Task, faults: Faults) -> None:
        number = self._numbers[task.run_dir]
        named = [fault if len(self._options.seeds) == 1 else f"seed {task.seed}: {fault}" for fault in faults]
        for fault in named:
            log.warning("trial %d failed: %s", number, fault)
        self._study.set_faults(number, [*self._study.list_trials()[number - 1].faults, *named])

    def _prune(self, number: int) -> None:
        self._study.prune(number)
        curve = self._study.list_trials()[number - 1].curve
        log.info("trial %d: pruned after epoch %d, dev score %.2f", number, len(curve), curve[-1])
        self._remove_directory(number)

    def _finish(self, number: int) -> None:
        """Stores the scores of a trial; if it is the best so far, copies its model first."""
        directory = self._trial_dir(number)
        result = runs.collect_results(directory, self._options.seeds, None)
        scores = [
            SeedScore(each.seed, each.dev.score, each.best.epoch, len(each.history), each.seconds)
            for each in result.results
        ]
        best = self._result().best
        trial = replace(self._study.list_trials()[number - 1], seeds=tuple(scores))
        assert trial.score is not None
        is_best = best is None or best.score is None or trial.score > best.score
        if is_best or self._options.keep_models:
            runs.write_results(result)
        if is_best:
            model_dir.copy(result.model_dir, self._dir / BEST)
        self._study.finish(number, scores)
        log.info("trial %d: dev score %.2f%s", number, trial.score, " (best)" * is_best)
        self._remove_directory(number)

    def _result(self) -> TuningResult:
        trials = tuple(self._with_effective_settings(trial) for trial in self._study.list_trials())
        return TuningResult(self._dir, trials, self._resources.score_name)

    def _with_effective_settings(self, trial: Trial) -> Trial:
        """Returns a trial without the settings that have no effect beside the others."""
        if trial.state == "refused":
            return trial
        return replace(trial, settings=search_space.select_effective(self._config_of(trial), trial.settings))

    def _config_of(self, trial: Trial) -> Config:
        """Returns the recipe of a trial.

        Raises:
            ConfigError: its settings cannot be combined.
        """
        if trial.number not in self._configs:
            self._configs[trial.number] = loader.with_values(self._config, trial.settings)
        return self._configs[trial.number]

    def _config_of_task(self, task: Task) -> Config:
        """Returns the recipe of a training, with its seed and without test data."""
        config = self._config_of(self._study.list_trials()[self._numbers[task.run_dir] - 1])
        return processes.with_seed(corpora.without_test(config), task.seed)

    def _write_results(self) -> TuningResult:
        """Writes the trials, the table, and the recipe of the best trial; returns the result."""
        result = self._result()
        lines = [json_files.dump(trial.to_json()) + b"\n" for trial in result.trials]
        files = {_TRIALS: b"".join(lines), _TABLE: to_markdown(result.rows()).encode() + b"\n"}
        if result.best is not None:
            files[_RECIPE] = self._dump_best(result, result.best).encode()
        with atomic.wrap_os_errors(self._dir):
            for name, content in files.items():
                atomic.replace(self._dir / name, content)
        return result

    def _dump_best(self, result: TuningResult, best: Trial) -> str:
        seeds = ", ".join(str(each.seed) for each in best.seeds)
        mean = f"mean of the seeds {seeds}" if len(best.seeds) > 1 else f"seed {seeds}"
        comment = f"# dev {result.score_name} {best.score:.2f}, {mean}: trial {best.number} of {len(result.trials)}\n"
        return comment + loader.dump_changes(self._config_of(best))

    def _trial_dir(self, number: int) -> Path:
        return self._dir / f"trial-{number:04d}"

    def _remove_directory(self, number: int) -> None:
        """Removes the trainings of a trial, but no file that no training wrote."""
        directory = self._trial_dir(number)
        if self._options.keep_models or not directory.is_dir() or directory.is_symlink():
            return
        with atomic.wrap_os_errors(directory):
            for seed in self._options.seeds:
                if directories.is_marked(runs.seed_dir(directory, seed)):
                    _remove_names(runs.seed_dir(directory, seed))
            _remove_names(directory)


def _remove_names(directory: Path) -> None:
    """Removes what a training wrote into a directory, and the directory if it is empty then."""
    for path in directory.iterdir():
        if path.name.startswith("seed-") or not _is_written_by_training(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    with suppress(OSError):
        directory.rmdir()


def _is_written_by_training(name: str) -> bool:
    return run_dir.is_ours(name) or name in (directories.LOCK, directories.MARKER)
