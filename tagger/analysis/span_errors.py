"""Pairs gold with predicted spans, and names the kind of each error.

Of several spans that overlap one span, the closest is its pair; the others are missed or spurious. Plain tags are
treated alike: each token is a span of one token whose type is the tag.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tagger.choices import ErrorKind, Scheme
from tagger.data.schemes import UNKNOWN
from tagger.data.sentence import Sentence, Span
from tagger.evaluation import MatchCounts, SpanSelector

ERROR_KINDS: dict[ErrorKind, str] = {
    "missed": "a gold span without a predicted span",
    "spurious": "a predicted span without a gold span",
    "type": "the right bounds, the wrong type",
    "boundary": "the right type, overlapping bounds",
    "both": "overlapping bounds, the wrong type",
}


class SpanPair(NamedTuple):
    """A gold span and the predicted span that answers it; one of them may be missing."""

    gold: Span | None
    predicted: Span | None

    @property
    def is_correct(self) -> bool:
        """Whether bounds and type are equal."""
        return self.kind is None

    @property
    def kind(self) -> ErrorKind | None:
        """The kind of the error; None if the prediction is correct."""
        gold, predicted = self
        if gold is None or predicted is None:
            return "spurious" if gold is None else "missed"
        has_same_bounds = (gold.start, gold.end) == (predicted.start, predicted.end)
        if gold.type == predicted.type:
            return None if has_same_bounds else "boundary"
        return "type" if has_same_bounds else "both"


@dataclass(frozen=True, slots=True)
class SpanError:
    """An error of a model.

    Attributes:
        kind: the kind of the error.
        sentence: the number of the sentence in the data, from 0.
        gold: the gold span, with the model's probability of it; None if the predicted span is spurious.
        predicted: the predicted span with its probability; None if the gold span is missed.
    """

    kind: ErrorKind
    sentence: int
    gold: Span | None
    predicted: Span | None


def pair_spans(gold: Sequence[Span], predicted: Sequence[Span]) -> list[SpanPair]:
    """Returns each span of a sentence once, in a pair if it overlaps a span of the other side.

    Equal spans are paired first, then spans with equal bounds, then overlapping spans of one type, then others; of
    several overlapping spans the one with the larger overlap.

    >>> [pair.kind for pair in pair_spans([Span("PER", 0, 2), Span("LOC", 4, 5)], [Span("PER", 1, 2)])]
    ['boundary', 'missed']
    """
    partners: dict[int, int] = {}
    candidates = sorted(
        (*_distance(left, right), number, other)
        for number, left in enumerate(gold)
        for other, right in enumerate(predicted)
        if left.start < right.end and right.start < left.end
    )
    taken: set[int] = set()
    for *_, number, other in candidates:
        if number not in partners and other not in taken:
            partners[number] = other
            taken.add(other)
    pairs = [
        SpanPair(span, predicted[partners[number]] if number in partners else None) for number, span in enumerate(gold)
    ]
    pairs += [SpanPair(None, span) for number, span in enumerate(predicted) if number not in taken]
    return sorted(pairs, key=lambda pair: min(span.start for span in pair if span is not None))


def pair_sentences(
    gold: Iterable[Sentence], predicted: Iterable[Sentence], scheme: Scheme | None
) -> Iterator[tuple[int, SpanPair]]:
    """Yields the pairs of the spans to score, or of the plain tags, each with the number of its sentence.

    A gold span has the model's probability of it, if the prediction was asked for it (`candidate_probabilities`).

    Args:
        gold: the sentences with gold tags, and spans if candidates were asked for.
        predicted: the same sentences as the model tagged them.
        scheme: the scheme of the gold tags; None for plain tags.
    """
    selector = None if scheme is None else SpanSelector(scheme)
    for number, (sentence, tagged) in enumerate(zip(gold, predicted, strict=True)):
        if selector is None:
            yield from ((number, pair) for pair in _pair_tags(sentence, tagged))
            continue
        selected = selector.select(sentence, tagged)
        known = dict(zip(sentence.spans, tagged.candidate_probabilities, strict=False))
        rated = [replace(span, probability=known.get(span)) for span in selected.gold]
        yield from ((number, pair) for pair in pair_spans(rated, selected.predicted))


def _pair_tags(gold: Sentence, predicted: Sentence) -> Iterator[SpanPair]:
    """Yields a pair for each token with a plain gold tag."""
    of_gold = predicted.candidate_probabilities or (None,) * len(gold)
    rows = zip(gold.tags, predicted.tags, of_gold, predicted.probabilities, strict=True)
    for position, (tag, other, gold_probability, probability) in enumerate(rows):
        if tag != UNKNOWN:
            bounds = position, position + 1
            yield SpanPair(Span(tag, *bounds, gold_probability), Span(other, *bounds, probability))


def _distance(gold: Span, predicted: Span) -> tuple[bool, bool, int]:
    """Returns a key that sorts overlapping spans, the closest first."""
    has_other_bounds = (gold.start, gold.end) != (predicted.start, predicted.end)
    overlap = min(gold.end, predicted.end) - max(gold.start, predicted.start)
    return has_other_bounds, gold.type != predicted.type, -overlap


def count_confusions(pairs: Iterable[SpanPair]) -> Counter[tuple[str, str]]:
    """Returns how often a gold type was predicted as each type; an empty text stands for no span."""
    return Counter((gold.type if gold else "", predicted.type if predicted else "") for gold, predicted in pairs)


def score_classes(
    pairs: Iterable[tuple[int, SpanPair]], classify: Callable[[int, Span], str]
) -> dict[str, MatchCounts]:
    """Returns the score of each class of spans.

    Args:
        pairs: each pair with the number of its sentence.
        classify: returns the class of a span of a sentence; equal spans need equal classes.
    """
    correct, predicted, gold = Counter[str](), Counter[str](), Counter[str]()
    for number, pair in pairs:
        for span, counts in ((pair.gold, gold), (pair.predicted, predicted)):
            if span is not None:
                counts[classify(number, span)] += 1
        if pair.is_correct and pair.gold is not None:
            correct[classify(number, pair.gold)] += 1
    return {name: MatchCounts(correct[name], predicted[name], gold[name]) for name in {**gold, **predicted}}


def list_errors(pairs: Iterable[tuple[int, SpanPair]]) -> Iterator[SpanError]:
    """Yields the errors among pairs, each with the number of its sentence."""
    for number, pair in pairs:
        if kind := pair.kind:
            yield SpanError(kind, number, pair.gold, pair.predicted)
