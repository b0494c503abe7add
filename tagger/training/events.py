"""What a training tells whoever listens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Start:
    """Training begins, or goes on, at an epoch and a step of it, both from 0."""

    epoch: int
    epochs: int
    step: int


@dataclass(frozen=True, slots=True)
class StepEnd:
    """A step is done, of so many in its epoch; the loss is in nats per sentence."""

    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """An epoch is done; the record is what metrics.jsonl holds of it."""

    record: dict[str, Any]


Event = Start | StepEnd | EpochEnd
Callback = Callable[[Event], None]
