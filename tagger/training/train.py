"""The training itself: start, resume, finish."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tagger import config, model_dir
from tagger.config import Config
from tagger.data.vectors import Table
from tagger.device import seeded, single_torch_thread, torch_device
from tagger.errors import ConfigError
from tagger.evaluation import Report, evaluate_each
from tagger.io import atomic
from tagger.model import TaggerModel, build_model, read_tables
from tagger.signals import StopRequest
from tagger.tagging import Tagger
from tagger.training import corpora, records, run_dir, transfer
from tagger.training.corpora import Corpora
from tagger.training.events import Callback
from tagger.training.loop import Loop
from tagger.training.run_dir import BEST, CONFIG, COUNTS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to: its best model's directory, the epoch it is from, and its scores."""

    model: Path
    epoch: int
    dev: float
    test: Report | None


@dataclass(frozen=True)
class Inputs:
    """The data and the tables of vectors of a recipe, and what was logged of them.

    Trainings that differ in nothing but their seeds may share it, but where the seed draws the development part: see
    `corpora.drawn`.
    """

    data: Corpora
    tables: Sequence[Table]
    notices: Sequence[logging.LogRecord]


def read(settings: Config, *, tables: bool = True) -> Inputs:
    """Returns what a recipe is trained on, with its tables of vectors or without.

    Raises:
        TaggerError: the recipe names no training data, or something cannot be read.
    """
    with records.Noted() as notices:
        data = corpora.load(settings)
        found = read_tables(settings, data.train.sentences) if tables else []
    return Inputs(data, found, notices.records)


def fit(
    settings: Config,
    run: Path,
    *,
    device: str = "auto",
    init_from: Path | None = None,
    callback: Callback = lambda event: None,
    inputs: Inputs | None = None,
) -> TrainingResult:
    """Trains a tagger into the directory of a run.

    Args:
        settings: the recipe.
        run: the directory; it must not hold a training yet.
        device: auto, cpu or cuda.
        init_from: a model of the same shape whose weights to start from; its word vectors take the place of tables.
        callback: is told of steps and epochs.
        inputs: what `read` gives for the recipe, if that was called already.

    Raises:
        TaggerError: bad input, before anything is written; or what stops a training.
        Stopped: by a signal, after a checkpoint; `resume` goes on from there.
    """
    target = torch_device(device)
    run_dir.check_free(run)
    check_no_tables(settings, init_from)
    inputs = inputs or read(settings, tables=init_from is None)
    data = inputs.data
    with records.Noted() as notices, seeded(settings.training.seed, target):
        with single_torch_thread():  # the first weights, too, are the same with any number of threads
            model = _begin(settings, inputs, init_from)
        noted = [*inputs.notices, *notices.records]
        del inputs  # and with it the memory of the tables, unless the caller keeps them
        with _writing(run, noted):
            run_dir.check_free(run)  # again: another training may have come and gone while this one read its data
            with atomic.writing(run):
                atomic.replace(run / CONFIG, config.dump(settings).encode())
            loop = Loop(settings, model, data, run, target, callback)
            loop.save_checkpoint()
            return _finish(loop, data, target)


def resume(
    run: Path,
    *,
    device: str = "auto",
    callback: Callback = lambda event: None,
    inputs: Inputs | None = None,
    settings: Config | None = None,
) -> TrainingResult:
    """Goes on with the training of a run exactly where its newest whole checkpoint is; other arguments as of `fit`.

    `settings` are the run's settings, changed in `training.epochs` or in where the data lie; its own if None.

    Raises:
        TaggerError: the run is none, its data or another setting has changed, or what stops a training.
        Stopped: by a signal, after a checkpoint.
    """
    target = torch_device(device)
    run_dir.check_marked(run)
    settings = settings or config.load(str(run / CONFIG))
    inputs = inputs or read(settings, tables=False)
    with records.Noted(), seeded(settings.training.seed, target), _writing(run, inputs.notices):
        newest = model_dir.newest(run)
        log.info("resuming from %s", newest.name)
        model = _continued(model_dir.load(newest)[0], settings, inputs.data, run)
        loop = Loop(settings, model, inputs.data, run, target, callback)
        loop.restore(model_dir.load_state(newest, loop.max_state_bytes))
        _record_continuation(run, settings, loop)
        return _finish(loop, inputs.data, target)


def _continued(model: TaggerModel, settings: Config, data: Corpora, run: Path) -> TaggerModel:
    """Returns a checkpoint's model with the settings of the continued training.

    Raises:
        ConfigError: a setting other than `training.epochs` differs from the training's, with a line for each.
    """
    now = corpora.numbered(settings, data.train).without_paths()
    if settings.model.words.vectors:  # the tables have set the width
        words = now.model.words.model_copy(update={"embedding_dim": model.config.model.words.embedding_dim})
        now = now.model_copy(update={"model": now.model.model_copy(update={"words": words})})
    changes = config.changed_settings(model.config, now)
    if faults := config.fixed_changes(changes):
        allowed = "a training that goes on may change training.epochs and where its data lie"
        raise ConfigError(*(f"{run}: {fault}; {allowed}" for fault in faults))
    if changes and settings.training.schedule.kind in ("linear", "onecycle"):
        log.warning("%s; the schedule %s is laid out anew", changes[0], settings.training.schedule.kind)
    return replace(model, config=now)


def _record_continuation(run: Path, settings: Config, loop: Loop) -> None:
    """Writes changed settings into the run, and unmarks it as finished if there are epochs to train."""
    with atomic.writing(run):
        if config.dump(settings) != (run / CONFIG).read_text("utf-8"):
            atomic.replace(run / CONFIG, config.dump(settings).encode())
        if loop.progress.epoch < settings.training.epochs:
            (run / COUNTS).unlink(missing_ok=True)


def check_no_tables(settings: Config, init_from: Path | None) -> None:
    """Raises ConfigError if a recipe names tables of vectors beside a model to start from."""
    if init_from is not None and settings.model.words.vectors:
        raise ConfigError(
            "a model to start from brings its own word vectors; leave out `vectors` and model.words.vectors"
        )


def _begin(settings: Config, inputs: Inputs, init_from: Path | None) -> TaggerModel:
    data = inputs.data
    known = corpora.numbered(settings, data.train)
    if init_from is None:
        return build_model(known, data.train.sentences, inputs.tables)
    source, _ = model_dir.load(init_from)
    model = build_model(known, data.train.sentences, [transfer.table(source)])
    transfer.transfer_weights(source, model)
    return model


@contextmanager
def _writing(run: Path, notices: Sequence[logging.LogRecord]) -> Iterator[None]:
    with run_dir.owned(run), records.logged(run, notices):
        yield


def _finish(loop: Loop, data: Corpora, device: torch.device) -> TrainingResult:
    with StopRequest() as stop:
        loop.run(stop)
    best = loop.run_directory / BEST
    model, metrics = model_dir.load(best)
    records.refuse_foreign(metrics, best)
    tagger = Tagger(model, device, workers=torch.get_num_threads())
    _, dev = evaluate_each(tagger, data.dev)
    counts, test, final = {"dev": dev}, None, []
    if data.test is not None:
        test, counts["test"] = evaluate_each(tagger, data.test)
        log.info("test: %s", test.signature)
        final = [{"test": _figures(test), "epoch": metrics["epoch"]}]
    records.write_metrics(loop.run_directory, [*loop.history, *final])
    records.plot(loop.run_directory, loop.history)
    records.write_counts(loop.run_directory, counts)  # last: where it stands, the training is finished
    return TrainingResult(best, metrics["epoch"], metrics["dev"]["score"], test)


def _figures(report: Report) -> dict[str, Any]:
    return {"score": report.score} | report.to_json()
