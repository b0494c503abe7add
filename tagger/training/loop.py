"""The training loop: steps, epochs, checkpoints and evaluation on the dev data."""

import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tagger import model_dir
from tagger.config import Config
from tagger.data.batch_order import Batches, batch_limit, shuffled_batches
from tagger.data.batching import Batch
from tagger.data.partial import GoldEncoder
from tagger.device import single_torch_thread, torch_threads
from tagger.errors import ModelError, Stopped, TrainingError
from tagger.evaluation import Report
from tagger.io import json_files
from tagger.model import TaggerModel
from tagger.model_dir import State
from tagger.nn.encoder import RecurrentLayer
from tagger.signals import StopRequest
from tagger.training import cards, diagnostics, distillation, optimizers, records
from tagger.training import state as training_state
from tagger.training.cards import CardBuilder
from tagger.training.corpora import Corpora
from tagger.training.dev_scorer import DevScorer
from tagger.training.epoch_record import Diagnostics, EpochRecord
from tagger.training.events import Callback, EpochEnd, Start, StepEnd
from tagger.training.ranks import Ranks
from tagger.training.run_dir import BEST
from tagger.training.state import EpochStats, Progress
from tagger.training.transformer_providers import open_provider
from tagger.training.update import StepBatch, Update, Updater
from tagger.transformer.hidden_state_cache import HiddenStateCache

log = logging.getLogger(__name__)


class _InterruptedError(Exception):
    """A signal interrupts the tagging of the dev data."""


class Loop:
    """A training in progress.

    Args:
        config: the recipe.
        model: the model to train.
        data: the training and dev data.
        run_dir: the directory of checkpoints, the best model and records.
        ranks: the processes that train the model together, with the device to train on.
        callback: is called with the events of the training.
        hidden_state_cache: the cache of the hidden states of a frozen transformer; None without one.
    """

    def __init__(
        self,
        config: Config,
        model: TaggerModel,
        data: Corpora,
        run_dir: Path,
        ranks: Ranks,
        callback: Callback,
        hidden_state_cache: HiddenStateCache | None = None,
    ) -> None:
        self.settings, self.model, self.data = config.training, model, data
        self.hidden_state_cache = hidden_state_cache
        device = ranks.device
        self.run_dir, self.ranks, self.device, self.callback = run_dir, ranks, device, callback
        self.updater = Updater(model.single_network.to(device), self.settings, ranks)
        self._evaluated_model = replace(model, network=self.updater.evaluated_network)
        self._threads = torch.get_num_threads()
        gold = GoldEncoder(model.tags, model.scheme, data.source)
        provider = open_provider(model, data.train.sentences, hidden_state_cache, device)
        self._encoded = model.encode(data.train.sentences, gold, weights=data.weights, transformer=provider)
        self.progress = Progress()
        self._diagnostics_batch = None
        if hidden_state_cache is not None or self.settings.diagnostics:
            provider = open_provider(model, data.dev.sentences, hidden_state_cache, device)
        if self.settings.diagnostics:
            self._diagnostics_batch = diagnostics.select_batch(model, data.dev.sentences, provider).move_to(device)
        self._dev_scorer = DevScorer(self._evaluated_model, data.dev, ranks, self._threads, hidden_state_cache)
        for layer in model.network.modules():
            if isinstance(layer, RecurrentLayer):
                layer.threads = self._threads
        self._digests = data.digests()
        self.cards = CardBuilder(config, data, self._digests)
        self._batches = self._shuffle_batches(0)

    def distill(self, teacher: TaggerModel) -> None:
        """Weighs the completions of partial annotation by the marginals of a model."""
        sentences = self.data.train.sentences
        provider = open_provider(teacher, sentences, self.hidden_state_cache, self.device)
        with single_torch_thread():  # so that a resumed training has the same weights
            self._encoded.weigh(distillation.weigh_tags(teacher, self.model.tags, sentences, provider))

    @property
    def history(self) -> list[EpochRecord]:
        """The record of each finished epoch."""
        return self.progress.history

    def run(self, stop: StopRequest) -> None:
        """Trains until the last epoch, or until the dev score has not risen for `training.patience` epochs.

        Raises:
            Stopped: a signal asked for it; a checkpoint is written.
            TrainingError: the loss or the gradient is not finite, or another rank has failed.
        """
        self.ranks.watch(stop)
        with torch_threads(self._threads if self.model.config.model.transformer.trainable else 1):
            self._run()

    def _run(self) -> None:
        progress = self.progress
        self.callback(Start(progress.epoch, self.settings.epochs, progress.step))
        while progress.epoch < self.settings.epochs and not self._is_out_of_patience():
            self._batches = self._shuffle_batches(progress.epoch)
            self.updater.start_epoch(progress.epoch)
            built = self._build_batches(self._batches[progress.step :])
            while progress.step < len(self._batches):
                self._take_step(built)
                if signum := self.ranks.stop_signal:
                    self._stop(signum)
                if self.settings.checkpoint_steps and progress.steps % self.settings.checkpoint_steps == 0:
                    self.save_checkpoint()
            self._end_epoch()
            if signum := self.ranks.agree_on_stop():
                self._stop(signum, saved=True)

    def _build_batches(self, batches: Batches) -> Iterator[tuple[list[int], StepBatch]]:
        """Yields positions and their batches; with two threads or more, the next batch is built in a second thread."""
        if self._threads < 2:
            yield from zip(batches, map(self._build_batch, batches), strict=True)
            return
        with ThreadPoolExecutor(1, "batches") as builder:
            ahead = [builder.submit(self._build_batch, each) for each in batches[:1]]
            for number, positions in enumerate(batches, 1):
                ahead += [builder.submit(self._build_batch, each) for each in batches[number : number + 1]]
                yield positions, ahead.pop(0).result()

    def _build_batch(self, positions: list[int]) -> StepBatch:
        """Returns the batch of the sentences at these positions, of which this rank computes its part.

        That is divided into `training.accumulation_steps` parts, fewer if it has fewer sentences.
        """
        assigned = self.ranks.assign(positions, self._encoded.lengths)
        size = max(-(-len(assigned) // self.settings.accumulation_steps), 1)
        parts = [self._encoded.batch(assigned[start : start + size]) for start in range(0, len(assigned), size)]
        return StepBatch(parts, len(positions), *self._read_word_ids(positions, parts))

    def _read_word_ids(self, positions: list[int], parts: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Returns the ids of the words, and of their document context, that all ranks read."""
        if self.ranks.count > 1:
            return self._encoded.word_ids(positions)
        contexts = [part.document_context.words for part in parts if part.document_context is not None]
        return torch.cat([part.words for part in parts]), torch.cat([torch.zeros(0, dtype=torch.int64), *contexts])

    def _take_step(self, built: Iterator[tuple[list[int], StepBatch]]) -> None:
        progress, stats, settings = self.progress, self.progress.stats, self.settings
        started = time.perf_counter()
        positions, batch = next(built)
        factor = optimizers.schedule_factor(
            settings.schedule,
            step=progress.steps,
            total=len(self._batches) * settings.epochs,
            epoch=progress.epoch,
            improved=[record.best for record in self.history],
        )
        with self.ranks.seed_step(settings.seed, progress.steps):
            update = self.updater.update(batch, factor)
        if update.is_finite:
            stats.add(update, sentences=len(positions), learning_rate=settings.optimizer.learning_rate * factor)
        else:
            self._skip_step(positions, update)
        progress.step += 1
        progress.steps += 1
        stats.steps += 1
        stats.seconds += time.perf_counter() - started
        loss = update.loss if update.is_finite else 0.0
        self.callback(StepEnd(progress.epoch, progress.step, len(self._batches), loss))

    def _skip_step(self, positions: list[int], update: Update) -> None:
        """Counts a step whose loss or gradient is not finite.

        Raises:
            TrainingError: the settings do not allow to skip it.
        """
        stats = self.progress.stats
        if self.updater.has_overflowed(update):
            stats.skipped += 1
            return
        lines = ", ".join(str(self.data.train.sentences[position].line) for position in positions[:10])
        ellipsis = ", …" if len(positions) > 10 else ""
        fault = (
            f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}: loss {update.loss} and gradient norm "
            f"{update.gradient_norm} on the sentences at lines {lines}{ellipsis} of {self.data.train.name}"
        )
        if self.settings.on_nonfinite == "stop":
            raise TrainingError(
                f"{fault}; lower training.optimizer.learning_rate, or set training.on_nonfinite to skip"
            )
        stats.skipped += 1
        log.warning("%s; the step is skipped", fault)

    def _end_epoch(self) -> None:
        """Scores the dev data, saves the best model and a checkpoint, and records the epoch."""
        progress = self.progress
        started = time.perf_counter()
        self._check_weights()
        if self.updater.rows is not None:
            self.updater.rows.flush()
        report = self._evaluate_dev()
        built = None if report is None else self._build_record(report, time.perf_counter() - started)
        content = b"" if built is None else json_files.dump(built.to_json())
        record = json_files.parse_as(EpochRecord, self.ranks.broadcast(content))
        self.history.append(record)
        progress.epoch, progress.step, progress.stats = progress.epoch + 1, 0, EpochStats()
        if record.best and self.ranks.is_first:
            card = self.cards.build(self.model, record.epoch, [cards.dev_scores(record)])
            model_dir.save(self._evaluated_model, self.run_dir / BEST, record.to_json(), card=card)
        self.save_checkpoint()
        if self.ranks.is_first:
            records.write_metrics(self.run_dir, self.history)
        self._report_epoch(record)

    def _build_record(self, report: Report, dev_seconds: float) -> EpochRecord:
        """Returns the record of the epoch that ends."""
        return EpochRecord(
            epoch=self.progress.epoch + 1,
            steps=self.progress.steps,
            dev=report.scores,
            best=self._is_best(report),
            dev_seconds=dev_seconds,
            diagnostics=self._measure_diagnostics(),
            **self.progress.stats.means(),
        )

    def _is_best(self, report: Report) -> bool:
        """Returns whether the current model is the best so far, given its scores on the dev data.

        The last of several models is, as long as no score is above 0 or the dev data cannot tell them apart.
        """
        before = max((record.dev.score for record in self.history), default=0.0)
        return report.score > before or not before or not report.can_select

    def _measure_diagnostics(self) -> Diagnostics | None:
        """Returns the gradient norms and gate activations of the epoch, if `training.diagnostics` is set."""
        if self._diagnostics_batch is None:
            return None
        started, stats = time.perf_counter(), self.progress.stats
        activity = diagnostics.measure(self.model, self._diagnostics_batch)
        norms = {part: total / stats.applied_steps for part, total in stats.part_norms.items()}
        seconds = stats.diagnostics_seconds + time.perf_counter() - started
        return Diagnostics(norms, activity.gates, activity.reach, activity.far, seconds)

    def _report_epoch(self, record: EpochRecord) -> None:
        """Logs the record and passes it to the callback, with the estimated time left."""
        durations = [earlier.seconds + earlier.dev_seconds for earlier in self.history]
        seconds_left = statistics.median(durations) * (self.settings.epochs - record.epoch)
        log.info(
            "epoch %d of %d: loss %.3f, gradient norm %.2f, dev %s %.2f%s, %s%s",
            record.epoch,
            self.settings.epochs,
            record.loss,
            record.gradient_norm,
            record.dev.name,
            record.dev.score,
            " (best)" * record.best,
            format_duration(record.seconds + record.dev_seconds),
            f", {format_duration(seconds_left)} left" * (seconds_left > 0),
        )
        self.callback(EpochEnd(record, self.settings.epochs, seconds_left))

    def _evaluate_dev(self) -> Report | None:
        """Returns the scores on the dev data, of which each rank tags its part; None except on the first rank."""

        def check_signal() -> None:
            if self.ranks.received_signal:
                raise _InterruptedError

        with suppress(_InterruptedError):
            self._dev_scorer.tag(check_signal)
        if signum := self.ranks.agree_on_stop():
            self._stop(signum)
        return self._dev_scorer.score()

    def _stop(self, signum: int, *, saved: bool = False) -> None:
        if not saved:
            self.save_checkpoint()
        log.info("stopped after step %d; continue with `resume=True`", self.progress.steps)
        raise Stopped(signum)

    def _is_out_of_patience(self) -> bool:
        patience = self.settings.patience
        if patience is None or not self.history:
            return False
        return self.progress.epoch - self.best_epoch >= patience

    @property
    def best_epoch(self) -> int:
        """The epoch of the best model so far."""
        return max(record.epoch for record in self.history if record.best)

    def _shuffle_batches(self, epoch: int) -> Batches:
        settings = self.settings
        is_full = batch_limit(max_sentences=settings.batch_size, max_tokens=settings.max_batch_tokens)
        return shuffled_batches(
            self._encoded.lengths, is_full, bucket_size=settings.bucket_size, seed=settings.seed, epoch=epoch
        )

    def save_checkpoint(self) -> None:
        """Writes a checkpoint from which `restore` continues exactly; ranks but the first wait until it is written.

        Raises:
            TrainingError: a weight is not finite.
        """
        if self.ranks.is_first:
            self.write_checkpoint()
        self.ranks.barrier()

    def write_checkpoint(self) -> None:
        """Writes a checkpoint, on the first rank; errors as for `save_checkpoint`."""
        self._check_weights()
        state = training_state.snapshot(self.progress, self.updater, self._digests)
        is_scored = self.history and not self.progress.step and self.updater.moving_average is None
        metrics = self.history[-1].to_json() if is_scored else {}  # the scores of these weights
        rows, limit = self.updater.rows, self.settings.keep_checkpoints
        with rows.flush_temporarily() if rows else nullcontext():
            model_dir.add_checkpoint(self.run_dir, self.progress.steps, self.model, metrics, state, retained=limit)

    def _check_weights(self) -> None:
        for name, weight in self.model.network.named_parameters():
            if not weight.isfinite().all():
                position = f"epoch {self.progress.epoch + 1}, step {self.progress.step}"
                raise TrainingError(f"{position}: {name} is not finite; lower training.optimizer.learning_rate")

    @property
    def max_state_bytes(self) -> int:
        """The size of the largest state.safetensors that belongs to this training."""
        return training_state.max_file_bytes(self.updater)

    def restore(self, state: State) -> None:
        """Restores a state that `save_checkpoint` wrote.

        Raises:
            ModelError: the data has changed since the training started, or the state does not belong to this training.
        """
        with _refuse_state(self.run_dir):
            progress = training_state.progress_of(state, self._digests)
            self._check_position(progress)
            training_state.restore(state, progress, self.updater)
        self.progress = progress

    def _check_position(self, progress: Progress) -> None:
        """Raises ValueError if a training of these settings has no such epoch or step."""
        steps = len(self._shuffle_batches(progress.epoch)) if progress.epoch < self.settings.epochs else 0
        if progress.epoch > self.settings.epochs or progress.step > steps:
            raise ValueError(f"epoch {progress.epoch}, step {progress.step}: the training has no such step")


def read_progress(run_dir: Path, state: State, data: Corpora) -> Progress:
    """Returns the position of a training in a run directory.

    Raises:
        ModelError: the data has changed since the training started, or the state is not that of a training.
    """
    with _refuse_state(run_dir):
        return training_state.progress_of(state, data.digests())


@contextmanager
def _refuse_state(run_dir: Path) -> Iterator[None]:
    """Converts the faults of a state to ModelError."""
    try:
        yield
    except training_state.ChangedDataError as error:
        raise ModelError(f"{run_dir}: {error}") from error
    except ValueError as error:
        raise ModelError(f"{run_dir}: the state of the training is refused: {error}") from error


def format_duration(seconds: float) -> str:
    """Returns a duration in its two largest units.

    >>> [format_duration(seconds) for seconds in (4.4, 75, 7260)]
    ['4 s', '1 min 15 s', '2 h 1 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
