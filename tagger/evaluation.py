"""Evaluation: span F1 by the rules of conlleval, through seqeval, token accuracy, and a signature of the scores."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import chain
from typing import Any

from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

from tagger import __version__
from tagger.data import schemes
from tagger.data.reader import Corpus
from tagger.data.sentence import Span
from tagger.errors import DataError
from tagger.io import json_files
from tagger.tagging import EncodedPool, Tagger

_MAX_SCORE = 100.001  # above 100 by rounding


@dataclass(frozen=True, slots=True)
class SpanScore:
    """Precision, recall and F1 in percent, and how many spans the gold data holds."""

    precision: float
    recall: float
    f1: float
    gold: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a tagger on a corpus, in percent; those of spans are None for plain tags.

    Attributes:
        score: the score that models are chosen by: F1 for spans, accuracy for plain tags.
        f1, precision, recall: of spans.
        accuracy: of tokens.
        signature: the score with all that it depends on, in one line.
    """

    score: float
    f1: float | None
    precision: float | None
    recall: float | None
    accuracy: float
    signature: str

    def __post_init__(self) -> None:
        for name in ("score", "f1", "precision", "recall", "accuracy"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _MAX_SCORE:
                raise ValueError(f"{name}: expected a score from 0 to 100")

    @property
    def name(self) -> str:
        """The name of `score`: F1 or accuracy."""
        return "accuracy" if self.f1 is None else "F1"


@dataclass(frozen=True)
class Report:
    """The scores of a tagger on a corpus; all in percent.

    Attributes:
        f1, precision, recall: of spans, over all types together; None for plain tags.
        accuracy: of tokens.
        types: the score of each type.
        sentences, tokens: their numbers.
        seconds: the time spent on tagging.
        unknown_tags: gold tags that the training data lacks, with their counts; they are scored as wrong.
        gold_scheme: the scheme of the gold tags, in which tags are compared for the accuracy.
        invalid_tags: the number of gold tags that are invalid in their scheme; they are read by the rules of conlleval.
        signature: the score with all that it depends on, in one line.
    """

    f1: float | None
    precision: float | None
    recall: float | None
    accuracy: float
    types: dict[str, SpanScore]
    sentences: int
    tokens: int
    seconds: float
    unknown_tags: dict[str, int]
    gold_scheme: str
    invalid_tags: int
    signature: str

    @property
    def score(self) -> float:
        """The score that models are chosen by: F1 for spans, accuracy for plain tags."""
        return self.accuracy if self.f1 is None else self.f1

    @property
    def scores(self) -> Scores:
        """The scores over all types."""
        return Scores(self.score, self.f1, self.precision, self.recall, self.accuracy, self.signature)

    @property
    def sentences_per_second(self) -> float:
        """The speed of tagging the corpus."""
        return self.sentences / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Returns every figure under its attribute's name, and sentences_per_second."""
        return asdict(self) | {"sentences_per_second": self.sentences_per_second}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Report":
        """Returns the report that `to_json` returned.

        Raises:
            ValueError: a figure is missing, unknown, of another type or out of range.
        """
        fields = {name: figure for name, figure in value.items() if name != "sentences_per_second"}
        report = json_files.parse_as(cls, json_files.dump(fields))
        _ = report.scores  # checks the ranges
        return report

    def __str__(self) -> str:
        lines = []
        if self.f1 is not None:
            lines.append(f"{'':12}{'precision':>10}{'recall':>10}{'F1':>10}{'spans':>10}")
            rows = {**self.types, "all": SpanScore(self.precision or 0.0, self.recall or 0.0, self.f1, self._spans())}
            for name, score in rows.items():
                lines.append(f"{name:12}{score.precision:10.2f}{score.recall:10.2f}{score.f1:10.2f}{score.gold:10d}")
        scheme = f", tags in {self.gold_scheme}" if self.f1 is not None else ""
        lines.append(f"accuracy {self.accuracy:.2f} over {self.tokens} tokens in {self.sentences} sentences{scheme}")
        lines.append(f"{self.sentences_per_second:.0f} sentences/s")
        lines += [
            f"tag that the training data lacks: {tag} ({count} times)" for tag, count in self.unknown_tags.items()
        ]
        if self.invalid_tags:
            lines.append(
                f"{self.invalid_tags} gold tags are invalid in their scheme and were read by the rules of conlleval"
            )
        return "\n".join([*lines, self.signature])

    def _spans(self) -> int:
        return sum(score.gold for score in self.types.values())


@dataclass(frozen=True)
class Counts:
    """The counts of each sentence of a corpus from which a tagger's score is computed.

    Attributes:
        data: the hash of the corpus.
        columns: the names of the counts, SPANS or TOKENS.
        rows: the counts of each sentence, in the order of the corpus.
    """

    data: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


SPANS = ("correct", "predicted", "gold")
TOKENS = ("correct", "tokens")


def evaluate(
    tagger: Tagger,
    corpus: Corpus,
    *,
    strict: bool = False,
    pools: Iterable[EncodedPool] | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> Report:
    """Returns the scores of a tagger on a corpus; arguments and errors as for `evaluate_with_counts`."""
    return evaluate_with_counts(tagger, corpus, strict=strict, pools=pools, on_batch=on_batch)[0]


def evaluate_with_counts(
    tagger: Tagger,
    corpus: Corpus,
    *,
    strict: bool = False,
    pools: Iterable[EncodedPool] | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> tuple[Report, Counts]:
    """Returns the scores of a tagger on a corpus, and the counts of each sentence.

    Args:
        tagger: the tagger.
        corpus: sentences with gold tags.
        strict: refuse gold tags that are invalid in their scheme.
        pools: the sentences as `tagger.encode` returned them, to encode them only once for several evaluations.
        on_batch: is called between batches; it may raise to end the evaluation.

    Raises:
        DataError: the corpus has plain tags but the model spans, or the reverse; or invalid tags with `strict`.
    """
    gold = [sentence.tags for sentence in corpus.sentences]
    detected = schemes.Detected(None, "plain tags", 0)
    if tagger.model.scheme is not None:
        detected = _detect_spans(gold, corpus, strict=strict)
    elif (actual := schemes.detect(gold)).scheme:
        raise DataError(f"{corpus.name}: the model's tags are plain, but the gold column has spans in {actual.name}")
    started = time.perf_counter()
    if pools is None:
        predicted = list(tagger.stream(corpus.sentences, on_batch=on_batch))
    else:
        predicted = list(chain.from_iterable(tagger.tag_encoded(pools, on_batch=on_batch)))
    seconds = time.perf_counter() - started
    digest = corpus.digest()
    figures: dict[str, Any] = {
        "sentences": len(gold),
        "tokens": corpus.tokens,
        "seconds": seconds,
        "unknown_tags": _count_unknown_tags(gold, tagger),
        "invalid_tags": detected.invalid_count,
        "gold_scheme": detected.name,
    }
    if tagger.model.scheme is None:
        tags = [sentence.tags for sentence in predicted]
        token_accuracy = accuracy(gold, tags)
        signature = _signature(f"accuracy={token_accuracy:.2f}", "plain tags", digest)
        rows = tuple((sum(map(str.__eq__, *pair)), len(pair[0])) for pair in zip(gold, tags, strict=True))
        report = Report(None, None, None, token_accuracy, {}, signature=signature, **figures)
        return report, Counts(digest, TOKENS, rows)
    tags = [schemes.spans_to_tags(sentence.spans, len(sentence), detected.scheme or "IOB2") for sentence in predicted]
    sides = [list(map(schemes.tags_to_spans, gold)), [sentence.spans for sentence in predicted]]
    overall, types = score_spans(*sides)
    spans = tuple((len({*left} & {*right}), len(right), len(left)) for left, right in zip(*sides, strict=True))
    report = Report(
        overall.f1,
        overall.precision,
        overall.recall,
        accuracy(*([list(map(schemes.split, sentence)) for sentence in side] for side in (gold, tags))),
        types,
        signature=_signature(f"f1={overall.f1:.2f}", f"{tagger.model.scheme} conlleval", digest),
        **figures,
    )
    return report, Counts(digest, SPANS, spans)


def accuracy(gold: Sequence[Sequence[object]], predicted: Sequence[Sequence[object]]) -> float:
    """Returns the percentage of tokens whose two tags are equal; 0 if there are no tokens."""
    pairs = [a == b for left, right in zip(gold, predicted, strict=True) for a, b in zip(left, right, strict=True)]
    return 100 * sum(pairs) / len(pairs) if pairs else 0.0


def score_spans(
    gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]
) -> tuple[SpanScore, dict[str, SpanScore]]:
    """Returns the score over all spans, and the score of each type; scores without spans are 0, as in conlleval.

    seqeval computes them from IOB2 tags, in which each set of spans has a unique encoding.
    """
    lengths = [max((span.end for span in (*a, *b)), default=0) for a, b in zip(gold, predicted, strict=True)]
    encoded = [
        [list(schemes.spans_to_tags(spans, length, "IOB2")) for spans, length in zip(side, lengths, strict=True)]
        for side in (gold, predicted)
    ]
    names = sorted({span.type for side in (gold, predicted) for spans in side for span in spans})
    if not names:
        return SpanScore(0.0, 0.0, 0.0, 0), {}
    each = precision_recall_fscore_support(*encoded, average=None, zero_division=0)
    overall = precision_recall_fscore_support(*encoded, average="micro", zero_division=0)
    types = {name: _score(*(column[index] for column in each)) for index, name in enumerate(names)}
    return _score(*overall), types


def _score(precision: float, recall: float, f1: float, gold: int) -> SpanScore:
    return SpanScore(100 * float(precision), 100 * float(recall), 100 * float(f1), int(gold))


def _detect_spans(gold: Sequence[Sequence[str]], corpus: Corpus, *, strict: bool) -> schemes.Detected:
    detected = schemes.detect(gold)
    tags = {tag for tags in gold for tag in tags} - {schemes.OUTSIDE}
    if detected.scheme is None and tags:
        plain = min(tag for tag in tags if schemes.detect([[tag]]).scheme is None)
        raise DataError(f"{corpus.name}: the model tags spans, but the gold column has plain tags such as {plain!r}")
    if strict and detected.scheme and detected.invalid_count:
        raise DataError(*corpus.describe_invalid(detected.scheme))
    return detected


def _count_unknown_tags(gold: Sequence[Sequence[str]], tagger: Tagger) -> dict[str, int]:
    """Returns the counts of gold tags, or for spans of types, that the model cannot predict."""
    known = tagger.model.tags
    if tagger.model.scheme is None:
        counts = Counter(tag for tags in gold for tag in tags if tag not in known)
    else:
        types = {schemes.split(tag)[1] for tag in known.items}
        counts = Counter(tag for tags in gold for tag in tags if schemes.split(tag)[1] not in types)
    return dict(sorted(counts.items()))


def _signature(score: str, scheme: str, digest: str) -> str:
    return " | ".join(
        (
            score,
            f"scheme={scheme}",
            f"seqeval={_seqeval_version()}",
            f"tagger={__version__}",
            f"data=sha256:{digest[:12]}",
        )
    )


@cache
def _seqeval_version() -> str:
    return version("seqeval")
