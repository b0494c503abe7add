"""Character spans become spans of tokens, and every change is reported."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger.choices import Misaligned, options
from tagger.data import alignment, schemes
from tagger.data.alignment import CharSpan, align, join_sentences
from tagger.data.sentence import Span
from tests.robustness.runs import SCALE

TEXT = "Mira Quill-Venn left  Karsk."
OFFSETS = [(0, 4), (5, 10), (10, 11), (11, 15), (16, 20), (22, 27), (27, 28)]


def aligned(*spans: tuple[str, int, int], policy: Misaligned = "expand") -> list[tuple[str, int, int]]:
    found = align([CharSpan(*span) for span in spans], OFFSETS, len(TEXT), policy).spans
    return [(span.type, span.start, span.end) for span in found]


def kinds(*spans: tuple[str, int, int], policy: Misaligned = "expand") -> list[str]:
    return [change.kind for change in align([CharSpan(*span) for span in spans], OFFSETS, len(TEXT), policy).changes]


def test_a_span_at_token_boundaries_needs_no_change():
    assert aligned(("PER", 0, 15), ("LOC", 22, 27)) == [("PER", 0, 4), ("LOC", 5, 6)]
    assert kinds(("PER", 0, 15), ("LOC", 22, 27)) == []


@pytest.mark.parametrize(
    ("policy", "span", "tokens"),
    [
        ("expand", ("PER", 2, 13), [("PER", 0, 4)]),
        ("contract", ("PER", 2, 13), [("PER", 1, 3)]),
        ("contract", ("PER", 1, 3), []),
        ("drop", ("PER", 2, 13), []),
        ("expand", ("PER", 1, 2), [("PER", 0, 1)]),
        ("stop", ("PER", 1, 2), []),
    ],
)
def test_a_misaligned_span_is_treated_as_the_policy_says(policy: Misaligned, span: tuple, tokens: list):
    assert aligned(span, policy=policy) == tokens
    assert kinds(span, policy=policy) == [alignment.MISALIGNED]


@pytest.mark.parametrize("policy", options(Misaligned))
def test_white_space_at_an_edge_is_cut_off_and_reported(policy: Misaligned):
    assert aligned(("LOC", 20, 27), policy=policy) == [("LOC", 5, 6)]
    assert kinds(("LOC", 20, 27), policy=policy) == [alignment.PADDED]


@pytest.mark.parametrize(
    ("span", "kind"),
    [
        (("X", 4, 4), alignment.EMPTY),
        (("X", 4, 5), alignment.WITHOUT_TOKEN),
        (("X", 20, 22), alignment.WITHOUT_TOKEN),
        (("X", -1, 4), alignment.OUT_OF_RANGE),
        (("X", 5, 29), alignment.OUT_OF_RANGE),
        (("X", 9, 3), alignment.OUT_OF_RANGE),
    ],
)
def test_a_span_that_is_no_text_is_dropped_and_reported(span: tuple, kind: str):
    assert aligned(span) == []
    assert kinds(span) == [kind]


def test_of_overlapping_spans_the_longest_remains_and_of_equal_ones_the_earlier():
    assert aligned(("A", 0, 4), ("B", 0, 15), ("C", 11, 20)) == [("B", 0, 4)]
    assert aligned(("A", 5, 11), ("B", 10, 15)) == [("A", 1, 3)]
    assert aligned(("A", 0, 10), ("B", 0, 10)) == [("A", 0, 2)]
    assert kinds(("A", 0, 4), ("B", 0, 15), ("C", 11, 20)) == [alignment.OVERLAPPING] * 2


def test_the_same_span_twice_counts_once():
    assert aligned(("A", 0, 4), ("A", 0, 4)) == [("A", 0, 1)]
    assert kinds(("A", 0, 4), ("A", 0, 4)) == [alignment.DUPLICATED]


def test_the_sentences_that_a_span_crosses_become_one():
    spans = [Span("A", 1, 2), Span("B", 3, 8)]
    assert join_sentences([2, 2, 1, 3, 2], spans) == ([1, 3, 1], [Span("B", 3, 8)])
    assert join_sentences([], []) == ([], [])


@st.composite
def annotated_texts(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]], list[CharSpan]]:
    """Draws a text, the offsets of its tokens, which cover all but white space, and any spans."""
    text = draw(st.text("ab-. \n😀é", max_size=25))
    offsets, start = [], 0
    for index, character in enumerate(text):
        if character.isspace():
            start = index + 1
        elif index + 1 == len(text) or text[index + 1].isspace() or draw(st.booleans()):
            offsets.append((start, index + 1))
            start = index + 1
    edge = st.integers(-2, len(text) + 2)
    spans = draw(st.lists(st.builds(CharSpan, st.sampled_from("AB"), edge, edge), max_size=8))
    return text, offsets, spans


@settings(max_examples=300 * SCALE, deadline=None)
@given(annotated_texts(), st.sampled_from(options(Misaligned)))
def test_no_span_is_lost_or_changed_without_a_report(drawn: tuple, policy: Misaligned):
    text, offsets, spans = drawn
    found, changes = align(spans, offsets, len(text), policy)
    dropped = [change.span for change in changes if "dropped" in change.action]
    changed = [change.span for change in changes if "becomes" in change.action]
    assert len(found) + len(dropped) == len(spans)
    tags = schemes.spans_to_tags(found, len(offsets), "IOB2")
    back = [CharSpan(one.type, offsets[one.start][0], offsets[one.end - 1][1]) for one in schemes.tags_to_spans(tags)]
    # What is neither dropped nor reported as changed comes back exactly.
    assert all(span in back for span in spans if span not in changed and spans.count(span) > dropped.count(span))
    assert len(back) == len(found)
    assert all(left.end <= right.start for left, right in pairwise(found))
    for one, characters in zip(found, back, strict=True):
        assert text[characters.start : characters.end].strip() == text[characters.start : characters.end]
        assert 0 <= one.start < one.end <= len(offsets)


@settings(max_examples=100 * SCALE, deadline=None)
@given(st.lists(st.integers(1, 4), max_size=6), st.data())
def test_no_span_crosses_a_sentence_after_joining(lengths: list[int], data: st.DataObject):
    edges = sorted(data.draw(st.sets(st.integers(0, sum(lengths)), max_size=6)))
    spans = [Span("A", start, end) for start, end in pairwise(edges)]
    counts, crossing = join_sentences(lengths, spans)
    assert sum(counts) == len(lengths)
    bounds, token, index = {0}, 0, 0
    for count in counts:
        token, index = token + sum(lengths[index : index + count]), index + count
        bounds.add(token)
    assert not any(span.start < bound < span.end for span in spans for bound in bounds)
    ends = {sum(lengths[:number]) for number in range(len(lengths) + 1)}
    assert crossing == [span for span in spans if any(span.start < end < span.end for end in ends)]
    assert ends - bounds == {end for end in ends if any(span.start < end < span.end for span in spans)}
