"""What a training needs beside its model in order to go on: how it is stored, and how it is checked before use.

A checkpoint may come from somebody else. Each tensor is compared with the model by name, shape and dtype before any
code that trusts it runs: an optimizer with a buffer of another shape writes into memory that is not its own.

Shapes in this module: W words with a trained vector, S steps since all rows were up to date.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from tagger.choices import Part, options
from tagger.device import get_random_state, set_random_state
from tagger.io import json_files, tensor_files
from tagger.model_dir import State
from tagger.nn.model import Network
from tagger.training.epoch_record import EpochRecord
from tagger.training.lazy_rows import MAX_STEPS, LazyRows
from tagger.training.optimizers import MovingAverage

_SCALER = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}
_CUDA_RANDOM_BYTES = 16
_MT19937_WORDS = 624


class ChangedDataError(Exception):
    """The data of a training is not the data that it began with."""


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


@dataclass(frozen=True)
class Parts:
    """What a step changes beside the network's weights."""

    network: Network
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: MovingAverage | None
    rows: LazyRows | None
    device: torch.device


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


def snapshot(progress: Progress, parts: Parts, digests: Mapping[str, str]) -> State:
    """Returns the state of a training over data of these digests; the tensors share memory with the parts."""
    stored = asdict(progress) | {"data": dict(digests), "scaler": parts.scaler.state_dict()}
    tensors = {f"random.{name}": value for name, value in get_random_state(parts.device).items()}
    for number, values in parts.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items() if value is not None}
    if parts.average is not None:
        tensors |= _prefixed("average.", parts.average.network.state_dict())
    if parts.rows is not None:
        tensors |= _prefixed("rows.", parts.rows.tensors())
    return State(stored, tensors)


def max_file_bytes(parts: Parts) -> int:
    """Returns the size of the largest state.safetensors that belongs to a training."""
    return tensor_files.size_range(_expected(parts, updated=True, sums=MAX_STEPS + 1, with_cuda=True))[1]


def progress_of(state: State, digests: Mapping[str, str]) -> Progress:
    """Returns where the training stands.

    Raises:
        ValueError: the numbers of the state cannot be those of a training.
        ChangedDataError: the data has changed since the training began.
    """
    stored = json_files.parse_as(_Stored, json_files.dump(state.progress))
    if stored.data.keys() != digests.keys():
        raise ValueError(f"data: expected the parts {', '.join(digests)}")
    for part, digest in digests.items():
        if stored.data[part] != digest:
            raise ChangedDataError(f"the {part} data has changed since the training began")
    _check_scaler(stored.scaler)
    progress = Progress(stored.epoch, stored.step, stored.steps, stored.stats, stored.history)
    _check_progress(progress)
    return progress


def restore(state: State, progress: Progress, parts: Parts) -> None:
    """Gives the parts what `snapshot` stored of them, after all of it was checked.

    Raises:
        ValueError: a tensor is missing, does not belong there, or has another shape, dtype or range than it must have.
    """
    tensors = state.tensors
    sums = tensors["rows.moved"].shape if "rows.moved" in tensors else torch.Size()
    if parts.rows is not None and not (len(sums) == 1 and 1 <= sums[0] <= min(MAX_STEPS, progress.updates) + 1):
        raise ValueError(f"rows.moved is missing, or has a length not in [1, {min(MAX_STEPS, progress.updates) + 1}]")
    expected = _expected(
        parts,
        updated=progress.updates > 0,
        sums=sums[0] if parts.rows else 1,
        with_cuda="random.cuda" in tensors,
    )
    if faults := tensor_files.find_mismatches(tensors, expected):
        raise ValueError("; ".join(faults[:3]) + f"; and {len(faults) - 3} more faults" * (len(faults) > 3))
    _check_values(tensors, progress, parts)
    if parts.scaler.is_enabled() and not state.progress["scaler"]:
        raise ValueError("scaler: it is empty, expected that of a training in mixed precision")
    parts.scaler.load_state_dict(state.progress["scaler"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimizer.", tensors).items():
        number, key = name.split(".")
        moments.setdefault(int(number), {})[key] = value
    parts.optimizer.load_state_dict(parts.optimizer.state_dict() | {"state": moments})
    if parts.average is not None:
        parts.average.network.load_state_dict(_under("average.", tensors))
    if parts.rows is not None:
        parts.rows.restore(_under("rows.", tensors))
    set_random_state(_under("random.", tensors), parts.device)


def _expected(parts: Parts, *, updated: bool, sums: int, with_cuda: bool) -> dict[str, Tensor]:
    """Returns tensors of the names, shapes and dtypes that a state must have; of some the values mean nothing.

    Args:
        parts: those of the training.
        updated: whether the optimizer has moved the weights at least once.
        sums: the length of the sums that `LazyRows` keeps.
        with_cuda: whether the random state of a GPU is among them.
    """
    expected = {"random.cpu": torch.get_rng_state()}
    if with_cuda:
        expected["random.cuda"] = torch.empty(_CUDA_RANDOM_BYTES, dtype=torch.uint8, device="meta")
    if updated:
        parameters = [parameter for group in parts.optimizer.param_groups for parameter in group["params"]]
        for number, parameter in enumerate(parameters):
            expected |= _prefixed(f"optimizer.{number}.", _moments(parts.optimizer, parameter))
    if parts.average is not None:
        expected |= _prefixed("average.", parts.average.network.state_dict())
    if parts.rows is not None:
        expected |= _prefixed("rows.", parts.rows.tensors())
        for name in ("rows.moved", "rows.followed"):
            expected[name] = torch.empty(sums, dtype=torch.float64, device="meta")
    return expected


def _moments(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Returns tensors such as the optimizer keeps for a parameter once it has moved it."""
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer": parameter} if optimizer.defaults["momentum"] else {}
    step = torch.empty((), dtype=torch.float32, device="meta")
    return {"step": step, "exp_avg": parameter, "exp_avg_sq": parameter}


def _check_values(tensors: Mapping[str, Tensor], progress: Progress, parts: Parts) -> None:
    for name, value in tensors.items():
        kind = name.rpartition(".")[2] if name.startswith("optimizer.") else ""
        if kind == "step" and not 1 <= value.item() <= progress.updates:
            raise ValueError(f"{name} is not in [1, {progress.updates}]")
        if kind == "exp_avg_sq" and value.numel() and value.min() < 0:
            raise ValueError(f"{name} holds a negative value")
    if parts.average is not None:
        fixed = parts.network.embedding.words.frozen.cpu()
        if not torch.equal(tensors["average.embedding.words.frozen"], fixed):
            raise ValueError("average.embedding.words.frozen differs from the model's vectors")
    if parts.rows is not None and len(tensors["rows.seen"]):
        first, last = tensors["rows.seen"].aminmax()
        if not 0 <= int(first) <= int(last) < len(tensors["rows.moved"]):
            raise ValueError(f"rows.seen holds a step outside of [0, {len(tensors['rows.moved']) - 1}]")
    _check_random(tensors["random.cpu"])


def _check_random(state: Tensor) -> None:
    """Raises ValueError if torch's generator could not go on from a state, or would read memory beyond it."""
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
