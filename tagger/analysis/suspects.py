"""Suspects: annotations that are improbable under models that were not trained on them, the most improbable first.

A suspect is an annotation or a missing one, with its most probable alternative. Its score is the mean of two log-odds,
in nats: of the alternative against the annotation, and of the alternative against all else. The second is low where the
models are unsure, which says more about the sentence than about its annotation. All kinds have one scale:

- a span is compared with no span over its tokens, and with each other span that overlaps it. Thus a moved boundary is
  one suspect;
- a span that a model predicts where no annotation overlaps it is compared with no span over its tokens;
- a plain tag is compared with the tag that most models predict instead.

Probabilities are exact marginals, the means over the models. A sentence that is annotated in part is judged only where
it is annotated.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tagger.analysis import held_out
from tagger.analysis.held_out import HeldOut
from tagger.choices import Scheme, SuspectKind
from tagger.data import schemes, tag_formats
from tagger.data.partial import uncertain_tokens
from tagger.data.schemes import UNKNOWN
from tagger.data.sentence import Sentence, Span

_NONE = ""  # the type of no span
_FLOOR = 1e-12
_MIN_ODDS = 1 / 9  # less probable alternatives are no reason to look at an annotation
EPSILON = 0.7
"""The factor of a sentence's weight for each model that disagrees, as in CrossWeigh."""

_Key = tuple[str, int, int]
"""The type, the first token and the end token of a span; the type is empty for no span."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """An annotation that may be wrong.

    Attributes:
        kind: what differs between the annotation and the alternative.
        score: how much the models prefer the alternative, in nats.
        file: the name of the file.
        number: the number of its sentence in the file, from 0.
        sentence: the sentence as read.
        start: the first token of the annotated span or plain tag; without an annotation, of the alternative.
        end: the token after its last one.
        annotated_type: its type or tag; None if there is no annotation.
        probability: the probability of the annotation, or of no annotation.
        alternative: the most probable alternative, a plain tag as its type; None for no span.
        alternative_probability: the probability of the alternative.
    """

    kind: SuspectKind
    score: float
    file: str
    number: int
    sentence: Sentence
    start: int
    end: int
    annotated_type: str | None
    probability: float
    alternative: Span | None
    alternative_probability: float

    @property
    def is_improbable(self) -> bool:
        """Whether the alternative is more probable than the annotation."""
        return self.alternative_probability > self.probability

    @property
    def line(self) -> int:
        """The line of its first token in the file."""
        return tag_formats.find_line(self.sentence, self.start)

    @property
    def text(self) -> str:
        """The text of its tokens."""
        return self._slice(self.start, self.end)

    @property
    def alternative_text(self) -> str:
        """The text of the alternative's tokens; empty for no span."""
        return self._slice(self.alternative.start, self.alternative.end) if self.alternative else ""

    def to_json(self, rank: int) -> dict[str, Any]:
        """Returns a row of suspects.jsonl; `rank` counts from 1."""
        alternative = None
        if self.alternative:
            kind, start, end = self.alternative.type, self.alternative.start, self.alternative.end
            alternative = {"type": kind, "start": start, "end": end, "text": self.alternative_text}
        return {
            "rank": rank,
            "score": round(self.score, 4),
            "kind": self.kind,
            "file": self.file,
            "line": self.line,
            "document": self.sentence.document,
            "sentence": self.number,
            "tokens": self.sentence.tokens,
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "given": self.annotated_type,
            "probability": self.probability,
            "alternative": alternative,
            "alternative_probability": self.alternative_probability,
        }

    def _slice(self, start: int, end: int) -> str:
        return self.sentence.slice(start, end)


@dataclass(frozen=True, slots=True)
class Findings:
    """The judgements of the models on a file.

    Attributes:
        suspects: in no particular order.
        annotations: the number of spans, or of known plain tags.
        unjudged: how many of these no model knows the type or tag of, or could judge.
        disagreements: for each sentence, the number of models whose prediction differs from the annotation.
    """

    suspects: tuple[Suspect, ...]
    annotations: int
    unjudged: int
    disagreements: tuple[int, ...]


def find_suspects(
    file: str, sentences: Sequence[Sentence], models: Sequence[HeldOut], *, scheme: Scheme | None, device: str = "auto"
) -> Findings:
    """Returns the suspects among the annotations of a file.

    Args:
        file: the name of the file.
        sentences: its sentences, with tags as read.
        models: the models that judge them.
        scheme: the scheme of the tags as read; None for plain tags.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        ModelError: a model is damaged.
    """
    predictions = held_out.predict(sentences, models, device=device)
    rate_candidates = partial(held_out.rate_candidates, models=models, device=device)
    if scheme is None:
        return _find_in_tags(file, sentences, predictions, rate_candidates)
    return _find_in_spans(file, sentences, predictions, rate_candidates, scheme)


_Rate = Callable[[Sequence[Sentence]], list[list[float | None]]]


def _find_in_spans(
    file: str,
    sentences: Sequence[Sentence],
    predictions: Sequence[Sequence[Sentence]],
    rate_candidates: _Rate,
    scheme: Scheme,
) -> Findings:
    views = [_SpanView(*pair, scheme) for pair in zip(sentences, predictions, strict=True)]
    types = sorted({span.type for view in views for span in view.annotated})
    candidates = [view.candidates(types) for view in views]
    rated = rate_candidates(
        [
            Sentence(sentence.tokens, document=sentence.document, line=sentence.line, spans=tuple(spans))
            for sentence, spans in zip(sentences, candidates, strict=True)
        ]
    )
    suspects, unjudged = [], 0
    for number, (view, spans, values) in enumerate(zip(views, candidates, rated, strict=True)):
        means = {span.key: value for span, value in zip(spans, values, strict=True) if value is not None}
        unjudged += sum(span.key not in means or not view.is_annotated(span) for span in view.annotated)
        for key, alternative in view.compare(means):
            if suspect := _make_suspect(file, number, view.sentence, key, alternative, means):
                suspects.append(suspect)
    annotations = sum(len(view.annotated) for view in views)
    return Findings(tuple(suspects), annotations, unjudged, tuple(view.disagreements for view in views))


class _SpanView:
    """The spans of a sentence and of its predictions."""

    def __init__(self, sentence: Sentence, predictions: Sequence[Sentence], scheme: Scheme) -> None:
        self.sentence, self.annotated = sentence, schemes.tags_to_spans(sentence.tags)
        self._uncertain = uncertain_tokens(sentence.tags, scheme) if UNKNOWN in sentence.tags else set()
        self._predictions = [tuple(filter(self.is_annotated, each.spans)) for each in predictions]
        self._predicted = dict.fromkeys(span.key for spans in self._predictions for span in spans)

    def is_annotated(self, span: Span) -> bool:
        """Returns whether the sentence was annotated for a span: for its type, and at all of its tokens."""
        types = self.sentence.annotated_types
        return (types is None or span.type in types) and self._uncertain.isdisjoint(range(span.start, span.end))

    @property
    def disagreements(self) -> int:
        """The number of models whose spans differ from the annotation."""
        annotated = {span.key for span in self.annotated if self.is_annotated(span)}
        return sum({span.key for span in spans} != annotated for spans in self._predictions)

    def candidates(self, types: Sequence[str]) -> list[Span]:
        """Returns the annotated and the predicted spans, no span in place of each, and variants of the annotated ones.

        Variants have another type, or one bound that is moved by one token.
        """
        keys: dict[_Key, None] = dict.fromkeys(self._predicted)
        for span in self.annotated:
            keys |= dict.fromkeys((kind, span.start, span.end) for kind in types)
            for start, end in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                keys[span.type, span.start + start, span.end + end] = None
        for key in [*self._predicted, *(span.key for span in self.annotated)]:
            keys[_NONE, *key[1:]] = None
        return [Span(*key) for key in keys if 0 <= key[1] < key[2] <= len(self.sentence)]

    def compare(self, means: Mapping[_Key, float]) -> Iterator[tuple[_Key, _Key]]:
        """Yields each annotation, or no span where one may be missing, with its most probable alternative."""
        rivals = [key for key in means if key[0] and self.is_annotated(Span(*key))]
        for span in filter(self.is_annotated, self.annotated):
            key = span.key
            overlapping = [other for other in rivals if other != key and _overlap(other, key)]
            if key in means:
                yield key, max([(_NONE, *key[1:]), *overlapping], key=lambda other: means.get(other, 0.0))
        occupied = [span.key for span in self.annotated]
        for key in sorted(self._predicted, key=lambda key: -means.get(key, 0.0)):
            if key in means and not any(_overlap(key, other) for other in occupied):
                occupied.append(key)
                yield (_NONE, *key[1:]), key


def _overlap(first: _Key, second: _Key) -> bool:
    return first[1] < second[2] and second[1] < first[2]


def _make_suspect(
    file: str, number: int, sentence: Sentence, annotation: _Key, alternative: _Key, means: Mapping[_Key, float]
) -> Suspect | None:
    """Returns the suspect of an annotation, or of no span, with its alternative; None if it is not suspicious."""
    probability, other = means.get(annotation, 0.0), means.get(alternative, 0.0)
    if other < _MIN_ODDS * probability:
        return None
    span = Span(*alternative) if alternative[0] else None
    kind = _kind(annotation, alternative)
    start, end = annotation[1:]
    score = _score(probability, other)
    return Suspect(kind, score, file, number, sentence, start, end, annotation[0] or None, probability, span, other)


def _score(probability: float, alternative: float) -> float:
    """Returns the score of a suspect from the probabilities of its annotation and of its alternative."""
    log_alternative = math.log(max(alternative, _FLOOR))
    against_annotation = log_alternative - math.log(max(probability, _FLOOR))
    # Rounding may make 1 - p smaller than the probability of the annotation, which is a part of it.
    against_all = log_alternative - math.log(max(1 - alternative, probability, _FLOOR))
    return (against_annotation + against_all) / 2


def _kind(annotation: _Key, alternative: _Key) -> SuspectKind:
    if not alternative[0]:
        return "spurious"
    if not annotation[0]:
        return "missing"
    if annotation[1:] == alternative[1:]:
        return "type"
    return "boundary" if annotation[0] == alternative[0] else "type and boundary"


def _find_in_tags(
    file: str, sentences: Sequence[Sentence], predictions: Sequence[Sequence[Sentence]], rate_candidates: _Rate
) -> Findings:
    alternatives = [_choose_alternatives(*pair) for pair in zip(sentences, predictions, strict=True)]
    of_annotations, of_alternatives = (
        rate_candidates([replace(sentence, tags=tags) for sentence, tags in zip(sentences, rows, strict=True)])
        for rows in ([sentence.tags for sentence in sentences], alternatives)
    )
    suspects, unjudged, annotations = [], 0, 0
    for number, (sentence, tags) in enumerate(zip(sentences, alternatives, strict=True)):
        for token, pair in enumerate(
            zip(sentence.tags, tags, of_annotations[number], of_alternatives[number], strict=True)
        ):
            tag, alternative, probability, other = pair
            annotations += tag != UNKNOWN
            unjudged += tag != UNKNOWN and probability is None
            if tag in (UNKNOWN, alternative) or probability is None or other is None:
                continue
            if other >= _MIN_ODDS * probability:
                span, end, score = Span(alternative, token, token + 1), token + 1, _score(probability, other)
                suspects.append(
                    Suspect("tag", score, file, number, sentence, token, end, tag, probability, span, other)
                )
    disagreements = tuple(
        sum(
            any(tag not in (UNKNOWN, other) for tag, other in zip(sentence.tags, each.tags, strict=True)) for each in by
        )
        for sentence, by in zip(sentences, predictions, strict=True)
    )
    return Findings(tuple(suspects), annotations, unjudged, disagreements)


def _choose_alternatives(sentence: Sentence, predictions: Sequence[Sentence]) -> tuple[str, ...]:
    """Returns for each token the tag, other than its own, that most models predict; its own if there is none."""
    columns = zip(*(each.tags for each in predictions), strict=True)
    tags = []
    for tag, predicted in zip(sentence.tags, columns, strict=True):
        counts = Counter(other for other in predicted if other != tag)
        tags.append(counts.most_common(1)[0][0] if counts else tag)
    return tuple(tags)


def weigh(disagreements: Sequence[int]) -> tuple[float, ...]:
    """Returns the weight of each training sentence: EPSILON to the power of the models that disagree.

    This is the formula of CrossWeigh (Wang et al., 2019, with the same epsilon): a sentence that every model confirms
    keeps its weight, and one that every model contradicts still counts, because models err too.
    """
    return tuple(round(EPSILON**count, 6) for count in disagreements)
