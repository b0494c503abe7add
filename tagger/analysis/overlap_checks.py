"""Checks of sentences and documents that occur several times."""

from collections.abc import Iterator, Sequence
from itertools import chain

from tagger.analysis.findings import Example, Finding, collect
from tagger.analysis.parts import Located, Part
from tagger.data import overlaps, schemes
from tagger.data.formats.reading import shorten
from tagger.data.overlaps import SharedDocument
from tagger.data.sentence import Span

Occurrences = dict[tuple[str, ...], list[Located]]


def check(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yields the findings about sentences and documents that occur in two parts, or with different tags."""
    occurrences: Occurrences = {}
    for located in chain.from_iterable(parts):
        occurrences.setdefault(located.sentence.tokens, []).append(located)
    has_spans = any(part.detected.scheme for part in parts)
    repeated = {tokens: group for tokens, group in occurrences.items() if len(group) > 1}
    yield from _check_documents(parts)
    shared = [group for group in repeated.values() if len({located.role for located in group}) > 1]
    shared.sort(key=lambda group: -len(group[0].sentence))
    yield from collect(
        "shared-sentence",
        "warning",
        "The sentence occurs in two parts. The longest are shown first.",
        (Example(_locations(group), group[0].text) for group in shared),
    )
    yield from collect(
        "inconsistent-tags",
        "warning",
        "The same sentence is tagged in several ways. The rarest is shown first.",
        (example for group in repeated.values() for example in _describe_readings(group, has_spans=has_spans)),
    )


def _locations(group: Sequence[Located]) -> str:
    """Returns the first location in each part."""
    return ", ".join({located.role: located.locate() for located in reversed(group)}.values())


def _check_documents(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yields the documents of dev and test data that are, completely or in large part, in an earlier part too."""
    documents = [list(part.documents.values()) for part in parts]
    sentences = [[[located.sentence for located in document] for document in each] for each in documents]
    shared = list(overlaps.find_shared_documents(sentences))

    def describe(pair: SharedDocument) -> Example:
        (document, other) = (documents[part][number] for part, number in (pair.document, pair.other))
        longest = max(document, key=lambda located: len(located.sentence))
        text = f"{100 * pair.fraction:.0f} % in the document at {other[0].locate()}: {longest.text}"
        return Example(document[0].locate(), text)

    yield from collect(
        "shared-document",
        "error",
        "The whole document occurs in two parts, so that scores are too high.",
        (describe(pair) for pair in shared if pair.fraction == 1),
    )
    yield from collect(
        "shared-document",
        "warning",
        f"At least {100 * overlaps.SHARED_FRACTION:.0f} % of the document occur in a document of another part.",
        (describe(pair) for pair in shared if pair.fraction < 1),
    )


def _describe_readings(group: Sequence[Located], *, has_spans: bool) -> Iterator[Example]:
    """Yields an example for a sentence with several readings, the rarest first."""
    readings: dict[tuple[Span, ...] | tuple[str, ...], list[Located]] = {}
    for located in group:
        tags = located.sentence.tags
        if schemes.UNKNOWN in tags:
            continue
        readings.setdefault(schemes.tags_to_spans(tags) if has_spans else tags, []).append(located)
    if len(readings) > 1:
        ordered = sorted(readings.values(), key=len)
        differing = [
            position
            for position, tags in enumerate(zip(*(same[0].sentence.tags for same in ordered), strict=True))
            if len(set(tags)) > 1
        ]
        texts = (f"{_tags_at(same[0], differing)} at {same[0].locate()} ({len(same)}×)" for same in ordered)
        yield Example(ordered[0][0].locate(), f"{shorten(group[0].sentence.text)}: {'; '.join(texts)}")


def _tags_at(located: Located, positions: Sequence[int]) -> str:
    """Returns the tokens at some positions with their tags."""
    sentence = located.sentence
    return shorten(" ".join(f"{sentence.tokens[position]}/{sentence.tags[position]}" for position in positions))
