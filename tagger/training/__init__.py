"""Training: from a config to a model directory, resumable at every step."""

from tagger.training.events import EpochEnd, Event, Listener, Start, StepEnd
from tagger.training.fit import Outcome, fit, resume

__all__ = ["EpochEnd", "Event", "Listener", "Outcome", "Start", "StepEnd", "fit", "resume"]
