"""The training loop: steps, epochs, checkpoints and evaluation on the dev data."""

import logging
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from tagger import model_dir
from tagger.choices import Part
from tagger.config import Config
from tagger.data.batching import Batch, EncodedCorpus, WordEncoder, batch_limit, shuffled_batches
from tagger.data.document_context import number_passages
from tagger.device import single_torch_thread
from tagger.errors import ModelError, Stopped, TrainingError
from tagger.evaluation import Report, evaluate
from tagger.model import TaggerModel
from tagger.model_dir import State
from tagger.nn.embeddings import UNKNOWN
from tagger.nn.encoder import RecurrentLayer
from tagger.nn.model import Network
from tagger.signals import StopRequest
from tagger.tagging import EncodedPool, Tagger
from tagger.training import diagnostics, optimizers, records
from tagger.training import state as state_of
from tagger.training.corpora import Corpora
from tagger.training.epoch_record import Diagnostics, EpochRecord
from tagger.training.events import Callback, EpochEnd, Start, StepEnd
from tagger.training.run_dir import BEST
from tagger.training.state import EpochStats, Parts, Progress

log = logging.getLogger(__name__)


class Loop:
    """A training in progress.

    Args:
        config: the recipe.
        model: the model to train.
        data: the training and dev data.
        run_dir: the directory of checkpoints, the best model and records.
        device: the device to train on.
        callback: is called with the events of the training.
    """

    def __init__(
        self,
        config: Config,
        model: TaggerModel,
        data: Corpora,
        run_dir: Path,
        device: torch.device,
        callback: Callback,
    ) -> None:
        self.settings, self.model, self.data = config.training, model, data
        self.run_dir, self.device, self.callback = run_dir, device, callback
        self.network: Network = model.network.to(device)
        sentences = data.train.sentences
        numbers = number_passages(sentences) if config.model.document_context.output_dim else None
        lexicon = WordEncoder(model.known_words, model.characters)
        self.encoded = EncodedCorpus(sentences, lexicon, model.tags, numbers)
        self.rows = optimizers.create_lazy_rows(self.network, self.settings, device)
        self.optimizer = optimizers.create_optimizer(self.network, self.settings.optimizer, self.rows)
        decay = self.settings.ema_decay
        self.average = None if decay is None else optimizers.MovingAverage(self.network, decay, self.rows)
        self.mixed = self.settings.mixed_precision and device.type == "cuda"
        # cuDNN's recurrent layers compute in float16 under autocast whatever its dtype: scale the loss.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.mixed)
        self._parts = Parts(self.network, self.optimizer, self.scaler, self.average, self.rows, device)
        self.progress = Progress()
        self._diagnostics_batch = None
        if self.settings.diagnostics:
            self._diagnostics_batch = diagnostics.select_batch(model, data.dev.sentences).move_to(device)
        self._dev: tuple[Tagger, list[EncodedPool]] | None = None  # the dev data is encoded once
        self._threads = torch.get_num_threads()
        for layer in self.network.modules():
            if isinstance(layer, RecurrentLayer):
                layer.threads = self._threads
        self._digests = data.digests()
        self._batches = self._batches_of(0)

    @property
    def history(self) -> list[EpochRecord]:
        """The record of each finished epoch."""
        return self.progress.history

    def run(self, stop: StopRequest) -> None:
        """Trains until the last epoch, or until the dev score has not risen for `training.patience` epochs.

        Raises:
            Stopped: a signal asked for it; a checkpoint is written.
            TrainingError: the loss or the gradient is not finite.
        """
        with single_torch_thread():
            self._run(stop)

    def _run(self, stop: StopRequest) -> None:
        progress = self.progress
        self.callback(Start(progress.epoch, self.settings.epochs, progress.step))
        while progress.epoch < self.settings.epochs and not self._is_out_of_patience():
            self._batches = self._batches_of(progress.epoch)
            built = self._built(self._batches[progress.step :])
            while progress.step < len(self._batches):
                self._take_step(built)
                if stop.signum:
                    self._leave(stop)
                if self.settings.checkpoint_steps and progress.steps % self.settings.checkpoint_steps == 0:
                    self.save_checkpoint()
            self._end_epoch(stop)
            if stop.signum:
                self._leave(stop, saved=True)

    def _built(self, batches: list[list[int]]) -> Iterator[tuple[list[int], Batch]]:
        """Yields positions and their batches; the next is built while one is used, where there is a thread for it."""
        if self._threads < 2:
            yield from zip(batches, map(self.encoded.batch, batches), strict=True)
            return
        with ThreadPoolExecutor(1, "batches") as builder:
            ahead = [builder.submit(self.encoded.batch, each) for each in batches[:1]]
            for number, positions in enumerate(batches, 1):
                ahead += [builder.submit(self.encoded.batch, each) for each in batches[number : number + 1]]
                yield positions, ahead.pop(0).result()

    def _take_step(self, built: Iterator[tuple[list[int], Batch]]) -> None:
        progress, stats = self.progress, self.progress.stats
        started = time.perf_counter()
        positions, batch = next(built)
        loss, norm, clipped = self._update(positions, batch)
        progress.step += 1
        progress.steps += 1
        stats.steps += 1
        if loss is not None:
            stats.loss += loss * len(positions)
            stats.sentences += len(positions)
            stats.gradient_norm += norm
            stats.clipped += clipped
        stats.seconds += time.perf_counter() - started
        self.callback(StepEnd(progress.epoch, progress.step, len(self._batches), loss if loss is not None else 0.0))

    def _update(self, positions: list[int], batch: Batch) -> tuple[float | None, float, bool]:
        """Makes one step; returns the loss, None if it was skipped, the gradient's norm and whether it was clipped."""
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        if self.rows is not None:
            self.rows.catch_up(torch.cat([torch.tensor([UNKNOWN]), *batch.word_ids]))
        loss = self._loss(batch.move_to(self.device))
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        gradients = optimizers.collect_gradients(self.network, self.rows)
        norms = self._norms(gradients)
        norm, clipped = optimizers.clip_gradients([*chain.from_iterable(gradients.values())], self.settings)
        value, size = loss.item(), norm.item()
        if not (math.isfinite(value) and math.isfinite(size)):
            self._not_finite(positions, value, size)
            return None, 0.0, False
        self._add_norms(norms)
        factor = optimizers.schedule_factor(
            self.settings.schedule,
            step=self.progress.steps,
            total=len(self._batches) * self.settings.epochs,
            epoch=self.progress.epoch,
            scores=[record.dev.score for record in self.history],
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["learning_rate"] * factor
        self.progress.stats.learning_rate = self.settings.optimizer.learning_rate * factor
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.rows is not None:
            self.rows.step(self.settings.optimizer.learning_rate_of("words") * factor)
        if self.average is not None:
            self.average.update()
        return value, size, bool(clipped)

    def _norms(self, gradients: Mapping[Part, Sequence[torch.Tensor]]) -> dict[Part, torch.Tensor]:
        """Returns the norm of each part's gradient, if the settings ask for it; a GPU is not waited for."""
        if self._diagnostics_batch is None:
            return {}
        started = time.perf_counter()
        norms = {part: nn.utils.get_total_norm(of_part) for part, of_part in gradients.items()}
        self.progress.stats.diagnostics_seconds += time.perf_counter() - started
        return norms

    def _add_norms(self, norms: Mapping[Part, torch.Tensor]) -> None:
        started, stats = time.perf_counter(), self.progress.stats
        for part, norm in norms.items():
            stats.part_norms[part] = stats.part_norms.get(part, 0.0) + norm.item()
        stats.diagnostics_seconds += time.perf_counter() - started

    def _diagnose(self) -> Diagnostics | None:
        """Returns the gradient norms and gate activations of the epoch, if `training.diagnostics` is set."""
        if self._diagnostics_batch is None:
            return None
        started, stats = time.perf_counter(), self.progress.stats
        activity = diagnostics.measure(self.model, self._diagnostics_batch)
        norms = {part: total / stats.applied_steps for part, total in stats.part_norms.items()}
        seconds = stats.diagnostics_seconds + time.perf_counter() - started
        return Diagnostics(norms, activity.gates, activity.reach, activity.far, seconds)

    def _loss(self, batch: Batch) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
            emissions = self.network(batch)
        assert batch.gold is not None
        try:
            return self.network.loss(emissions, batch.gold, batch.lengths)
        except ValueError:
            if emissions.isfinite().all():
                raise
            return torch.tensor(math.nan, requires_grad=True)  # no path is left where they overflowed

    def _not_finite(self, positions: list[int], loss: float, norm: float) -> None:
        if self.mixed and math.isfinite(loss):  # the scale was too large for float16; the scaler lowers it
            self.progress.stats.skipped += 1
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return
        lines = ", ".join(str(self.data.train.sentences[position].line) for position in positions[:10])
        more = ", …" if len(positions) > 10 else ""
        what = (
            f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}: loss {loss} and gradient norm {norm} "
            f"on the sentences at lines {lines}{more} of {self.data.train.name}"
        )
        if self.settings.on_nonfinite == "stop":
            raise TrainingError(f"{what}; lower training.optimizer.learning_rate, or set training.on_nonfinite to skip")
        self.progress.stats.skipped += 1
        log.warning("%s; the step is skipped", what)

    def _end_epoch(self, stop: StopRequest) -> None:
        progress, stats = self.progress, self.progress.stats
        started = time.perf_counter()
        self._check_weights()
        if self.rows is not None:
            self.rows.flush()
        flushed = time.perf_counter()
        measured = self._diagnose()
        started += time.perf_counter() - flushed
        report = self._evaluate_dev(stop)
        record = EpochRecord(
            epoch=progress.epoch + 1,
            steps=progress.steps,
            loss=stats.loss / max(stats.sentences, 1),
            gradient_norm=stats.gradient_norm / stats.applied_steps,
            clipped_fraction=stats.clipped / stats.applied_steps,
            skipped=stats.skipped,
            learning_rate=stats.learning_rate,
            dev=report.scores,
            best=all(report.score > record.dev.score for record in self.history),
            seconds=stats.seconds - stats.diagnostics_seconds,
            dev_seconds=time.perf_counter() - started,
            diagnostics=measured,
        )
        if report.unknown_tags and not self.history:
            counts = ", ".join(f"{tag} ({count})" for tag, count in report.unknown_tags.items())
            log.warning("%s has tags that the training data lacks, scored as wrong: %s", self.data.dev.name, counts)
        self.history.append(record)
        progress.epoch, progress.step, progress.stats = progress.epoch + 1, 0, EpochStats()
        if record.best:
            model_dir.save(self._averaged_model(), self.run_dir / BEST, record.to_json())
        self.save_checkpoint()
        records.write_metrics(self.run_dir, self.history)
        self._report_epoch(record)

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

    def _evaluate_dev(self, stop: StopRequest) -> Report:
        def check() -> None:
            if stop.signum:
                self._leave(stop)

        if self._dev is None:
            tagger = Tagger(self._averaged_model(), self.device, workers=self._threads)
            self._dev = tagger, tagger.encode(self.data.dev.sentences)
        else:
            self._dev[0].update_weights()
        tagger, pools = self._dev
        return evaluate(tagger, self.data.dev, pools=pools, on_batch=check)

    def _averaged_model(self) -> TaggerModel:
        """Returns the model as it would be used: with averaged weights, if they are averaged."""
        return self.model if self.average is None else replace(self.model, network=self.average.network)

    def _leave(self, stop: StopRequest, *, saved: bool = False) -> None:
        if not saved:
            self.save_checkpoint()
        log.info("stopped after step %d; continue with `resume=True`", self.progress.steps)
        raise Stopped(stop.signum)

    def _is_out_of_patience(self) -> bool:
        patience = self.settings.patience
        if patience is None or not self.history:
            return False
        best = max(record.epoch for record in self.history if record.best)
        return self.progress.epoch - best >= patience

    def _batches_of(self, epoch: int) -> list[list[int]]:
        settings = self.settings
        is_full = batch_limit(max_sentences=settings.batch_size, max_tokens=settings.max_batch_tokens)
        return shuffled_batches(
            self.encoded.lengths, is_full, bucket_size=settings.bucket_size, seed=settings.seed, epoch=epoch
        )

    def save_checkpoint(self) -> None:
        """Writes a checkpoint from which `restore` continues exactly.

        Raises:
            TrainingError: a weight is not finite, and there is nothing to go on from.
        """
        self._check_weights()
        state = state_of.snapshot(self.progress, self._parts, self._digests)
        done = self.history and not self.progress.step and self.average is None
        metrics = self.history[-1].to_json() if done else {}  # of these weights, or none
        keep = self.settings.keep_checkpoints
        with self.rows.flush_temporarily() if self.rows else nullcontext():
            model_dir.add_checkpoint(self.run_dir, self.progress.steps, self.model, metrics, state, retained=keep)

    def _check_weights(self) -> None:
        for name, weight in self.network.named_parameters():
            if not weight.isfinite().all():
                where = f"epoch {self.progress.epoch + 1}, step {self.progress.step}"
                raise TrainingError(f"{where}: {name} is not finite; lower training.optimizer.learning_rate")

    @property
    def max_state_bytes(self) -> int:
        """The size of the largest state.safetensors that belongs to this training."""
        return state_of.max_file_bytes(self._parts)

    def restore(self, state: State) -> None:
        """Restores a state that `save_checkpoint` wrote.

        Raises:
            ModelError: the data is not what the training began with, or the state is no such state.
        """
        try:
            progress = state_of.progress_of(state, self._digests)
            self._check_place(progress)
            state_of.restore(state, progress, self._parts)
        except state_of.ChangedDataError as error:
            raise ModelError(f"{self.run_dir}: {error}") from error
        except ValueError as error:
            raise ModelError(f"{self.run_dir}: the state of the training is refused: {error}") from error
        self.progress = progress

    def _check_place(self, progress: Progress) -> None:
        """Raises ValueError if a training of these settings has no such epoch or step."""
        most = len(self._batches_of(progress.epoch)) if progress.epoch < self.settings.epochs else 0
        if progress.epoch > self.settings.epochs or progress.step > most:
            raise ValueError(f"epoch {progress.epoch}, step {progress.step}: the training has no such step")


def format_duration(seconds: float) -> str:
    """Returns a duration in its two largest units.

    >>> [format_duration(seconds) for seconds in (4.4, 75, 7260)]
    ['4 s', '1 min 15 s', '2 h 1 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
