"""Tag schemes for spans: IOB1, IOB2 and IOBES. Invalid sequences are read by the rules of conlleval.

BIO is another name of IOB2, and BIOES of IOBES. BILOU (L for E, U for S) and BMES (M for I) are read as IOBES.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

from tagger import choices
from tagger.choices import Scheme
from tagger.data.sentence import Sentence, Span
from tagger.errors import ConfigError

OUTSIDE = "O"
UNKNOWN = ""
"""The tag of a token that was not annotated."""
UNTYPED = "_"
"""The type of spans without a type. In memory their tags are `B-_`; in files and results they are `B`."""
_SPAN_TAG = re.compile(r"[BIESLUM]-.+", re.DOTALL)
_UNTYPED_END = f"-{UNTYPED}"
# Spans with equal bounds and type share an object; most corpora have only a few thousand.
_span = lru_cache(maxsize=1 << 14)(Span)
_REORDERING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
_MARKS = "\u061c\u200e\u200f"
_AS_IOBES = {"L": "E", "U": "S", "M": "I"}


@dataclass(frozen=True, slots=True)
class Detected:
    """The scheme of a column of tags (None for plain tags), its usual name and the number of invalid tags."""

    scheme: Scheme | None
    name: str
    invalid_count: int


def parse_scheme(name: str | None) -> Scheme | None:
    """Returns the scheme of the parameter `scheme`, which may be a usual other name such as BIO.

    Raises:
        ConfigError: the name is unknown.
    """
    try:
        return None if name is None else choices.parse_scheme(name)
    except ValueError as error:
        raise ConfigError(f"`scheme` {error}") from None


@lru_cache(maxsize=4096)
def split(tag: str) -> tuple[str, str]:
    """Returns the prefix of a tag, as one of O, B, I, E and S, and its type; an unknown tag counts as O.

    >>> split("U-PER"), split("O"), split("B")
    (('S', 'PER'), ('O', ''), ('B', '_'))
    """
    if tag in (OUTSIDE, UNKNOWN):
        return OUTSIDE, ""
    return _AS_IOBES.get(tag[0], tag[0]), tag[2:] or UNTYPED


def without_type(tags: Sequence[str]) -> tuple[str, ...]:
    """Returns tags for an output: a span without a type has tags such as `B` instead of `B-_`.

    >>> without_type(["B-_", "I-_", "O", "B-PER"])
    ('B', 'I', 'O', 'B-PER')
    """
    return tuple([tag[0] if tag[1:] == _UNTYPED_END else tag for tag in tags])


def tags_to_spans(tags: Sequence[str]) -> tuple[Span, ...]:
    """Returns the spans of a tag sequence of any scheme, valid or not, by the rules of conlleval.

    >>> [(span.type, span.start, span.end) for span in tags_to_spans(["I-PER", "I-PER", "O", "I-LOC", "B-LOC"])]
    [('PER', 0, 2), ('LOC', 3, 4), ('LOC', 4, 5)]
    """
    spans: list[Span] = []
    start = end = 0  # of the span that a tag may continue
    before, before_type = OUTSIDE, ""
    for position in [position for position, tag in enumerate(tags) if tag != OUTSIDE]:
        prefix, kind = split(tags[position])
        if prefix == OUTSIDE:
            continue
        if position > end or prefix in "BS" or before in "OES" or kind != before_type:
            if start < end:
                spans.append(_span(before_type, start, end))
            start = position
        before, before_type, end = prefix, kind, position + 1
    if start < end:
        spans.append(_span(before_type, start, end))
    return tuple(spans)


def spans_to_tags(spans: Iterable[Span], length: int, scheme: Scheme) -> tuple[str, ...]:
    """Returns the tags of a sentence of `length` tokens with these spans, which must not overlap.

    >>> spans_to_tags([Span("PER", 0, 2), Span("PER", 2, 3)], 4, "IOB1")
    ('I-PER', 'I-PER', 'B-PER', 'O')
    """
    tags = [OUTSIDE] * length
    for span in sorted(spans, key=lambda span: span.start):
        tags[span.start : span.end] = [f"I-{span.type}"] * (span.end - span.start)
        touches = span.start > 0 and tags[span.start - 1] != OUTSIDE and tags[span.start - 1][2:] == span.type
        if scheme != "IOB1" or touches:
            tags[span.start] = f"B-{span.type}"
        if scheme == "IOBES":
            tags[span.end - 1] = f"E-{span.type}" if span.end - span.start > 1 else f"S-{span.type}"
    return tuple(tags)


def convert(tags: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """Returns the tags of the same spans, as conlleval reads them, in another scheme."""
    return spans_to_tags(tags_to_spans(tags), len(tags), scheme)


def encode_sentence(sentence: Sentence, scheme: Scheme | None) -> Sentence:
    """Returns a tagged sentence with its tags, and those of its alternatives, in a scheme; unchanged for None."""
    if scheme is None:
        return sentence
    alternative_tags = (
        spans_to_tags(tags_to_spans(other.tags), len(sentence), scheme) for other in sentence.alternatives
    )
    return replace(
        sentence,
        tags=without_type(spans_to_tags(sentence.spans, len(sentence), scheme)),
        alternatives=tuple(
            replace(alternative, tags=without_type(tags))
            for alternative, tags in zip(sentence.alternatives, alternative_tags, strict=True)
        ),
    )


def tag_set(types: Iterable[str], scheme: Scheme) -> list[str]:
    """Returns every tag that a scheme has for these types, O first."""
    prefixes = {"IOB1": "BI", "IOB2": "BI", "IOBES": "BIES"}[scheme]
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in prefixes)]


def control_tags(tags: Iterable[str]) -> list[str]:
    """Returns the tags that are empty or hold a control character, a line separator or a mark that reorders text."""
    return sorted(tag for tag in tags if not tag or any(map(_is_control, tag)))


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or (
        unicodedata.bidirectional(character) in _REORDERING or character in _MARKS
    )


def is_valid_transition(before: str | None, after: str | None, scheme: Scheme) -> bool:
    """Returns whether a scheme lets a tag follow another; None means the start or the end of the sentence."""
    left, left_type = split(before or OUTSIDE)
    right, right_type = split(after or OUTSIDE)
    same = left_type == right_type
    if scheme == "IOB1":
        return right != "B" or (left != OUTSIDE and same)
    if scheme == "IOB2":
        return right != "I" or (left != OUTSIDE and same)
    if left in ("B", "I"):
        return right in ("I", "E") and same
    return right not in ("I", "E")


def find_invalid(tags: Sequence[str], scheme: Scheme) -> list[int]:
    """Returns the positions of tags that may not follow the tag before; the length if the end is invalid.

    An unknown tag may follow, and be followed by, any tag.

    >>> find_invalid(["O", "I-PER", "B-LOC"], "IOB2")
    [1]
    """
    padded: list[str | None] = [None, *tags, None]
    invalid = [
        position
        for position in range(len(tags) + 1)
        if not is_valid_transition(padded[position], padded[position + 1], scheme)
    ]
    return [position for position in invalid if UNKNOWN not in padded[position : position + 2]]


def describe_invalid(tags: Sequence[str], scheme: Scheme) -> Iterator[tuple[int, str]]:
    """Yields the position of each invalid tag, as `find_invalid` does, and the tag with the one before.

    >>> list(describe_invalid(["O", "I-PER"], "IOB2"))
    [(1, "'I-PER' after 'O'")]
    """
    for position in find_invalid(tags, scheme):
        previous = repr(tags[position - 1]) if position else "the sentence's start"
        tag = repr(tags[position]) if position < len(tags) else "the sentence's end"
        yield position, f"{tag} after {previous}"


TagPairs = Counter[tuple[str | None, str | None]]
"""How often each tag follows each other tag in a corpus; None stands for the start and the end of a sentence.

Whether a tag is valid, and whether it starts a span, depend on the tag before alone.
"""


def count_pairs(sequences: Iterable[Sequence[str]]) -> TagPairs:
    """Returns how often each pair of neighbours occurs in tag sequences.

    >>> sorted(count_pairs([["O"], ["O", "B-PER"]]).items(), key=str)
    [(('B-PER', None), 1), (('O', 'B-PER'), 1), (('O', None), 1), ((None, 'O'), 2)]
    """
    return Counter(chain.from_iterable(zip((None, *tags), (*tags, None), strict=True) for tags in sequences))


def count_tags(pairs: TagPairs) -> Counter[str]:
    """Returns how often each tag occurs, given the pairs of a corpus."""
    counts: Counter[str] = Counter()
    for (_, tag), count in pairs.items():
        if tag is not None:
            counts[tag] += count
    return counts


def count_labels(pairs: TagPairs, *, has_spans: bool) -> Counter[str]:
    """Returns how often each type of span, or each known plain tag, occurs, given the pairs of a corpus.

    >>> count_labels(count_pairs([["B-PER", "I-PER", "O"]]), has_spans=True)
    Counter({'PER': 1})
    """
    if not has_spans:
        return Counter({tag: count for tag, count in count_tags(pairs).items() if tag != UNKNOWN})
    counts: Counter[str] = Counter()
    for (before, tag), count in pairs.items():
        if tag is not None and _starts_span(before, tag):
            counts[split(tag)[1]] += count
    return counts


def _starts_span(before: str | None, tag: str) -> bool:
    """Returns whether a tag starts a span by the rules of conlleval."""
    (left, left_type), (prefix, kind) = split(before or OUTSIDE), split(tag)
    return prefix != OUTSIDE and (prefix in "BS" or left in "OES" or kind != left_type)


def detect(sequences: Iterable[Sequence[str]]) -> Detected:
    """Returns the scheme of a corpus: the one with the fewest invalid tags, IOB2 before IOB1 if both fit."""
    return detect_by_pairs(count_pairs(sequences))


def detect_by_pairs(pairs: TagPairs) -> Detected:
    """Returns the scheme of a corpus as `detect` does, given its pairs of tags."""
    spans = count_tags(pairs).keys() - {OUTSIDE, UNKNOWN}
    if not spans or not all(map(_SPAN_TAG.fullmatch, spans)):
        return Detected(None, "plain tags", 0)
    prefixes = {tag[0] for tag in spans}
    if prefixes & set("LU"):
        return Detected("IOBES", "BILOU", count_invalid(pairs, "IOBES"))
    if "M" in prefixes:
        return Detected("IOBES", "BMES", count_invalid(pairs, "IOBES"))
    if prefixes & set("ES"):
        return Detected("IOBES", "IOBES", count_invalid(pairs, "IOBES"))
    iob2, iob1 = count_invalid(pairs, "IOB2"), count_invalid(pairs, "IOB1")
    return Detected("IOB1", "IOB1", iob1) if iob1 < iob2 else Detected("IOB2", "IOB2", iob2)


def find_non_span_tags(tags: Set[str]) -> list[str]:
    """Returns the tags that are not span tags, if most of the distinct tags are span tags; else none.

    >>> find_non_span_tags({"B-PER", "I-PER", "O", "PER"})
    ['PER']
    """
    tags = tags - {OUTSIDE, UNKNOWN}
    non_span_tags = sorted(tag for tag in tags if not _SPAN_TAG.fullmatch(tag))
    return non_span_tags if 2 * len(non_span_tags) < len(tags) else []


def count_invalid(pairs: TagPairs, scheme: Scheme) -> int:
    """Returns the number of invalid tags of a corpus in a scheme, given its pairs of tags."""
    return sum(count for pair, count in pairs.items() if UNKNOWN not in pair and not is_valid_transition(*pair, scheme))
