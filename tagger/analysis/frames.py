"""Data frames of a detailed report, for notebooks (pandas, which `datasets` brings)."""

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from tagger.analysis.detailed_report import DetailedReport


def build(report: "DetailedReport") -> dict[str, pd.DataFrame]:
    """Returns a data frame for each part of a report: types, errors, confusions, thresholds and reliability."""
    confusions = [(gold, predicted, count) for (gold, predicted), count in report.confusions.items()]
    scores = [
        (name, score.precision, score.recall, score.f1, score.gold)
        for name, score in (report.types or report.tags).items()
    ]
    return {
        "types": pd.DataFrame(scores, columns=["type", "precision", "recall", "f1", "gold"]),
        "errors": pd.DataFrame([_error(report, number) for number in range(len(report.errors))]),
        "confusions": pd.DataFrame(confusions, columns=["gold", "predicted", "count"]),
        "thresholds": pd.DataFrame(report.thresholds),
        "reliability": pd.DataFrame(report.calibration.bins),
    }


def _error(report: "DetailedReport", number: int) -> dict[str, Any]:
    error = report.errors[number]
    sentence = report.corpus.sentences[error.sentence]
    row: dict[str, Any] = {"kind": error.kind, "location": report.locate(error), "sentence": error.sentence}
    for name, span in (("gold", error.gold), ("predicted", error.predicted)):
        row[name] = span.type if span else None
        row[f"{name}_text"] = sentence.slice(span.start, span.end) if span else None
        row[f"{name}_probability"] = span.probability if span else None
    return row | {"text": sentence.text}
