"""Parameter groups, optimisers, the course of the rate, and clipping."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from tagger.choices import Part
from tagger.config.tree import Optimizer, Schedule, Training

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


def optimizer(network: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """Returns the optimiser of a network; each group holds its full rate as `rate`, and its part's name."""
    groups: dict[Part, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault(part_of(name), []).append(parameter)
    rated = [
        {"params": parameters, "part": part, "rate": settings.rates.get(part, settings.rate)}
        for part, parameters in groups.items()
    ]
    if settings.kind == "sgd":
        return torch.optim.SGD(
            rated,
            lr=settings.rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(rated, lr=settings.rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)


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


def clip(parameters: Iterable[Tensor], settings: Training) -> Tensor:
    """Clips gradients by norm and by value as the settings say; returns the norm that they had before."""
    listed = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.clip_grad_norm_(listed, settings.clip_norm or math.inf)
    if settings.clip_value is not None:
        nn.utils.clip_grad_value_(listed, settings.clip_value)
    return norm
