"""Trainings on folds, for an audit of the labels: each model is trained without the sentences of one fold.

An audit's directory:
    config.yaml   the recipe
    audit.json    the options and the hash of the training data, which a resumed audit compares
    folds.json    for each model, its `repeat`, its `fold` and the positions of the sentences of the fold (`held_out`)
                  and of those it is trained on (`train`); sentences are numbered from 0
    fold-R-K/     the training without fold K in repeat R

Leaving out the sentences that share an entity with the fold is the entity-disjoint filtering of CrossWeigh (Wang et
al., 2019): a model cannot know the entities of the fold from other sentences.
"""

import logging
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tagger import choices, training
from tagger.config import Config
from tagger.data import schemes, splitting
from tagger.data.corpus import Corpus
from tagger.data.sentence import Sentence
from tagger.device import select_device
from tagger.errors import ConfigError, DataError, TrainingError
from tagger.experiments import processes, resumable, runs
from tagger.experiments.processes import Task
from tagger.experiments.resumable import ExperimentKind
from tagger.io import atomic, json_files
from tagger.training import Callback
from tagger.training.run_dir import BEST, CONFIG

log = logging.getLogger(__name__)

OPTIONS, FOLDS = "audit.json", "folds.json"
SUSPECTS, WEIGHTS, PAGE = "suspects.jsonl", "weights.jsonl", "audit.html"
MAX_FOLDS = MAX_REPEATS = 100
_NAMES = {CONFIG, OPTIONS, FOLDS, SUSPECTS, WEIGHTS, PAGE}
_FOLD = re.compile(r"fold-[0-9]{1,3}-[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class FoldOptions:
    """How training data is divided into folds.

    Attributes:
        folds: the number of folds.
        repeats: how often the data is divided, each time in another way.
        seed: the random seed of the folds, and of the first training.
        entity_disjoint: train a model without the sentences that share an entity with its fold.

    Raises:
        ConfigError: a number is out of range.
    """

    folds: int = 5
    repeats: int = 2
    seed: int = 1
    entity_disjoint: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.folds <= MAX_FOLDS:
            raise ConfigError(f"`folds` must be from 2 to {MAX_FOLDS}, got {self.folds}")
        if not 1 <= self.repeats <= MAX_REPEATS:
            raise ConfigError(f"`repeats` must be from 1 to {MAX_REPEATS}, got {self.repeats}")
        if not 0 <= self.seed < choices.SEED_LIMIT - MAX_FOLDS * MAX_REPEATS:
            raise ConfigError(f"`seed` must be at least 0 and below 2**63 - 10,000, got {self.seed}")


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold of one repeat, both numbered from 1.

    Attributes:
        repeat: the number of the repeat.
        fold: the number of the fold.
        held_out: the positions of the sentences of the fold.
        train: the positions of the sentences that its model is trained on.
    """

    repeat: int
    fold: int
    held_out: tuple[int, ...]
    train: tuple[int, ...]

    def run_dir(self, audit_dir: Path) -> Path:
        """Returns the directory of the training."""
        return audit_dir / f"fold-{self.repeat}-{self.fold}"

    def model_dir(self, audit_dir: Path) -> Path:
        """Returns the directory of the model."""
        return self.run_dir(audit_dir) / BEST

    def __str__(self) -> str:
        return f"fold {self.fold} of repeat {self.repeat}"


def plan(sentences: Sequence[Sentence], options: FoldOptions) -> list[Fold]:
    """Returns the folds of all repeats. No document is in two folds of a repeat; see `splitting.divide_into_folds`.

    Raises:
        ConfigError: there are fewer documents than folds, or `entity_disjoint` is set for plain tags.
        DataError: no sentence to train on is left.
    """
    entities = _find_entities(sentences) if options.entity_disjoint else [set()] * len(sentences)
    folds = []
    for repeat in range(1, options.repeats + 1):
        numbers = splitting.divide_into_folds(sentences, options.folds, f"{options.seed}, {repeat}")
        for number in range(options.folds):
            held_out = tuple(position for position, each in enumerate(numbers) if each == number)
            shared = set().union(*(entities[position] for position in held_out))
            train = tuple(
                position
                for position, each in enumerate(numbers)
                if each != number and entities[position].isdisjoint(shared)
            )
            if not train:
                raise DataError(
                    "every sentence shares an entity with the fold; omit `entity_disjoint`, or raise `folds`"
                )
            folds.append(Fold(repeat, number + 1, held_out, train))
    return folds


def _find_entities(sentences: Sequence[Sentence]) -> list[set[tuple[str, ...]]]:
    """Returns the entities of each sentence, as tokens."""
    if schemes.detect([sentence.tags for sentence in sentences]).scheme is None:
        raise ConfigError("`entity_disjoint` compares the entities of sentences, but the training data has no spans")
    return [
        {sentence.tokens[span.start : span.end] for span in schemes.tags_to_spans(sentence.tags)}
        for sentence in sentences
    ]


def open_directory(
    audit_dir: Path, config: Config, corpus: Corpus, options: FoldOptions, *, resume: bool
) -> AbstractContextManager[None]:
    """Opens the directory of an audit, as `resumable.open_directory` does.

    Args:
        audit_dir: the directory.
        config: the recipe.
        corpus: the training data.
        options: the folds.
        resume: continue the audit that the directory holds, if it holds one.
    """
    stored = asdict(options) | {resumable.DATA: corpus.digest()}
    kind = ExperimentKind("audit", "an", OPTIONS, _is_ours)
    return resumable.open_directory(audit_dir, kind, config, stored, resume=resume)


def _is_ours(name: str) -> bool:
    """Returns whether an audit writes, replaces or removes a name in its directory."""
    return name in _NAMES or _FOLD.fullmatch(name) is not None


def train(
    config: Config,
    audit_dir: Path,
    folds: Sequence[Fold],
    *,
    jobs: int = 1,
    device: str = "auto",
    callback: Callback = lambda event: None,
) -> None:
    """Trains the models of all folds; finished trainings are not repeated, and started ones are resumed.

    Args:
        config: the recipe.
        audit_dir: the directory, opened by `open_directory`.
        folds: the folds.
        jobs: the number of models to train in parallel; above 1 in processes, which share the threads.
        device: auto, cpu, cuda or cuda:N.
        callback: is called with the events of the trainings if `jobs` is 1.

    Raises:
        TaggerError: the data cannot be read, before anything is written.
        TrainingError: trainings have failed, after all others are finished; with a line for each fault.
        Stopped: by a signal, after a checkpoint.
    """
    select_device(device)
    threads, recipe = processes.threads_per_job(jobs), str(audit_dir / CONFIG)
    tasks = [
        Task(
            str(fold),
            str(fold.run_dir(audit_dir)),
            config.training.seed + number,
            recipe,
            device,
            None,
            threads,
            fold.train,
        )
        for number, fold in enumerate(folds)
        if not runs.is_complete(fold.run_dir(audit_dir), config)
    ]
    if tasks:
        training.read_inputs(config, is_new=False, positions=tasks[0].positions)
    with atomic.wrap_os_errors(audit_dir):
        atomic.replace(audit_dir / FOLDS, json_files.dump(list(map(asdict, folds))) + b"\n")
    faults: list[str] = []
    finished = len(folds) - len(tasks)
    with closing(processes.run_tasks(partial(next, iter(tasks), None), jobs=jobs, callback=callback)) as ended:
        for task, task_faults in ended:
            finished += not task_faults
            log.info("%d of %d models are trained", finished, len(folds))
            faults += [f"{task.name}: {fault}" for fault in task_faults]
    if faults:
        raise TrainingError(*faults)
