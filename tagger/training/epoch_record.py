"""The record of an epoch: what metrics.jsonl, a model's metrics.json and the progress events hold of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tagger.evaluation import Scores
from tagger.io import json_files

_MAX_SECONDS = 1e12


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Gradient norms and gate activations of an epoch, recorded under `training.diagnostics`.

    Attributes:
        norms: by part of the network, the gradient's norm before clipping, averaged over the steps that were not
            skipped.
        gates: by direction, such as `1 forward` for layer 1, and gate, the fractions of activations that are `closed`,
            below 0.1, and `open`, above 0.9.
        reach: by direction, the norm of the gradient at the input `far` tokens before the last one read, divided by
            the norm at the last one; None if it is undefined.
        far: the distance in tokens.
        seconds: the time spent on diagnostics.
    """

    norms: dict[str, float]
    gates: dict[str, dict[str, dict[str, float]]]
    reach: dict[str, float | None]
    far: int
    seconds: float

    def __post_init__(self) -> None:
        _check_seconds("diagnostics.seconds", self.seconds)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """The figures of a finished epoch.

    Attributes:
        epoch: the epoch, from 1.
        steps: steps since the training began.
        loss: mean training loss in nats per sentence.
        gradient_norm: mean norm of the gradient before clipping.
        clipped_fraction: fraction of the steps whose gradient was clipped.
        skipped: steps that were skipped because the loss or gradient was not finite.
        learning_rate: that of the last step.
        dev: the scores on the dev data.
        best: whether the model was the best so far: its dev score is higher than all before, or none is above 0 yet.
        seconds: time spent on steps, without diagnostics.
        dev_seconds: time spent on tagging and scoring the dev data.
        diagnostics: only with `training.diagnostics`.
    """

    epoch: int
    steps: int
    loss: float
    gradient_norm: float
    clipped_fraction: float
    skipped: int
    learning_rate: float
    dev: Scores
    best: bool
    seconds: float
    dev_seconds: float
    diagnostics: Diagnostics | None = None

    def __post_init__(self) -> None:
        if self.epoch < 1 or self.steps < 0 or self.skipped < 0:
            raise ValueError("epoch, steps, skipped: expected whole numbers that are not negative, epoch at least 1")
        _check_seconds("seconds", self.seconds)
        _check_seconds("dev_seconds", self.dev_seconds)

    def to_json(self) -> dict[str, Any]:
        """Returns every field under its name."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "EpochRecord":
        """Returns the record that `to_json` returned.

        Raises:
            ValueError: a field is missing, unknown, of another type or out of range.
        """
        return json_files.parse_as(cls, json_files.dump(value))


def _check_seconds(name: str, value: float) -> None:
    if not 0 <= value <= _MAX_SECONDS:
        raise ValueError(f"{name}: expected a number of seconds from 0 to {_MAX_SECONDS:g}")
