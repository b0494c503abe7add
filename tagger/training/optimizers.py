"""Parameter groups, optimizers, learning rate schedules, gradient clipping and the moving average of weights."""

import math
import re
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from tagger.choices import Part
from tagger.config.schema import Optimizer, Schedule, Training
from tagger.nn.encoder import LSTM1997
from tagger.nn.model import Network
from tagger.training.lazy_rows import LazyRows

_PARTS: tuple[tuple[str, Part], ...] = (
    ("embedding.words.", "words"),
    ("embedding.transformer.reader.", "transformer"),
    ("embedding.transformer.", "encoder"),
    ("embedding.", "characters"),
    ("encoder.", "encoder"),
    ("", "head"),
)


def part_of(name: str) -> Part:
    """Returns the part of the network, by its name in recipes, that a parameter belongs to.

    >>> part_of("projection.weight")
    'head'
    """
    return next(part for prefix, part in _PARTS if name.startswith(prefix))


def _layer_of(name: str) -> int:
    """Returns the number of the transformer layer that a parameter belongs to, from 1; 0 for the embedding layer.

    >>> [_layer_of(f"reader.encoder.{name}") for name in ("embeddings.word", "encoder.layer.3.output", "layers.0.norm")]
    [0, 4, 1]
    """
    match = re.search(r"\.layers?\.([0-9]+)\.", name)
    return int(match[1]) + 1 if match else 0


def count_transformer_layers(network: Network) -> int:
    """Returns the number of layers of a trainable transformer that have weights of their own; 0 without any."""
    names = [name for name, _ in network.named_parameters() if part_of(name) == "transformer"]
    return max(map(_layer_of, names), default=0)


def create_lazy_rows(network: Network, settings: Training, device: torch.device) -> LazyRows | None:
    """Makes the gradients of word vectors sparse and returns their lazy optimizer; None if it cannot be used.

    It is used on a CPU with SGD without weight decay; Adam and weight decay update every row at each step.
    """
    chosen, words = settings.optimizer, network.embedding.words
    if words is None or device.type != "cpu" or chosen.kind != "sgd" or chosen.weight_decay:
        return None
    words.sparse = True
    return LazyRows(
        words.weight, momentum=chosen.momentum, nesterov=chosen.nesterov, averaged=settings.ema_decay is not None
    )


def create_optimizer(
    network: Network, settings: Optimizer, rows: LazyRows | None, *, layer_decay: float = 1.0
) -> torch.optim.Optimizer:
    """Returns the optimizer of all parameters that `rows` does not update.

    Each parameter group holds the name of its `part` and its `learning_rate` before the schedule. The biases that keep
    the gates of lstm1997 open have no weight decay. In a transformer, the learning rate falls by the factor
    `layer_decay` from each layer to the one below.
    """
    fixed_biases = {id(cell.bias_ih_l0) for cell in network.modules() if isinstance(cell, LSTM1997)}
    depth = count_transformer_layers(network)
    groups: dict[tuple[Part, bool, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if rows is None or parameter is not rows.weight:
            part = part_of(name)
            factor = layer_decay ** (depth - _layer_of(name)) if part == "transformer" else 1.0
            groups.setdefault((part, id(parameter) in fixed_biases, factor), []).append(parameter)
    parameter_groups = [
        {"params": parameters, "part": part, "learning_rate": settings.learning_rate_of(part) * factor}
        | ({"weight_decay": 0.0} if fixed else {})
        for (part, fixed, factor), parameters in groups.items()
    ]
    if settings.kind == "sgd":
        return torch.optim.SGD(
            parameter_groups,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(
        parameter_groups,
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def schedule_factor(settings: Schedule, *, step: int, total: int, epoch: int, improved: Sequence[bool]) -> float:
    """Returns the factor of the learning rate at a step.

    Args:
        settings: the schedule.
        step: the step of the training, from 0.
        total: the steps of all epochs.
        epoch: the epoch, from 0.
        improved: for each epoch before, whether it became the best.
    """
    step = min(step, total - 1)  # epochs may differ by a few batches, so that the total is an estimate
    rise = min(1.0, (step + 1) / (settings.warmup + 1))
    if settings.kind == "inverse":
        return rise / (1 + settings.decay * epoch)
    if settings.kind == "plateau":
        return rise * settings.factor ** count_plateaus(improved, settings.patience)
    if settings.kind == "linear":
        return rise * (total - step) / max(total - settings.warmup, 1) if step >= settings.warmup else rise
    if settings.kind == "onecycle":
        return _one_cycle(step, total, settings.peak)
    return rise


def _one_cycle(step: int, total: int, peak: float) -> float:
    """Returns the cosine rise from 1/25 to 1 and the fall to 1/250000 of Smith and Topin (2018), as in torch."""
    low, end = 1 / 25, 1 / 250_000
    top = peak * total - 1  # torch counts from 0 and reaches both extremes at the last step of a phase
    if step < top:
        return low + (1 - low) * (1 - math.cos(math.pi * step / top)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (step - top) / (total - 1 - top))) / 2


def count_plateaus(improved: Sequence[bool], patience: int) -> int:
    """Returns how often `patience` consecutive epochs did not improve.

    >>> count_plateaus([True, True, False, False, False, False, True], 2)
    2
    """
    waited, count = 0, 0
    for is_better in improved:
        waited = 0 if is_better else waited + 1
        if waited == patience:
            count, waited = count + 1, 0
    return count


def collect_gradients(network: Network, rows: LazyRows | None) -> dict[Part, list[Tensor]]:
    """Returns the existing gradients by part of the network; those of lazily updated word vectors come from `rows`."""
    result: dict[Part, list[Tensor]] = {"words": [rows.gradient()]} if rows else {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            result.setdefault(part_of(name), []).append(parameter.grad)
    return result


def clip_gradients(gradients: Sequence[Tensor], settings: Training) -> tuple[Tensor, Tensor]:
    """Clips gradients in place by `clip_norm` and `clip_value`.

    Returns:
        The norm before clipping, and whether anything was clipped; both are scalar tensors.
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


def warmed_up_decay(decay: float, updates: int) -> float:
    """Returns the decay of the moving average after a number of updates: lower at first, never above `decay`.

    The average then spans about a ninth of the updates so far, so that it soon forgets the random initial weights.

    >>> [round(warmed_up_decay(0.999, updates), 3) for updates in (0, 90, 890, 10_000)]
    [0.1, 0.91, 0.99, 0.999]
    """
    return min(decay, (1 + updates) / (10 + updates))


class MovingAverage:
    """An exponential moving average of a network's weights, which starts at the initial weights.

    Args:
        trained: the network in training.
        rows: the lazy optimizer, which averages the word vectors itself.

    Attributes:
        network: a copy with the averaged weights; it shares the frozen word vectors.
    """

    def __init__(self, trained: Network, rows: LazyRows | None) -> None:
        words = trained.embedding.words
        shared = {} if words is None else {id(tensor): tensor for tensor in words.buffers()}
        self.network = deepcopy(trained, shared).requires_grad_(requires_grad=False)
        pairs = zip(self.network.parameters(), trained.parameters(), strict=True)
        self._pairs = [pair for pair in pairs if rows is None or pair[1] is not rows.weight]
        averaged = self.network.embedding.words
        if averaged is not None and rows is not None and rows.moving_average is not None:
            averaged.weight = rows.moving_average

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Moves the average towards the current weights; `decay` is its own factor."""
        for averaged, trained in self._pairs:
            averaged.lerp_(trained, 1 - decay)
