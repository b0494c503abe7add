"""The state that resumes a training, besides the model: how it is stored, and how it is checked before use.

A checkpoint may come from somebody else. Each tensor is compared with the model by name, shape and dtype before any
code that trusts it runs: an optimizer with a buffer of another shape writes outside of its memory.

Shapes in this module: W words with a trained vector, S steps since all rows were up to date.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TypedDict

import torch
from torch import Tensor

from tagger.choices import Part, options
from tagger.device import get_random_state, set_random_state
from tagger.io import json_files, tensor_files
from tagger.model_dir import State
from tagger.training.epoch_record import EpochRecord
from tagger.training.lazy_rows import MAX_STEPS, SUMS
from tagger.training.sentence_weights import WEIGHTS
from tagger.training.update import Update, Updater

_SCALER = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}
_CUDA_RANDOM_BYTES = 16
_MT19937_WORDS = 624


class ChangedDataError(Exception):
    """The data has changed since the training started."""


class StepMeans(TypedDict):
    """The fields of `EpochRecord` that depend on the steps alone."""

    loss: float
    gradient_norm: float
    clipped_fraction: float
    skipped: int
    learning_rate: float
    seconds: float


@dataclass
class EpochStats:
    """Statistics of the current epoch so far; `loss` (nats), `gradient_norm` and `part_norms` are sums.

    Attributes:
        loss: summed over `sentences`.
        sentences: sentences in the steps that were not skipped.
        gradient_norm: before clipping, summed over the steps that were not skipped.
        clipped: steps whose gradient was clipped.
        steps: all steps.
        skipped: steps that were skipped because the loss or gradient was not finite.
        learning_rate: that of the last step.
        seconds: the time that the steps took, diagnostics included.
        part_norms: gradient norms by part of the network, only with `training.diagnostics`.
        diagnostics_seconds: the time that these took.
    """

    loss: float = 0.0
    sentences: int = 0
    gradient_norm: float = 0.0
    clipped: int = 0
    steps: int = 0
    skipped: int = 0
    learning_rate: float = 0.0
    seconds: float = 0.0
    part_norms: dict[str, float] = field(default_factory=dict)
    diagnostics_seconds: float = 0.0

    @property
    def applied_steps(self) -> int:
        """The steps that were not skipped, at least 1 so that means can be divided by it."""
        return max(self.steps - self.skipped, 1)

    def add(self, update: Update, *, sentences: int, learning_rate: float) -> None:
        """Adds the figures of an update by a batch of so many sentences, except for `steps` and `seconds`."""
        self.loss += update.loss * sentences
        self.sentences += sentences
        self.gradient_norm += update.gradient_norm
        self.clipped += update.is_clipped
        self.learning_rate = learning_rate
        started = time.perf_counter()
        for part, norm in update.part_norms.items():
            self.part_norms[part] = self.part_norms.get(part, 0.0) + norm.item()
        self.diagnostics_seconds += update.diagnostics_seconds + time.perf_counter() - started

    def means(self) -> StepMeans:
        """Returns the figures of the epoch's record that are known when its last step is done."""
        return {
            "loss": self.loss / max(self.sentences, 1),
            "gradient_norm": self.gradient_norm / self.applied_steps,
            "clipped_fraction": self.clipped / self.applied_steps,
            "skipped": self.skipped,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds - self.diagnostics_seconds,
        }


@dataclass
class Progress:
    """The position of a training: `step` steps of the epoch `epoch`, counted from 0, are done, and `steps` in all."""

    epoch: int = 0
    step: int = 0
    steps: int = 0
    stats: EpochStats = field(default_factory=EpochStats)
    history: list[EpochRecord] = field(default_factory=list)

    @property
    def updates(self) -> int:
        """The number of steps that updated the weights: all that were not skipped."""
        return self.steps - self.stats.skipped - sum(record.skipped for record in self.history)

    def updates_since(self, epoch: int) -> int:
        """Returns the number of steps that updated the weights in this epoch, counted from 0, and later ones."""
        before = self.history[:epoch]
        if len(before) < epoch:
            return 0
        return self.updates + sum(record.skipped for record in before) - (before[-1].steps if before else 0)


@dataclass
class _Stored:
    """The content of state.json."""

    epoch: int
    step: int
    steps: int
    stats: EpochStats
    history: list[EpochRecord]
    data: dict[str, str]
    scaler: dict[str, int | float]


def snapshot(progress: Progress, updater: Updater, digests: Mapping[str, str]) -> State:
    """Returns the state of a training over data of these digests; the tensors share memory with the updater."""
    stored = asdict(progress) | {"data": dict(digests), "scaler": updater.scaler.state_dict()}
    tensors = {f"random.{name}": value for name, value in get_random_state(updater.device).items()}
    for number, values in updater.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items() if value is not None}
    if updater.moving_average is not None:
        tensors |= _prefixed("average.", updater.moving_average.network.state_dict())
    if updater.rows is not None:
        tensors |= _prefixed("rows.", updater.rows.tensors())
    return State(stored, tensors)


def max_file_bytes(updater: Updater) -> int:
    """Returns the size of the largest state.safetensors that belongs to a training."""
    return tensor_files.size_range(_expected(updater, updated=True, trained=True, sums=MAX_STEPS + 1, with_cuda=True))[
        1
    ]


def progress_of(state: State, digests: Mapping[str, str]) -> Progress:
    """Returns the position of the training.

    Raises:
        ValueError: the numbers of the state cannot be those of a training.
        ChangedDataError: the data has changed since the training began.
    """
    stored = json_files.parse_as(_Stored, json_files.dump(state.progress))
    if stored.data.keys() ^ digests.keys() == {WEIGHTS}:
        before = "without training.sentence_weights" if WEIGHTS in digests else "with training.sentence_weights"
        raise ChangedDataError(f"the training began {before}; resume it {before}")
    if stored.data.keys() != digests.keys():
        raise ValueError(f"data: expected the parts {', '.join(digests)}")
    for part, digest in digests.items():
        if stored.data[part] != digest:
            name = "file of training.sentence_weights" if part == WEIGHTS else f"{part} data"
            raise ChangedDataError(f"the {name} has changed since the training began")
    _check_scaler(stored.scaler)
    progress = Progress(stored.epoch, stored.step, stored.steps, stored.stats, stored.history)
    _check_progress(progress)
    return progress


def restore(state: State, progress: Progress, updater: Updater) -> None:
    """Restores what `snapshot` stored, after a check of all of it.

    Raises:
        ValueError: a tensor is missing, does not belong there, or has another shape, dtype or range than it must have.
    """
    tensors = state.tensors
    sums = tensors["rows.moved"].shape if "rows.moved" in tensors else torch.Size()
    if updater.rows is not None and not (len(sums) == 1 and 1 <= sums[0] <= min(MAX_STEPS, progress.updates) + 1):
        raise ValueError(f"rows.moved is missing, or has a length not in [1, {min(MAX_STEPS, progress.updates) + 1}]")
    expected = _expected(
        updater,
        updated=progress.updates > 0,
        trained=progress.updates_since(updater.settings.fine_tuning.frozen_epochs) > 0,
        sums=sums[0] if updater.rows else 1,
        with_cuda="random.cuda" in tensors,
    )
    if faults := tensor_files.find_mismatches(tensors, expected):
        raise ValueError("; ".join(faults[:3]) + f"; and {len(faults) - 3} more faults" * (len(faults) > 3))
    _check_values(tensors, progress, updater)
    if updater.scaler.is_enabled() and not state.progress["scaler"]:
        raise ValueError("scaler: it is empty, expected that of a training in mixed precision")
    updater.scaler.load_state_dict(state.progress["scaler"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimizer.", tensors).items():
        number, key = name.split(".")
        moments.setdefault(int(number), {})[key] = value
    updater.optimizer.load_state_dict(updater.optimizer.state_dict() | {"state": moments})
    if updater.moving_average is not None:
        updater.moving_average.network.load_state_dict(_under("average.", tensors))
    if updater.rows is not None:
        updater.rows.restore(_under("rows.", tensors))
    updater.updates = progress.updates
    set_random_state(_under("random.", tensors), updater.device)


def _expected(updater: Updater, *, updated: bool, trained: bool, sums: int, with_cuda: bool) -> dict[str, Tensor]:
    """Returns tensors with the names, shapes and dtypes that a state must have; some hold arbitrary values.

    Args:
        updater: that of the training.
        updated: whether the optimizer has moved the weights at least once.
        trained: whether it has moved those of a trainable transformer, too.
        sums: the length of the sums in `LazyRows`.
        with_cuda: whether the random state of a GPU is among them.
    """
    expected = {"random.cpu": torch.get_rng_state()}
    if with_cuda:
        expected["random.cuda"] = torch.empty(_CUDA_RANDOM_BYTES, dtype=torch.uint8, device="meta")
    if updated:
        groups = updater.optimizer.param_groups
        parameters = [(parameter, group["part"]) for group in groups for parameter in group["params"]]
        for number, (parameter, part) in enumerate(parameters):
            if part == "transformer" and not trained:
                continue
            expected |= _prefixed(f"optimizer.{number}.", _moments(updater.optimizer, parameter))
    if updater.moving_average is not None:
        expected |= _prefixed("average.", updater.moving_average.network.state_dict())
    if updater.rows is not None:
        expected |= _prefixed("rows.", updater.rows.tensors())
        for name in SUMS:
            expected[f"rows.{name}"] = torch.empty(sums, dtype=torch.float64, device="meta")
    return expected


def _moments(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Returns tensors shaped like the state of a parameter that the optimizer has updated."""
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer": parameter} if optimizer.defaults["momentum"] else {}
    step = torch.empty((), dtype=torch.float32, device="meta")
    return {"step": step, "exp_avg": parameter, "exp_avg_sq": parameter}


def _check_values(tensors: Mapping[str, Tensor], progress: Progress, updater: Updater) -> None:
    for name, value in tensors.items():
        kind = name.rpartition(".")[2] if name.startswith("optimizer.") else ""
        if kind == "step" and not 1 <= value.item() <= progress.updates:
            raise ValueError(f"{name} is not in [1, {progress.updates}]")
        if kind == "exp_avg_sq" and value.numel() and value.min() < 0:
            raise ValueError(f"{name} holds a negative value")
    words = updater.network.embedding.words
    for name, vectors in () if words is None else words.named_buffers():
        averaged = tensors.get(f"average.embedding.words.{name}")
        if averaged is not None and not torch.equal(averaged, vectors.cpu()):
            raise ValueError(f"average.embedding.words.{name} differs from the model's vectors")
    if updater.rows is not None and len(tensors["rows.seen"]):
        first, last = tensors["rows.seen"].aminmax()
        if not 0 <= int(first) <= int(last) < len(tensors["rows.moved"]):
            raise ValueError(f"rows.seen holds a step outside of [0, {len(tensors['rows.moved']) - 1}]")
    _check_random(tensors["random.cpu"])


def _check_random(state: Tensor) -> None:
    """Raises ValueError if torch's generator cannot continue from a state, or would read memory outside of it."""
    # torch checks both numbers by themselves, but reads state[next], state[next + 1], … as long as `left` says.
    left, following = int(state[8:12].clone().view(torch.int32)), int(state[16:24].clone().view(torch.int64))
    if not (1 <= left <= _MT19937_WORDS and (left + following == _MT19937_WORDS + 1 or (left, following) == (1, 0))):
        raise ValueError("random.cpu is not the state of a generator")
    try:
        torch.Generator().set_state(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"random.cpu is not the state of a generator: {error}") from error


def _check_scaler(scaler: Mapping[str, float]) -> None:
    if not scaler:
        return
    if scaler.keys() != _SCALER:
        raise ValueError(f"scaler: expected the fields {', '.join(sorted(_SCALER))}")
    interval, tracker = scaler["growth_interval"], scaler["_growth_tracker"]
    counts = isinstance(interval, int) and isinstance(tracker, int) and 1 <= interval < 2**31 and 0 <= tracker < 2**31
    factors = 0 < scaler["scale"] <= 2.0**100 and 1 < scaler["growth_factor"] <= 2.0**20
    if not (counts and factors and 0 < scaler["backoff_factor"] < 1):
        raise ValueError("scaler: a number is out of range")


def _check_progress(progress: Progress) -> None:
    """Raises ValueError if the numbers contradict one another."""
    stats, history = progress.stats, progress.history
    if len(history) != progress.epoch:
        raise ValueError(f"epoch: it is {progress.epoch}, but there are {len(history)} records in the history")
    for number, record in enumerate(history, 1):
        if record.epoch != number:
            raise ValueError(f"history: record {number} is of epoch {record.epoch}")
    ends = [0, *(record.steps for record in history), progress.steps]
    if ends != sorted(ends) or progress.step < 0 or ends[-2] + progress.step != progress.steps:
        raise ValueError("steps: they are not the sum of the steps of each epoch")
    if history and not history[0].best:
        raise ValueError("history: the first epoch is not marked as the best so far")
    sizes = (stats.sentences, stats.clipped, stats.skipped)
    if stats.steps != progress.step or min(sizes) < 0 or max(sizes[1:]) > stats.steps:
        raise ValueError("stats: its counts are not those of the steps of an epoch")
    if min(stats.seconds, stats.diagnostics_seconds, stats.gradient_norm, stats.learning_rate) < 0:
        raise ValueError("stats: a number is negative")
    if set(stats.part_norms) - set(options(Part)):
        raise ValueError("stats.part_norms: it names a part that networks do not have")
    if progress.updates < 0:
        raise ValueError("history: more steps were skipped than taken")


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
