"""The scores of a model with their details: errors, confusions, reliability, scores by class of spans."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from tagger import evaluation
from tagger.analysis import reliability, span_errors
from tagger.analysis.reliability import Reliability, ThresholdScore
from tagger.analysis.span_errors import ERROR_KINDS, SpanError, SpanPair
from tagger.choices import ErrorKind, Scheme
from tagger.data import schemes
from tagger.data.corpus import Corpus
from tagger.data.sentence import Sentence, Span
from tagger.errors import ConfigError
from tagger.evaluation import MatchCounts, Report, bootstrap_interval
from tagger.tagging import DecodingOptions, Tagger

if TYPE_CHECKING:
    from pandas import DataFrame

_SPAN_LENGTHS = (1, 2, 3, 4)
_SENTENCE_LENGTHS = (5, 10, 20, 40)
_THRESHOLDS = (*(number / 20 for number in range(20)), 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Seen:
    """The words and spans of training data, to score those that a model has seen apart from others.

    Attributes:
        words: every word, with its plain tags if tags are plain.
        spans: the types of every span, by its tokens.
    """

    words: Mapping[str, frozenset[str]]
    spans: Mapping[tuple[str, ...], frozenset[str]]

    @classmethod
    def collect(cls, sentences: Iterable[Sentence], *, has_spans: bool) -> "Seen":
        """Returns the words and spans of tagged sentences."""
        words: dict[str, set[str]] = {}
        spans: dict[tuple[str, ...], set[str]] = {}
        for sentence in sentences:
            for token, tag in zip(sentence.tokens, sentence.tags, strict=True):
                words.setdefault(token, set()).add("" if has_spans else tag)
            for span in schemes.tags_to_spans(sentence.tags) if has_spans else ():
                spans.setdefault(sentence.tokens[span.start : span.end], set()).add(span.type)
        return cls(
            {word: frozenset(tags) for word, tags in words.items()},
            {tokens: frozenset(types) for tokens, types in spans.items()},
        )

    def classify(self, sentence: Sentence, span: Span, *, has_spans: bool) -> str:
        """Returns the class of a span, or of a token with a plain tag."""
        if not has_spans:
            tags = self.words.get(sentence.tokens[span.start])
            return "unknown word" if tags is None else _SEEN_CLASSES[2 + (span.type not in tags)]
        types = self.spans.get(sentence.tokens[span.start : span.end])
        if types is not None:
            return _SEEN_CLASSES[span.type not in types]
        is_known = all(token in self.words for token in sentence.tokens[span.start : span.end])
        return "not seen, known words" if is_known else "not seen, unknown words"


_SEEN_CLASSES = (
    "seen with this type",
    "seen with another type",
    "seen with this tag",
    "seen with another tag",
    "not seen, known words",
    "not seen, unknown words",
    "unknown word",
)


class DocumentScore(NamedTuple):
    """A document's number, the line of its first sentence, and its score."""

    document: int
    line: int
    score: MatchCounts


@dataclass(frozen=True)
class DetailedReport(Report):
    """The scores of a tagger on a corpus, with the predictions behind them.

    Attributes:
        corpus: the gold sentences; those of a model of spans hold their gold spans.
        predicted: the sentences as the model tagged them, with probabilities.
        scheme: the scheme that gold spans are read in; None for plain tags.
        interval: the 95 % bootstrap interval of F1, or for plain tags of the accuracy, in percent.
        seen: the words and spans of the training data; None if they were not given.
    """

    corpus: Corpus = field(repr=False)
    predicted: tuple[Sentence, ...] = field(repr=False)
    scheme: Scheme | None
    interval: tuple[float, float]
    seen: Seen | None = field(repr=False)

    @property
    def name(self) -> str:
        """The name of the data."""
        return self.corpus.name

    @property
    def has_spans(self) -> bool:
        """Whether the model predicts spans; if not, each token counts as a span whose type is its tag."""
        return self.scheme is not None

    @cached_property
    def pairs(self) -> tuple[tuple[int, SpanPair], ...]:
        """Each scored gold and predicted span, paired where they overlap, with the number of its sentence.

        Gold spans have the model's probability of them.
        """
        return tuple(span_errors.pair_sentences(self.corpus.sentences, self.predicted, self.scheme))

    @cached_property
    def errors(self) -> tuple[SpanError, ...]:
        """Every error, in the order of the data."""
        return tuple(span_errors.list_errors(self.pairs))

    @property
    def error_counts(self) -> dict[ErrorKind, int]:
        """The number of errors of each kind."""
        counts = Counter(error.kind for error in self.errors)
        return {kind: counts[kind] for kind in ERROR_KINDS}

    @cached_property
    def confusions(self) -> dict[tuple[str, str], int]:
        """How often each gold type was predicted as each type; an empty text stands for no span."""
        counts = span_errors.count_confusions(pair for _, pair in self.pairs)
        return dict(sorted(counts.items()))

    @cached_property
    def calibration(self) -> Reliability:
        """How well the probabilities of predicted spans, or plain tags, agree with their precision."""
        return reliability.measure_reliability(*self._rated_predictions(known_only=True))

    @cached_property
    def thresholds(self) -> tuple[ThresholdScore, ...]:
        """The scores of the spans, or plain tags, that are at least as probable as some thresholds."""
        gold = sum(pair.gold is not None for _, pair in self.pairs)
        rated = self._rated_predictions(known_only=False)
        return tuple(reliability.score_thresholds(*rated, gold, _THRESHOLDS))

    def _rated_predictions(self, *, known_only: bool) -> tuple[list[float], list[bool]]:
        """Returns the probabilities of predictions, and whether they are correct."""
        rows = [
            (1.0 if pair.predicted.probability is None else pair.predicted.probability, pair.is_correct)
            for _, pair in self.pairs
            if pair.predicted and not (known_only and pair.predicted.probability is None)
        ]
        return [row[0] for row in rows], [row[1] for row in rows]

    @cached_property
    def by_seen(self) -> dict[str, MatchCounts]:
        """The scores of spans, or tokens, by whether the training data holds them; empty if it was not given."""
        seen = self.seen
        if seen is None:
            return {}
        sentences = self.corpus.sentences
        scores = self._score_by(lambda number, span: seen.classify(sentences[number], span, has_spans=self.has_spans))
        return {name: scores[name] for name in _SEEN_CLASSES if name in scores}

    @cached_property
    def by_span_length(self) -> dict[str, MatchCounts]:
        """The scores of spans by their number of tokens; empty for plain tags."""
        if not self.has_spans:
            return {}
        return self._score_by(lambda _, span: _range_name(span.end - span.start, _SPAN_LENGTHS, "token"))

    @cached_property
    def by_sentence_length(self) -> dict[str, MatchCounts]:
        """The scores of spans, or tokens, by the number of tokens of their sentence."""
        sentences = self.corpus.sentences
        return self._score_by(lambda number, _: _range_name(len(sentences[number]), _SENTENCE_LENGTHS, "token"))

    @cached_property
    def by_document(self) -> tuple[DocumentScore, ...]:
        """The score of each document with spans, in order."""
        sentences = self.corpus.sentences
        scores = self._score_by(lambda number, _: str(sentences[number].document))
        lines: dict[int, int] = {}
        for sentence in sentences:
            lines.setdefault(sentence.document, sentence.line)
        numbered = ((int(name), score) for name, score in scores.items())
        return tuple(DocumentScore(number, lines[number], score) for number, score in sorted(numbered))

    def _score_by(self, classify: Callable[[int, Span], str]) -> dict[str, MatchCounts]:
        return dict(sorted(span_errors.score_classes(self.pairs, classify).items(), key=lambda item: _order(item[0])))

    def partial_scores(self) -> dict[str, Any]:
        """Returns the scores of `partial_matches.score_partial_matches`; empty for plain tags.

        Raises:
            ConfigError: nervaluate is not installed.
        """
        from tagger.analysis import partial_matches

        if not self.has_spans:
            return {}
        sides: list[list[list[Span]]] = [[[] for _ in self.corpus.sentences] for _ in range(2)]
        for number, pair in self.pairs:
            for side, span in zip(sides, pair, strict=True):
                if span is not None:
                    side[number].append(span)
        return partial_matches.score_partial_matches(*sides)

    def locate(self, error: SpanError) -> str:
        """Returns file and line of an error."""
        sentence = self.corpus.sentences[error.sentence]
        first = min(span.start for span in (error.gold, error.predicted) if span is not None)
        return self.corpus.locate(sentence, first)

    def to_json(self) -> dict[str, Any]:
        """Returns the figures of `Report.to_json`, and those of the attributes above except the predictions."""
        figures = {each.name: getattr(self, each.name) for each in fields(Report)}
        names = [("gold", "predicted", "count"), ("threshold", "precision", "recall", "f1", "predicted")]
        return Report(**figures).to_json() | {
            "interval": list(self.interval),
            "errors": self.error_counts,
            "confusions": [
                dict(zip(names[0], (*(kind or None for kind in pair), count), strict=True))
                for pair, count in self.confusions.items()
            ],
            "calibration_error": self.calibration.error,
            "reliability": [each._asdict() for each in self.calibration.bins],
            "thresholds": [each._asdict() for each in self.thresholds],
            "by_seen": _to_dicts(self.by_seen),
            "by_span_length": _to_dicts(self.by_span_length),
            "by_sentence_length": _to_dicts(self.by_sentence_length),
            "by_document": [
                {"document": each.document, "line": each.line, **_to_dict(each.score)} for each in self.by_document
            ],
        }

    def to_html(self) -> str:
        """Returns a self-contained page of all figures and errors, which needs no network."""
        from tagger.analysis import evaluation_page

        return evaluation_page.build([self])

    def to_frames(self) -> dict[str, "DataFrame"]:
        """Returns pandas data frames: errors, confusions, types, thresholds and reliability.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            from tagger.analysis import frames
        except ImportError as error:
            raise ConfigError("data frames need pandas, which is not installed") from error

        return frames.build(self)

    @property
    def _is_untyped(self) -> bool:
        return {span.type for sentence in self.corpus.sentences for span in sentence.spans} == {schemes.UNTYPED}

    def prediction_rows(self) -> Iterator[dict[str, Any]]:
        """Yields for each sentence its tokens, gold and predicted tags, and probabilities, as JSON values."""
        for gold, predicted in zip(self.corpus.sentences, self.predicted, strict=True):
            row: dict[str, Any] = {"document": gold.document, "line": gold.line, "tokens": list(gold.tokens)}
            tags = schemes.without_type(gold.tags) if self._is_untyped else gold.tags
            row |= {"gold": list(tags), "predicted": list(predicted.tags)}
            if gold.annotated_types is not None:
                row["annotated_types"] = list(gold.annotated_types)
            row["probabilities"] = list(map(_round, predicted.probabilities))
            if self.has_spans:
                row["gold_spans"] = [
                    _span_to_dict(replace(span, probability=probability))
                    for span, probability in zip(gold.spans, predicted.candidate_probabilities, strict=True)
                ]
                row["predicted_spans"] = list(map(_span_to_dict, predicted.spans))
            yield row

    def __str__(self) -> str:
        table, *rest = super().__str__().rsplit("\n", 1)
        low, high = self.interval
        score = "F1" if self.has_spans else "accuracy"
        lines = [table, f"95 % interval of the {score}: {low:.2f} to {high:.2f}"]
        if self.has_spans:
            lines.append("errors: " + ", ".join(f"{kind} {count}" for kind, count in self.error_counts.items()))
        lines.append(str(self.calibration))
        lines += (
            f"{name}: precision {score.precision:.2f}, recall {score.recall:.2f}, F1 {score.f1:.2f}, {score.gold} gold"
            for name, score in self.by_seen.items()
        )
        return "\n".join([*lines, *rest])


def measure(
    tagger: Tagger,
    corpus: Corpus,
    *,
    strict: bool = False,
    seen: Sequence[Sentence] | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> DetailedReport:
    """Returns the scores of a tagger on a corpus with its predictions; errors as for `evaluation.evaluate`.

    Args:
        tagger: the tagger.
        corpus: sentences with gold tags.
        strict: refuse gold tags that are invalid in their scheme.
        seen: the training data, to score words and spans that it holds apart from others.
        on_batch: is called between batches; it may raise to end the evaluation.
    """
    has_spans = tagger.model.scheme is not None
    if has_spans:
        sentences = (replace(each, spans=schemes.tags_to_spans(each.tags)) for each in corpus.sentences)
        corpus = replace(corpus, sentences=tuple(sentences))
    options = DecodingOptions(probabilities=True, candidates=True)
    result = evaluation.evaluate_with_predictions(tagger, corpus, strict=strict, options=options, on_batch=on_batch)
    return DetailedReport(
        **{each.name: getattr(result.report, each.name) for each in fields(Report)},
        corpus=corpus,
        predicted=result.predicted,
        scheme=result.scheme,
        interval=bootstrap_interval(result.counts),
        seen=None if seen is None else Seen.collect(seen, has_spans=has_spans),
    )


def _range_name(count: int, limits: Sequence[int], noun: str) -> str:
    """Returns the name of the range that a number is in.

    >>> [_range_name(count, (1, 2, 5), "token") for count in (1, 4, 6)]
    ['1 token', '3–5 tokens', 'over 5 tokens']
    """
    previous = 0
    for limit in limits:
        if count <= limit:
            numbers = str(limit) if limit == previous + 1 else f"{previous + 1}–{limit}"
            return f"{numbers} {noun}{'s' * (numbers != '1')}"
        previous = limit
    return f"over {previous} {noun}s"


def _order(name: str) -> tuple[bool, int, str]:
    """Returns the key by which classes are sorted: numbers by value, `over …` last, others by name."""
    number = "".join(character for character in name.partition("–")[0] if character.isdecimal())
    return name.startswith("over"), int(number or 0), name


def _to_dicts(scores: Mapping[str, MatchCounts]) -> dict[str, dict[str, float]]:
    return {name: _to_dict(score) for name, score in scores.items()}


def _to_dict(score: MatchCounts) -> dict[str, float]:
    return {"precision": score.precision, "recall": score.recall, "f1": score.f1, **score._asdict()}


def _span_to_dict(span: Span) -> dict[str, Any]:
    return {"type": span.type, "start": span.start, "end": span.end, "probability": _round(span.probability)}


def _round(probability: float | None) -> float | None:
    """Returns a probability with as many digits as float32 has."""
    return None if probability is None else round(probability, 7)
