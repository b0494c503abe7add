"""The scores of a model on several files, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tagger import evaluation
from tagger.analysis import evaluation_page
from tagger.analysis.detailed_report import DetailedReport
from tagger.io import json_files


@dataclass(frozen=True)
class Evaluations:
    """The scores of a model on one or several files, such as a test set and its corrected versions.

    Attributes:
        reports: the report of each file.
    """

    reports: tuple[DetailedReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the figures of the only report, or under `files` those of each report with its name."""
        if len(self.reports) == 1:
            return self.reports[0].to_json()
        return {"files": [{"name": report.name, **report.to_json()} for report in self.reports]}

    def to_html(self) -> str:
        """Returns a self-contained page of all reports, which needs no network."""
        return evaluation_page.build(self.reports)

    def prediction_lines(self) -> Iterator[bytes]:
        """Yields a line of JSON for each sentence: see `DetailedReport.prediction_rows`; several files are named."""
        for report in self.reports:
            name = {"file": report.name} if len(self.reports) > 1 else {}
            for row in report.prediction_rows():
                yield json_files.dump(name | row) + b"\n"

    def __str__(self) -> str:
        if len(self.reports) == 1:
            return str(self.reports[0])
        blocks = [f"{report.name}\n{report}" for report in self.reports]
        rows = [(report.name, report, report.interval) for report in self.reports]
        return "\n\n".join([*blocks, "\n".join(evaluation.summary_lines(rows))])
