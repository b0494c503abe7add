"""The training itself: start, resume, finish."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tagger import build, checkpoint, config, files, runtime
from tagger.build import Bundle
from tagger.config import Config
from tagger.errors import CheckpointError, ConfigError
from tagger.evaluation import Report, evaluate
from tagger.runtime import StopRequest
from tagger.tagging import Tagger
from tagger.training import corpora, records, transfer
from tagger.training.corpora import Corpora
from tagger.training.events import Listener
from tagger.training.loop import BEST, Loop

log = logging.getLogger(__name__)

CONFIG = "config.yaml"


@dataclass(frozen=True)
class Outcome:
    """What a training came to: its best model's directory, the epoch it is from, and its scores."""

    model: Path
    epoch: int
    dev: float
    test: Report | None


def fit(
    settings: Config,
    run: Path,
    *,
    device: str = "auto",
    init_from: Path | None = None,
    listen: Listener = lambda event: None,
) -> Outcome:
    """Trains a tagger into the directory of a run.

    Args:
        settings: the recipe.
        run: the directory; it must not hold a training yet.
        device: auto, cpu or cuda.
        init_from: a model of the same shape whose weights to start from; its word vectors take the place of tables.
        listen: is told of steps and epochs.

    Raises:
        TaggerError: bad input, before anything is written; or what stops a training.
        Stopped: by a signal, after a checkpoint; `resume` goes on from there.
    """
    target = runtime.device(device)
    _refuse_taken(run)
    with records.Noted() as notices, runtime.seeded(settings.training.seed, target):
        data = corpora.load(settings)
        bundle = _begin(settings, data, init_from)
        with _writing(run, notices):
            _refuse_taken(run)  # again: another training may have come and gone while this one read its data
            with files.writing(run):
                files.replace(run / CONFIG, config.dump(settings).encode())
            loop = Loop(settings, bundle, data, run, target, listen)
            loop.save_checkpoint()
            return _finish(loop, data, target)


def resume(run: Path, *, device: str = "auto", listen: Listener = lambda event: None) -> Outcome:
    """Goes on with the training of a run exactly where its newest whole checkpoint is.

    Raises:
        TaggerError: the run is none, its data has changed, or what stops a training.
        Stopped: by a signal, after a checkpoint.
    """
    target = runtime.device(device)
    if not (run / CONFIG).is_file():
        raise CheckpointError(f"{run}: no run here, there is no {CONFIG}")
    settings = config.load(str(run / CONFIG))
    with records.Noted() as notices, runtime.seeded(settings.training.seed, target):
        data = corpora.load(settings)
        with _writing(run, notices):
            newest = checkpoint.newest(run)
            log.info("resuming from %s", newest.name)
            loop = Loop(settings, checkpoint.load(newest)[0], data, run, target, listen)
            loop.restore(checkpoint.load_state(newest))
            return _finish(loop, data, target)


def _begin(settings: Config, data: Corpora, init_from: Path | None) -> Bundle:
    known = corpora.numbered(settings, data.train)
    if init_from is None:
        return build.fresh(known, data.train.sentences, build.tables(settings, data.train.sentences))
    if settings.model.words.vectors:
        raise ConfigError(
            "a model to start from brings its own word vectors; leave --vectors and model.words.vectors out"
        )
    source, _ = checkpoint.load(init_from)
    bundle = build.fresh(known, data.train.sentences, [transfer.table(source)])
    transfer.take_over(source, bundle)
    return bundle


def _refuse_taken(run: Path) -> None:
    if any(run.glob("checkpoint-*")):
        raise CheckpointError(f"{run}: holds a training already; go on with --resume or choose another --out")


@contextmanager
def _writing(run: Path, notices: records.Noted) -> Iterator[None]:
    with files.writing(run):
        run.mkdir(parents=True, exist_ok=True)
    with files.sole_writer(run):
        with files.writing(run):
            files.recover(run)
        with records.logged(run, notices.records):
            yield


def _finish(loop: Loop, data: Corpora, device: torch.device) -> Outcome:
    with StopRequest() as stop:
        loop.run(stop)
    best = loop.run_directory / BEST
    bundle, metrics = checkpoint.load(best)
    test = evaluate(Tagger(bundle, device), data.test) if data.test is not None else None
    if test is not None:
        log.info("test: %s", test.signature)
    final: list[dict[str, Any]] = [{"test": _figures(test), "epoch": metrics["epoch"]}] if test else []
    records.write_metrics(loop.run_directory, [*loop.history, *final])
    records.plot(loop.run_directory, loop.history)
    return Outcome(best, metrics["epoch"], metrics["dev"]["score"], test)


def _figures(report: Report) -> dict[str, Any]:
    return {"score": report.score} | report.to_json()
