"""The page of an evaluation: self-contained HTML, from the template `evaluation_page.html`."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tagger.analysis.partial_matches import MATCHES
from tagger.analysis.span_errors import ERROR_KINDS, SpanError
from tagger.data.highlighting import Attributes, Mark, assign_colours, escape, highlight
from tagger.data.sentence import Sentence, Span
from tagger.errors import ConfigError

if TYPE_CHECKING:
    from tagger.analysis.detailed_report import DetailedReport

MAX_ERROR_BYTES = 4_000_000
"""Size of the listed errors of all files together; a larger page would open slowly."""
_MARKUP_BYTES = 300  # of an error, besides its texts
_MAX_DOCUMENTS = 30
_MAX_TAGS = 40  # rows and columns of the table of confusions
_CONTEXT = 12  # tokens shown before and after an error
_CHART = 220  # side of a chart in pixels


class ListedError(NamedTuple):
    """An error as the page shows it: sort keys, and the HTML of its context."""

    kind: str
    types: str
    location: str
    gold_probability: float | None
    probability: float | None
    gold: Markup
    predicted: Markup


def build(reports: "Sequence[DetailedReport]") -> str:
    """Returns a page with a part for each report; several reports are compared in a table first."""
    types = sorted({name for report in reports for name in _names(report)})
    colours = assign_colours(types[:_MAX_TAGS])
    environment = Environment(
        loader=PackageLoader("tagger.analysis", "."),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("evaluation_page.html").render(
        title=", ".join(report.name for report in reports),
        reports=_build_sections(reports, colours),
        kinds=ERROR_KINDS,
        matches=MATCHES,
        side=_CHART,
    )


def _build_sections(reports: "Sequence[DetailedReport]", colours: dict[str, int]) -> "list[_Section]":
    """Returns a section for each report; the errors share the page, and a report with few leaves its room to others."""
    sections = [_Section(report, number, colours) for number, report in enumerate(reports)]
    free = MAX_ERROR_BYTES
    for index, section in enumerate(sorted(sections, key=lambda each: len(each.report.errors))):
        free -= section.list_errors(free // (len(sections) - index))
    return sections


def _finalize(value: object) -> object:
    """Shows control characters of texts by symbols, as all pages of the toolkit do."""
    return Markup(escape(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _names(report: "DetailedReport") -> set[str]:
    return {name for pair in report.confusions for name in pair if name}


class _Section:
    """A report with what the template needs besides its figures."""

    def __init__(self, report: "DetailedReport", number: int, colours: dict[str, int]) -> None:
        self.report, self.number = report, number
        self._attributes: Attributes = partial(_attributes, colours)
        self.noun = "span" if report.has_spans else "token"
        self.errors: list[ListedError] = []

    @property
    def scores(self) -> list[tuple[str, Any]]:
        """The score of each type or plain tag, the most frequent first."""
        scores = self.report.types or self.report.tags
        return sorted(scores.items(), key=lambda item: (-item[1].gold, item[0]))

    @cached_property
    def confusion_names(self) -> list[str]:
        """The types of the table of confusions, the most frequent first; an empty text stands for no span."""
        totals = Counter[str]()
        for pair, count in self.report.confusions.items():
            is_error = pair[0] != pair[1]
            for name in pair:
                totals[name] += count if is_error or self.report.has_spans else 0
        names = [name for name, count in totals.most_common() if name and count][:_MAX_TAGS]
        return [*names, *([""] if self.report.has_spans else [])]

    @property
    def confusions(self) -> list[tuple[str, list[tuple[int, float]]]]:
        """The rows of the table of confusions: each count with its fraction of the most frequent error."""
        counts, names = self.report.confusions, self.confusion_names
        largest = max((count for (gold, predicted), count in counts.items() if gold != predicted), default=1)
        rows = ((gold, [counts.get((gold, predicted), 0) for predicted in names]) for gold in names)
        return [(gold, [(count, count / largest) for count in row]) for gold, row in rows]

    @property
    def frequent_confusions(self) -> list[tuple[str, str, int]]:
        """The most frequent confusions of two types."""
        pairs = [(*pair, count) for pair, count in self.report.confusions.items() if pair[0] != pair[1] and all(pair)]
        return sorted(pairs, key=lambda pair: -pair[2])[:10]

    @property
    def breakdowns(self) -> list[tuple[str, dict[str, Any]]]:
        """The tables of scores by class, each with its title."""
        report = self.report
        tables = [
            (f"Seen in the training data ({self.noun}s)", report.by_seen),
            ("Length of the span", report.by_span_length),
            ("Length of the sentence", report.by_sentence_length),
        ]
        return [(title, scores) for title, scores in tables if scores]

    @property
    def documents(self) -> list[Any]:
        """The documents with the most errors."""
        documents = self.report.by_document if len(self.report.by_document) > 1 else ()
        ranked = sorted(documents, key=lambda each: each.score.correct * 2 - each.score.predicted - each.score.gold)
        return ranked[:_MAX_DOCUMENTS]

    @cached_property
    def partial_scores(self) -> dict[str, Any]:
        """The partial scores; empty where nervaluate is not installed."""
        try:
            return self.report.partial_scores()
        except ConfigError:
            return {}

    def list_errors(self, max_bytes: int) -> int:
        """Lists the first errors in context, as many as fit into a number of bytes, and returns their size."""
        size = 0
        for error in self.report.errors:
            listed = self._list(error)
            size += _MARKUP_BYTES + sum(len(str(value).encode("utf-8", "replace")) for value in listed)
            if size > max_bytes:
                break
            self.errors.append(listed)
        return min(size, max_bytes)

    def _list(self, error: SpanError) -> ListedError:
        sentence = self.report.corpus.sentences[error.sentence]
        gold, predicted = error.gold, error.predicted
        spans = [span for span in (gold, predicted) if span is not None]
        first, last = min(span.start for span in spans), max(span.end for span in spans)
        window = range(max(first - _CONTEXT, 0), min(last + _CONTEXT, len(sentence)))
        types = dict.fromkeys(span.type for span in spans)
        return ListedError(
            kind=error.kind,
            types=" → ".join(types),
            location=self.report.locate(error),
            gold_probability=gold.probability if gold else None,
            probability=predicted.probability if predicted else None,
            gold=self._highlight(sentence, gold, window),
            predicted=self._highlight(sentence, predicted, window),
        )

    def _highlight(self, sentence: Sentence, span: Span | None, window: range) -> Markup:
        """Returns the tokens of a window with one span highlighted."""
        tokens = sentence.tokens[window.start : window.stop]
        starts = [0]
        for token in tokens:
            starts.append(starts[-1] + len(token) + 1)
        marks = []
        if span is not None:
            start, end = starts[span.start - window.start], starts[span.end - window.start] - 1
            marks = [Mark(start, end, span.type, span.probability)]
        text = Markup("".join(highlight(" ".join(tokens), marks, self._attributes)))
        before, after = "… " * (window.start > 0), " …" * (window.stop < len(sentence))
        return Markup("{}{}{}").format(before, text, after)

    @property
    def reliability_points(self) -> list[tuple[float, float, int]]:
        """The centre of each bin of the reliability diagram in pixels, and its count."""
        bins = self.report.calibration.bins
        return [(each.probability * _CHART, (1 - each.precision) * _CHART, each.predictions) for each in bins]

    def curve(self, name: str) -> str:
        """Returns the points of a score by threshold, as SVG wants them."""
        return " ".join(
            f"{score.threshold * _CHART:.1f},{(1 - getattr(score, name) / 100) * _CHART:.1f}"
            for score in self.report.thresholds
        )


def _attributes(colours: dict[str, int], kind: str) -> tuple[str, str]:
    return f'class="c{colours.get(kind, 0)}"', ""
