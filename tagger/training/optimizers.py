"""Parameter groups, optimisers, the course of the rate, clipping, and the moving average."""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from tagger.choices import Part
from tagger.config.schema import Optimizer, Schedule, Training
from tagger.nn.encoder import LSTM1997
from tagger.nn.model import Network
from tagger.training.lazy_rows import Rows

_PARTS: tuple[tuple[str, Part], ...] = (
    ("embedding.words.", "words"),
    ("embedding.", "characters"),
    ("encoder.", "encoder"),
    ("", "head"),
)


def part_of(name: str) -> Part:
    """Returns the part of the network, as recipes call it, that a parameter belongs to.

    >>> part_of("projection.weight")
    'head'
    """
    return next(part for prefix, part in _PARTS if name.startswith(prefix))


def rows(network: Network, settings: Training, device: torch.device) -> Rows | None:
    """Returns what moves the word vectors row by row, and has their gradients hold no more; None if all are moved.

    A GPU moves all of them, as Adam and a decay of the weights must.
    """
    chosen, words = settings.optimizer, network.embedding.words
    if device.type != "cpu" or chosen.kind != "sgd" or chosen.weight_decay:
        return None
    words.sparse = True
    return Rows(words.weight, momentum=chosen.momentum, nesterov=chosen.nesterov, decay=settings.ema_decay)


def optimizer(network: Network, settings: Optimizer, rows: Rows | None) -> torch.optim.Optimizer:
    """Returns the optimiser of all that `rows` does not move; each group holds its full rate and its part's name.

    Weights decay, but for the biases that hold gates open.
    """
    held = {id(cell.bias_ih_l0) for cell in network.modules() if isinstance(cell, LSTM1997)}
    groups: dict[tuple[Part, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if rows is None or parameter is not rows.weight:
            groups.setdefault((part_of(name), id(parameter) in held), []).append(parameter)
    rated = [
        {"params": parameters, "part": part, "rate": settings.learning_rate_of(part)}
        | ({"weight_decay": 0.0} if fixed else {})
        for (part, fixed), parameters in groups.items()
    ]
    if settings.kind == "sgd":
        return torch.optim.SGD(
            rated,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(rated, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)


def factor(settings: Schedule, *, step: int, total: int, epoch: int, scores: Sequence[float]) -> float:
    """Returns what the full rate is multiplied with.

    Args:
        settings: the schedule.
        step: the step, from 0, of `total` in the whole training.
        total: the steps of the whole training.
        epoch: the epoch, from 0.
        scores: the dev scores of the epochs before, from which plateaus are told.
    """
    step = min(step, total - 1)  # epochs may differ in their batches by a few, so that the total is only near
    rise = min(1.0, (step + 1) / (settings.warmup + 1))
    if settings.kind == "inverse":
        return rise / (1 + settings.decay * epoch)
    if settings.kind == "plateau":
        return rise * settings.factor ** plateaus(scores, settings.patience)
    if settings.kind == "linear":
        return rise * (total - step) / max(total - settings.warmup, 1) if step >= settings.warmup else rise
    if settings.kind == "onecycle":
        return _one_cycle(step, total, settings.peak)
    return rise


def _one_cycle(step: int, total: int, peak: float) -> float:
    """Returns the cosine rise from 1/25 to 1 and the fall to 1/250000 of Smith and Topin (2018), as torch has them."""
    low, end = 1 / 25, 1 / 250_000
    top = peak * total - 1  # torch counts from 0, and reaches the top and the end with a phase's last step
    if step < top:
        return low + (1 - low) * (1 - math.cos(math.pi * step / top)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (step - top) / (total - 1 - top))) / 2


def plateaus(scores: Sequence[float], patience: int) -> int:
    """Returns how often `patience` epochs in a row brought no better score.

    >>> plateaus([90.0, 91.0, 90.5, 90.7, 90.9, 91.0, 92.0], 2)
    2
    """
    best, waited, found = -math.inf, 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if waited == patience:
            found, waited = found + 1, 0
    return found


def gradients(network: Network, rows: Rows | None) -> dict[Part, list[Tensor]]:
    """Returns the gradients there are by part of the network, of the word vectors only those of `rows`."""
    found: dict[Part, list[Tensor]] = {"words": [rows.gradient()]} if rows else {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            found.setdefault(part_of(name), []).append(parameter.grad)
    return found


def clip(gradients: Sequence[Tensor], settings: Training) -> tuple[Tensor, Tensor]:
    """Clips gradients by norm and by value as the settings say.

    Returns:
        The norm that they had before, and whether anything was clipped; both are scalars.
    """
    norm = nn.utils.get_total_norm(gradients)
    clipped = torch.zeros_like(norm, dtype=torch.bool)
    if settings.clip_norm is not None:
        clipped = norm > settings.clip_norm
        shrunk = (settings.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(shrunk)
    if settings.clip_value is not None:
        clipped = clipped | (nn.utils.get_total_norm(gradients, math.inf) > settings.clip_value)
        for gradient in gradients:
            gradient.clamp_(-settings.clip_value, settings.clip_value)
    return norm, clipped


class Average:
    """A moving average of a network's weights, from those it begins with.

    Args:
        trained: the network in training.
        decay: what is left of the average after a step.
        rows: has its own average of the word vectors.

    Attributes:
        network: has the averaged weights; the vectors that stay as they are it shares.
    """

    def __init__(self, trained: Network, decay: float, rows: Rows | None) -> None:
        kept = trained.embedding.words.frozen
        self.network = deepcopy(trained, {id(kept): kept}).requires_grad_(requires_grad=False)
        pairs = zip(self.network.parameters(), trained.parameters(), strict=True)
        self._pairs = [pair for pair in pairs if rows is None or pair[1] is not rows.weight]
        if rows is not None and rows.average is not None:
            self.network.embedding.words.weight = rows.average
        self._decay = decay

    @torch.no_grad()
    def update(self) -> None:
        """Takes a step towards the weights as they are now."""
        for own, trained in self._pairs:
            own.lerp_(trained, 1 - self._decay)
