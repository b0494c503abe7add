"""The spans of partially annotated sentences that can be scored."""

from collections import Counter
from collections.abc import Container, Iterable
from typing import NamedTuple

from tagger.choices import Scheme
from tagger.data import partial, schemes
from tagger.data.sentence import Sentence, Span
from tagger.evaluation.report import LeftOut


class ScoredSpans(NamedTuple):
    """The spans of a sentence to score, and the positions of the tokens that are left out."""

    gold: tuple[Span, ...]
    predicted: tuple[Span, ...]
    left_out: Container[int]


class SpanSelector:
    """Selects the spans to score.

    In a sentence with unknown tags, spans are left out if they hold a token without a tag, or a token of a gold span
    whose bounds depend on one. In a sentence that is annotated for some types, spans of other types are left out.

    Args:
        scheme: the scheme of the gold tags.
    """

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._tokens = self._spans = 0
        self._types = Counter[str]()

    @property
    def left_out(self) -> LeftOut:
        """What was left out so far."""
        return LeftOut(self._tokens, self._spans, dict(sorted(self._types.items())))

    def select(self, gold: Sentence, predicted: Sentence) -> ScoredSpans:
        """Returns the spans to score of a gold sentence, read from its tags, and of its prediction."""
        spans = schemes.tags_to_spans(gold.tags)
        if not partial.is_partial(gold):
            return ScoredSpans(spans, predicted.spans, ())
        uncertain = partial.uncertain_tokens(gold.tags, self._scheme)
        left_out = set(uncertain)
        in_gold, in_predicted = (
            self._select(side, gold.annotated_types, uncertain, left_out) for side in (spans, predicted.spans)
        )
        self._tokens += len(left_out)
        return ScoredSpans(in_gold, in_predicted, left_out)

    def _select(
        self, spans: Iterable[Span], types: Container[str] | None, uncertain: set[int], left_out: set[int]
    ) -> tuple[Span, ...]:
        """Returns the spans to score, counts the others, and adds their tokens to `left_out`."""
        selected = []
        for span in spans:
            tokens = range(span.start, span.end)
            if types is not None and span.type not in types:
                self._types[span.type] += 1
            elif not uncertain.isdisjoint(tokens):
                self._spans += 1
            else:
                selected.append(span)
                continue
            left_out.update(tokens)
        return tuple(selected)
