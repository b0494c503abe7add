"""The events that a training reports to its callback.

A callback may end a training by an exception, which the training raises. At EpochEnd the model, a checkpoint and the
records of the epoch are written, so that the training can be resumed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tagger.training.epoch_record import EpochRecord


@dataclass(frozen=True, slots=True)
class Start:
    """The training starts or resumes.

    Attributes:
        epoch: the current epoch, from 0.
        epochs: the number of epochs.
        step: steps done in this epoch.
    """

    epoch: int
    epochs: int
    step: int


@dataclass(frozen=True, slots=True)
class StepEnd:
    """A step is done.

    Attributes:
        epoch: the current epoch, from 0.
        step: steps done in this epoch.
        steps: the number of steps of this epoch.
        loss: in nats per sentence, 0 if the step was skipped.
    """

    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """An epoch is done.

    Attributes:
        record: the figures of the epoch.
        epochs: the number of epochs.
        seconds_left: the estimated time until the last epoch ends; training may end earlier by `training.patience`.
    """

    record: EpochRecord
    epochs: int
    seconds_left: float


Event = Start | StepEnd | EpochEnd
Callback = Callable[[Event], None]
