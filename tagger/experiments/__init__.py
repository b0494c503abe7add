"""Experiments: training with several seeds, and the comparison of systems."""

from tagger.experiments.compared_systems import ComparedFiles
from tagger.experiments.comparison import Comparison, compare
from tagger.experiments.runs import ExperimentResult, ScoreSummary
from tagger.experiments.seeds import parse_seeds, resume, train

__all__ = [
    "ComparedFiles",
    "Comparison",
    "ExperimentResult",
    "ScoreSummary",
    "compare",
    "parse_seeds",
    "resume",
    "train",
]
