"""Training: from a config to a model directory, resumable at every step."""

from tagger.training.events import Callback, EpochEnd, Event, Start, StepEnd
from tagger.training.train import Inputs, TrainingResult, fit, read, resume

__all__ = ["Callback", "EpochEnd", "Event", "Inputs", "Start", "StepEnd", "TrainingResult", "fit", "read", "resume"]
