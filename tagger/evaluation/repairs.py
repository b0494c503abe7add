"""Invalid tag sequences of gold and predicted tags, and their repair.

- conlleval: spans are read by the rules of conlleval; tags are unchanged.
- discard: the tokens of invalid spans become `O`, as in SeqScore (Palen-Michel et al., 2021).
- none: an invalid tag is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tagger.choices import Repair, Scheme
from tagger.data import schemes
from tagger.data.corpus import Corpus
from tagger.data.schemes import OUTSIDE, UNKNOWN
from tagger.data.sentence import Sentence, Span
from tagger.errors import DataError


@dataclass(frozen=True, slots=True)
class InvalidCounts:
    """The numbers of invalid tags, as `schemes.find_invalid` defines them, and of the spans that have such tags."""

    tags: int
    spans: int


def repair(corpus: Corpus, scheme: Scheme, method: Repair) -> tuple[Corpus, InvalidCounts]:
    """Returns the sentences of a corpus, repaired and with their spans, and what was invalid.

    Raises:
        DataError: a tag is invalid, and the method is none.
    """
    tags = schemes.count_invalid(schemes.count_pairs(sentence.tags for sentence in corpus.sentences), scheme)
    if tags and method == "none":
        number = "1 tag is invalid; repair it" if tags == 1 else f"{tags:,} tags are invalid; repair them"
        advice = f"{corpus.name}: {number} with `repair=conlleval` or `repair=discard`"
        raise DataError(*corpus.describe_invalid(scheme), advice)
    spans, repaired = 0, []
    for sentence in corpus.sentences:
        invalid = find_invalid_spans(sentence.tags, scheme) if tags else []
        spans += len(invalid)
        repaired.append(_read_spans(sentence, invalid if method == "discard" else ()))
    return replace(corpus, sentences=tuple(repaired)), InvalidCounts(tags, spans)


def _read_spans(sentence: Sentence, discarded: Sequence[Span]) -> Sentence:
    """Returns a sentence with the spans of its tags, without some of them."""
    tags = list(sentence.tags)
    for span in discarded:
        tags[span.start : span.end] = [OUTSIDE] * (span.end - span.start)
    return replace(sentence, tags=tuple(tags), spans=schemes.tags_to_spans(tags))


def find_invalid_spans(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """Returns the spans, as conlleval reads them, whose tags are not those that encode them in a scheme.

    Spans next to an unknown tag are not invalid.

    >>> find_invalid_spans(["B-PER", "I-LOC", "I-LOC"], "IOB2")
    [Span(type='LOC', start=1, end=3, probability=None)]
    >>> find_invalid_spans(["B-PER", "E-PER", "B-LOC"], "IOBES")
    [Span(type='LOC', start=2, end=3, probability=None)]
    """
    if not schemes.find_invalid(tags, scheme):
        return []
    spans = schemes.tags_to_spans(tags)
    encoded = schemes.spans_to_tags(spans, len(tags), scheme)
    differs = [schemes.split(tag) != schemes.split(other) for tag, other in zip(tags, encoded, strict=True)]
    return [
        span
        for span in spans
        if any(differs[span.start : span.end]) and UNKNOWN not in tags[max(span.start - 1, 0) : span.end + 1]
    ]
