"""Evaluation: precision, recall and F1 of spans (conlleval's rules) and of plain tags, accuracy, intervals."""

from tagger.evaluation.evaluator import (
    Evaluation,
    check_gold,
    evaluate,
    evaluate_predictions,
    evaluate_with_predictions,
    find_gold_scheme,
    find_selection,
)
from tagger.evaluation.intervals import bootstrap_interval
from tagger.evaluation.report import (
    SCORE_NAMES,
    SPANS,
    TOKENS,
    Counts,
    LeftOut,
    MatchCounts,
    Report,
    Scores,
    TypeScore,
    summary_lines,
)
from tagger.evaluation.scoring import accuracy, score_spans, score_tags
from tagger.evaluation.selecting import SpanSelector
from tagger.evaluation.systems import SystemScore, SystemScores

__all__ = [
    "SCORE_NAMES",
    "SPANS",
    "TOKENS",
    "Counts",
    "Evaluation",
    "LeftOut",
    "MatchCounts",
    "Report",
    "Scores",
    "SpanSelector",
    "SystemScore",
    "SystemScores",
    "TypeScore",
    "accuracy",
    "bootstrap_interval",
    "check_gold",
    "evaluate",
    "evaluate_predictions",
    "evaluate_with_predictions",
    "find_gold_scheme",
    "find_selection",
    "score_spans",
    "score_tags",
    "summary_lines",
]
