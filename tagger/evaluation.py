"""Scores that can be compared: spans by conlleval's rules through seqeval, token accuracy, and their signature."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

from tagger import __version__
from tagger.data import schemes
from tagger.data.reader import Corpus
from tagger.data.sentence import Span
from tagger.errors import DataError
from tagger.io import json_files
from tagger.tagging import Tagger

_MAX_SCORE = 100.001  # above 100 by rounding


@dataclass(frozen=True, slots=True)
class Score:
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
        accuracy: the share of tokens with the right tag.
        types: the score of each type.
        sentences, tokens: how many were scored.
        seconds: what tagging them took.
        unknown_tags: gold tags that training never saw, with their counts; each is scored as wrong.
        gold_scheme: how the gold tags are spelt; the accuracy compares tags so spelt.
        invalid_tags: gold tags that break their scheme, read as conlleval reads them.
        signature: the score with all that it depends on, in one line.
    """

    f1: float | None
    precision: float | None
    recall: float | None
    accuracy: float
    types: dict[str, Score]
    sentences: int
    tokens: int
    seconds: float
    unknown_tags: dict[str, int]
    gold_scheme: str
    invalid_tags: int
    signature: str

    @property
    def score(self) -> float:
        """What a model is chosen by: F1 for spans, accuracy for plain tags."""
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
            rows = {**self.types, "all": Score(self.precision or 0.0, self.recall or 0.0, self.f1, self._spans())}
            for name, score in rows.items():
                lines.append(f"{name:12}{score.precision:10.2f}{score.recall:10.2f}{score.f1:10.2f}{score.gold:10d}")
        spelt = f", tags in {self.gold_scheme}" if self.f1 is not None else ""
        lines.append(f"accuracy {self.accuracy:.2f} over {self.tokens} tokens in {self.sentences} sentences{spelt}")
        lines.append(f"{self.sentences_per_second:.0f} sentences/s")
        lines += [f"tag never seen in training: {tag} ({count} times)" for tag, count in self.unknown_tags.items()]
        if self.invalid_tags:
            lines.append(f"{self.invalid_tags} gold tags break their scheme and were read as conlleval reads them")
        return "\n".join([*lines, self.signature])

    def _spans(self) -> int:
        return sum(score.gold for score in self.types.values())


@dataclass(frozen=True)
class Counts:
    """What each sentence of a corpus adds to a tagger's score, so that two taggers can be compared later.

    Attributes:
        data: the corpus's hash.
        columns: what is counted, SPANS or TOKENS.
        rows: the counts of each sentence, in the corpus's order.
    """

    data: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


SPANS = ("correct", "predicted", "gold")
TOKENS = ("correct", "tokens")


def evaluate(
    tagger: Tagger, corpus: Corpus, *, strict: bool = False, checked: Callable[[], None] = lambda: None
) -> Report:
    """Returns the scores of a tagger on a corpus; arguments and errors as of `evaluate_each`."""
    return evaluate_each(tagger, corpus, strict=strict, checked=checked)[0]


def evaluate_each(
    tagger: Tagger, corpus: Corpus, *, strict: bool = False, checked: Callable[[], None] = lambda: None
) -> tuple[Report, Counts]:
    """Returns the scores of a tagger on a corpus, and the counts of each sentence that they come from.

    Args:
        tagger: the tagger.
        corpus: sentences with gold tags.
        strict: refuse gold tags that break their scheme.
        checked: called between batches, so that a caller can break off by raising.

    Raises:
        DataError: the corpus has plain tags where the model has spans, or broken ones under `strict`.
    """
    gold = [sentence.tags for sentence in corpus.sentences]
    found = schemes.Detected(None, "plain tags", 0)
    if tagger.model.scheme is not None:
        found = _scheme(gold, corpus, strict=strict)
    elif (spelt_in := schemes.detect(gold)).scheme:
        raise DataError(f"{corpus.name}: the model's tags are plain, but the gold column has spans in {spelt_in.name}")
    started = time.perf_counter()
    predicted = list(tagger.stream(corpus.sentences, on_batch=checked))
    seconds = time.perf_counter() - started
    digest = corpus.digest()
    counts: dict[str, Any] = {
        "sentences": len(gold),
        "tokens": corpus.tokens,
        "seconds": seconds,
        "unknown_tags": _unknown(gold, tagger),
        "invalid_tags": found.invalid_count,
        "gold_scheme": found.name,
    }
    if tagger.model.scheme is None:
        tags = [sentence.tags for sentence in predicted]
        right = accuracy(gold, tags)
        signature = _signature(f"accuracy={right:.2f}", "plain tags", digest)
        rows = tuple((sum(map(str.__eq__, *pair)), len(pair[0])) for pair in zip(gold, tags, strict=True))
        report = Report(None, None, None, right, {}, signature=signature, **counts)
        return report, Counts(digest, TOKENS, rows)
    spelt = [schemes.spans_to_tags(sentence.spans, len(sentence), found.scheme or "IOB2") for sentence in predicted]
    sides = [list(map(schemes.tags_to_spans, gold)), [sentence.spans for sentence in predicted]]
    overall, types = score_spans(*sides)
    spans = tuple((len({*left} & {*right}), len(right), len(left)) for left, right in zip(*sides, strict=True))
    report = Report(
        overall.f1,
        overall.precision,
        overall.recall,
        accuracy(*([list(map(schemes.split, tags)) for tags in side] for side in (gold, spelt))),
        types,
        signature=_signature(f"f1={overall.f1:.2f}", f"{tagger.model.scheme} conlleval", digest),
        **counts,
    )
    return report, Counts(digest, SPANS, spans)


def accuracy(gold: Sequence[Sequence[object]], predicted: Sequence[Sequence[object]]) -> float:
    """Returns the share of tokens, in percent, whose two tags are equal; 0 if there are no tokens."""
    pairs = [a == b for left, right in zip(gold, predicted, strict=True) for a, b in zip(left, right, strict=True)]
    return 100 * sum(pairs) / len(pairs) if pairs else 0.0


def score_spans(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> tuple[Score, dict[str, Score]]:
    """Returns the score over all spans and that of each type, by name; a score without its spans is 0, as conlleval's.

    seqeval counts; it is given IOB2, in which every set of spans has one spelling.
    """
    lengths = [max((span.end for span in (*a, *b)), default=0) for a, b in zip(gold, predicted, strict=True)]
    spelt = [
        [list(schemes.spans_to_tags(spans, length, "IOB2")) for spans, length in zip(side, lengths, strict=True)]
        for side in (gold, predicted)
    ]
    names = sorted({span.type for side in (gold, predicted) for spans in side for span in spans})
    if not names:
        return Score(0.0, 0.0, 0.0, 0), {}
    each = precision_recall_fscore_support(*spelt, average=None, zero_division=0)
    overall = precision_recall_fscore_support(*spelt, average="micro", zero_division=0)
    types = {name: _score(*(column[place] for column in each)) for place, name in enumerate(names)}
    return _score(*overall), types


def _score(precision: float, recall: float, f1: float, gold: int) -> Score:
    return Score(100 * float(precision), 100 * float(recall), 100 * float(f1), int(gold))


def _scheme(gold: Sequence[Sequence[str]], corpus: Corpus, *, strict: bool) -> schemes.Detected:
    found = schemes.detect(gold)
    tags = {tag for tags in gold for tag in tags} - {schemes.OUTSIDE}
    if found.scheme is None and tags:
        plain = min(tag for tag in tags if schemes.detect([[tag]]).scheme is None)
        raise DataError(f"{corpus.name}: the model tags spans, but the gold column has plain tags such as {plain!r}")
    if strict and found.scheme and found.invalid_count:
        raise DataError(*corpus.invalid_places(found.scheme))
    return found


def _unknown(gold: Sequence[Sequence[str]], tagger: Tagger) -> dict[str, int]:
    """Returns the gold tags, of spans the gold types, that the model cannot predict, with their counts."""
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
