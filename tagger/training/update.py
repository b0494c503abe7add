"""Updates of the weights: forward and backward pass, clipping, optimizer and moving average."""

import math
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tagger.choices import Part
from tagger.config.schema import Training
from tagger.data.batching import Batch
from tagger.nn.embeddings import UNKNOWN
from tagger.nn.model import Network
from tagger.training import optimizers
from tagger.training.ranks import Ranks
from tagger.transformer import library


class StepBatch(NamedTuple):
    """The batch of a step, as a rank computes it.

    Attributes:
        parts: the sentences of this rank, on the CPU, in parts that are computed one after the other; none if the batch
            has fewer sentences than there are ranks.
        sentences: the number of sentences of all ranks.
        words: the word ids of the distinct words of all ranks.
        neighbours: the word ids of the document context of all ranks.
    """

    parts: Sequence[Batch]
    sentences: int
    words: Tensor
    neighbours: Tensor


class Update(NamedTuple):
    """The figures of an update.

    Attributes:
        loss: mean loss in nats per sentence.
        gradient_norm: the norm before clipping.
        is_clipped: whether the gradient was clipped.
        part_norms: the gradient norm of each part of the network, only with `training.diagnostics`.
        diagnostics_seconds: time spent on `part_norms`.
    """

    loss: float
    gradient_norm: float
    is_clipped: bool
    part_norms: Mapping[Part, Tensor]
    diagnostics_seconds: float

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are finite; otherwise the weights are unchanged."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


class Updater:
    """Updates the weights of a network.

    Args:
        network: the network, on the device.
        settings: the settings of the training.
        ranks: the processes that train the network together, with the device to train on.

    Attributes:
        rows: the lazy optimizer of the word vectors; None if all parameters belong to `optimizer`.
        optimizer: the optimizer of the other parameters.
        moving_average: the averaged weights; None without `training.ema_decay`.
        mixed: whether the forward pass computes in mixed precision.
        scaler: scales the loss in mixed precision.
        updates: the number of updates so far, on which the decay of the moving average depends.
    """

    def __init__(self, network: Network, settings: Training, ranks: Ranks) -> None:
        device = ranks.device
        self.network, self.settings, self.device, self._ranks = network, settings, device, ranks
        self.rows = optimizers.create_lazy_rows(network, settings, device)
        self.optimizer = optimizers.create_optimizer(
            network, settings.optimizer, self.rows, layer_decay=settings.fine_tuning.layer_decay
        )
        is_averaged = settings.ema_decay is not None
        self.moving_average = optimizers.MovingAverage(network, self.rows) if is_averaged else None
        self.updates = 0
        features = network.embedding.transformer
        self._reader = features.reader if features else None
        if self._reader is not None and settings.fine_tuning.gradient_checkpointing:
            library.checkpoint_activations(self._reader.encoder)
        self.mixed = settings.mixed_precision and device.type == "cuda"
        # cuDNN's recurrent layers compute in float16 under autocast whatever its dtype: scale the loss.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.mixed)

    @property
    def evaluated_network(self) -> Network:
        """The network to evaluate and to save as the best: the one with averaged weights, if they are averaged."""
        return self.network if self.moving_average is None else self.moving_average.network

    def start_epoch(self, epoch: int) -> None:
        """Freezes or trains the transformer, as `training.fine_tuning` says for an epoch, counted from 0."""
        if self._reader is not None:
            self._reader.requires_grad_(epoch >= self.settings.fine_tuning.frozen_epochs)

    def update(self, batch: StepBatch, factor: float) -> Update:
        """Updates the weights once by the batch of all ranks, unless its loss or gradient is not finite.

        Args:
            batch: the batch.
            factor: the factor of the learning rates.
        """
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        words = torch.cat([torch.tensor([UNKNOWN]), batch.words])
        if self.rows is not None:  # on every rank the same rows, so that they are rounded alike
            self.rows.catch_up(torch.cat([words, batch.neighbours]))
        loss = self._ranks.sum_gradients(self.network, self._backward(batch), words)
        self.scaler.unscale_(self.optimizer)
        gradients = optimizers.collect_gradients(self.network, self.rows)
        started = time.perf_counter()
        part_norms = self._part_norms(gradients)
        diagnostics_seconds = time.perf_counter() - started
        norm, clipped = optimizers.clip_gradients([*chain.from_iterable(gradients.values())], self.settings)
        result = Update(loss.item(), norm.item(), bool(clipped), part_norms, diagnostics_seconds)
        if result.is_finite:
            self._apply(factor)
        elif self.has_overflowed(result):
            self._step_scaler()
        return result

    def _backward(self, batch: StepBatch) -> Tensor:
        """Adds the gradients of the parts of a batch and returns their part of the mean loss of all sentences."""
        losses = [torch.zeros((), device=self.device)]
        if not batch.parts:
            self.scaler.scale(losses[0])  # creates the scale, which other ranks have, too
        for part in batch.parts:
            loss = self._loss(part.move_to(self.device)) * (len(part.lengths) / batch.sentences)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        for parameter in self._reader.parameters() if self._reader else ():
            if parameter.requires_grad and parameter.grad is None:  # of a layer above those that are read
                parameter.grad = torch.zeros_like(parameter)
        return torch.stack(losses).sum()

    def has_overflowed(self, update: Update) -> bool:
        """Returns whether the scale of the loss was too large for float16; the scaler has lowered it."""
        return self.mixed and math.isfinite(update.loss) and not update.is_finite

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
            emissions = self.network(batch)
        assert batch.gold is not None
        try:
            return self.network.loss(emissions, batch.gold, batch.lengths, batch.weights)
        except ValueError:
            if emissions.isfinite().all():
                raise
            return torch.tensor(
                math.nan, device=emissions.device, requires_grad=True
            )  # emissions overflowed, so that no path is possible

    def _part_norms(self, gradients: Mapping[Part, Sequence[Tensor]]) -> dict[Part, Tensor]:
        """Returns the gradient norm of each part as tensors, without waiting for a GPU."""
        if not self.settings.diagnostics:
            return {}
        return {part: nn.utils.get_total_norm(tensors) for part, tensors in gradients.items()}

    def _apply(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["learning_rate"] * factor
        self._step_scaler()
        decay = optimizers.warmed_up_decay(self.settings.ema_decay or 0.0, self.updates)
        self.updates += 1
        if self.rows is not None:
            self.rows.step(self.settings.optimizer.learning_rate_of("words") * factor, decay)
        if self.moving_average is not None:
            self.moving_average.update(decay)

    def _step_scaler(self) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()
