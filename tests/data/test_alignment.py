"""Character spans become spans of tokens, and every change is reported."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger.choices import Misaligned, options
from tagger.data import alignment
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
