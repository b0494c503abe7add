"""Scores of the output of any system: predicted tags of the same sentences as the gold tags."""

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tagger.choices import Repair, Scheme, Selection, counted
from tagger.data import schemes, tag_formats, tagged_files
from tagger.data.corpus import Corpus
from tagger.data.schemes import OUTSIDE, UNKNOWN, Detected
from tagger.errors import DataError
from tagger.evaluation import predictions, repairs
from tagger.evaluation.intervals import bootstrap_interval
from tagger.evaluation.repairs import InvalidCounts
from tagger.evaluation.report import SCORE_NAMES, Counts, LeftOut, Report, summary_lines

_AMBIGUOUS: tuple[Scheme, ...] = ("IOB1", "IOB2")  # schemes with the same prefixes
_PREFIXES: dict[Scheme, str] = {"IOB1": "BI", "IOB2": "BI", "IOBES": "BIES"}
_ACTIONS = {
    "conlleval": "read by the rules of conlleval",
    "discard": "invalid spans are discarded",
}
_NO_FIGURES = ("seconds", "sentences_per_second", "unknown_tags")  # of a report, which other systems do not have


@dataclass(frozen=True)
class SystemScore:
    """The scores of the output of a system.

    Attributes:
        name: the file of the output.
        report: the scores; `seconds` and `unknown_tags` are not known.
        interval: the 95 % bootstrap interval of F1 or, for plain tags, of the accuracy.
        predicted_scheme: the scheme of the predicted tags.
        repair: how invalid tag sequences of gold and predicted tags were read.
        invalid_gold: the invalid gold tags and their spans.
        invalid_predicted: the invalid predicted tags and their spans.
    """

    name: str
    report: Report
    interval: tuple[float, float]
    predicted_scheme: str
    repair: Repair
    invalid_gold: InvalidCounts
    invalid_predicted: InvalidCounts

    def to_json(self) -> dict[str, Any]:
        """Returns every figure under its attribute's name, those of the report among them."""
        figures = {name: value for name, value in asdict(self).items() if name != "report"}
        scores = {name: value for name, value in self.report.to_json().items() if name not in _NO_FIGURES}
        return figures | scores

    def __str__(self) -> str:
        report, (low, high) = self.report, self.interval
        lines = [
            *report.table_lines(),
            f"{SCORE_NAMES[report.selection]} {report.score:.2f}, 95 % interval {low:.2f} to {high:.2f}",
        ]
        if not report.tags:
            lines.append(self._describe_invalid("gold", report.gold_scheme, self.invalid_gold))
            lines.append(self._describe_invalid("predicted", self.predicted_scheme, self.invalid_predicted))
        if report.left_out != LeftOut():
            lines.append(str(report.left_out))
        return "\n".join([*lines, report.signature])

    def _describe_invalid(self, side: str, scheme: str, invalid: InvalidCounts) -> str:
        action = f", {_ACTIONS[self.repair]}" if invalid.tags else ""
        tags = f"{counted(invalid.tags, 'invalid tag')} in {counted(invalid.spans, 'span')}"
        return f"{side} tags in {scheme}: {tags}{action}"


@dataclass(frozen=True)
class SystemScores:
    """The scores of the output of one or several systems on the same gold data.

    Attributes:
        gold: the file of the gold data.
        systems: the scores of each output.
    """

    gold: str
    systems: tuple[SystemScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the gold file and the figures of each system."""
        return {"gold": self.gold, "systems": [system.to_json() for system in self.systems]}

    def __str__(self) -> str:
        if len(self.systems) == 1:
            return str(self.systems[0])
        tables = [f"{system.name}\n{system}\n" for system in self.systems]
        rows = [(system.name, system.report, system.interval) for system in self.systems]
        return "\n".join([*tables, *summary_lines(rows)])


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How tags are read.

    Attributes:
        scheme: the scheme of gold and predicted tags; None for the scheme that each of them shows.
        repair: how invalid tag sequences of both are read.
    """

    scheme: Scheme | None = None
    repair: Repair = "conlleval"


def score(gold: Corpus, predicted: Corpus, options: ScoringOptions = ScoringOptions()) -> tuple[SystemScore, Counts]:
    """Returns the scores of predicted tags, and the counts of each sentence.

    Args:
        gold: the sentences with gold tags.
        predicted: the same sentences with predicted tags.
        options: how tags are read.

    Raises:
        DataError: tokens differ, gold tags are spans and predicted tags are plain or the reverse, a tag is not of the
            scheme, or a tag is invalid and refused.
    """
    tagged_files.check_same_tokens(gold, predicted)
    gold_scheme = _detect(gold, options.scheme)
    predicted_scheme = _detect(predicted, options.scheme, gold_scheme)
    default = gold_scheme or predicted_scheme or Detected("IOB2", "IOB2", 0)
    sides = (
        _repair(gold, gold_scheme or default, options.repair),
        _repair(predicted, predicted_scheme or default, options.repair),
    )
    if (sides[0].detected.scheme is None) != (sides[1].detected.scheme is None):
        raise DataError(_describe_kinds(sides))
    return _build(gold.digest(), *sides, options.repair)


@dataclass(frozen=True, slots=True)
class _Side:
    """The repaired gold or predicted sentences, the scheme of their tags, and what was invalid."""

    corpus: Corpus
    detected: Detected
    invalid: InvalidCounts

    @property
    def tags(self) -> list[tuple[str, ...]]:
        """The tags of each sentence."""
        return [sentence.tags for sentence in self.corpus.sentences]

    def encode(self, scheme: Scheme) -> list[tuple[str, ...]]:
        """Returns the tags of each sentence in a scheme; tags in that scheme are unchanged."""
        if self.detected.scheme == scheme:
            return self.tags
        return [schemes.spans_to_tags(each.spans, len(each), scheme) for each in self.corpus.sentences]


def _detect(corpus: Corpus, scheme: Scheme | None, preferred: Detected | None = None) -> Detected | None:
    """Returns the scheme of the tags of a corpus; None if all tags are O, which may be spans or plain tags.

    Args:
        corpus: the corpus.
        scheme: the scheme that the tags must have; None for any.
        preferred: the scheme to choose unless most spans are invalid in it.
    """
    if corpus.tag_format == "plain":
        return Detected(None, "plain tags", 0)
    sequences = [sentence.tags for sentence in corpus.sentences]
    tags = {tag for tags in sequences for tag in tags} - {OUTSIDE, UNKNOWN}
    if scheme is not None:
        _check_prefixes(corpus, tags, scheme)
        return Detected(scheme, scheme, schemes.count_invalid(schemes.count_pairs(sequences), scheme))
    if not tags:
        return None
    detected = schemes.detect(sequences)
    if detected.scheme is None and (plain := schemes.find_non_span_tags(tags)):
        raise DataError(f"{_locate_tag(corpus, plain[0])} is no tag of a span, but most tags are; correct it")
    if preferred is not None and preferred.scheme in _AMBIGUOUS and detected.scheme in _AMBIGUOUS:
        invalid = sum(len(repairs.find_invalid_spans(tags, preferred.scheme)) for tags in sequences)
        spans = sum(len(schemes.tags_to_spans(tags)) for tags in sequences)
        return preferred if 2 * invalid <= spans else detected
    return detected


def _check_prefixes(corpus: Corpus, tags: Collection[str], scheme: Scheme) -> None:
    valid = re.compile(rf"[{_PREFIXES[scheme]}]-.+", re.DOTALL)
    if invalid := sorted(tag for tag in tags if not valid.fullmatch(tag)):
        examples = ", ".join(f"'{prefix}-PER'" for prefix in _PREFIXES[scheme])
        raise DataError(
            f"{_locate_tag(corpus, invalid[0])} is not in {scheme}; expected 'O' or tags such as {examples}"
        )


def _locate_tag(corpus: Corpus, tag: str) -> str:
    return f"{corpus.locate_tag(tag)}: the tag {tag_formats.describe_tag(tag)}"


def _describe_kinds(sides: Sequence[_Side]) -> str:
    spans, plain = sorted(sides, key=lambda side: side.detected.scheme is None)
    examples = (tag for tags in plain.tags for tag in tags if tag not in (OUTSIDE, UNKNOWN))
    example = tag_formats.describe_tag(next(examples, OUTSIDE))
    return (
        f"{spans.corpus.name} has spans in {spans.detected.name}, but {plain.corpus.name} has plain tags such as"
        f" {example}; expected one kind of tags in both. If tags are misread, set `tag_format`"
    )


def _repair(corpus: Corpus, detected: Detected, method: Repair) -> _Side:
    if detected.scheme is None:
        return _Side(corpus, detected, InvalidCounts(0, 0))
    repaired, invalid = repairs.repair(corpus, detected.scheme, method)
    return _Side(repaired, detected, invalid)


def _build(digest: str, gold: _Side, predicted: _Side, method: Repair) -> tuple[SystemScore, Counts]:
    scheme = gold.detected.scheme
    selection: Selection
    if scheme is None:
        selection, reading = "accuracy", "plain tags"
        figures = predictions.score_plain(gold.corpus, predicted.tags)
    else:
        selection, reading = "f1", f"{predicted.detected.name} {method}"
        figures = predictions.score_spans(gold.corpus, predicted.corpus.sentences, predicted.encode(scheme), scheme)
    counts = Counts(digest, figures.columns, figures.counts)
    report = figures.report(
        gold.corpus,
        selection=selection,
        seconds=0.0,
        unknown_tags={},
        invalid_tags=gold.invalid.tags,
        gold_scheme=gold.detected.name,
        signature=figures.signature(selection, reading, digest),
    )
    score = SystemScore(
        predicted.corpus.name,
        report,
        bootstrap_interval(counts),
        predicted.detected.name,
        method,
        gold.invalid,
        predicted.invalid,
    )
    return score, counts
