"""Experiments: a recipe under several seeds, and whether one is better than another or only luckier."""

from tagger.experiments.comparison import Comparison, compare
from tagger.experiments.runs import Result, Results, exists
from tagger.experiments.seeds import parse, resume, train

__all__ = ["Comparison", "Result", "Results", "compare", "exists", "parse", "resume", "train"]
