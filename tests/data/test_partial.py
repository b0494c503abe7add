"""Partial annotation, compared with every set of spans that a sentence may have."""

import random
from collections.abc import Iterator, Sequence
from itertools import product
from typing import get_args

import numpy as np
import pytest

from tagger.choices import Scheme
from tagger.data import schemes
from tagger.data.partial import GoldEncoder, uncertain_tokens
from tagger.data.sentence import Sentence, Span
from tagger.data.vocab import Vocab

TYPES = ("X", "Y")
TOKENS = ("a", "b", "c", "d")


def span_sets(length: int) -> Iterator[tuple[Span, ...]]:
    """Yields every set of spans of a sentence, one token after the other."""

    def extended(start: int, spans: tuple[Span, ...]) -> Iterator[tuple[Span, ...]]:
        if start == length:
            yield spans
            return
        yield from extended(start + 1, spans)
        for end in range(start + 1, length + 1):
            for kind in TYPES:
                yield from extended(end, (*spans, Span(kind, start, end)))

    return extended(0, ())


def encode(spans: Sequence[Span], length: int, scheme: Scheme) -> tuple[str, ...]:
    """Returns the tags of spans, written down by the definitions of the schemes."""
    tags = ["O"] * length
    for span in spans:
        for position in range(span.start, span.end):
            first, last = position == span.start, position == span.end - 1
            prefix = "I"
            if scheme == "IOBES":
                prefix = {(True, True): "S", (True, False): "B", (False, True): "E"}.get((first, last), "I")
            elif first and (scheme == "IOB2" or any(s.end == span.start and s.type == span.type for s in spans)):
                prefix = "B"
            tags[position] = f"{prefix}-{span.type}"
    return tuple(tags)


def paths(rows: np.ndarray, tags: Sequence[str], scheme: Scheme) -> set[tuple[str, ...]]:
    """Returns the valid tag sequences that encoded gold tags allow."""
    if rows.ndim == 1:
        return {tuple(tags[index] for index in rows)}
    allowed = [[tag for tag, is_allowed in zip(tags, row, strict=True) if is_allowed] for row in rows]
    return {path for path in product(*allowed) if not schemes.find_invalid(path, scheme)}


def agrees(tags: Sequence[str], spans: Sequence[Span], source: Scheme) -> bool:
    """Returns whether a set of spans agrees with the known tags of a sentence."""
    encoded = encode(spans, len(tags), source)
    for position, (tag, actual) in enumerate(zip(tags, encoded, strict=True)):
        if tag and source == "IOB1" and position > 0 and not tags[position - 1]:
            starts = any(span.start == position for span in spans)
            if tag[1:] != actual[1:] or (tag[0] == "B" and not starts):
                return False
        elif tag not in ("", actual):
            return False
    return True


@pytest.mark.parametrize("target", ["IOB2", "IOBES"])
@pytest.mark.parametrize("source", get_args(Scheme))
def test_an_unknown_tag_allows_exactly_the_completions_that_the_scheme_allows(source: Scheme, target: Scheme) -> None:
    names = schemes.tag_set(TYPES, target)
    encoder = GoldEncoder(Vocab(names), target, source)
    draw = random.Random(1)
    for length in (1, 2, 3, 4):
        every = list(span_sets(length))
        for _ in range(60):
            tags = list(encode(draw.choice(every), length, source))
            for position in draw.sample(range(length), draw.randint(1, length)):
                tags[position] = ""
            actual = paths(encoder.encode(Sentence(TOKENS[:length], tags=tuple(tags))), names, target)
            assert actual == {encode(spans, length, target) for spans in every if agrees(tags, spans, source)}, tags


@pytest.mark.parametrize("target", ["IOB2", "IOBES"])
@pytest.mark.parametrize("annotated", [(), ("X",), ("Y",), ("X", "Y")])
def test_outside_spans_tokens_may_be_in_spans_of_types_that_were_not_annotated(
    annotated: tuple[str, ...], target: Scheme
) -> None:
    names = schemes.tag_set(TYPES, target)
    encoder = GoldEncoder(Vocab(names), target)
    every = list(span_sets(4))
    for gold in random.Random(2).sample(every, 60):
        sentence = Sentence(TOKENS, tags=encode(gold, 4, target), annotated_types=annotated)
        expected = {
            encode(spans, 4, target)
            for spans in every
            if {*gold} <= {*spans} and all(span.type not in annotated for span in {*spans} - {*gold})
        }
        assert paths(encoder.encode(sentence), names, target) == expected, gold


@pytest.mark.parametrize("target", ["IOB2", "IOBES"])
def test_unknown_tags_in_a_sentence_annotated_for_some_types_may_be_of_any_type(target: Scheme) -> None:
    names = schemes.tag_set(TYPES, target)
    encoder = GoldEncoder(Vocab(names), target, "IOBES")
    every = list(span_sets(4))
    draw = random.Random(3)
    for _ in range(80):
        tags = list(encode(draw.choice(every), 4, "IOBES"))
        for position in draw.sample(range(4), draw.randint(1, 2)):
            tags[position] = ""
        expected = set()
        for spans in every:
            encoded = encode(spans, 4, "IOBES")
            known = all(
                tag in ("", actual) or (tag == "O" and actual[2:] == "Y")
                for tag, actual in zip(tags, encoded, strict=True)
            )
            if known:
                expected.add(encode(spans, 4, target))
        sentence = Sentence(TOKENS, tags=tuple(tags), annotated_types=("X",))
        assert paths(encoder.encode(sentence), names, target) == expected, tags


def test_any_tags_known_in_part_leave_a_path() -> None:
    tags = [*schemes.tag_set(TYPES, "IOBES"), ""]
    for source, target in product(get_args(Scheme), ("IOB2", "IOBES")):
        names = schemes.tag_set(TYPES, target)
        encoder = GoldEncoder(Vocab(names), target, source)
        for sequence in product(tags, repeat=3):
            if "" in sequence:
                assert paths(encoder.encode(Sentence(TOKENS[:3], tags=sequence)), names, target), sequence


def test_full_annotation_is_encoded_as_ids() -> None:
    names = schemes.tag_set(TYPES, "IOBES")
    encoder = GoldEncoder(Vocab(names), "IOBES")
    for annotated in (None, ("X", "Y")):
        sentence = Sentence(("a", "b"), tags=("B-X", "E-X"), annotated_types=annotated)
        assert [names[index] for index in encoder.encode(sentence)] == ["B-X", "E-X"]


def test_an_unknown_plain_tag_may_be_any_tag() -> None:
    rows = GoldEncoder(Vocab(["N", "V"]), None).encode(Sentence(("a", "b"), tags=("V", "")))
    assert rows.tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_a_span_is_uncertain_if_its_bounds_depend_on_an_unknown_tag(scheme: Scheme) -> None:
    every = list(span_sets(4))
    draw = random.Random(4)
    for _ in range(150):
        tags = list(encode(draw.choice(every), 4, scheme))
        for position in draw.sample(range(4), draw.randint(1, 2)):
            tags[position] = ""
        agreeing = [{*spans} for spans in every if agrees(tags, spans, scheme)]
        uncertain = uncertain_tokens(tags, scheme)
        for span in schemes.tags_to_spans(tags):
            if uncertain.isdisjoint(range(span.start, span.end)):
                assert all(span in spans for spans in agreeing), (tags, span)
        assert {position for position, tag in enumerate(tags) if not tag} <= uncertain


@pytest.mark.parametrize(
    ("tags", "scheme", "expected"),
    [
        (["B-X", "", "O"], "IOB2", {0, 1}),
        (["S-X", "", "S-X"], "IOBES", {1}),
        (["B-X", "", "E-X"], "IOBES", {0, 1, 2}),
        (["", "I-X", "O"], "IOB1", {0, 1}),
        (["", "B-X", "O"], "IOB2", {0}),
        (["B-X", "O", ""], "IOB2", {2}),
    ],
)
def test_a_span_whose_bounds_its_own_tags_settle_is_certain(
    tags: list[str], scheme: Scheme, expected: set[int]
) -> None:
    assert uncertain_tokens(tags, scheme) == expected


def test_known_neighbours_are_not_invalid_because_of_an_unknown_tag_between_them() -> None:
    assert schemes.find_invalid(["B-X", "", "E-X", "", "I-X"], "IOBES") == [5]
