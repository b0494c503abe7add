"""Training: from a config to a model directory, resumable at every step."""

from tagger.training.events import EpochEnd, Event, Listener, Start, StepEnd
from tagger.training.train import Inputs, Outcome, fit, read, resume

__all__ = ["EpochEnd", "Event", "Inputs", "Listener", "Outcome", "Start", "StepEnd", "fit", "read", "resume"]
