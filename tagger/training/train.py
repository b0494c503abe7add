"""Training with one seed: start, resume, finish."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tagger import model_dir
from tagger.choices import counted, list_briefly
from tagger.config import Config, changed_settings, fixed_changes, loader
from tagger.device import seed_generators, single_torch_thread
from tagger.errors import ConfigError, ModelError
from tagger.evaluation import evaluate_with_predictions
from tagger.io import atomic
from tagger.model import TaggerModel, build_model
from tagger.signals import StopRequest
from tagger.tagging import Tagger
from tagger.training import cards, corpora, joining, optimizers, records, transfer
from tagger.training.corpora import Corpora
from tagger.training.distributed import open_ranks
from tagger.training.epoch_record import EpochRecord
from tagger.training.events import Callback
from tagger.training.inputs import Inputs, load_transformer, read_inputs
from tagger.training.loop import Loop, read_progress
from tagger.training.ranks import Ranks
from tagger.training.result import TrainingResult, read_result
from tagger.training.run_dir import BEST, CONFIG, COUNTS, INITIAL, check_free, check_is_run, lock_run_dir
from tagger.training.transformer_providers import open_hidden_state_cache, open_provider

log = logging.getLogger(__name__)


def train(
    config: Config,
    run_dir: Path,
    *,
    device: str = "auto",
    init_from: Path | None = None,
    callback: Callback = lambda event: None,
    inputs: Inputs | None = None,
) -> TrainingResult:
    """Trains a tagger with the seed `training.seed` and returns the result.

    The processes that torchrun has launched train together; the first one writes the files and calls `callback`.

    Args:
        config: the recipe.
        run_dir: the directory of the run; it must not hold a training yet.
        device: auto, cpu, cuda or cuda:N.
        init_from: a model of the same shape to take the first weights from; its word vectors replace vector tables.
        callback: is called with the events of the training.
        inputs: the result of `read_inputs(config)`, if the caller has it.

    Raises:
        TaggerError: invalid input, before anything is written; or the training fails.
        Stopped: by a signal, after a checkpoint; `resume` continues from there.
    """
    with open_ranks(device) as ranks:
        check_no_tables(config, init_from)
        if config.training.distill and init_from is None:
            raise ConfigError("training.distill learns from the model of `init_from`; pass one, or omit it")
        if not ranks.is_first:
            return joining.join(config, run_dir, ranks, inputs)
        return _train(config, run_dir, ranks, init_from, callback, inputs)


def _train(
    config: Config, run_dir: Path, ranks: Ranks, init_from: Path | None, callback: Callback, inputs: Inputs | None
) -> TrainingResult:
    target = ranks.device
    check_free(run_dir)
    cache = config.training.corpus_cache
    if cache is not None and Path(cache).resolve() == run_dir.resolve():
        raise ConfigError("training.corpus_cache is the directory of the training; choose another one")
    inputs = inputs or read_inputs(config, is_new=init_from is None)
    data = inputs.data
    joining.check_equal(ranks, config, data)
    with records.LogBuffer() as notices, seed_generators(config.training.seed, target):
        with single_torch_thread():  # the initial weights do not depend on the number of threads either
            model = _build_model(config, inputs, init_from)
        _check_layer_decay(config, model)
        buffered = [*inputs.notices, *notices.records]
        del inputs  # frees the tables, unless the caller holds them
        with _open_run(run_dir, buffered), open_hidden_state_cache(config) as hidden_states:
            check_free(run_dir)  # again: another training may have used it while this one read its data
            with atomic.wrap_os_errors(run_dir):
                atomic.replace(run_dir / CONFIG, loader.dump(config).encode())
            loop = Loop(config, model, data, run_dir, ranks, callback, hidden_states)
            if config.training.distill and init_from is not None:
                model_dir.copy(init_from, run_dir / INITIAL)
                loop.distill(model_dir.load(run_dir / INITIAL, transformer=model.transformer)[0])
            loop.write_checkpoint()
            joining.invite(ranks, run_dir, config)
            return _finish(loop, data)


def resume(
    run_dir: Path,
    *,
    device: str = "auto",
    callback: Callback = lambda event: None,
    inputs: Inputs | None = None,
    config: Config | None = None,
) -> TrainingResult:
    """Resumes a training exactly from its newest valid checkpoint; other arguments as for `train`.

    A finished training is not repeated. `config` is the run's config with other `training.epochs` or data paths; None
    for the run's own.

    Raises:
        TaggerError: there is no run, its data or another setting has changed, or the training fails.
        Stopped: by a signal, after a checkpoint.
    """
    with open_ranks(device) as ranks:
        if ranks.is_first or config is None:
            check_is_run(run_dir)
        config = config or loader.load(str(run_dir / CONFIG))
        if not ranks.is_first:
            return joining.join(config, run_dir, ranks, inputs)
        return _resume(config, run_dir, ranks, callback, inputs)


def _resume(config: Config, run_dir: Path, ranks: Ranks, callback: Callback, inputs: Inputs | None) -> TrainingResult:
    inputs = inputs or read_inputs(config, is_new=False, needs_transformer=False)
    joining.check_equal(ranks, config, inputs.data)
    with (
        records.LogBuffer(),
        seed_generators(config.training.seed, ranks.device),
        _open_run(run_dir, inputs.notices),
    ):
        newest = model_dir.find_newest_checkpoint(run_dir)
        if result := _read_finished(run_dir, newest, config, inputs.data):
            log.info("the training is finished")
            _store_config(run_dir, config)
            joining.invite(ranks, None, config)
            joining.send_result(ranks, result)
            return result
        log.info("resuming from %s", newest.name)
        transformer = inputs.transformer or load_transformer(config.model.transformer, is_new=False)
        stored = model_dir.load(newest, transformer=transformer)[0]
        model = replace(stored, config=_check_unchanged(run_dir, stored.config, config, inputs.data))
        with open_hidden_state_cache(config) as cache:
            loop = Loop(config, model, inputs.data, run_dir, ranks, callback, cache)
            state = model_dir.load_state(newest, loop.max_state_bytes)
            _check_epochs(run_dir, state.progress, stored.config, config)
            if config.training.distill:
                loop.distill(model_dir.load(run_dir / INITIAL, transformer=model.transformer)[0])
            loop.restore(state)
            _store_config(run_dir, config)
            if loop.progress.epoch < config.training.epochs:
                _mark_unfinished(run_dir)
            joining.invite(ranks, run_dir, config)
            return _finish(loop, inputs.data)


def _read_finished(run_dir: Path, newest: Path, config: Config, data: Corpora) -> TrainingResult | None:
    """Returns the result of a finished training, None if anything remains to be computed.

    Raises:
        TaggerError: its data or a setting has changed, or its newest checkpoint or its records are damaged.
    """
    if not (run_dir / COUNTS).is_file():
        return None
    stored = model_dir.load_config(newest)
    _check_unchanged(run_dir, stored, config, data)
    progress = read_progress(run_dir, model_dir.load_state(newest), data)
    result = read_result(run_dir, config.training.seed)
    is_finished = progress.epoch == len(result.history) and config.training.epochs == stored.training.epochs
    return result if is_finished else None


def _check_epochs(run_dir: Path, progress: Mapping[str, Any], stored: Config, config: Config) -> None:
    """Raises ConfigError if a training that is to be resumed with fewer epochs has started more of them already."""
    finished, step, epochs = progress.get("epoch"), progress.get("step"), config.training.epochs
    if epochs >= stored.training.epochs or not isinstance(finished, int) or not isinstance(step, int):
        return
    started = finished + (step > 0)
    if started > epochs:
        reason = f"epoch {started} has started" if step else f"{counted(finished, 'epoch')} are finished"
        raise ConfigError(f"{run_dir}: {reason}; training.epochs must be at least {started}, got {epochs}")


def check_no_tables(config: Config, init_from: Path | None) -> None:
    """Raises ConfigError if both vector tables and `init_from` are given."""
    if init_from is not None and config.model.words.vectors:
        raise ConfigError("`init_from` brings its own word vectors; omit `vectors` and model.words.vectors")


def _check_unchanged(run_dir: Path, stored: Config, config: Config, data: Corpora) -> Config:
    """Returns the config of a resumed training as its models store it, given that of a checkpoint.

    Raises:
        ConfigError: a setting other than `training.epochs` has changed, with a line for each.
    """
    current = corpora.with_resolved_columns(config, data.train).without_paths()
    tokenizer = {"tokenizer": stored.data.tokenizer}  # a new version may split as before; the data are compared
    current = current.model_copy(update={"data": current.data.model_copy(update=tokenizer)})
    if config.model.words.vectors:  # the tables determined the dimension
        words = current.model.words.model_copy(update={"embedding_dim": stored.model.words.embedding_dim})
        current = current.model_copy(update={"model": current.model.model_copy(update={"words": words})})
    changes = changed_settings(stored, current)
    if faults := fixed_changes(changes):
        allowed = "a resumed training may change training.epochs and the paths of its data only"
        raise ConfigError(*(f"{run_dir}: {fault}; {allowed}" for fault in faults))
    if changes and config.training.schedule.kind in ("linear", "onecycle"):
        log.warning("%s; the schedule %s is recomputed for the new length", changes[0], config.training.schedule.kind)
    return current


def _store_config(run_dir: Path, config: Config) -> None:
    """Writes a changed config into the run."""
    with atomic.wrap_os_errors(run_dir):
        if loader.dump(config) != (run_dir / CONFIG).read_text("utf-8"):
            atomic.replace(run_dir / CONFIG, loader.dump(config).encode())


def _mark_unfinished(run_dir: Path) -> None:
    with atomic.wrap_os_errors(run_dir):
        (run_dir / COUNTS).unlink(missing_ok=True)


def _build_model(config: Config, inputs: Inputs, init_from: Path | None) -> TaggerModel:
    data = inputs.data
    numbered = corpora.with_resolved_columns(config, data.train)
    transformer = inputs.transformer
    if init_from is None:
        if transformer is not None and config.model.transformer.trainable:
            transformer = replace(transformer, encoder=deepcopy(transformer.encoder))  # other seeds start from it, too
        return build_model(numbered, data.train.sentences, inputs.tables, transformer=transformer)
    source, _ = model_dir.load(init_from, transformer=transformer)
    transfer.check_transformer(source, transformer, config.model.transformer)
    transfer.check_settings(source, numbered)
    if unlearned := transfer.find_unlearned(source, data.train.sentences):
        log.warning(
            "%s has no %s, which the model knows and will unlearn; if they were not annotated, set data.annotated_types"
            " to the types that were",
            data.train.name,
            list_briefly(unlearned),
        )
    transformer = source.transformer and replace(source.transformer, encoder=deepcopy(source.transformer.encoder))
    model = build_model(
        numbered, data.train.sentences, transfer.vector_tables(source), extended=source, transformer=transformer
    )
    transfer.transfer_weights(source, model)
    return model


def _check_layer_decay(config: Config, model: TaggerModel) -> None:
    """Raises ConfigError if learning rates by layer are asked for a transformer whose layers share their weights."""
    if config.training.fine_tuning.layer_decay != 1 and not optimizers.count_transformer_layers(model.single_network):
        raise ConfigError(
            f"training.fine_tuning.layer_decay has no effect on the transformer {config.model.transformer.name}, whose"
            " layers share their weights; omit it"
        )


@contextmanager
def _open_run(run_dir: Path, notices: Sequence[logging.LogRecord]) -> Iterator[None]:
    with lock_run_dir(run_dir), records.log_to_file(run_dir, notices):
        yield


def _finish(loop: Loop, data: Corpora) -> TrainingResult:
    """Runs the remaining epochs and scores the best model."""
    with StopRequest() as stop:
        loop.run(stop)
    run_dir = loop.run_dir
    best = run_dir / BEST
    model, metrics = model_dir.load(best, transformer=loop.model.transformer)
    try:
        EpochRecord.from_json(metrics)
    except ValueError as error:
        raise ModelError(f"{best}/metrics.json: {error}") from error
    device = loop.device
    tagger = Tagger(model, device, workers=torch.get_num_threads(), hidden_state_cache=loop.hidden_state_cache)
    evaluations = {"dev": evaluate_with_predictions(tagger, data.dev)}
    if data.test is not None:
        if loop.hidden_state_cache is not None:
            open_provider(model, data.test.sentences, loop.hidden_state_cache, device)  # fills the cache
        evaluations["test"] = evaluate_with_predictions(tagger, data.test)
        log.info("test: %s", evaluations["test"].report.signature)
    test = evaluations["test"].report if "test" in evaluations else None
    scores = [cards.part_scores(role, evaluation) for role, evaluation in evaluations.items()]
    model_dir.write_card(best, loop.cards.build(model, loop.best_epoch, scores))
    records.write_metrics(run_dir, loop.history, test)
    records.plot(run_dir, loop.history)
    counts = {role: evaluation.counts for role, evaluation in evaluations.items()}
    records.write_counts(run_dir, counts)  # last: this file marks the training as finished
    result = TrainingResult(run_dir, loop.settings.seed, tuple(loop.history), test)
    joining.send_result(loop.ranks, result)
    return result
