"""Training: from a config to a model directory, resumable at every step."""

from tagger.training.epoch_record import EpochRecord
from tagger.training.events import Callback, EpochEnd, Event, Start, StepEnd
from tagger.training.inputs import Inputs, read_inputs
from tagger.training.result import TrainingResult, read_result
from tagger.training.train import resume, train

__all__ = [
    "Callback",
    "EpochEnd",
    "EpochRecord",
    "Event",
    "Inputs",
    "Start",
    "StepEnd",
    "TrainingResult",
    "read_inputs",
    "read_result",
    "resume",
    "train",
]
