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
from tagger.errors import CheckpointError
from tagger.evaluation import Report, evaluate
from tagger.runtime import StopRequest
from tagger.tagging import Tagger
from tagger.training import corpora, records
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
        init_from: a model whose weights to start from, wherever names and shapes agree.
        listen: is told of steps and epochs.

    Raises:
        TaggerError: bad input, before anything is written; or what stops a training.
        Stopped: by a signal, after a checkpoint; `resume` goes on from there.
    """
    place = runtime.device(device)
    _refuse_taken(run)
    with records.Noted() as notices, runtime.seeded(settings.training.seed):
        data = corpora.load(settings)
        bundle = build.fresh(settings, data.train.sentences)
        if init_from is not None:
            _start_from(bundle, init_from)
        with _writing(run, notices):
            _refuse_taken(run)  # again: another training may have come and gone while this one read its data
            with files.writing(run):
                files.replace(run / CONFIG, config.dump(settings).encode())
            loop = Loop(settings, bundle, data, run, place, listen)
            loop.save_checkpoint()
            return _finish(loop, data, place)


def resume(run: Path, *, device: str = "auto", listen: Listener = lambda event: None) -> Outcome:
    """Goes on with the training of a run exactly where its newest whole checkpoint is.

    Raises:
        TaggerError: the run is none, its data has changed, or what stops a training.
        Stopped: by a signal, after a checkpoint.
    """
    place = runtime.device(device)
    if not (run / CONFIG).is_file():
        raise CheckpointError(f"{run}: no run here, there is no {CONFIG}")
    settings = config.load(str(run / CONFIG))
    with records.Noted() as notices, runtime.seeded(settings.training.seed):
        data = corpora.load(settings)
        with _writing(run, notices):
            newest = checkpoint.newest(run)
            log.info("resuming from %s", newest.name)
            loop = Loop(settings, checkpoint.load(newest)[0], data, run, place, listen)
            loop.restore(checkpoint.load_state(newest))
            return _finish(loop, data, place)


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


def _start_from(bundle: Bundle, model: Path) -> None:
    """Takes over a model's weights: words, characters and tags by what they stand for, all else by name and shape."""
    source, _ = checkpoint.load(model)
    rows = {
        "embedding.words.weight": (source.words, bundle.words),
        "embedding.characters.embedding.weight": (source.characters, bundle.characters),
        **dict.fromkeys(("projection.weight", "projection.bias"), (source.tags, bundle.tags)),
        **{f"head.crf.{name}": (source.tags, bundle.tags) for name in ("start_transitions", "end_transitions")},
    }
    ours, theirs = bundle.network.state_dict(), source.network.state_dict()
    taken = 0
    for name, value in ours.items():
        found = theirs.get(name)
        if found is None or found.shape[1:] != value.shape[1:] or name == "embedding.words.kept":
            continue
        if name in rows:
            old, new = rows[name]
            pairs = [(new[item], old[item]) for item in new.items if item in old]
            if not pairs:
                continue
            here, there = (torch.tensor(side) for side in zip(*pairs, strict=True))
            value[here] = found[there]
        elif found.shape == value.shape and (name != "head.crf.transitions" or source.tags.items == bundle.tags.items):
            value.copy_(found)
        else:
            continue
        taken += 1
    log.info("started from %s: %d of %d tensors taken over", model.name, taken, len(ours))
