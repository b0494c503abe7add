"""A study of Optuna in a journal: samples the settings of trials and stores their scores, for one process at a time.

The settings of a trial are sampled in memory with a seed that depends on its number, and stored in one line. A crash
leaves a trial with all its settings or none, and a resumed study samples the same settings as an uninterrupted one.
"""

import itertools
import json
import logging
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tagger.choices import Sampler, TrialState
from tagger.config.search_space import Choices, Range, SearchSpace
from tagger.errors import ConfigError, ModelError, StorageError
from tagger.experiments.trials import SeedScore, Trial
from tagger.io import atomic, json_files

log = logging.getLogger(__name__)

_NAME = "tagger"
_MAX_GRID = 100_000
_DIGITS = 4
_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_MAX_BYTES = 256 << 20
_SECONDS, _SEEDS, _FAULTS = "seconds", "seeds", "faults"  # attributes of a trial


def check_library() -> None:
    """Raises ConfigError if Optuna is not installed."""
    if find_spec("optuna") is None:
        raise ConfigError("a search for settings needs Optuna: pip install 'bilstm-crf-tagger[tune]'")


class Study:
    """The trials of a search; trials are numbered from 1. Only one process may have a study open.

    Args:
        path: the journal; it is created if it does not exist. An incomplete last line, which a crash left, is removed.
        space: the values of each setting.
        sampler: how values are chosen: `tpe` by the scores of earlier trials, `random`, or `grid` for all combinations
            in random order.
        seed: the random seed.
        parallel: whether trials run in parallel, so that `tpe` avoids the settings of unfinished trials.

    Raises:
        StorageError: the journal cannot be read or written.
        ModelError: the journal is damaged, or its trials do not belong to the space.
        ConfigError: `grid` is asked for a continuous range.
    """

    def __init__(self, path: Path, space: SearchSpace, sampler: Sampler, seed: int, *, parallel: bool) -> None:
        import optuna

        self._optuna, self._path, self._space = optuna, path, space
        self._sampler, self._seed, self._parallel = sampler, seed, parallel
        self._distributions = {name: _distribution(optuna, values) for name, values in space.settings.items()}
        self._ended: dict[int, Trial] = {}  # trials that do not change any more, by Optuna's number
        self._grid = list_grid(space, seed) if sampler == "grid" else None
        _repair(path)
        with _quiet(optuna), self._errors():
            backend = optuna.storages.journal.JournalFileBackend(str(path), lock_obj=_NoLock())
            self._storage = optuna.storages.JournalStorage(backend)
            self._study = optuna.create_study(
                storage=self._storage, study_name=_NAME, direction="maximize", load_if_exists=True
            )
        self.list_trials()  # checks every trial

    @property
    def max_trials(self) -> int | None:
        """The largest number of trials: that of all combinations for `grid`, else None."""
        return None if self._grid is None else len(self._grid)

    def list_trials(self) -> list[Trial]:
        """Returns all trials, by number.

        Raises:
            ModelError: a trial does not belong to the space.
        """
        with self._errors():
            return [
                self._ended.get(trial.number) or self._to_trial(trial)
                for trial in self._study.get_trials(deepcopy=False)
            ]

    def start_trial(self) -> Trial:
        """Samples and stores the settings of a new trial."""
        trials = self._study.get_trials(deepcopy=False)
        parameters = self._sample(trials)
        running = self._optuna.trial.create_trial(
            state=self._optuna.trial.TrialState.RUNNING, params=parameters, distributions=self._distributions
        )
        with atomic.wrap_os_errors(self._path):
            self._study.add_trial(running)
        return self.list_trials()[-1]

    def _sample(self, trials: Sequence[Any]) -> dict[str, Any]:
        if self._grid is not None:
            row = self._grid[len(trials)]
            return {name: _to_parameter(self._space.settings[name], value) for name, value in row.items()}
        seed = random.Random(f"{self._seed}, {len(trials)}").getrandbits(32)
        samplers = self._optuna.samplers
        with _quiet(self._optuna):
            if self._sampler == "random":
                sampler = samplers.RandomSampler(seed=seed)
            else:
                sampler = samplers.TPESampler(seed=seed, constant_liar=self._parallel)
            study = self._optuna.create_study(sampler=sampler, direction="maximize")
            study.add_trials(trials)
            parameters: dict[str, Any] = study.ask(self._distributions).params
        return parameters

    def report(self, number: int, score: float, seconds: float) -> None:
        """Stores the dev score of the next epoch of a trial, and the seconds of the epoch."""
        trial = self._trial(number)
        known = self.list_trials()[number - 1]
        with atomic.wrap_os_errors(self._path):
            trial.set_user_attr(_SECONDS, [*known.epoch_seconds, seconds])
            trial.report(score, len(known.curve) + 1)

    def finish(self, number: int, seeds: Sequence[SeedScore]) -> None:
        """Stores the scores of the seeds of a trial, which is finished."""
        with atomic.wrap_os_errors(self._path):
            self._trial(number).set_user_attr(_SEEDS, [asdict(seed) for seed in seeds])
            self._study.tell(number - 1, sum(seed.score for seed in seeds) / len(seeds))

    def prune(self, number: int) -> None:
        """Stores that a trial is pruned."""
        with atomic.wrap_os_errors(self._path), _quiet(self._optuna):
            self._study.tell(number - 1, state=self._optuna.trial.TrialState.PRUNED)

    def refuse(self, number: int, faults: Sequence[str]) -> None:
        """Stores that the settings of a trial cannot be combined."""
        self.set_faults(number, faults)
        with atomic.wrap_os_errors(self._path), _quiet(self._optuna):
            self._study.tell(number - 1, state=self._optuna.trial.TrialState.FAIL)

    def set_faults(self, number: int, faults: Sequence[str]) -> None:
        """Stores why a trial failed; it can be resumed. No faults mean that it is resumed."""
        with atomic.wrap_os_errors(self._path):
            self._trial(number).set_user_attr(_FAULTS, list(faults))

    def _trial(self, number: int) -> Any:
        study_id = self._storage.get_study_id_from_name(_NAME)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number - 1)
        return self._optuna.trial.Trial(self._study, trial_id)

    def _to_trial(self, trial: Any) -> Trial:
        states = self._optuna.trial.TrialState
        attributes = trial.user_attrs
        faults = json_files.parse_as(list[str], json.dumps(attributes.get(_FAULTS, [])))
        unfinished: TrialState = "failed" if faults else "unfinished"
        by_state: dict[Any, TrialState] = {
            states.COMPLETE: "finished",
            states.PRUNED: "pruned",
            states.FAIL: "refused",
            states.RUNNING: unfinished,
        }
        curve = trial.intermediate_values
        seconds = json_files.parse_as(list[float], json.dumps(attributes.get(_SECONDS, [])))
        if sorted(curve) != list(range(1, len(curve) + 1)):
            raise ValueError(f"trial {trial.number + 1}: expected the scores of epochs from 1 on")
        result = Trial(
            trial.number + 1,
            self._to_settings(trial.params),
            by_state[trial.state],
            tuple(float(curve[epoch]) for epoch in sorted(curve)),
            tuple(seconds[: len(curve)]),
            tuple(json_files.parse_as(list[SeedScore], json.dumps(attributes.get(_SEEDS, [])))),
            tuple(faults),
        )
        if result.state == "finished" and not result.seeds:
            raise ValueError(f"trial {result.number}: it is finished, but has no scores")
        if trial.state.is_finished():
            self._ended[trial.number] = result
        return result

    def _to_settings(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if parameters.keys() != self._space.settings.keys():
            raise ValueError("a trial has other settings than the space")
        return {name: _to_value(values, parameters[name]) for name, values in self._space.settings.items()}

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns what is raised for a damaged journal into an error of one line."""
        try:
            with atomic.wrap_os_errors(self._path):
                yield
        except (*_ERRORS, self._optuna.exceptions.OptunaError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(f"{self._path}: is not the journal of this search: {reason}") from error


class _NoLock:
    """No lock: the directory of the search is locked."""

    def acquire(self) -> bool:
        """Returns True."""
        return True

    def release(self) -> None:
        """Does nothing."""


def list_grid(space: SearchSpace, seed: int) -> list[dict[str, Any]]:
    """Returns all combinations of the values of a space, in random order.

    Raises:
        ConfigError: a range is continuous.
    """
    columns = []
    for name, values in space.settings.items():
        numbers = values.list_values()
        if numbers is None:
            raise ConfigError(f"{name} has a continuous range; a grid needs a list of choices, or a range with a step")
        columns.append([(name, value) for value in numbers])
    count = space.count_combinations()
    if count is None or count > _MAX_GRID:
        raise ConfigError(f"the grid has {count:,} combinations; expected at most {_MAX_GRID:,}")
    grid = [dict(pairs) for pairs in itertools.product(*columns)]
    random.Random(seed).shuffle(grid)
    return grid


def _distribution(optuna: Any, values: Choices | Range) -> Any:
    distributions = optuna.distributions
    if isinstance(values, Choices):
        return distributions.CategoricalDistribution([_to_parameter(values, value) for value in values.values])
    if values.is_integer:
        return distributions.IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
    return distributions.FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def _to_parameter(values: Choices | Range, value: Any) -> Any:
    """Returns a value as Optuna stores it: choices, which may be lists, as JSON."""
    return json.dumps(value) if isinstance(values, Choices) else value


def _to_value(values: Choices | Range, parameter: Any) -> Any:
    """Returns the value of a setting from what Optuna stores; a number of a continuous range has four digits.

    Raises:
        ValueError: the space does not hold the value.
    """
    if isinstance(values, Choices):
        value = json.loads(parameter)
        is_inside = value in values.values
    elif values.is_integer:
        value = int(parameter)
        is_inside = values.low <= value <= values.high
    else:
        digits = _DIGITS if values.step is None else 2 * _DIGITS
        value = min(max(float(f"{parameter:.{digits}g}"), values.low), values.high)
        is_inside = values.low <= parameter <= values.high
    if not is_inside:
        raise ValueError(f"the space does not hold the value {parameter!r}")
    return value


def _repair(path: Path) -> None:
    """Removes an incomplete last line of a journal; Optuna accepts it, but not the next line.

    Raises:
        StorageError: the path is a link or not a regular file, or the file is too large.
        ModelError: another line is not JSON.
    """
    if not os.path.lexists(path):
        return
    with atomic.wrap_os_errors(path), os.fdopen(atomic.open_regular(path, os.O_RDONLY), "rb") as stream:
        data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise StorageError(f"{path}: has over {_MAX_BYTES} bytes; expected the journal of a search")
        end = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:end].splitlines(), 1):
            try:
                json_files.parse(line)
            except ValueError as error:
                raise ModelError(f"{path}: is not the journal of this search: line {number} is {error}") from error
        if end < len(data):
            log.warning("%s: the last line is incomplete, because the search was interrupted; it is removed", path)
            atomic.truncate(path, end)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keeps Optuna from printing messages."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
